"""Several datasets as one: in their order, drawn where they draw, and refused where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.joined import Joined
from jaxai.data.pipeline import Pipeline
from jaxai.data.source import Arrays

FIRST, SECOND = Arrays({"x": np.arange(3)}, classes=("a",)), Arrays({"x": np.arange(10, 15)})


class Drawn:
    """Draws a number beyond 100; evaluations see -1."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"x": np.int32(-1)}

    def draw(self, index, random):
        return {"x": np.int32(100 + 10 * index + random.integers(10))}


def test_examples_come_one_source_after_another():
    source = Joined((FIRST, SECOND, FIRST)).open()
    assert [int(source[i]["x"]) for i in range(len(source))] == [0, 1, 2, 10, 11, 12, 13, 14, 0, 1, 2]
    assert source.classes == ("a",)
    assert not hasattr(source, "draw")
    batch = next(Pipeline(source=Joined((FIRST, SECOND)), batch_size=8).open("test").evaluation())
    np.testing.assert_array_equal(batch["x"], [0, 1, 2, 10, 11, 12, 13, 14])


def test_what_draws_is_drawn_in_training_alone():
    reader = Pipeline(source=Joined((FIRST, Drawn())), batch_size=7).open("train")
    batches = [reader.at(position) for position in (0, 7)]
    for batch in batches:
        x = batch["x"][np.argsort(batch["index"])]
        np.testing.assert_array_equal(x[:3], [0, 1, 2])
        np.testing.assert_array_equal(x[3:] // 10, [10, 11, 12, 13])
    assert not np.array_equal(*(np.sort(batch["x"]) for batch in batches))
    np.testing.assert_array_equal(next(reader.evaluation())["x"], [0, 1, 2, -1, -1, -1, -1])


def test_sources_of_other_fields_are_refused():
    with pytest.raises(InputError, match=r"sources\.1: 'x' is float32\[\], in the first int32\[\]"):
        Joined((FIRST, Arrays({"x": np.zeros(2, np.float32)}))).open()
    with pytest.raises(InputError, match=r"sources\.1: 'y' is int32\[\], in the first missing"):
        Joined((FIRST, Arrays({"x": np.arange(2), "y": np.arange(2)}))).open()
    with pytest.raises(InputError, match=r"sources\.1: int is not a dataset"):
        Joined((FIRST, 3)).open()
    with pytest.raises(InputError, match="sources: is empty"):
        Joined(())
