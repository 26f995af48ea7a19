"""Augmentation of texts: what each edit may do, how often, and that seed, epoch and example decide."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.source import open_source
from jaxai.data.text import EDA, Bytes, Texts, back_translate
from jaxai.data.text.augment import delete, replace, swap
from jaxai.data.text.tokenizers import ByteTokenizer
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

WORDS = [f"w{i}" for i in range(20)]
SYNONYMS = {"good": ("fine", "great"), "day": ("morning",), "odd": ()}


class Listed:
    classes = ("no", "yes")

    def __init__(self, *texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return {"text": self.texts[index], "label": index % 2}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_replace(random):
    words = ["A", "good,", "(Good)", "day:", "an", "odd", "DAY"]
    made = [tuple(replace(words, 9, SYNONYMS, random)) for _ in range(200)]
    expected = {
        ("A", f"{a},", f"({b})", "morning:", "an", "odd", "Morning")
        for a, b in itertools.product(("fine", "great"), ("Fine", "Great"))
    }
    assert set(made) == expected
    counts = collections.Counter(
        sum(a != b for a, b in zip(replace(words, 2, SYNONYMS, random), words, strict=True)) for _ in range(50)
    )
    assert counts == {2: 50}
    places = collections.Counter(
        next(i for i, (a, b) in enumerate(zip(replace(words, 1, SYNONYMS, random), words, strict=True)) if a != b)
        for _ in range(800)
    )
    assert sorted(places) == [1, 2, 3, 6]
    assert all(abs(count - 200) < 50 for count in places.values())


def test_swap(random):
    for number in (1, 3):
        made = swap(WORDS, number, random)
        assert sorted(made) == sorted(WORDS)
        assert 2 <= sum(a != b for a, b in zip(made, WORDS, strict=True)) <= 2 * number
    pairs = collections.Counter(tuple(swap("abc", 1, random)) for _ in range(900))
    assert pairs.keys() == {("b", "a", "c"), ("c", "b", "a"), ("a", "c", "b")}
    assert all(abs(count - 300) < 60 for count in pairs.values())
    assert swap(["a"], 3, random) == ["a"]
    assert swap([], 3, random) == []


def test_delete(random):
    kept = [delete(WORDS, 0.25, random) for _ in range(400)]
    assert all(words == [word for word in WORDS if word in words] for words in kept)
    assert abs(np.mean([len(words) for words in kept]) - 15) < 4 * np.sqrt(20 * 0.25 * 0.75 / 400)
    assert {tuple(delete(["a", "b"], 1.0, random)) for _ in range(50)} == {("a",), ("b",)}
    assert delete([], 0.5, random) == []


def test_texts_are_edited_in_their_share_anew_each_epoch_and_not_in_evaluations():
    texts = [" ".join(f"{i}w{j}" for j in range(10)) for i in range(50)]
    source = Texts(EDA(Listed(*texts), edits=("swap", "delete"), rate=0.2), tokenizer=Bytes(), length=64)
    reader = Pipeline(source=source, batch_size=10).open("train")
    seen = collections.defaultdict(list)
    kinds = collections.Counter()
    for batch in itertools.islice(reader.batches(), 40):
        for row, index in zip(batch["tokens"], batch["index"], strict=True):
            text = ByteTokenizer().decode(row)
            seen[int(index)].append(text)
            same = text == texts[index]
            kinds["same" if same else "swap" if len(text) == len(texts[index]) else "delete"] += 1
    assert all(len(of) == 8 for of in seen.values())
    assert sum(len(set(of)) > 2 for of in seen.values()) > 40
    # Of 400, half are edited; a deletion leaves the text as it was by a chance of 0.8 ** 10.
    for kind, share in {"same": 0.5 + 0.25 * 0.8**10, "swap": 0.25}.items():
        assert abs(kinds[kind] - 400 * share) < 4 * np.sqrt(400 * share * (1 - share))
    evaluated = np.concatenate([batch["tokens"] for batch in reader.evaluation()])
    assert [ByteTokenizer().decode(row) for row in evaluated] == texts
    assert reader.classes == ("no", "yes")
    again = list(itertools.islice(Pipeline(source=source, batch_size=10).open("train").batches(170), 3))
    for mine, theirs in zip(again, itertools.islice(reader.batches(170), 3), strict=True):
        np.testing.assert_array_equal(mine["tokens"], theirs["tokens"])
        np.testing.assert_array_equal(mine["label"], mine["index"] % 2)


def test_edits_of_a_short_text(random):
    eda = EDA(Listed("x"), edits=("synonyms", "swap", "delete"), synonyms=SYNONYMS)
    assert {eda.edit("good", random) for _ in range(60)} == {"good", "fine", "great"}
    assert {eda.edit("", random) for _ in range(10)} == {""}
    assert eda.edit("odd\n words", np.random.default_rng(1)).count("\n") == 0


def test_back_translation():
    upper, reverse = (lambda texts: [text.upper() for text in texts]), (lambda texts: [text[::-1] for text in texts])
    assert back_translate(("ab", "c"), upper, reverse) == ["BA", "C"]
    for forward, backward, name in ((lambda _: ["x"], reverse, "forward"), (upper, lambda _: [], "backward")):
        with pytest.raises(InputError, match=rf"{name}: gives \d texts for 2 \(one for each\)"):
            back_translate(["a", "b"], forward, backward)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"edits": ()}, r"edits: names none \(known: delete, swap, synonyms\)"),
        ({"edits": ("insert",)}, r"edits.0: 'insert' is unknown"),
        ({"edits": ("synonyms",)}, r"synonyms: is empty"),
        ({"edits": ("swap",), "rate": 1.5}, r"rate: 1.5 is not from 0 to 1"),
        ({"edits": ("swap",), "probability": -0.1}, r"probability: -0.1 is not from 0 to 1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        EDA(Listed("a"), **fields)


def test_edits_are_not_nested():
    inner = EDA(Listed("a"), edits=("swap",))
    with pytest.raises(InputError, match=r"train.source: draws its examples already \(one EDA with all edits\)"):
        open_source(EDA(inner, edits=("delete",)), "train")
    declared = EDA(None, edits=("synonyms",), synonyms=SYNONYMS)
    assert from_json(to_json(declared)) == declared
