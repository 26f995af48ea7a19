"""A table of names: rules from our parameter paths to the names in published files, and what happens to the arrays.

Our paths are those of Flax, `layer1_0/conv1/kernel`; theirs those of PyTorch, `layer1.0.conv1.weight`.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


#: Modules whose kernel has a dim of parts, [in, part, out], also where one array of theirs holds them side by side.
_PARTS = {"qkv": 3, "kv": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """One way of naming the parameters of a family of models."""

    layout: str
    """Whose names they are: `torchvision`, `timm` or `transformers`."""
    rules: tuple[tuple[str, str | tuple[str, ...]], ...]
    r"""Ordered (regex, template): the first regex that matches the whole path of one of our modules gives, expanded as
    by `re.Match.expand`, the name of theirs, such as `(r"layer(\d)_(\d+)/(\w+)", r"layer\1.\2.\3")`. A parameter that
    is of no layer (`cls_token`) is matched by its own path. Several templates are joined along the outputs. A name that
    ends in `_` goes on without a dot, as in PyTorch's `in_proj_weight`."""
    ignored: tuple[str, ...] = (r"num_batches_tracked$",)
    """Regexes of names that hold nothing that a model here has."""
    turned: bool = True
    """Whether their matrices are [out, in], as PyTorch's layers have them; GPT-2's are [in, out], as ours."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(regex, what takes its place) where older files have other names; what is written has the new ones."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """(regex of their names, shape) where theirs has axes of one that ours lacks, such as `(-1, 1, 1)`."""

    def names(self, path: str) -> tuple[str, ...] | None:
        """What the parameter at `path` is called, in several parts where theirs are several; None if no rule has it."""
        module, _, leaf = path.rpartition("/")
        ending = _LEAVES.get(leaf)
        for pattern, templates in self.rules:
            match = re.fullmatch(pattern, module if ending else path)
            if match:
                expanded = [match.expand(t) for t in ((templates,) if isinstance(templates, str) else templates)]
                return tuple(name if not ending else _join(name, ending) for name in expanded)
        return None

    def to_ours(self, path: str, theirs: list[np.ndarray]) -> np.ndarray:
        """Their arrays as ours: kernels [out, in, height, width] as [height, width, in, out], [out, in] turned.

        Several that stand in one of ours are a dim of it, [in, part, out].
        """
        array = theirs[0] if len(theirs) == 1 else np.concatenate(theirs)
        if self.turned and path.rpartition("/")[2] == "kernel":
            array = array.transpose(*range(2, array.ndim), 1, 0)
        parts = len(theirs) if len(theirs) > 1 else _PARTS.get(path.rpartition("/")[0].rpartition("/")[2], 1)
        return array.reshape(*array.shape[:-1], parts, -1) if parts > 1 else array

    def to_theirs(self, path: str, ours: np.ndarray, num_parts: int = 1) -> list[np.ndarray]:
        """Undoes `to_ours`."""
        if num_parts > 1 or path.rpartition("/")[0].rpartition("/")[2] in _PARTS:
            ours = ours.reshape(*ours.shape[:-2], -1)
        if self.turned and path.rpartition("/")[2] == "kernel":
            ours = ours.transpose(-1, -2, *range(ours.ndim - 2))
        return [ours] if num_parts == 1 else np.split(ours, num_parts)

    def shaped(self, name: str, array: np.ndarray) -> np.ndarray:
        """The array `name` in the published shape."""
        shapes = (shape for pattern, shape in self.shapes if re.search(pattern, name))
        return array.reshape(next(shapes, array.shape))

    def current(self, name: str) -> str:
        """What `name` in a file is called today."""
        for pattern, new in self.renamed:
            name = re.sub(pattern, new, name)
        return name

    def ignores(self, name: str) -> bool:
        """Whether `name` in a file may be left out."""
        return any(re.search(pattern, name) for pattern in self.ignored)


def _join(name: str, ending: str) -> str:
    return f"{name}{ending}" if name.endswith("_") else f"{name}.{ending}"
