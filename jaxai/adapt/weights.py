"""Published weights into models and back: strict, by one table of names for each family.

    loaded = load_pretrained(MobileNetV2(), "mobilenet_v2")
    logits = model.apply(loaded.variables, images)

Within an experiment, `start_from=Pretrained(...)` does the same.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai.adapt.files import read_weights, write_safetensors
from jaxai.adapt.tables.table import Table
from jaxai.core import tree
from jaxai.core.errors import InputError, did_you_mean, nearest
from jaxai.core.fields import check_fields

#: Shapes and types by path, such as `params/head/kernel`.
Wanted = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What came of loading weights into a model."""

    variables: dict[str, Any]
    """The model's variables, numpy leaves; missing ones start anew."""
    layout: str
    """Whose names the file uses."""
    loaded: tuple[str, ...]
    """Paths of ours that the file gave."""
    missing: tuple[str, ...]
    """Paths of ours that were allowed to start anew."""
    unexpected: tuple[str, ...]
    """Names in the file that were allowed to be left out."""
    reshaped: tuple[str, ...]
    """Paths whose array had another number of dims in the file, of the same sizes but for ones."""

    def __str__(self) -> str:
        counts = [f"{name} {len(getattr(self, name)):,}" for name in ("loaded", "missing", "unexpected", "reshaped")]
        return f"{self.layout} names: {', '.join(counts)}"


def load_pretrained(
    model: nn.Module,
    weights: str | Path | Mapping[str, Any],
    *,
    new: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
    layout: str | None = None,
    shape: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Loaded:
    """The variables of `model` from published weights; prints and returns what was loaded.

    Args:
        model: A model of `jaxai.models` that has a table of names.
        weights: A file (`.safetensors`, or PyTorch's `.pth`, of which no code is run), the name of weights that a
            package carries (`jaxai.adapt.files.PUBLISHED`), or arrays by name.
        new: Regexes of our parameter paths that start anew, such as `("head",)` for other classes.
        unused: Regexes of names in the file to leave out, such as `("classifier",)` for a model without a head.
        layout: Whose names the file uses; default: the table that knows most of them.
        shape: Of an image, (height, width, channel), or of a text, (length,), where parameters depend on it; default:
            the published one.
        seed: Of what starts anew.

    Raises InputError, naming the keys, where anything else is missing, unexpected or of another shape.
    """
    size: tuple[int, ...] = shape or _tables(model).INPUT
    example = jax.ShapeDtypeStruct((1, *size), jnp.int32 if len(size) == 1 else jnp.float32)
    keys = {"params": jax.random.key(seed), "dropout": jax.random.key(seed)}
    abstract = jax.eval_shape(lambda x: model.init(keys, x), example)
    wanted = tree.flatten(abstract)
    arrays, result = _match(model, weights, wanted, new, unused, layout)
    if result["missing"]:

        def fresh() -> dict[str, jax.Array]:  # compiled, so that of all the others nothing is computed
            leaves = tree.flatten(model.init(keys, jnp.zeros(example.shape, example.dtype)))
            return {path: leaf for path, leaf in leaves.items() if path not in arrays}

        arrays |= {path: np.asarray(leaf) for path, leaf in jax.jit(fresh)().items()}
    loaded = Loaded(variables=tree.map_paths(lambda path, _: arrays[path], abstract), **result)
    print(f"{weights if isinstance(weights, (str, Path)) else 'weights'}: {loaded}")
    return loaded


def to_published(model: nn.Module, variables: Mapping[str, Any], *, layout: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of `variables` by their published names, in PyTorch's shapes; the exact inverse of loading."""
    leaves = tree.flatten(dict(variables))
    _check_apart(leaves)
    table = _table(model, layout, leaves)
    found: dict[str, np.ndarray] = {}
    for path, leaf in leaves.items():
        inner = path.partition("/")[2]
        names = table.names(inner)
        if names is None:
            raise InputError(path, f"has no name in the layout of {table.layout}")
        parts = zip(names, table.to_theirs(inner, np.asarray(leaf), len(names)), strict=True)
        found |= {name: table.shaped(name, part) for name, part in parts}
    return found


def save_pretrained(
    model: nn.Module, variables: Mapping[str, Any], path: str | Path, *, layout: str | None = None
) -> None:
    """Writes `variables` as safetensors under their published names; loading them again gives the same bits."""
    # Older versions of `transformers` read only files that say whose tensors they hold.
    write_safetensors(path, to_published(model, variables, layout=layout), {"format": "pt"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Published weights that an experiment starts from: `start_from=Pretrained(model=..., weights="mobilenet_v2")`."""

    model: Any
    """The model whose table of names applies; it may differ in its number of classes from the one that is trained."""
    weights: str
    """A `.safetensors` or `.pth` file, or the name of weights that a package carries."""
    new: tuple[str, ...] = ()
    """Regexes of parameter paths that start anew, such as `("head",)`."""
    unused: tuple[str, ...] = ()
    """Regexes of names in the file to leave out."""
    under: str = ""
    """Path of the model within the task's parameters, such as `encoder`."""
    layout: str | None = None
    """Whose names the file uses; by default the table that knows most of them."""

    def __post_init__(self):
        check_fields(self, "start_from.")

    def load(self, wanted: Wanted) -> tuple[dict[str, np.ndarray], str]:
        """The arrays for the paths of `wanted`, and a line about them; what is left out starts anew."""
        inside = {}
        for path in wanted:
            collection, _, rest = path.partition("/")
            if not self.under or rest.startswith(f"{self.under}/"):
                inside[f"{collection}/{rest.removeprefix(f'{self.under}/') if self.under else rest}"] = path
        if not inside:
            known = {path.split("/")[1] for path in wanted if path.count("/")}
            raise InputError(
                "start_from.under", f"no parameter is under {self.under!r}", did_you_mean(self.under, known)
            )
        shapes = {mine: wanted[path] for mine, path in inside.items()}
        arrays, result = _match(self.model, self.weights, shapes, self.new, self.unused, self.layout)
        return {inside[path]: array for path, array in arrays.items()}, f"{self.weights}: {Loaded({}, **result)}"


def _match(
    model: nn.Module,
    weights: str | Path | Mapping[str, Any],
    wanted: Wanted,
    new: tuple[str, ...],
    unused: tuple[str, ...],
    layout: str | None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by our path, and the account of them, or InputError."""
    source = str(weights) if isinstance(weights, (str, Path)) else "weights"
    _check_apart(wanted)
    theirs = dict(weights) if isinstance(weights, Mapping) else read_weights(weights)
    table = _choose(model, theirs, wanted, layout)
    theirs = {table.current(name): array for name, array in theirs.items()}
    arrays: dict[str, np.ndarray] = {}
    used: set[str] = set()
    missing, absent, unfit, reshaped = [], [], [], []
    for path, leaf in wanted.items():
        inner = path.partition("/")[2]
        names = table.names(inner) or ()
        used.update(names)
        if any(re.search(pattern, inner) for pattern in new):
            missing.append(path)
        elif not names or not all(name in theirs for name in names):
            absent.append((inner, names[0] if names else inner))
        else:
            array = table.to_ours(inner, [np.asarray(theirs[name]) for name in names])
            if array.shape != leaf.shape:
                if _squeezed(array.shape) != _squeezed(leaf.shape):
                    unfit.append((inner, f"{inner} is {list(array.shape)} in {source}, {list(leaf.shape)} here"))
                    continue
                reshaped.append(path)
            arrays[path] = array.astype(leaf.dtype).reshape(leaf.shape)
    if unfit and not absent:  # where names are missing too, the file is another model's, which _refuse says
        inner, what = unfit[0]
        raise InputError("weights", what, f"new=({inner.split('/')[0]!r},) starts it anew")
    extra = [name for name in theirs if name not in used and not table.ignores(name)]
    left_out = [name for name in extra if any(re.search(pattern, name) for pattern in unused)]
    _refuse(source, type(model).__name__, absent, [name for name in extra if name not in left_out], theirs)
    for field, patterns, among in (("new", new, missing), ("unused", unused, left_out)):
        for pattern in patterns:
            if not any(re.search(pattern, name.partition("/")[2] or name) for name in among):
                raise InputError(field, f"rule {pattern!r} matches nothing", "leave it out")
    return arrays, {
        "layout": table.layout,
        "loaded": tuple(arrays),
        "missing": tuple(missing),
        "unexpected": tuple(left_out),
        "reshaped": tuple(reshaped),
    }


def _check_apart(paths: Iterable[str]) -> None:
    if any("/blocks/" in path for path in paths):
        fix = "scan=False; models.blocks.stacked makes variables with scan of those without"
        raise InputError("model", "published names are of one block each, and scan makes all blocks one", fix)


def _refuse(
    source: str, model: str, absent: list[tuple[str, str]], extra: list[str], theirs: Mapping[str, Any]
) -> None:
    """Raises InputError, with the first keys, where something is missing or left over."""
    if absent:
        path, name = absent[0]
        close = nearest(name, extra or theirs)
        what = f"lacks {name!r} for {path} of {model} ({len(absent)} missing, {len(extra)} unexpected)"
        fix = f"nearest: {close[0]}" if close else "other weights, or new=(...)"
        if name == path:  # whoever wrote the file has no name for it
            fix = f"new=({path.split('/')[0]!r},) starts it anew"
        raise InputError(source, what, fix)
    if extra:
        what = f"also has {extra[0]!r}, which {model} does not ({len(extra)} unexpected)"
        raise InputError(source, what, "another size of the model, or unused=(...)")


def _tables(model: nn.Module) -> Any:
    """The module of tables of the model's family."""
    name = type(model).__module__.rpartition(".")[2]
    try:
        return importlib.import_module(f"jaxai.adapt.tables.{name}")
    except ModuleNotFoundError:
        raise InputError("model", f"there is no table of published names for {type(model).__name__}") from None


def _table(model: nn.Module, layout: str | None, paths: Iterable[str]) -> Table:
    """The table asked for, else the first that names all of `paths`, or the first of all."""
    tables = {table.layout: table for table in _tables(model).TABLES}
    if layout is None:
        inner = [path.partition("/")[2] for path in paths]
        whole = (table for table in tables.values() if all(table.names(path) for path in inner))
        return next(whole, next(iter(tables.values())))
    if layout not in tables:
        raise InputError("layout", f"{layout!r} is unknown for {type(model).__name__}", did_you_mean(layout, tables))
    return tables[layout]


def _choose(model: nn.Module, theirs: Mapping[str, Any], wanted: Wanted, layout: str | None) -> Table:
    """The table asked for, else the one that finds most of its names in the file."""
    if layout is not None:
        return _table(model, layout, wanted)

    def known(table: Table) -> int:
        return sum(name in theirs for path in wanted for name in table.names(path.partition("/")[2]) or ())

    return max(_tables(model).TABLES, key=known)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
