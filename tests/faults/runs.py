"""What a run left on disk, read without a device: which steps are saved, and what the last one holds, bit for bit."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.training import seal
from jaxai.training.checkpoint import is_step

TIMING = {"seconds", "times", "examples_per_second", "tokens_per_second", "data_wait"}


def sealed(run: Path) -> tuple[list[int], list[str]]:
    """The steps that have a seal, oldest first, and what is wrong with those that it does not fit."""
    steps, wrong = [], []
    for path in (run / "checkpoints").glob("*/seal.json"):
        steps.append(int(path.parent.name))
        try:
            seal.verify(path.parent)
        except InputError as error:
            wrong.append(str(error))
    return sorted(steps), wrong


def torn(run: Path) -> list[str]:
    """What saving, deleting or locking has left unfinished."""
    folder = run / "checkpoints"
    kept = [] if not folder.is_dir() else [p for p in folder.iterdir() if not is_step(p.name)]
    unsealed = [] if not folder.is_dir() else [p for p in folder.iterdir() if not (p / seal.NAME).exists()]
    locks = [run / "lock"] if (run / "lock").exists() else []
    return sorted({str(path.relative_to(run)) for path in [*kept, *unsealed, *locks, *run.glob("*.tmp")]})


def outcome(run: Path) -> dict[str, Any]:
    """What the newest step holds, by the sha256 of every array's bytes, and all records; nothing that is a time."""
    steps, wrong = sealed(run)
    assert not wrong, wrong
    folder = run / "checkpoints" / str(steps[-1])
    arrays = {path.parent.name: array(path.parent) for path in (folder / "state").glob("*/.zarray")}
    meta = json.loads((folder / "meta" / "metadata").read_text())
    return {
        "step": steps[-1],
        "arrays": {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in arrays.items()},
        "data": json.loads((folder / "data" / "metadata").read_text()),
        "meta": {name: value for name, value in meta.items() if name not in TIMING},
        "records": records(run),
    }


def array(folder: Path) -> np.ndarray:
    """An array of a checkpoint, put together from its parts, however many wrote them."""
    header = json.loads((folder / ".zarray").read_text())
    shape, chunks, dtype = header["shape"], header["chunks"], np.dtype(header["dtype"])
    if not shape:
        return np.frombuffer((folder / "0").read_bytes(), dtype)[0]
    whole = np.empty(shape, dtype)
    for place in itertools.product(*(range(-(-n // size)) for n, size in zip(shape, chunks, strict=True))):
        part = np.frombuffer((folder / ".".join(map(str, place))).read_bytes(), dtype).reshape(chunks)
        begins = [i * size for i, size in zip(place, chunks, strict=True)]
        inside = [slice(begin, begin + size) for begin, size in zip(begins, chunks, strict=True)]
        target = whole[tuple(inside)]
        target[...] = part[tuple(map(slice, target.shape))]
    return whole


def records(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without times."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in TIMING} for line in lines]


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of what differs between two outcomes; empty if they are the same bit for bit."""
    found = [name for name in one if name != "arrays" and one[name] != other[name]]
    arrays = one["arrays"].keys() | other["arrays"].keys()
    return found + sorted(name for name in arrays if one["arrays"].get(name) != other["arrays"].get(name))
