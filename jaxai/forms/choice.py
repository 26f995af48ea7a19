"""Whether what is traced and compiled at the moment takes the forms that are fast where it runs, or the plain ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal

Forms = Literal["fast", "plain"]

_chosen: ContextVar[Forms] = ContextVar("forms", default="plain")


def is_fast() -> bool:
    """Whether fast forms are chosen; asked while a function is traced or lowered."""
    return _chosen.get() == "fast"


@contextlib.contextmanager
def use(forms: Forms) -> Iterator[None]:
    """Functions that are compiled meanwhile take these forms; those that were compiled before keep theirs."""
    if forms == "fast":
        from jaxai.forms import lowering

        lowering.register()
    token = _chosen.set(forms)
    try:
        yield
    finally:
        _chosen.reset(token)


def using(forms: Forms, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled function `fn`, which its first call traces, with these forms."""

    with use(forms):
        pass  # what it has to prepare

    def call(*args: Any) -> Any:
        token = _chosen.set(forms)  # once a step, where a context manager would cost more
        try:
            return fn(*args)
        finally:
            _chosen.reset(token)

    return call
