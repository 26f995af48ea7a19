"""What the arrays of a checkpoint are, read from their own headers before Orbax opens any.

A header that lies makes a reader allocate without bound or fill in zeros for what is missing, so each is held to the
files that lie beside it, and to what the experiment expects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.training.seal import MAX_BYTES, read_json, walk

HEADER = ".zarray"
_NOTES = "_METADATA"
_ORBAX_FILES = {_NOTES, "_sharding", "commit_success.txt"}
_ORBAX_FOLDERS = {"array_metadatas"}
_ARRAY_TYPES = {"jax.Array", "np.ndarray", "scalar"}
_EMPTY_TYPES = {"None", "Dict", "List", "Tuple", "NamedTuple"}
_MAX_RANK = 32

Signature = tuple[tuple[int, ...], str]


def check_arrays(state: Path, expected: Any = None) -> None:
    """Raises InputError unless the arrays in folder `state` are whole and, where given, have the shapes of `expected`.

    Opens headers only; their sizes are bounded by the bytes that are there.
    """
    found = {name: _signature(state / name, files) for name, files in _by_array(state).items()}
    if _noted(state / _NOTES) != found.keys():
        raise InputError(str(state / _NOTES), "is damaged: it lists other arrays than are there")
    if expected is None:
        return
    ours = {path.replace("/", "."): path for path in tree.flatten(expected)}
    wanted = {path: (tuple(x.shape), str(x.dtype)) for path, x in tree.flatten(expected).items()}
    for name in {**ours, **found}:
        path = ours.get(name, name)
        if found.get(name) != wanted.get(path):
            here, there = _spell(wanted.get(path)), _spell(found.get(name))
            raise InputError(str(state.parent), f"{path} is {there} in the checkpoint, {here} in the experiment")


def _by_array(state: Path) -> dict[str, dict[str, int]]:
    """Names and sizes of the files of each array."""
    arrays: dict[str, dict[str, int]] = {}
    for name, size in walk(state).items():
        folder, _, file = name.rpartition("/")
        if folder in _ORBAX_FOLDERS or (not folder and name in _ORBAX_FILES):
            if size > MAX_BYTES:
                raise InputError(str(state / name), f"is damaged: it has {size:,} bytes")
            continue
        if not folder or "/" in folder:
            raise InputError(str(state / name), "is damaged: no such file belongs to a checkpoint")
        arrays.setdefault(folder, {})[file] = size
    return arrays


def _noted(notes: Path) -> set[str]:
    """The arrays that Orbax will look for: each must be a folder here, or their names may lead anywhere."""
    data = read_json(notes)
    names = set()
    try:
        for entry in data["tree_metadata"].values():
            kind = entry["value_metadata"]["value_type"]
            if kind in _ARRAY_TYPES:
                names.add(".".join(str(key["key"]) for key in entry["key_metadata"]))
            elif kind not in _EMPTY_TYPES or not entry["value_metadata"]["skip_deserialize"]:
                raise ValueError(f"an unknown type {str(kind)[:50]!r}")
        if data.get("use_ocdbt") or data.get("use_zarr3"):
            raise ValueError("another format of arrays")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(str(notes), f"is damaged: {type(error).__name__}: {error}") from error
    return names


def _signature(folder: Path, files: Mapping[str, int]) -> Signature:
    """Shape and dtype that the header of an array declares, once its files bear them out."""
    header = read_json(folder / HEADER)
    try:
        shape, chunks = tuple(header["shape"]), tuple(header["chunks"])
        dtype = jnp.dtype(str(header["dtype"]))
        numeric = any(jnp.issubdtype(dtype, kind) for kind in (jnp.number, jnp.bool_))
        plain = [header[name] for name in ("compressor", "filters")] == [None, None] and header["order"] == "C"
        lengths = all(type(n) is int and 0 <= n < 2**63 for n in shape)
        lengths = lengths and all(type(n) is int and 0 < n < 2**63 for n in chunks)
        plain = plain and header.get("dimension_separator", ".") == "."
        if not (plain and lengths and numeric and dtype.isnative) or not len(shape) == len(chunks) <= _MAX_RANK:
            raise ValueError("an unknown form of array")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(str(folder / HEADER), f"is damaged: {type(error).__name__}: {error}") from error
    counts = [-(-n // chunk) for n, chunk in zip(shape, chunks, strict=True)]
    chunk_bytes = dtype.itemsize * math.prod(chunks)
    parts = {name: size for name, size in files.items() if name != HEADER}
    if len(parts) != math.prod(counts):
        what = f"is damaged: {math.prod(counts):,} parts are declared, {len(parts):,} are there"
        raise InputError(str(folder), what)
    for name, size in parts.items():
        places = name.split(".") if shape else [name]
        inside = len(places) == max(len(counts), 1) and all(
            place.isascii() and place.isdigit() and int(place) < count and str(int(place)) == place
            for place, count in zip(places, counts or [1], strict=True)
        )
        if not inside or size != chunk_bytes:
            raise InputError(str(folder / name), f"is damaged: {chunk_bytes:,} bytes are declared, {size:,} are there")
    return shape, str(dtype)


def _spell(signature: Signature | None) -> str:
    return "absent" if signature is None else f"{signature[1]}{list(signature[0])}"
