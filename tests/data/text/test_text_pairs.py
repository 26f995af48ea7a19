"""Pairs of sentences: half follow, none is lost, none tells from outside whether it does; seed and position decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxai import Pipeline
from jaxai.data.source import open_source
from jaxai.data.text import Bytes, SentencePairs, WordPiece
from jaxai.data.text.files import Listed
from jaxai.data.text.tokenizers import ByteTokenizer

PAD, CLS, SEP = 256, 259, 260


def documents(*texts):
    return Listed([{"text": text} for text in texts])


def speech(num, seed=0):
    """Sentences of different lengths, no two alike."""
    random = np.random.default_rng(seed)
    return [" ".join(f"{seed}w{i}x{j}" for j in range(random.integers(1, 5))) + "." for i in range(num)]


class Documents:
    """Sentences of many lengths, each of one letter, with a full stop."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.texts = [
            " ".join(f"{chr(97 + rng.integers(26)) * rng.integers(3, 30)}." for _ in range(60)) for _ in range(20)
        ]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return {"text": self.texts[index]}


def test_length_and_last_token_are_alike_in_both_classes():
    source = SentencePairs(Documents(), tokenizer=Bytes(), length=64).open()
    rows = [source[i] for i in range(len(source))]
    labels = np.array([row["label"] for row in rows])
    used = np.array([np.sum(row["segments"]) for row in rows])
    stops = np.array([row["tokens"][n - 2] == ord(".") for row, n in zip(rows, used, strict=True)])
    assert min(np.bincount(labels)) > 100
    for shown in (used == 64, stops):
        follows, does_not = (shown[labels == label].mean() for label in (0, 1))
        assert abs(follows - does_not) < 0.1


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
    parts = [speech(9, seed) for seed in range(20)] if mode == "within" else [speech(180)]
    texts = [" ".join(document) for document in parts] if mode == "within" else parts[0]
    source = SentencePairs(documents(*texts), tokenizer=Bytes(), length=80, sentences=mode)
    reader = Pipeline(source=source, batch_size=16).open("train")
    joined = ["".join(document) for document in parts]
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
    parts = [speech(num, num) for num in range(1, 12)]
    source = open_source(SentencePairs(documents(*map(" ".join, parts)), tokenizer=Bytes(), length=90))
    covered = {number for start, end in source.runs for number in range(start, end)}
    assert covered == set(range(1, sum(range(1, 12))))
    assert all(end - start >= 2 for start, end in source.runs)
    assert all(source.starts[end] - source.starts[start] <= 87 for start, end in source.runs)


def test_words_of_sentence_pairs_go_on():
    source = open_source(SentencePairs(documents("a b. c d. e f. g h."), tokenizer=Bytes(), length=11))
    for index in range(len(source)):
        row = source[index]
        words = row["words"][row["words"] >= 0]
        assert words.tolist() == sorted(words.tolist())
        assert set(words.tolist()) == set(range(6))
        assert (row["words"][np.isin(row["tokens"], [CLS, SEP, PAD, 32])] == -1).all()


def test_a_text_is_cut_into_sentences():
    text = 'One two. Three!  "Four?" Five\nsix 7.5 (seven.) \n\n Eight'
    source = open_source(SentencePairs(documents(text), tokenizer=Bytes(), length=29))
    decoded = [ByteTokenizer().decode(ids) for ids in np.split(source.tokens, source.starts[1:-1])]
    assert decoded == ["One two.", "Three!", '"Four?"', "Five", "six 7.5 (seve", "Eight"]  # at most 13 tokens


def test_pairs_are_a_function_of_seed_epoch_and_example():
    source = SentencePairs(documents(*[" ".join(speech(9, seed)) for seed in range(9)]), tokenizer=Bytes(), length=64)

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
    source = SentencePairs(documents(*texts), tokenizer=WordPiece(file="bert_uncased"), length=32)
    mine, theirs = (
        list(itertools.islice(Pipeline(source=source, batch_size=4, workers=workers).open("train").batches(8), 3))
        for workers in (0, 1)
    )
    for one, other in zip(mine, theirs, strict=True):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])
