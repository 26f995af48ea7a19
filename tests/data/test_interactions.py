"""Who took what: the last of each user is left out, and nothing that came later is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.interactions import Catalogue, LeaveOneOut
from jaxai.data.text.tokenizers import Bytes

NAMES = {10: "ten", 11: "eleven", 20: "twenty", 30: "thirty"}


@dataclasses.dataclass(frozen=True)
class Taken:
    """(user, item, time) in memory."""

    rows: tuple[tuple[int, int, int], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, int | str]:
        user, item, time = self.rows[index]
        return {"user": user, "item": item, "timestamp": time, "title": NAMES[item]}


@dataclasses.dataclass(frozen=True)
class Numbers(Taken):
    """Without the text, which is none of `LeaveOneOut`'s business."""

    def __getitem__(self, index: int) -> dict[str, int]:
        return {name: value for name, value in super().__getitem__(index).items() if name != "title"}


#: User 7 took 30, 11, 10, 20 in this order (the second and third at one time); user 3 took 10, 11, 30; user 9 two.
ROWS = ((7, 11, 5), (3, 30, 9), (7, 10, 5), (9, 10, 1), (3, 10, 1), (7, 30, 1), (3, 11, 4), (7, 20, 8), (9, 20, 2))


def part(name, **settings):
    source = LeaveOneOut(Numbers(ROWS), part=name, **settings).open()
    return source.batch(np.arange(len(source)))


def test_the_last_is_for_the_test_and_what_came_before_is_told():
    # Users 3, 7, 9 are 0, 1, 2; items 10, 11, 20, 30 are 0, 1, 2, 3.
    test = part("test", history=2)
    np.testing.assert_array_equal(test["user"], [0, 1])
    np.testing.assert_array_equal(test["item"], [3, 2])
    np.testing.assert_array_equal(test["history"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(test["seen"], [[1, 0, -1], [0, 1, 3]])
    valid = part("valid", history=3)
    np.testing.assert_array_equal(valid["item"], [1, 0])
    np.testing.assert_array_equal(valid["history"], [[-1, -1, 0], [-1, 3, 1]])
    np.testing.assert_array_equal(valid["seen"], [[0, -1, -1], [1, 3, -1]])
    train = part("train", history=1)
    np.testing.assert_array_equal(train["user"], [0, 1, 1, 2, 2])
    np.testing.assert_array_equal(train["item"], [0, 3, 1, 0, 2])
    np.testing.assert_array_equal(train["history"], [[-1], [-1], [3], [-1], [0]])
    assert "seen" not in train


def test_the_catalogue_has_all_items_and_counts_what_is_trained_on():
    opened = Catalogue(Taken(ROWS), tokenizer=Bytes(), length=5).open()
    assert [Bytes().open().decode(row["tokens"]) for row in opened] == ["ten", "eleve", "twent", "thirt"]
    np.testing.assert_array_equal(opened.batch(np.arange(4))["count"], [2, 1, 1, 1])
    twice = Catalogue(Taken(ROWS), tokenizer=Bytes(), length=9, fields=("title", "title")).open()
    assert Bytes().open().decode(twice[0]["tokens"]) == "ten ten"


def test_what_cannot_be_is_named():
    with pytest.raises(InputError, match="history: must be at least 1"):
        LeaveOneOut(Numbers(ROWS), part="test", history=0)
    with pytest.raises(InputError, match="no user who took three items"):
        LeaveOneOut(Numbers(ROWS[:2]), part="test").open()
    with pytest.raises(InputError, match=r"part: 'tset' is unknown .*'test'"):
        LeaveOneOut(Numbers(ROWS), part="tset")
