"""One run a folder: a lock that says who holds it, refuses a second run at once and takes over a dead one's.

The file `lock` names the host, process and start of its holder. On the holder's own host the process table says whether
it lives. From another host or container it cannot be seen: there the lock is watched, and taken once it has gone
untouched for long enough, so that a run whose machine was lost goes on elsewhere. The same touch, every second, tells
the run that its folder has vanished or can no longer be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxai.core.errors import InputError, StorageError, before_leaving, cannot_write

_log = logging.getLogger("jaxai")

NAME = "lock"
TOUCH_SECONDS = 1.0
DEAD_SECONDS = 60.0
"""A holder that cannot be seen from here and has not touched its lock for so long is dead."""


class Lock:
    """The lock of a run folder, held while entered."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.fault: StorageError | None = None
        """Why the folder can no longer be written, if it cannot."""
        self._owner = _myself()
        self._over = threading.Event()
        self._toucher = threading.Thread(target=self._touch, name="jaxai lock", daemon=True)

    def __enter__(self) -> Lock:
        """Takes the lock, if need be once its holder has shown no sign of life for long enough.

        Raises InputError naming a holder that lives, StorageError if the folder cannot be written.
        """
        watch = _Watch(self.path)
        try:
            while (seconds := self._take(watch)) > 0:
                time.sleep(min(seconds, TOUCH_SECONDS))
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._toucher.start()
        before_leaving.append(self._release)
        return self

    def __exit__(self, *_: object) -> None:
        before_leaving.remove(self._release)
        self._release()

    def _take(self, watch: _Watch) -> float:
        """Takes the lock, or gives the seconds until its holder is dead if it does not stir."""
        with _guarded(self.path) as descriptor:
            seconds = watch.look(descriptor)
            if seconds <= 0:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(self._owner).encode(), 0)
                os.fsync(descriptor)
        return seconds

    def _release(self) -> None:
        self._over.set()
        self._toucher.join()
        with contextlib.suppress(OSError), _guarded(self.path, create=False) as descriptor:
            if _parse(os.pread(descriptor, 4096, 0)) == self._owner:
                self.path.unlink()

    def check(self) -> None:
        """Raises StorageError if the folder is known to have vanished or to be read-only; costs nothing."""
        if self.fault is not None:
            raise self.fault

    def _touch(self) -> None:
        while not self._over.wait(TOUCH_SECONDS) and self.fault is None:
            try:
                os.utime(self.path)
                if _parse(self.path.read_bytes()) != self._owner:
                    self.fault = StorageError(str(self.path), "was taken by another run")
            except OSError as error:
                self.fault = StorageError(str(self.path.parent), f"can no longer be written: {error.strerror or error}")


class _Watch:
    """Looks again and again at a lock whose holder cannot be seen, until it is touched or the holder is dead."""

    def __init__(self, path: Path):
        self._path = path
        self._touched: int | None = None
        """When the lock had been touched last at the first look, by the clock of its file system."""
        self._dead_at = 0.0
        """When its holder counts as dead, by a clock of this process, which nobody sets."""

    def look(self, descriptor: int) -> float:
        """The seconds until the lock may be taken; raises InputError naming a holder that lives."""
        owner, status = _parse(os.pread(descriptor, 4096, 0)), os.fstat(descriptor)
        if owner is None:
            return 0.0
        if _in_sight(owner):
            _refuse_living(self._path, owner)
            return 0.0
        if self._touched is None:
            # In the future, by a clock that runs ahead of this one, it was touched just now.
            age = max(0.0, time.time() - status.st_mtime)
            self._touched, self._dead_at = status.st_mtime_ns, time.monotonic() + DEAD_SECONDS - age
            if age < DEAD_SECONDS:
                self._say(owner, age)
        elif self._touched != status.st_mtime_ns:
            raise _held(self._path, owner)
        return self._dead_at - time.monotonic()

    def _say(self, owner: dict[str, Any], age: float) -> None:
        who = f"process {owner.get('pid')} on {owner.get('host')}, which cannot be seen from here,"
        wait = f"waits {math.ceil(DEAD_SECONDS - age)} s at most for a sign of it, then goes on"
        _log.warning("jaxai: warning: %s: %s held it %d s ago: %s", self._path.parent, who, age, wait)


def refuse_if_held(folder: Path) -> None:
    """Raises InputError if a run that is seen to live holds `folder`; waits for nothing, changes nothing."""
    with contextlib.suppress(OSError):
        owner = _parse((folder / NAME).read_bytes())
        if owner is not None and _in_sight(owner):
            _refuse_living(folder / NAME, owner)


@contextlib.contextmanager
def _guarded(path: Path, create: bool = True) -> Iterator[int]:
    """The open lock file, which nobody else reads and writes meanwhile."""
    while True:
        descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever let go of the lock while this process waited has removed the file that it waited for.
            if _same_file(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _refuse_living(path: Path, owner: dict[str, Any]) -> None:
    """Raises InputError if `owner`, which is in sight, lives."""
    if isinstance(owner.get("pid"), int) and owner.get("start") == _start(owner["pid"]):
        raise _held(path, owner)


def _held(path: Path, owner: dict[str, Any]) -> InputError:
    what = f"is in use by process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
    fix = "wait for it, stop it, or choose another folder with --run"
    if owner == {**_myself(), "since": owner.get("since")}:
        fix = "this process itself: close() the steps() that it has begun, or choose another folder"
    return InputError(str(path.parent), what, fix)


def _parse(content: bytes) -> dict[str, Any] | None:
    """The owner that a lock names; None if it was torn while being written, and so protects nothing."""
    try:
        owner = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return owner if isinstance(owner, dict) else None


def _in_sight(owner: dict[str, Any]) -> bool:
    """Whether the process table that is read here is the one that `owner` is in."""
    mine = _myself()
    return (owner.get("host"), owner.get("processes")) == (mine["host"], mine["processes"])


def _myself() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "processes": _table(),
        "pid": os.getpid(),
        "start": _start(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _table() -> str:
    """Which table of processes a pid means: containers on one host have their own, and a reboot begins anew."""
    parts = []
    with contextlib.suppress(OSError):
        parts = [str(Path("/proc/self/ns/pid").readlink()), Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    return " ".join(parts)


def _start(pid: int) -> str | None:
    """When process `pid` started, which tells it from a later one of the same number; None if it does not live."""
    try:
        # The name in brackets may hold anything; the start is the 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "unknown"
