"""Chosen rows of a dataset, and few labels among many examples."""

from __future__ import annotations

import numpy as np
import pytest

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays, open_source, read
from jaxai.data.subset import PartlyLabelled, Subset
from jaxai.data.tfds import Tfds
from jaxai.experiment.json import decode, encode


class Plain:
    """Neither a batch nor arrays."""

    classes = ("even", "odd")

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return {"x": float(index), "label": index % 2}


class Batched(Plain):
    def batch(self, indices):
        return {"x": indices.astype(np.float32), "label": indices % 2}


class Drawing(Plain):
    def draw(self, index, random):
        return self[index]


def arrays():
    return Arrays({"x": np.arange(30.0), "label": np.arange(30) % 2}, classes=("even", "odd"))


@pytest.mark.parametrize("source", [Plain(), Batched(), arrays()], ids=["examples", "batches", "arrays"])
def test_a_subset_has_its_rows_in_their_order(source):
    subset = open_source(Subset(source, (7, 3, 3, 29)))
    assert len(subset) == 4
    assert subset.classes == ("even", "odd")
    assert subset[1]["x"] == 3
    assert read(subset, [0, 3, 2])["x"].tolist() == [7, 29, 3]
    assert hasattr(subset, "batch") == (type(source) is not Plain)
    batch = Pipeline(source=Subset(source, (7, 3, 3, 29)), batch_size=4, shuffle=False).open("train").at(0)
    assert batch["x"].tolist() == [7, 3, 3, 29]
    assert batch["index"].tolist() == [0, 1, 2, 3]


def test_declarations_wrap_declarations_and_are_values():
    declared = PartlyLabelled(Subset(Tfds("digits"), tuple(range(100))), per_class=2, labelled_share=None)
    assert decode(encode(declared)) == declared
    opened = open_source(declared)
    assert len(opened) == 100
    assert opened.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (Subset(arrays(), (0, 30)), r"train.indices.1: 30 is no row of a dataset of 30 \(0 to 29\)"),
        (Subset(arrays(), (-1,)), r"train.indices.0: -1 is no row"),
        (Subset(arrays(), ()), r"train: has no examples"),
        (Subset(Drawing(), (1,)), r"train.source: draws examples at random \(put it .*RandomCropped\(Subset"),
        (PartlyLabelled(Drawing()), r"train.source: draws examples at random \(put it .*RandomCropped\(PartlyL"),
        (PartlyLabelled(Arrays({"x": np.zeros(3)})), r"train.source: has no 'label' \(needs one integer an example\)"),
        (PartlyLabelled(Arrays({"label": np.zeros(3)})), r"train.source: has 'label' float32\[\] \(needs one"),
        (PartlyLabelled(arrays(), per_class=16), r"per_class: 16 examples of class 0, which has 15 \(at most 15\)"),
        (PartlyLabelled(Arrays({"label": np.full(3, -1)})), r"train.source: has no labelled example"),
    ],
)
def test_what_cannot_be_opened_is_refused(declared, message):
    with pytest.raises(InputError, match=message):
        open_source(declared, "train")


def test_what_cannot_be_declared_is_refused():
    with pytest.raises(InputError, match="per_class: must be at least 1, is 0"):
        PartlyLabelled(arrays(), per_class=0)
    with pytest.raises(InputError, match=r"labelled_share: 1\.0 is not between 0 and 1"):
        PartlyLabelled(arrays(), labelled_share=1.0)
    with pytest.raises(InputError, match="indices: must be a tuple"):
        Subset(arrays(), [1, 2])


def many():
    random = np.random.default_rng(0)
    return Arrays({"x": np.arange(1000), "label": random.integers(0, 10, 1000)}, classes=tuple("abcdefghij"))


@pytest.mark.parametrize("share", [1 / 8, 0.5, None])
def test_few_labels_among_all_examples(share):
    source, opened = many(), PartlyLabelled(many(), per_class=4, labelled_share=share).open()
    x, label = opened.arrays["x"], opened.arrays["label"]
    np.testing.assert_array_equal(x[:1000], np.arange(1000))
    labelled = label >= 0
    np.testing.assert_array_equal(label[labelled], source.arrays["label"][x[labelled]])
    assert np.bincount(label[:1000][labelled[:1000]]).tolist() == [4] * 10
    assert labelled[1000:].all()
    assert set(x[1000:]) <= set(x[:1000][labelled[:1000]])
    counts = np.unique(x[labelled], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    if share is None:
        assert len(opened) == 1000
    else:
        assert labelled.mean() == pytest.approx(share, abs=1e-3)
    assert opened.classes == source.classes


def test_a_share_that_is_already_there_repeats_nothing():
    assert len(PartlyLabelled(many(), per_class=40, labelled_share=0.1).open()) == 1000


def test_the_baseline_has_the_labelled_examples_alone():
    both = PartlyLabelled(many(), per_class=4).open()
    alone = PartlyLabelled(many(), per_class=4, unlabelled=False).open()
    assert len(alone) == 40
    kept = both.arrays["label"][:1000] >= 0
    np.testing.assert_array_equal(alone.arrays["x"], np.flatnonzero(kept))
    np.testing.assert_array_equal(alone.arrays["label"], both.arrays["label"][:1000][kept])


def test_the_seed_chooses_and_more_labels_keep_the_fewer():
    def rows(**fields):
        return set(PartlyLabelled(many(), unlabelled=False, **fields).open().arrays["x"].tolist())

    assert rows(per_class=4) == rows(per_class=4)
    assert rows(per_class=4) < rows(per_class=25)
    assert len(rows(per_class=4) & rows(per_class=4, seed=1)) < 10
    # Pinned: a changed choice would change what a published figure means.
    assert sorted(rows(per_class=1)) == [57, 104, 259, 351, 495, 603, 680, 694, 752, 770]


def test_labels_that_are_already_missing_stay_so():
    labels = np.array([0, 1, -1, 0, 1, -1])
    opened = PartlyLabelled(Arrays({"x": np.arange(6), "label": labels}), per_class=2, labelled_share=None).open()
    assert opened.arrays["label"].tolist() == labels.tolist()
