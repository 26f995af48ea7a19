"""Tells when a compiled step is traced anew, and because of which argument."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from jaxai.core import tree
from jaxai.core.errors import InputError, JaxaiError


class Traced:
    """`fn`, with a note of the shapes and dtypes of every trace; Python runs a compiled function only to trace it.

    `on_trace()` is called as a trace begins, after which the function is compiled.
    """

    def __init__(self, fn: Callable[..., Any], on_trace: Callable[[], None]):
        self._fn, self._on_trace = fn, on_trace
        self.signatures: list[dict[str, str]] = []

    def __call__(self, state: Any, shared: Any, batch: Any) -> Any:
        self._on_trace()
        named = tree.flatten({"state": state, "batch": batch})
        self.signatures.append({name: f"{x.dtype}{list(x.shape)}" for name, x in named.items()})
        with tracing("task.loss"):
            return self._fn(state, shared, batch)

    def last_change(self) -> str:
        """What was new in the last trace, such as `batch/image was uint8[64, 8], is uint8[32, 8]`."""
        old, new = self.signatures[-2:]
        changed = [
            f"{name} was {old.get(name, 'absent')}, is {new.get(name, 'absent')}"
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        ]
        return "; ".join(changed[:3]) or "the placement of an argument changed"


@contextlib.contextmanager
def tracing(field: str) -> Iterator[None]:
    """What a user's own model or task raises while it is traced, as one line naming `field`."""
    try:
        yield
    except JaxaiError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise InputError(field, f"{type(error).__name__}: {text}", "--debug shows where") from error
