"""What a dataset is, and how odd ones are refused."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import Arrays, Cached, Source, example_spec, open_source, read


class Squares:
    """A source of the least kind; counts how often each example is read."""

    def __init__(self, length: int = 20):
        self.length = length
        self.reads = np.zeros(length, int)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        self.reads[index] += 1
        return {"x": np.full((2, 3), index % 256, np.uint8), "y": int(index) ** 2, "z": index / 2}


class Listed:
    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        example = self.examples[index]
        if isinstance(example, Exception):
            raise example
        return example


class Many(Listed):
    """With the batched access of tensorflow-datasets and Hugging Face."""

    def __getitems__(self, indices):
        assert all(type(index) is int for index in indices)
        return [self[index] for index in indices]


def test_a_class_with_two_methods_is_a_source():
    source = Squares()
    assert isinstance(source, Source)
    assert open_source(source) is source
    batch = read(source, [3, 0, 3])
    np.testing.assert_array_equal(batch["x"], np.array([3, 0, 3], np.uint8)[:, None, None] * np.ones((1, 2, 3), int))
    assert {name: value.dtype.name for name, value in batch.items()} == {"x": "uint8", "y": "int32", "z": "float32"}
    assert batch["y"].tolist() == [9, 0, 9]
    assert batch["z"].tolist() == [1.5, 0.0, 1.5]


def test_an_empty_batch_keeps_the_shapes():
    batch = read(Squares(), [])
    assert {name: value.shape for name, value in batch.items()} == {"x": (0, 2, 3), "y": (0,), "z": (0,)}


def test_arrays():
    images = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    source = open_source(Arrays({"image": images, "label": list(range(6))}, classes=("a", "b")))
    batch = read(source, [5, 1])
    np.testing.assert_array_equal(batch["image"], images[[5, 1]])
    assert batch["label"].dtype == np.int32
    assert source.classes == ("a", "b")
    assert repr(source) == "Arrays(image: uint8[6, 2, 2], label: int32[6])"
    np.testing.assert_array_equal(read(Listed([source[index] for index in range(6)]), [5, 1])["image"], batch["image"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "arrays: is empty"),
        ({"x": np.zeros(3), "y": np.zeros(4)}, "arrays: have different numbers of examples: 'x' has 3, 'y' has 4"),
        ({"x": 3}, "arrays: 'x' is one number"),
        ({"x": ["a", "b"]}, "arrays: arrays: x holds text, not numbers"),
        ({"y": [1, 2**40]}, "y has 1099511627776, beyond int32"),
    ],
)
def test_arrays_refuse(arrays, message):
    with pytest.raises(InputError) as error:
        Arrays(arrays)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Listed([]), "train: has no examples"),
        ("mnist", "train: 'mnist' is text, not a dataset (jaxai.data.tfds.Tfds('mnist'))"),
        ({"image": np.zeros(3)}, "train: is a dict, not a dataset"),
        (3, "train: int is not a dataset (it needs __len__ and __getitem__)"),
    ],
)
def test_open_source_refuses(source, message):
    with pytest.raises(InputError) as error:
        open_source(source, "train")
    assert str(error.value).startswith(message)


def test_open_source_opens_a_declaration_and_names_its_field():
    class Declared:
        def open(self):
            return Squares(2)

    class Broken:
        def open(self):
            raise InputError("path", "is not there", "look elsewhere")

    assert len(open_source(Declared())) == 2
    with pytest.raises(InputError) as error:
        open_source(Broken(), "train")
    assert str(error.value) == "train.path: is not there (look elsewhere)"


GOOD = {"image": np.zeros((8, 8, 1), np.uint8), "label": 3}
ODD = [
    ({**GOOD, "image": np.zeros((8, 9, 1), np.uint8)}, "image has shape [8, 9, 1], the first has [8, 8, 1]"),
    ({**GOOD, "image": np.zeros((8, 8, 1), np.float32)}, "image is float32, the first is uint8"),
    ({"image": GOOD["image"]}, "has ['image'], the first has ['image', 'label']"),
    ({**GOOD, "weight": 1.0}, "has ['image', 'label', 'weight'], the first has ['image', 'label']"),
    ({**GOOD, "label": "three"}, "label holds text, not numbers"),
    ({**GOOD, "label": None}, "label holds objects, not numbers"),
    ((GOOD["image"], 3), "is tuple, not a dict"),
    ({}, "is an empty dict"),
    (OSError("truncated"), "cannot be read: OSError: truncated"),
]


@pytest.mark.parametrize("kind", [Listed, Many])
@pytest.mark.parametrize(("odd", "message"), ODD, ids=[message for _, message in ODD])
def test_an_odd_example_is_named(kind, odd, message):
    examples = [GOOD] * 17 + [odd] + [GOOD] * 2
    source = kind(examples)
    assert set(read(source, range(17), "train")) == {"image", "label"}
    for indices in ([17, 18], [3, 17], [2, 3, 17, 19]):
        with pytest.raises(InputError) as error:
            read(source, indices, "train")
        assert str(error.value).startswith(f"train: example 17: {message}")


def test_a_batch_alike_in_itself_but_not_like_the_first_is_refused_with_a_spec():
    source = Listed([GOOD, {**GOOD, "image": np.zeros((4, 4, 1), np.uint8)}])
    assert read(source, [1])["image"].shape == (1, 4, 4, 1)
    with pytest.raises(InputError, match=r"train: example 1: image has shape \[4, 4, 1\], the first has \[8, 8, 1\]"):
        read(source, [1], "train", example_spec(source))


def test_a_batch_method_is_held_to_its_indices():
    class Wrong(Squares):
        def batch(self, indices):
            return {"x": np.zeros(3)}

    with pytest.raises(InputError, match=r"batch\(\) gave x with shape \[3\] for 2 indices"):
        read(Wrong(), [0, 1])


def test_cached_reads_each_example_once_and_gives_the_same():
    plain, kept = Squares(), Squares()
    cached = Cached(kept)
    assert len(cached) == 20
    assert kept.reads.sum() == 0
    for indices in ([4, 2], [2, 2, 7], list(range(20)), [19, 0]):
        expected = read(plain, indices)
        batch = read(cached, indices)
        assert batch.keys() == expected.keys()
        for name, value in batch.items():
            assert value.dtype == expected[name].dtype
            np.testing.assert_array_equal(value, expected[name])
    assert kept.reads[1:].max() == 1
    assert kept.reads[0] == 2  # example 0 is also read for the shapes
    assert cached[3]["y"] == 9


def test_cached_keeps_the_classes():
    assert Cached(Arrays({"x": [1.0]}, classes=("a",))).classes == ("a",)


def test_cached_forgets_a_failed_fill():
    source = Listed([GOOD, OSError("busy"), GOOD])
    cached = Cached(source, "train")
    with pytest.raises(InputError, match="train: example 1: cannot be read"):
        cached.batch(np.array([0, 1]))
    source.examples[1] = {**GOOD, "label": 5}
    assert cached.batch(np.array([0, 1]))["label"].tolist() == [3, 5]


def test_cached_from_many_threads():
    source = Squares(500)
    cached = Cached(source)
    wrong = []

    def work(seed):
        batches = np.random.default_rng(seed).integers(0, 500, (50, 16))
        wrong.extend(b for b in batches if cached.batch(b)["y"].tolist() != (b**2).tolist())

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert source.reads[1:].max() == 1
