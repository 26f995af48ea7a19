"""Declarations are held to their annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest

from jaxai.core.duration import Duration, Steps
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    name: str | None = None
    mode: Literal["max", "min"] = "max"
    every: Duration | None = None
    rules: tuple[tuple[str, float], ...] = ()
    pair: tuple[int, int] = (1, 2)
    parts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    inner: Declaration | None = None
    anything: Any = None

    def __post_init__(self):
        check_fields(self, "outer.")


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"rate": 1},
        {"rate": np.float64(0.5)},
        {"name": "a", "mode": "min", "every": Steps(3)},
        {"rules": (("a", 1.0), ("b", 2))},
        {"parts": {"a": 1}, "inner": Declaration(), "anything": object()},
    ],
)
def test_what_fits_passes(good):
    Declaration(**good)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"count": 1.5}, "outer.count: must be a whole number, is 1.5"),
        ({"count": True}, "outer.count: must be a whole number, is True"),
        ({"count": None}, "outer.count: must be a whole number, is None"),
        ({"rate": "fast"}, "outer.rate: must be a number, is 'fast'"),
        ({"flag": 1}, "outer.flag: must be True or False, is 1"),
        ({"name": 3}, "outer.name: must be text, is 3"),
        ({"mode": "mix"}, "outer.mode: 'mix' is unknown (did you mean 'min'?)"),
        ({"every": 5}, "outer.every: 5 has no unit (such as Epochs(10) or Steps(500))"),
        ({"rules": "a"}, "outer.rules: must be a tuple, is 'a' (write (x,) for a tuple of one)"),
        ({"rules": ("a", 1.0)}, "outer.rules.0: must be a tuple, is 'a'"),
        ({"rules": (("a", 1.0), ("b", "c"))}, "outer.rules.1.1: must be a number, is 'c'"),
        ({"rules": (("a", 1.0, 2.0),)}, "outer.rules.0: must have 2 items, has 3"),
        ({"pair": (1,)}, "outer.pair: must have 2 items, has 1"),
        ({"parts": 3}, "outer.parts: must be a dict, is 3"),
        ({"inner": 3}, "outer.inner: must be a Declaration, is 3"),
        ({"inner": Declaration}, "outer.inner: is the class Declaration, not a value (Declaration(...))"),
        ({"count": "x" * 100}, "outer.count: must be a whole number, is a str"),
    ],
)
def test_what_does_not_is_named(bad, says):
    with pytest.raises(InputError) as caught:
        Declaration(**bad)
    assert str(caught.value).startswith(says)
