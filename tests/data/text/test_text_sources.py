"""Sources of text: what is in each row, that nothing is lost, that order and position decide all; bad input."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.builders import writer
from jaxai.data.source import open_source
from jaxai.data.text import Bytes, Packed, SentencePairs, TextFiles, Texts, Translations, Windows, WordPiece
from jaxai.data.text import rows as text_rows
from jaxai.data.text.packed import first_fit
from jaxai.data.text.tokenizers import ByteTokenizer
from jaxai.data.tfds import Tfds
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

PAD, BOS, EOS, CLS, SEP, _ = range(256, 262)


class Notes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text, label = tfds.features.Text(), tfds.features.ClassLabel(names=["n", "y"])
        features = tfds.features.FeaturesDict({"text": text, "other": text, "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        raise NotImplementedError

    def _generate_examples(self):
        raise NotImplementedError


class Listed:
    def __init__(self, *texts, **fields):
        self.examples = [
            {"text": text, **{name: values[i] for name, values in fields.items()}} for i, text in enumerate(texts)
        ]
        self.classes = ("no", "yes") if "label" in fields else None

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]


def speech(num, seed=0):
    """Sentences of different lengths, no two alike."""
    random = np.random.default_rng(seed)
    return [" ".join(f"{seed}w{i}x{j}" for j in range(random.integers(1, 5))) + "." for i in range(num)]


def read(source):
    return open_source(source).batch(np.arange(len(open_source(source))))


def test_windows_hold_the_stream_and_overlap_by_one():
    source = Windows(Listed("abcde", b"fgh"), tokenizer=Bytes(), length=4)
    assert read(source)["tokens"].tolist() == [[97, 98, 99, 100], [100, 101, EOS, 102], [102, 103, 104, EOS]]
    assert read(source)["num_bytes"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize("length", [2, 3, 7, 64])
def test_every_token_but_the_first_is_predicted_once(length):
    texts = speech(40)
    batch = read(Windows(Listed(*texts), tokenizer=Bytes(), length=length))
    stream = np.concatenate([[*text.encode(), EOS] for text in texts])
    predicted = batch["tokens"][:, 1:].reshape(-1)
    np.testing.assert_array_equal(predicted, stream[1 : 1 + len(predicted)])
    assert len(stream) - 1 - len(predicted) < length - 1
    np.testing.assert_array_equal(batch["tokens"][:, 0], stream[:-1][:: length - 1][: len(batch["tokens"])])


def test_a_stream_of_one_window():
    assert read(Windows(Listed("abc"), tokenizer=Bytes(), length=4))["tokens"].tolist() == [[97, 98, 99, EOS]]
    with pytest.raises(InputError) as error:
        open_source(Windows(Listed("abc"), tokenizer=Bytes(), length=5), "train")
    assert str(error.value) == "train.source: has 4 tokens, fewer than a window of 5 (length of at most 4)"


def test_packed():
    source = Packed(Listed("abcd", "ef", "", "g", "hijklmnop"), tokenizer=Bytes(), length=6)
    batch = read(source)
    a, h = 97, 104
    assert batch["tokens"].tolist() == [
        [a, a + 1, a + 2, a + 3, EOS, PAD],
        [a + 4, a + 5, EOS, a + 6, EOS, PAD],
        [*range(h, h + 6)],
        [*range(h + 5, h + 9), EOS, PAD],
    ]
    assert batch["segments"].tolist() == [[1] * 5 + [0], [1, 1, 1, 2, 2, 0], [1] * 6, [1] * 5 + [0]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 0], [*range(6)], [0, 1, 2, 3, 4, 0]]
    assert batch["num_bytes"].tolist() == [[1] * 4 + [0, 0], [1, 1, 0, 1, 0, 0], [1] * 6, [1] * 4 + [0, 0]]


def test_packed_holds_every_text_whole():
    texts = speech(200)
    batch = read(Packed(Listed(*texts), tokenizer=Bytes(), length=48))
    found = []
    for tokens, segments, positions in zip(*(batch[n] for n in ("tokens", "segments", "positions")), strict=True):
        for segment in range(1, segments.max() + 1):
            place = np.flatnonzero(segments == segment)
            np.testing.assert_array_equal(positions[place], np.arange(len(place)))
            assert tokens[place[-1]] == EOS
            found.append(bytes(tokens[place[:-1]].tolist()).decode())
        assert (tokens[segments == 0] == PAD).all()
    assert sorted(found) == sorted(texts)
    assert batch["num_bytes"].sum() == sum(len(text.encode()) for text in texts)


def test_first_fit():
    """The textbook's way, by hand: each in the first row with room."""
    assert first_fit([5, 7, 5, 2, 4, 2, 5, 1, 6], 10) == ([0, 1, 0, 1, 2, 2, 3, 1, 4], [0, 0, 5, 7, 0, 4, 0, 9, 0])


def test_texts():
    source = Texts(
        Listed("abc", "d", b"efghij", label=[1, 0, 1], valence=[0.5, -1.0, 2.0]), tokenizer=Bytes(), length=4
    )
    batch = read(source)
    assert batch["tokens"].tolist() == [[97, 98, 99, PAD], [100, PAD, PAD, PAD], [101, 102, 103, 104]]
    assert batch["segments"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["label"].tolist() == [1, 0, 1]
    assert batch["valence"].tolist() == [0.5, -1.0, 2.0]
    assert sorted(batch) == ["label", "segments", "tokens", "valence"]
    assert {name: value.dtype.name for name, value in batch.items() if name != "valence"} == dict.fromkeys(
        ("label", "segments", "tokens"), "int32"
    )
    assert open_source(source).classes == ("no", "yes")


def test_texts_as_bert_reads_them():
    source = Texts(Listed("ab c!", "abcdef"), tokenizer=Bytes(), length=7, specials=True, words=True)
    batch = read(source)
    assert batch["tokens"].tolist() == [
        [CLS, 97, 98, 32, 99, 33, SEP],
        [CLS, 97, 98, 99, 100, 101, SEP],
    ]
    assert batch["segments"].tolist() == [[1] * 7] * 2
    assert batch["types"].tolist() == [[0] * 7] * 2
    assert batch["words"].tolist() == [[-1, 0, 0, -1, 1, 2, -1], [-1, 0, 0, 0, 0, 0, -1]]
    short = read(Texts(Listed("a"), tokenizer=Bytes(), length=4, specials=True, words=True))
    assert {name: values[0].tolist() for name, values in short.items()} == {
        "tokens": [CLS, 97, SEP, PAD], "segments": [1, 1, 1, 0], "types": [0] * 4, "words": [-1, 0, -1, -1],
    }  # fmt: skip


def test_translations():
    source = Listed("ab", "cdefgh", spanish=["x", b"yz"], verse=[7, 8])
    fields = {"tokenizer": Bytes(), "source_field": "text", "target_field": "spanish"}
    batch = read(Translations(source, length=4, **fields))
    assert batch["tokens"].tolist() == [[97, 98, PAD, PAD], [99, 100, 101, 102]]
    assert batch["segments"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["target_tokens"].tolist() == [[BOS, 120, EOS, PAD], [BOS, 121, 122, EOS]]
    assert batch["target_segments"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["verse"].tolist() == [7, 8]
    both = read(Translations(source, length=4, specials=True, **fields))
    assert both["tokens"].tolist() == [[BOS, 97, 98, EOS], [BOS, 99, 100, EOS]]
    bert = Translations(source, length=4, **fields | {"tokenizer": WordPiece(file="bert_uncased")})
    assert read(bert)["target_tokens"][0].tolist() == [101, 1060, 102, 0]


def sentences_of(row):
    """A and B of a row, as text, and whether the fields agree with each other."""
    tokens, used = row["tokens"], int(row["segments"].sum())
    assert (row["segments"][:used] == 1).all()
    assert (tokens[used:] == PAD).all()
    first, second = np.flatnonzero(tokens == SEP)
    assert tokens[0] == CLS
    assert second == used - 1
    assert row["types"].tolist() == [0] * (first + 1) + [1] * (second - first) + [0] * (len(tokens) - used)
    decode = ByteTokenizer().decode
    return decode(tokens[1:first]), decode(tokens[first + 1 : second])


@pytest.mark.parametrize("mode", ["within", "whole"])
def test_sentence_pairs(mode):
    """Half of the second parts follow the first; these join to a run of the document, the others do not."""
    documents = [speech(9, seed) for seed in range(20)] if mode == "within" else [speech(180)]
    texts = [" ".join(document) for document in documents] if mode == "within" else documents[0]
    source = SentencePairs(Listed(*texts), tokenizer=Bytes(), length=80, sentences=mode)
    reader = Pipeline(source=source, batch_size=16).open("train")
    joined = ["".join(document) for document in documents]
    labels, seen, firsts = [], 0, set()
    for batch in itertools.islice(reader.batches(), 100):
        for i in range(16):
            row = {name: values[i] for name, values in batch.items()}
            first, second = sentences_of(row)
            assert any(first in document for document in joined)
            follows = any(first + second in document for document in joined)
            assert follows == (row["label"] == 0)
            assert row["segments"].sum() <= 80
            labels.append(int(row["label"]))
            firsts.add((int(row["index"]), first))
            seen += 1
    assert abs(np.mean(labels) - 0.5) < 4 * 0.5 / np.sqrt(seen)
    assert len(firsts) > 1.4 * len({index for index, _ in firsts})  # cut at several places


def test_sentence_pairs_lose_no_sentence():
    """Each is in an example, whole; only one that is alone in its document is not."""
    documents = [speech(num, num) for num in range(1, 12)]
    source = open_source(SentencePairs(Listed(*map(" ".join, documents)), tokenizer=Bytes(), length=90))
    covered = {number for start, end in source.runs for number in range(start, end)}
    assert covered == set(range(1, sum(range(1, 12))))
    assert all(end - start >= 2 for start, end in source.runs)
    assert all(source.starts[end] - source.starts[start] <= 87 for start, end in source.runs)


def test_words_of_sentence_pairs_go_on():
    source = open_source(SentencePairs(Listed("a b. c d. e f. g h."), tokenizer=Bytes(), length=11))
    for index in range(len(source)):
        row = source[index]
        words = row["words"][row["words"] >= 0]
        assert words.tolist() == sorted(words.tolist())
        assert set(words.tolist()) == set(range(6))
        assert (row["words"][np.isin(row["tokens"], [CLS, SEP, PAD, 32])] == -1).all()


def test_a_text_is_cut_into_sentences():
    text = 'One two. Three!  "Four?" Five\nsix 7.5 (seven.) \n\n Eight'
    source = open_source(SentencePairs(Listed(text), tokenizer=Bytes(), length=29))
    decoded = [ByteTokenizer().decode(ids) for ids in np.split(source.tokens, source.starts[1:-1])]
    assert decoded == ["One two.", "Three!", '"Four?"', "Five", "six 7.5 (seve", "Eight"]  # at most 13 tokens


def test_pairs_are_a_function_of_seed_epoch_and_example():
    source = SentencePairs(Listed(*[" ".join(speech(9, seed)) for seed in range(9)]), tokenizer=Bytes(), length=64)

    def batches(count, position=0, size=8, **fields):
        reader = Pipeline(source=source, batch_size=size, workers=0).open("train", **fields)
        return list(itertools.islice(reader.batches(position), count))

    whole = batches(12)
    for number, batch in enumerate(batches(4, position=40)):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, whole[5 + number][name])
    halves = [batches(3, process=process, num_processes=2) for process in (0, 1)]
    for number in range(3):
        for name, values in whole[number].items():
            parts = [half[number][name] for half in halves]
            np.testing.assert_array_equal(np.concatenate(parts), values)
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(whole, batches(12, seed=1), strict=True))
    evaluations = [
        np.concatenate([batch["tokens"] for batch in Pipeline(source=source, batch_size=8).open("test").evaluation()])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*evaluations)


@pytest.mark.slow
def test_worker_processes_give_the_same_pairs():
    texts = tuple(" ".join(speech(9, seed)) for seed in range(9))
    source = SentencePairs(Listed(*texts), tokenizer=WordPiece(file="bert_uncased"), length=32)
    mine, theirs = (
        list(itertools.islice(Pipeline(source=source, batch_size=4, workers=workers).open("train").batches(8), 3))
        for workers in (0, 1)
    )
    for one, other in zip(mine, theirs, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize("kind", [Windows, Packed, Texts])
def test_batches_resume_at_any_position(kind):
    source = kind(Listed(*speech(70)), tokenizer=Bytes(), length=16)
    whole = list(itertools.islice(Pipeline(source=source, batch_size=8).open("train", seed=3).batches(), 30))
    later = list(itertools.islice(Pipeline(source=source, batch_size=8).open("train", seed=3).batches(96), 10))
    for number, batch in enumerate(later):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, whole[12 + number][name])


def test_a_text_is_tokenized_once(monkeypatch):
    count = []
    monkeypatch.setattr(ByteTokenizer, "encode", lambda self, text: count.append(text) or np.arange(3, dtype=np.int32))
    reader = Pipeline(source=Texts(Listed(*speech(20)), tokenizer=Bytes(), length=8), batch_size=5).open("train")
    list(itertools.islice(reader.batches(), 40))
    assert len(count) == 20


def test_text_files(tmp_path):
    text = "".join(f"{i:03} wörd\n" for i in range(100))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + b"x" * 10)
    files = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    parts = [[e["text"].decode() for e in map(TextFiles(files=files, split=s).open().__getitem__, (0, 1))]
             for s in ("train", "test")]  # fmt: skip
    assert [a + b for a, b in zip(*parts, strict=True)] == [text, "x" * 10]
    assert [len(part.encode()) for part in parts[1]] == [100, 1]
    whole = TextFiles(files=files[:1], holdout=0).open()
    assert whole[0]["text"].decode() == text
    stream = read(Windows(TextFiles(files=files, split="test"), tokenizer=Bytes(), length=103))["tokens"]
    assert stream.tolist() == [[*text.encode()[-100:], EOS, 120, EOS]]


def test_text_files_are_cut_between_characters(tmp_path):
    (tmp_path / "a.txt").write_text("é" * 50, encoding="utf-8")
    for holdout in (0.1, 0.11, 0.5, 0.503):
        parts = [TextFiles(files=(str(tmp_path / "a.txt"),), split=s, holdout=holdout).open()[0]["text"].decode()
                 for s in ("train", "test")]  # fmt: skip
        assert "".join(parts) == "é" * 50
        assert len(parts[1]) - 100 * holdout / 2 == pytest.approx(0, abs=1)


def test_invalid_utf8_is_told_of_once(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes(b"abc\xff\xfe def\xc3" * 5)
    with caplog.at_level(logging.WARNING, "jaxai"):
        source = open_source(
            Windows(TextFiles(files=(str(tmp_path / "a.txt"),), holdout=0), tokenizer=Bytes(), length=9)
        )
        for index in range(len(source)):
            _ = source[index]
    assert [record.getMessage() for record in caplog.records] == [
        "text: invalid UTF-8 in 15 places, replaced by U+FFFD"
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": ("{folder}/c.txt",)}, "files: {folder}/c.txt does not exist (did you mean '{folder}/a.txt'?)"),
        ({"files": ("{folder}",)}, "files: {folder}: Is a directory"),
        ({"files": ("{folder}/empty.txt",)}, "files: {folder}/empty.txt is empty"),
        (
            {"files": ("{folder}/a.txt",), "split": "test", "holdout": 0},
            "files: the test split of {folder}/a.txt is empty (holdout is 0)",
        ),
        ({"files": ()}, "files: names no file"),
        ({"files": ("a.txt",), "holdout": 1.0}, "holdout: 1.0 is not from 0 up to 1"),
        ({"files": ("a.txt",), "split": "dev"}, "split: 'dev' is unknown (known: test, train)"),
        ({"files": "a.txt"}, "files: must be a tuple, is 'a.txt' (write (x,) for a tuple of one)"),
    ],
)
def test_text_files_refuse(tmp_path, fields, message):
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "empty.txt").write_text(" \n")
    if isinstance(fields["files"], tuple):
        fields = fields | {"files": tuple(name.format(folder=tmp_path) for name in fields["files"])}
    with pytest.raises(InputError) as error:
        TextFiles(**fields).open()
    assert str(error.value) == message.format(folder=tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Texts(Listed("a", "", "b"), tokenizer=Bytes(), length=4), "train.source: example 1: 'text' is empty (leave"),
        (Windows(Listed("", ""), tokenizer=Bytes(), length=4), "train.source: 'text' is empty in all 2 examples"),
        (
            Texts(Listed("a"), tokenizer=Bytes(), length=4, field="txt"),
            "train.source: example 0 has no 'txt', not text (did you mean 'text'?)",
        ),
        (Texts(Listed("a", 3), tokenizer=Bytes(), length=4), "train.source: example 1 has int as 'text', not text"),
        (Texts(Listed("a"), tokenizer="bytes", length=4), "train.tokenizer: 'bytes' is no tokenizer"),
        (
            Texts(Listed("a"), tokenizer=WordPiece(file="x.txt"), length=4),
            "train.tokenizer.file: x.txt is no file, nor the name of a published vocabulary",
        ),
        (SentencePairs(Listed("a. b."), tokenizer=Bytes(), length=9), "train.source: has 2 sentences, too few for"),
        (
            Translations(Listed("a", b=[" "]), tokenizer=WordPiece(file="bert_uncased"), length=9,
                         source_field="text", target_field="b"),
            "train.source: example 0: 'b' is empty",
        ),
    ],
)  # fmt: skip
def test_what_has_no_text_is_refused(source, message):
    with pytest.raises(InputError) as error:
        open_source(source, "train")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda n: Windows(None, tokenizer=Bytes(), length=n), 2),
        (lambda n: Packed(None, tokenizer=Bytes(), length=n), 2),
        (lambda n: Texts(None, tokenizer=Bytes(), length=n), 1),
        (lambda n: Texts(None, tokenizer=Bytes(), length=n, specials=True), 3),
        (lambda n: Translations(None, tokenizer=Bytes(), length=n, source_field="a", target_field="b"), 3),
        (lambda n: SentencePairs(None, tokenizer=Bytes(), length=n), 5),
    ],
)
def test_a_row_has_room(make, least):
    declared = make(least)
    assert from_json(to_json(declared)) == declared
    with pytest.raises(InputError, match=f"length: must be at least {least}, is {least - 1}"):
        make(least - 1)


def test_a_prepared_dataset_gives_its_texts_and_numbers(tmp_path, monkeypatch):
    """Texts come out as bytes; without `fields` those that are asked for are read, and what is numeric."""
    monkeypatch.setattr(text_rows, "CHUNK", 2)
    examples = [(i, {"text": f"té{i}", "other": "x", "label": i % 2}) for i in range(5)]
    writer.write(writer.local_builder(Notes, "notes", {"train": lambda: examples}), tmp_path)
    source = Texts(Tfds("notes", data_dir=str(tmp_path)), tokenizer=Bytes(), length=4)
    batch = read(source)
    assert sorted(batch) == ["label", "segments", "tokens"]
    found = {
        (ByteTokenizer().decode(row), int(label)) for row, label in zip(batch["tokens"], batch["label"], strict=True)
    }
    assert found == {(f"té{i}", i % 2) for i in range(5)}
    assert open_source(source).classes == ("n", "y")
    with pytest.raises(InputError, match=r"train.source.fields: notes has no field 'txt' \(did you mean 'text'\?\)"):
        open_source(Texts(Tfds("notes", data_dir=str(tmp_path)), tokenizer=Bytes(), length=4, field="txt"), "train")
