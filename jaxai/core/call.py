"""`Call(fn, **kwargs)`: a library function and its arguments as a printable, comparable, storable value."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

from jaxai.core.errors import InputError, did_you_mean


@dataclasses.dataclass(frozen=True, init=False)
class Call:
    """A call that is written down now, checked against the signature now, and made later by `value()`."""

    fn: Callable[..., Any]
    """The function, such as `optax.scale_by_adam`."""
    kwargs: dict[str, Any]
    """Its keyword arguments."""

    def __init__(self, fn: Callable[..., Any], /, **kwargs: Any):
        if not callable(fn):
            raise InputError("Call", f"{fn!r} is not a function", "such as Call(optax.adam, learning_rate=1e-3)")
        object.__setattr__(self, "fn", fn)
        object.__setattr__(self, "kwargs", kwargs)
        name = getattr(fn, "__name__", repr(fn))
        parameters = inspect.signature(fn).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for key in kwargs:
            if key not in parameters and not open_ended:
                raise InputError(name, f"has no argument {key!r}", did_you_mean(key, parameters))
        for key, parameter in parameters.items():
            optional = parameter.default is not parameter.empty or parameter.kind in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            )
            if not optional and key not in kwargs:
                raise InputError(name, f"needs the argument {key!r}")

    def __call__(self) -> Any:
        return self.fn(**self.kwargs)

    def __repr__(self) -> str:
        arguments = "".join(f", {key}={value!r}" for key, value in self.kwargs.items())
        return f"Call({public_name(self.fn).replace(':', '.')}{arguments})"

    def __hash__(self) -> int:
        return hash((self.fn, tuple(sorted(self.kwargs))))


def public_name(thing: Any) -> str:
    """`module:name` of a class or function, by the shortest of its module's parents that offers it."""
    parts = thing.__module__.split(".")
    for end in range(1, len(parts)):
        module = sys.modules.get(".".join(parts[:end]))
        if getattr(module, thing.__qualname__, None) is thing:
            return f"{'.'.join(parts[:end])}:{thing.__qualname__}"
    return f"{thing.__module__}:{thing.__qualname__}"
