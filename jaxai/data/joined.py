"""Several datasets as one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import example_spec, open_source


@dataclasses.dataclass(frozen=True)
class Joined:
    """The examples of all sources, those of the first before those of the second: `Joined((plays, verses))`."""

    sources: tuple[Any, ...]
    """Declarations or sources whose examples have the same fields, of the same shapes and types."""

    def __post_init__(self):
        check_fields(self)
        if not self.sources:
            raise InputError("sources", "is empty", "two datasets or more")

    def open(self) -> JoinedView:
        opened = [open_source(source, f"sources.{i}") for i, source in enumerate(self.sources)]
        specs = [example_spec(source, f"sources.{i}") for i, source in enumerate(opened)]
        for i, spec in enumerate(specs):
            for name in sorted(spec.keys() | specs[0].keys()):
                if spec.get(name) != specs[0].get(name):
                    mine, first = (_spell(each.get(name)) for each in (spec, specs[0]))
                    raise InputError(f"sources.{i}", f"{name!r} is {mine}, in the first {first}")
        classes = getattr(opened[0], "classes", None)
        view = DrawnView if any(hasattr(source, "draw") for source in opened) else JoinedView
        return view(opened, np.cumsum([0, *map(len, opened)]), classes)


@dataclasses.dataclass(frozen=True)
class JoinedView:
    """Opened sources, one after another."""

    sources: list[Any]
    starts: np.ndarray
    """The number of the first example of each, and of all, [source + 1] int64."""
    classes: tuple[str, ...] | None
    """Names of the labels, where the first source knows them."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Any:
        source, own = self._find(index)
        return source[own]

    def _find(self, index: int) -> tuple[Any, int]:
        """The source that has an example, and the example's number there."""
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.sources[number], index - int(self.starts[number])


@dataclasses.dataclass(frozen=True)
class DrawnView(JoinedView):
    """The same where some source draws what training sees."""

    def draw(self, index: int, random: np.random.Generator) -> Any:
        """What the example's source draws, or its example."""
        source, own = self._find(index)
        return source.draw(own, random) if hasattr(source, "draw") else source[own]


def _spell(spec: tuple[tuple[int, ...], np.dtype] | None) -> str:
    return "missing" if spec is None else f"{spec[1]}{list(spec[0])}"
