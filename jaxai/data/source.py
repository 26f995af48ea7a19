"""What a dataset is: anything with a length and an index, and how a batch is read from it and checked.

A class of your own with `__len__` and `__getitem__` (one example: a dict of arrays or numbers) is a source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxai.core.errors import InputError

#: What one example holds under a name: its shape without the batch, and its numpy type.
Spec = dict[str, tuple[tuple[int, ...], np.dtype]]

_NARROW = {"int64": np.int32, "uint64": np.uint32, "float64": np.float32, "complex128": np.complex64}


@runtime_checkable
class Source(Protocol):
    """A dataset with random access.

    It may also have `batch(indices) -> dict[str, array]` (a fast path), `classes` (names of the labels), `open() ->
    Source` (a declaration, opened when the run starts), `draw(index, generator) -> example` (what training reads
    instead, random in a numpy generator made from the seed, the epoch and the index), `damaged` (indices, met so
    far, of examples that an evaluation leaves out), and `arrange` and `cut` (which examples share a batch, and how
    long it is: see `text.buckets.Bucketed`).
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


@runtime_checkable
class Declaration(Protocol):
    """A printable description of a dataset; opening it touches the disk, making it does not."""

    def open(self) -> Source: ...


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Arrays:
    """Examples held in memory: `Arrays({"image": images, "label": labels})`."""

    arrays: Mapping[str, Any]
    """Arrays of the same length by name, `[example, ...]`; 64-bit numbers are narrowed to 32."""
    classes: tuple[str, ...] | None = None
    """Names of the labels, in order."""

    def __post_init__(self):
        arrays = {name: np.asarray(value) for name, value in self.arrays.items()}
        if not arrays:
            raise InputError("arrays", "is empty", 'give it as {"image": images, "label": labels}')
        for name, array in arrays.items():
            if array.ndim == 0:
                raise InputError("arrays", f"{name!r} is one number, not an array of examples")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise InputError("arrays", f"have different numbers of examples: {counts}")
        narrowed = {name: _numeric(array, name, "arrays", "arrays") for name, array in arrays.items()}
        object.__setattr__(self, "arrays", narrowed)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[index] for name, array in self.arrays.items()}

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array[indices] for name, array in self.arrays.items()}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self.arrays.items())
        return f"Arrays({shapes})"


def open_source(source: Any, field: str = "source") -> Source:
    """Opens a declaration (a source is its own opening), and checks that it is one and has examples."""
    if isinstance(source, Declaration):
        try:
            source = source.open()
        except InputError as error:
            what = str(error).removeprefix(f"{error.field}: ")
            raise InputError(f"{field}.{error.field}", what) from error
        except Exception as error:
            raise InputError(field, f"cannot be opened: {type(error).__name__}: {error}") from error
    if isinstance(source, type):
        raise InputError(field, f"is the class {source.__name__}, not a dataset", f"{source.__name__}(...)")
    if isinstance(source, str):
        raise InputError(field, f"{source!r} is text, not a dataset", f"jaxai.data.tfds.Tfds({source!r})")
    if isinstance(source, Mapping):
        raise InputError(field, "is a dict, not a dataset", "wrap it: jaxai.data.source.Arrays({...})")
    if not isinstance(source, Source):
        name = type(source).__name__
        raise InputError(field, f"{name} is not a dataset", "it needs __len__ and __getitem__")
    try:
        num_examples = len(source)
    except Exception as error:
        raise InputError(field, f"its length cannot be read: {type(error).__name__}: {error}") from error
    if num_examples == 0:
        raise InputError(field, "has no examples")
    return source


def example_spec(source: Source, field: str = "source") -> Spec:
    """Shape and type of every field of example 0; pass it to `read` to hold all later examples to it."""
    example = _example(source, 0, field)
    return {name: (value.shape, value.dtype) for name, value in _check_example(example, 0, field).items()}


def read(
    source: Source, indices: Sequence[int] | np.ndarray, field: str = "source", spec: Spec | None = None
) -> dict[str, np.ndarray]:
    """Reads examples as one batch, `[batch, ...]` by name, through the source's fastest access.

    Python and 64-bit numbers become int32 and float32; uint8 stays uint8. An example that differs from `spec`
    (without it, from the others of the batch) or cannot be read is an error that names it.
    """
    indices = np.asarray(indices, dtype=np.int64)
    batch = getattr(source, "batch", None)
    if batch is not None:
        try:
            columns = batch(indices)
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            what = f"a batch of {len(indices)} examples cannot be read: {kind}{error}"
            raise InputError(field, what) from error
        return _check_batch(columns, indices, field, spec)
    if indices.size == 0:
        first = spec or example_spec(source, field)
        return {name: np.empty((0, *shape), dtype) for name, (shape, dtype) in first.items()}
    checked = [
        _check_example(example, int(index), field)
        for index, example in zip(indices, _examples(source, indices, field), strict=True)
    ]
    first = {name: (value.shape, value.dtype) for name, value in checked[0].items()} if spec is None else spec
    if not all(_matches(example, first) for example in checked):
        first = spec or example_spec(source, field)
        for index, example in zip(indices, checked, strict=True):
            _check_matches(example, first, int(index), field)
    return {name: np.stack([example[name] for example in checked]) for name in first}


class Cached:
    """Keeps decoded examples in memory as they are first read, so that a later batch is one indexing.

    Filling it needs no start-up: arrays `[num_examples, ...]` are reserved at the first batch and filled on
    demand, by one thread at a time.
    """

    def __init__(self, source: Source, field: str = "source"):
        self.source, self.field = source, field
        self.classes: tuple[str, ...] | None = getattr(source, "classes", None)
        self._filled = np.zeros(len(source), bool)
        self._num_missing = len(source)
        self._arrays: dict[str, np.ndarray] = {}
        self._spec: Spec = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._filled)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: array[0] for name, array in self.batch(np.array([index])).items()}

    @property
    def damaged(self) -> Collection[int]:
        """Examples that an evaluation leaves out, where the source knows of such."""
        return getattr(self.source, "damaged", ())

    @property
    def full(self) -> bool:
        """Whether every example has been read."""
        return not self._num_missing

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if not self.full and not self._filled[indices].all():
            with self._lock:
                self._fill(np.unique(indices[~self._filled[indices]]))
        return {name: array[indices] for name, array in self._arrays.items()}

    def _fill(self, missing: np.ndarray) -> None:
        if missing.size == 0:  # another thread filled them while this one waited for the lock
            return
        if not self._spec:
            self._spec = example_spec(self.source, self.field)
            self._arrays = {name: np.empty((len(self), *shape), dtype) for name, (shape, dtype) in self._spec.items()}
        for name, values in read(self.source, missing, self.field, self._spec).items():
            self._arrays[name][missing] = values
        self._filled[missing] = True
        self._num_missing -= missing.size


def _examples(source: Source, indices: np.ndarray, field: str) -> list[Any]:
    """The examples as the source gives them, by `__getitems__` where it has one."""
    many = getattr(source, "__getitems__", None)
    if many is not None:
        with contextlib.suppress(Exception):  # read again one by one below, to learn which example it is
            return list(many(indices.tolist()))
    return [_example(source, int(index), field) for index in indices]


def _example(source: Source, index: int, field: str) -> Any:
    try:
        return source[index]
    except Exception as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(field, f"example {index}: cannot be read: {kind}{error}") from error


def _check_example(example: Any, index: int, field: str) -> dict[str, np.ndarray]:
    """One example with every value a numpy array of a type JAX keeps."""
    where = f"example {index}"
    if not isinstance(example, Mapping):
        kind = type(example).__name__
        raise InputError(field, f"{where}: is {kind}, not a dict", 'give {"image": ..., "label": ...}')
    if not example:
        raise InputError(field, f"{where}: is an empty dict")
    return {
        str(name): _numeric(_array(value, name, where, field), name, where, field) for name, value in example.items()
    }


def _array(value: Any, name: Any, where: str, field: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(field, f"{where}: {name} is no array: {error}") from error


def _numeric(array: np.ndarray, name: Any, where: str, field: str) -> np.ndarray:
    if array.dtype.kind not in "biufc":
        kind = {"U": "text", "S": "bytes", "O": "objects"}.get(array.dtype.kind, str(array.dtype))
        fix = "decode it: RandomCropped(...)" if kind == "bytes" else "leave the field out, or encode it first"
        raise InputError(field, f"{where}: {name} holds {kind}, not numbers", fix)
    narrow = _NARROW.get(array.dtype.name)
    if narrow is None:
        return array
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(narrow)
        if array.min() < limits.min or array.max() > limits.max:
            odd = array.min() if array.min() < limits.min else array.max()
            raise InputError(field, f"{where}: {name} has {odd}, beyond {np.dtype(narrow).name}")
    return array.astype(narrow)


def _matches(example: dict[str, np.ndarray], spec: Spec) -> bool:
    return len(example) == len(spec) and all(
        (value := example.get(name)) is not None and value.shape == shape and value.dtype == dtype
        for name, (shape, dtype) in spec.items()
    )


def _check_matches(example: dict[str, np.ndarray], spec: Spec, index: int, field: str) -> None:
    if example.keys() != spec.keys():
        raise InputError(field, f"example {index}: has {sorted(example)}, the first has {sorted(spec)}")
    for name, (shape, dtype) in spec.items():
        value = example[name]
        if value.shape != shape:
            what = f"example {index}: {name} has shape {list(value.shape)}, the first has {list(shape)}"
            raise InputError(field, what, "resize, pad or crop to one shape")
        if value.dtype != dtype:
            raise InputError(field, f"example {index}: {name} is {value.dtype}, the first is {dtype}")


def _check_batch(columns: Any, indices: np.ndarray, field: str, spec: Spec | None) -> dict[str, np.ndarray]:
    """The answer of a source's own `batch`, held to the same rules."""
    if not isinstance(columns, Mapping) or not columns:
        raise InputError(field, f"batch() gave {type(columns).__name__}, not a dict of arrays")
    arrays = {
        str(name): _numeric(_array(v, name, "batch()", field), name, "batch()", field) for name, v in columns.items()
    }
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) != len(indices):
            what = f"batch() gave {name} with shape {list(array.shape)} for {len(indices)} indices"
            raise InputError(field, what, "its first dimension is the batch")
    if spec is not None and len(indices):
        _check_matches({name: array[0] for name, array in arrays.items()}, spec, int(indices[0]), field)
    return arrays
