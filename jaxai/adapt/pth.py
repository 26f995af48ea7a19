"""Reads weights saved by PyTorch without running anything that the file says, and without PyTorch.

Such a file is a pickle, a program that may call any function. Here its instructions are only listed (`pickletools`
executes nothing) and followed by an interpreter that knows dictionaries, numbers, texts and tensors; whatever else the
file asks for is refused. Both of PyTorch's formats are read: the zip archive, and the older stream of pickles.
"""

from __future__ import annotations

import dataclasses
import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from jaxai.core.errors import InputError

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
"""Keys under which training scripts put the weights, beside other things."""


class _RefusedError(Exception):
    """Something in the file that no weights need."""


@dataclasses.dataclass(frozen=True)
class _Global:
    """A function or class that the file names; never looked up."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A run of numbers, which lies outside of the pickle."""

    dtype: Any
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage; sizes in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Arrays by name of a file of weights; raises InputError, which calls it `name`, for anything else."""
    try:
        tree, storage = _from_zip(content) if zipfile.is_zipfile(io.BytesIO(content)) else _from_stream(content)
        return {key: _array(tensor, storage) for key, tensor in _state_dict(tree).items()}
    except _RefusedError as error:
        raise InputError(name, str(error), "only weights are read: a dictionary of tensors") from None
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, zipfile.BadZipFile) as error:
        raise InputError(name, f"cannot be read as PyTorch weights: {error}", "get it again") from error


def _from_zip(content: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    pickles = [path for path in archive.namelist() if path.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("the archive has no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise _RefusedError("is written in big-endian order")
    tree, _ = _follow(archive.read(pickles[0]), 0)
    return tree, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _from_stream(content: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    magic, position = _follow(content, 0)
    if magic != _LEGACY_MAGIC:
        raise ValueError("it does not begin as one")
    _, position = _follow(content, position)  # the version of the format
    _, position = _follow(content, position)  # sizes of the machine's integers
    storages: dict[str, _Storage] = {}
    tree, position = _follow(content, position, storages)
    keys, position = _follow(content, position)
    found = {}
    for key in keys:
        count = int.from_bytes(content[position : position + 8], "little")
        size = count * np.dtype(storages[key].dtype).itemsize
        found[key] = content[position + 8 : position + 8 + size]
        position += 8 + size
    return tree, lambda storage: found[storage.key]


def _state_dict(tree: Any) -> dict[str, _Tensor]:
    """The dictionary of tensors: the whole, or what scripts put beside an optimizer's state."""
    if isinstance(tree, dict):
        if tree and all(isinstance(key, str) and isinstance(value, _Tensor) for key, value in tree.items()):
            return tree
        for key in _WRAPPERS:
            if isinstance(tree.get(key), dict):
                return _state_dict(tree[key])
    kind = f"a dictionary with {', '.join(map(repr, list(tree)[:3]))}" if isinstance(tree, dict) else "no dictionary"
    raise _RefusedError(f"holds {kind}, not tensors by name")


def _array(tensor: _Tensor, read_storage: Callable[[_Storage], bytes]) -> np.ndarray:
    """The tensor's numbers, copied; a view that leaves its storage is refused."""
    numbers = np.frombuffer(read_storage(tensor.storage), tensor.storage.dtype)
    if any(number < 0 for number in (tensor.offset, *tensor.shape, *tensor.strides)):
        raise _RefusedError("has a tensor of negative size")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and (last >= numbers.size or math.prod(tensor.shape) > numbers.size):
        raise _RefusedError("has a tensor that reaches beyond its numbers: it is damaged")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return view.copy()


def _follow(content: bytes, start: int, storages: dict[str, _Storage] | None = None) -> tuple[Any, int]:
    """What the pickle at `start` builds, and where it ends; notes the storages that it refers to."""
    stream = io.BytesIO(content)
    stream.seek(start)
    machine = _Machine(storages if storages is not None else {})
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            return machine.stack.pop(), stream.tell()
        machine.step(opcode.name, argument)
    raise ValueError("it ends in the middle")


_MARK = object()
_IGNORED = {"PROTO", "FRAME"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING"),
}


class _Machine:
    """The few of pickle's instructions that weights are made of."""

    def __init__(self, storages: dict[str, _Storage]):
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._storages = storages

    def step(self, name: str, argument: Any) -> None:
        """Follows one instruction."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self._memo[int(argument)])
        elif name == "GLOBAL":
            self.stack.append(_Global(argument.replace(" ", ".")))
        elif name not in _IGNORED:
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise _RefusedError(f"has the instruction {name}")
            method()

    def _mark(self) -> None:
        self.stack.append(_MARK)

    def _to_mark(self) -> list[Any]:
        at = len(self.stack) - 1 - next(i for i, item in enumerate(reversed(self.stack)) if item is _MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _pop_many(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _empty_dict(self) -> None:
        self.stack.append({})

    def _empty_list(self) -> None:
        self.stack.append([])

    def _empty_tuple(self) -> None:
        self.stack.append(())

    def _tuple(self) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _tuple1(self) -> None:
        self.stack.append(tuple(self._pop_many(1)))

    def _tuple2(self) -> None:
        self.stack.append(tuple(self._pop_many(2)))

    def _tuple3(self) -> None:
        self.stack.append(tuple(self._pop_many(3)))

    def _setitem(self) -> None:
        key, value = self._pop_many(2)
        self.stack[-1][key] = value

    def _setitems(self) -> None:
        items = self._to_mark()
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _append(self) -> None:
        item = self.stack.pop()
        self.stack[-1].append(item)

    def _appends(self) -> None:
        items = self._to_mark()
        self.stack[-1].extend(items)

    def _stack_global(self) -> None:
        module, name = self._pop_many(2)
        self.stack.append(_Global(f"{module}.{name}"))

    def _build(self) -> None:
        """The attributes of a dictionary, such as version numbers: not needed."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise _RefusedError("sets attributes of an object")

    def _binpersid(self) -> None:
        reference = self.stack.pop()
        if reference[0] != "storage" or not isinstance(reference[1], _Global) or any(reference[5:]):
            raise _RefusedError("refers to something that is no tensor's numbers")
        _, storage, key, _, count = reference[:5]
        module, _, name = storage.name.rpartition(".")
        if module != "torch" or name not in _DTYPES:
            raise _RefusedError(f"has numbers of the type {storage.name}")
        self._storages[key] = _Storage(_DTYPES[name], key, count)
        self.stack.append(self._storages[key])

    def _reduce(self) -> None:
        function, arguments = self._pop_many(2)
        name = function.name if isinstance(function, _Global) else "a value"
        if name == "collections.OrderedDict" and not arguments:
            self.stack.append({})
        elif name == "torch._utils._rebuild_tensor_v2" and isinstance(arguments[0], _Storage):
            storage, offset, shape, strides = arguments[:4]
            self.stack.append(_Tensor(storage, offset, tuple(shape), tuple(strides)))
        elif name == "torch._utils._rebuild_parameter" and isinstance(arguments[0], _Tensor):
            self.stack.append(arguments[0])
        else:
            raise _RefusedError(f"would call {name}")
