"""Metrics as JSON lines: the run's own record, from which every chart and report is made.

Strict JSON: a value that is not finite is written as null and read back as nan. After a resume the file reads as one
uninterrupted run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from jaxai.core.errors import InputError, cannot_write


class JsonlWriter:
    """Appends records to the file at `path`, one JSON object a line, each flushed as it is written.

    `from_step` is the step the run continues from: later records, written by a process killed after its last
    checkpoint, and a torn last line are removed first. From step 0 the file starts empty.
    The latest confusion matrix of each split goes to a file beside it; images are not kept.
    """

    def __init__(self, path: str | os.PathLike[str], from_step: int = 0):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _keep_until(self.path, from_step)
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps({name: _plain(value) for name, value in record.items()}, allow_nan=False)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def confusion(self, step: int, split: str, matrix: np.ndarray, classes: Sequence[str] | None) -> None:
        value = {
            "step": int(step),
            "split": split,
            "classes": None if classes is None else list(classes),
            "matrix": np.asarray(matrix).tolist(),
        }
        path = self.path.parent / f"confusion_{quote(split, safe='')}.json"
        try:
            _replace(path, json.dumps(value))
        except OSError as error:
            raise cannot_write(path, error) from error

    def images(self, step: int, split: str, name: str, images: np.ndarray) -> None:
        del step, split, name, images

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise cannot_write(self.path, error) from error


def read_jsonl(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The records of the file at `path`, without a torn last line; null is read as nan."""
    records = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise InputError(str(path), "there is no such file", "a run writes it in its folder") from None
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is not None:
            records.append({name: math.nan if value is None else value for name, value in record.items()})
        elif line.strip() and number < len(lines):
            raise InputError(f"{path}:{number}", "is not a JSON object", "remove the line")
    return records


def read_confusions(folder: str | os.PathLike[str]) -> dict[str, tuple[np.ndarray, list[str] | None]]:
    """The latest confusion matrix [true, predicted] and class names of each split of the run in `folder`."""
    found = {}
    for path in sorted(Path(folder).glob("confusion_*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        found[unquote(path.stem.removeprefix("confusion_"))] = (np.array(value["matrix"]), value["classes"])
    return found


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    old = path.read_bytes()
    kept = []
    for line in old.split(b"\n") if step > 0 else ():
        record = _parse(line)
        if record is not None and record.get("step", 0) <= step:
            kept.append(line + b"\n")
    new = b"".join(kept)
    if new != old:
        _replace(path, new.decode("utf-8"))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
