"""The errors a person is meant to read: one line naming the field or file, and what would put it right.

Exit codes: 2 bad input, 3 storage, 4 diverged, 75 try again. `jaxai.cli` prints `jaxai: error: FIELD: what (fix)` and
nothing else.
"""

from __future__ import annotations

import contextlib
import difflib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import NoReturn


class JaxaiError(Exception):
    """Base of every error that is the user's to solve; carries an exit code and prints as one line."""

    exit_code = 1

    def __init__(self, field: str, what: str, fix: str = ""):
        self.field, self.what, self.fix = field, what, fix
        super().__init__(f"{field}: {what}" + (f" ({fix})" if fix else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        # So that an error of a worker process arrives whole.
        return type(self), (self.field, self.what, self.fix)


class InputError(JaxaiError):
    """An experiment, a flag, a dataset or a file that cannot be what it says; exit code 2."""

    exit_code = 2


class StorageError(JaxaiError):
    """A disk or folder that cannot be written or read; exit code 3."""

    exit_code = 3


def cannot_write(path: str | os.PathLike[str], error: OSError) -> StorageError:
    """The error for a file or folder that the system does not let be written."""
    return StorageError(os.fspath(path), f"cannot be written: {error.strerror or error}")


class DivergedError(JaxaiError):
    """Training produced a loss or gradient that is not finite; exit code 4."""

    exit_code = 4


class RetryError(JaxaiError):
    """Something outside the run failed, such as another process; the same command goes on; exit code 75."""

    exit_code = 75


_leaving = threading.Lock()
_LAST_SECONDS = 1.0
before_leaving: list[Callable[[], object]] = []
"""What `leave` still does; it waits a second at most, as the storage that this needs may be what hangs."""


def leave(error: JaxaiError, *, stacks: bool = False, after: float = 0.0) -> NoReturn:
    """Ends the process, from any thread, for when the main thread waits for what will never come.

    At once, or `after` seconds, so that others who depend on it come to say the same. The first reason is the one.
    """
    _leaving.acquire()
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h\n")  # a live display had hidden the cursor
        print(f"jaxai: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        if stacks:
            faulthandler.dump_traceback(file=2, all_threads=True)
        sys.stdout.flush()
    time.sleep(after)
    with contextlib.suppress(RuntimeError):  # no thread can be started once the interpreter ends
        last = threading.Thread(target=lambda: [act() for act in list(before_leaving)], daemon=True)
        last.start()
        last.join(_LAST_SECONDS)
    os._exit(error.exit_code)


def nearest(name: str, candidates: Iterable[str], limit: int = 1, cutoff: float = 0.4) -> list[str]:
    """The candidates most alike `name`, best first; empty where none is alike by `cutoff`, between 0 and 1."""
    return difflib.get_close_matches(name, list(candidates), n=limit, cutoff=cutoff)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the whole list where nothing is close: the `fix` of an unknown name."""
    candidates = sorted(set(candidates))
    close = nearest(name, candidates)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(candidates) if candidates else ""


def need_extra(package: str, extra: str) -> InputError:
    """The error for a missing optional library: names the extra that brings it."""
    return InputError(package, "is not installed", f"pip install 'jaxai-research[{extra}]'")
