"""What an attacker can do to the folder of a step, and the seal that fits it afterwards."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxai.training import seal

ARRAY = "ema.Dense_0.kernel"
"""An array that every way of loading reads: float32[16, 8] in one part."""

Plant = Callable[[Path, Path], None]


def close(step: Path, changes: dict[str, Any] | None = None) -> None:
    """Writes a seal that fits whatever lies in `step`, links followed as far as they lead to files."""
    (step / seal.NAME).unlink(missing_ok=True)
    files = {}
    for inner, _, names in os.walk(step):
        for path in (Path(inner) / name for name in names):
            regular = stat.S_ISREG(path.stat().st_mode)
            files[str(path.relative_to(step))] = seal._digest(path.resolve()) if regular else [0, ""]
    body = {"version": 1, "step": 3, "position": 36, "experiment": DIGEST, "finite": True, "files": files} | (
        changes or {}
    )
    (step / seal.NAME).write_text(json.dumps({"sha256": seal._checksum(body), "seal": body}))


DIGEST = ""
"""Of the experiment, as the true seal has it; set by the process that plants."""


def edit_json(name: str, change: Callable[[Any], Any]) -> Plant:
    """Changes what is in a file of JSON."""

    def plant(step: Path, secret: Path) -> None:
        data = json.loads((step / name).read_text())
        changed = change(data)
        (step / name).write_text(json.dumps(data if changed is None else changed))

    return plant


def header(**changes: Any) -> Plant:
    """Changes the header of the array."""
    return edit_json(f"state/{ARRAY}/.zarray", lambda data: data.update(changes))


def put(name: str, content: bytes | str) -> Plant:
    """Writes a file."""

    def plant(step: Path, secret: Path) -> None:
        (step / name).parent.mkdir(parents=True, exist_ok=True)
        (step / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return plant


def link(name: str, target: str) -> Plant:
    """Puts a link to something of `secret` in the place of a file or folder."""

    def plant(step: Path, secret: Path) -> None:
        path = step / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(secret / target)

    return plant


def special(name: str, make: Callable[[Path], object]) -> Plant:
    """Puts something that is no regular file in the place of a file."""

    def plant(step: Path, secret: Path) -> None:
        (step / name).unlink(missing_ok=True)
        make(step / name)

    return plant


def make_socket(path: Path) -> None:
    """A socket; bound by a short name, which is all that sockets allow."""
    before = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)
    os.chdir(before)


def both(*plants: Plant) -> Plant:
    """One after the other."""

    def plant(step: Path, secret: Path) -> None:
        for each in plants:
            each(step, secret)

    return plant


def files(change: Callable[[dict[str, Any], Path], Any]) -> Plant:
    """Changes the list of files in the seal, which stays consistent."""

    def plant(step: Path, secret: Path) -> None:
        close(step)
        listed = json.loads((step / seal.NAME).read_text())["seal"]["files"]
        changed = change(listed, secret)
        close(step, {"files": listed if changed is None else changed})

    return plant


def sealed(**changes: Any) -> Plant:
    """A consistent seal with other fields."""
    return lambda step, secret: close(step, changes)


class Payload:
    """What a pickle makes its reader run."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {MARKER}",)


MARKER = "/tmp/jaxai-hostile-marker"
"""A file that exists once code of a checkpoint has run; of this process's own, once it is set."""


def pickled(name: str) -> Plant:
    """A pickle under the name of a file."""
    return lambda step, secret: put(name, pickle.dumps(Payload()))(step, secret)


def entry(*keys: str, value_type: str = "jax.Array", skip: bool = False, **more: Any) -> dict[str, Any]:
    """How Orbax notes that an array of these keys is there."""
    return {
        str(keys): {
            "key_metadata": [{"key": key, "key_type": 2} for key in keys],
            "value_metadata": {"value_type": value_type, "skip_deserialize": skip, **more},
        }
    }


def noted(*keys: str, **more: Any) -> Plant:
    """Has Orbax's notes speak of one more array."""
    return edit_json("state/_METADATA", lambda data: data["tree_metadata"].update(entry(*keys, **more)))


def typed(value_type: str) -> Plant:
    """Has Orbax's notes say that the array is of another type."""

    def change(data: Any) -> None:
        for key, value in data["tree_metadata"].items():
            if "ema" in key and "kernel" in key:
                value["value_metadata"]["value_type"] = value_type

    return edit_json("state/_METADATA", change)
