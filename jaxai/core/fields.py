"""Holds the fields of a declaration to their annotations, which Python itself does not."""

from __future__ import annotations

import collections.abc
import functools
import types
import typing
from typing import Any, Literal, Union

from jaxai.core.duration import Duration
from jaxai.core.errors import InputError, did_you_mean

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", tuple: "a tuple"}


def check_fields(declaration: Any, prefix: str = "") -> None:
    """Raises InputError for the first field of a dataclass that is not of its annotated type.

    Whole numbers pass for numbers. The items of tuples are looked at, those of mappings are not.
    """
    for name, hint in _hints(type(declaration)).items():
        value = getattr(declaration, name)
        if not _fits(value, hint):
            raise _error(f"{prefix}{name}", value, hint)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(cls).items() if name in cls.__dataclass_fields__}


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(value, kind) for kind in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = _item_hints(hint, value)
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    if hint in (int, float):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return isinstance(value, hint if origin is None else origin)


def _item_hints(hint: Any, value: tuple[Any, ...]) -> tuple[Any, ...]:
    inner = typing.get_args(hint)
    return inner[:1] * len(value) if Ellipsis in inner else inner


def _error(field: str, value: Any, hint: Any) -> InputError:
    kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not types.NoneType]
    kind = hint if typing.get_origin(hint) not in (Union, types.UnionType) else kinds[0]
    origin = typing.get_origin(kind)
    if origin is Literal:
        return InputError(field, f"{value!r} is unknown", did_you_mean(str(value), map(str, typing.get_args(kind))))
    if kind is Duration:
        return InputError(field, f"{value!r} has no unit", "such as Epochs(10) or Steps(500)")
    if isinstance(value, type):
        return InputError(field, f"is the class {value.__name__}, not a value", f"{value.__name__}(...)")
    if origin is tuple and isinstance(value, tuple):
        for i, (item, inner) in enumerate(zip(value, _item_hints(kind, value), strict=False)):
            if not _fits(item, inner):
                return _error(f"{field}.{i}", item, inner)
        return InputError(field, f"must have {len(typing.get_args(kind))} items, has {len(value)}")
    word = _WORDS.get(origin or kind) or _with_article("dict" if origin is collections.abc.Mapping else kind.__name__)
    fix = "write (x,) for a tuple of one" if origin is tuple else ""
    return InputError(field, f"must be {word}, is {_short(value)}", fix)


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else _with_article(type(value).__name__)
