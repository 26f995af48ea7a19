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
    fields = {"label": [1, 0, 1], "valence": [0.5, -1.0, 2.0], "name": ["x", "y", "z"], "tags": [["A"], [], ["B"]]}
    source = Texts(Listed("abc", "d", b"efghij", **fields), tokenizer=Bytes(), length=4)
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
