"""Seals: what makes a checkpoint *saved*, and what is checked before one byte of it is believed.

Orbax commits a folder by renaming it, but neither checks its arrays nor makes metadata durable. A seal is one small
file, written last: the size and sha256 of every other file, and what the folder is a checkpoint of. A folder without
an intact seal is no checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jaxai.core.errors import InputError

NAME = "seal.json"
_VERSION = 1
MAX_BYTES = 2**24
"""Of a file of JSON: enough for a hundred thousand files, too little to exhaust memory or patience."""
_THREADS = 2
_STRAY = 1000
"""How many files that are not part of a checkpoint are looked at, to name one."""


@dataclasses.dataclass(frozen=True)
class Seal:
    """What a checkpoint says about itself."""

    step: int
    position: int
    """Examples that the run had consumed."""
    experiment: str
    """sha256 of the fields of the resolved experiment that decide what a step computes."""
    finite: bool
    """Whether every parameter was finite."""
    files: Mapping[str, tuple[int, str]]
    """Size in bytes and sha256 of every file but the seal, by path in the folder."""


def write(folder: Path, *, step: int, position: int, experiment: str, finite: bool) -> None:
    """Makes `folder` a saved checkpoint: all of it is on disk, and then the seal, when this returns. Raises OSError."""
    names = list(walk(folder))
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(lambda name: _digest(folder / name, sync=True), names))
    for inner in {folder / parent for name in names for parent in Path(name).parents}:
        sync_folder(inner)
    body = {
        "version": _VERSION,
        "step": step,
        "position": position,
        "experiment": experiment,
        "finite": finite,
        "files": dict(zip(names, digests, strict=True)),
    }
    temporary = folder / f"{NAME}.tmp"
    with temporary.open("w") as file:
        json.dump({"sha256": _checksum(body), "seal": body}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / NAME)
    sync_folder(folder)
    sync_folder(folder.parent)


def read(folder: Path) -> Seal:
    """The seal of `folder`; raises InputError naming the file if it is missing or is not what was written."""
    if folder.is_symlink():
        raise InputError(str(folder), "is damaged: it is a link")
    data = read_json(folder / NAME)
    body = data.get("seal")
    try:
        if not isinstance(body, dict) or data.get("sha256") != _checksum(body):
            raise InputError(str(folder / NAME), "is damaged: its checksum differs")
        if body.get("version") != _VERSION or str(body.get("step")) != folder.name:
            what = f"is of version {body.get('version')!r}, step {body.get('step')!r}"[:100]
            raise InputError(str(folder / NAME), what, f"version {_VERSION}, step {folder.name} is expected")
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in body["files"].items()}
        return Seal(int(body["step"]), int(body["position"]), str(body["experiment"]), body["finite"] is True, files)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        what = f"is damaged: {type(error).__name__}: {error}"[:200]
        raise InputError(str(folder / NAME), what) from error


def verify(folder: Path, *, contents: bool = True) -> Seal:
    """The seal of `folder`, after holding every file to it; without `contents`, names and sizes only.

    Raises InputError naming the first file that differs. Nothing outside the folder is opened.
    """
    seal = read(folder)
    found = walk(folder, at_most=len(seal.files) + _STRAY)
    found.pop(NAME, None)
    for name in sorted(seal.files.keys() | found.keys()):
        if name not in found:
            raise InputError(str(folder / name), "is damaged: the file is missing")
        if name not in seal.files:
            raise InputError(str(folder / name), "is damaged: the file is not part of the checkpoint")
        if found[name] != seal.files[name][0]:
            what = f"is damaged: it has {found[name]:,} bytes, {seal.files[name][0]:,} were written"
            raise InputError(str(folder / name), what)
    if contents:
        names = list(seal.files)
        with ThreadPoolExecutor(_THREADS) as pool:
            for name, digest in zip(names, pool.map(lambda n: _digest(folder / n), names), strict=True):
                if digest != list(seal.files[name]):
                    raise InputError(str(folder / name), "is damaged: its contents are not what was written")
    if not seal.finite:
        raise InputError(str(folder), "holds parameters that are not finite")
    return seal


def walk(folder: Path, at_most: int | None = None) -> dict[str, int]:
    """Bytes of every file in `folder` by path; raises InputError for links, devices, and more than `at_most` files."""
    found: dict[str, int] = {}
    for path, status in _entries(folder):
        if not stat.S_ISREG(status.st_mode):
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            raise InputError(str(path), f"is damaged: it is {kind}")
        found[path.relative_to(folder).as_posix()] = status.st_size
        if at_most is not None and len(found) > at_most:
            raise InputError(str(folder), f"is damaged: it has more than {at_most:,} files")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint; raises InputError naming the file, follows no link."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                raise InputError(str(path), "is damaged: it is no small regular file")
            data = json.loads(file.read())
    except OSError as error:
        raise InputError(str(path), f"is damaged: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"is damaged: it is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(str(path), "is damaged: it is not a JSON object")
    return data


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below `folder` that is not a folder itself, without following links."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        yield folder, status
        return
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                else:
                    yield Path(entry.path), entry.stat(follow_symlinks=False)


def _digest(path: Path, sync: bool = False) -> list[Any]:
    """[bytes, sha256] of a file, which is then on disk if `sync`."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if sync:
            os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return [file.tell(), digest]


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
