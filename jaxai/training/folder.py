"""A run's folder: what lies in it, how it is claimed by an experiment, and how it is read back.

config.json        the resolved experiment          checkpoints/   one folder a saved step
NAME.py            the experiment file, verbatim     metrics.jsonl  one record a line
environment.json   versions, devices, command        tensorboard/   the same, for TensorBoard
results.json       the final metrics
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from jaxai.core.errors import InputError, cannot_write
from jaxai.experiment.declaration import Experiment
from jaxai.experiment.json import differences, encode
from jaxai.training import lock
from jaxai.training.checkpoint import saved_steps

#: Fields that may change on resume when the user insists: the state and the position in the data keep their meaning.
HARMLESS = (
    "duration", "evals", "parallel", "evaluate_every", "log_every", "checkpoint", "best", "early_stopping", "roll_back",
    "train.batch_size", "train.workers", "train.prefetch", "train.cache", "train.resident",
    "steps_per_call", "forms",
)  # fmt: skip
_PACKAGES = (
    "jaxai-research", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tensorflow-datasets",
)  # fmt: skip


def check(folder: Path, experiment: Experiment, resume_anyway: bool) -> None:
    """Raises InputError unless `folder` can be the run of `experiment`: new, or a run of the same experiment.

    Changes nothing but to make the folder. A run without a checkpoint has nothing to lose and may be replaced.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise InputError(str(folder), what, "choose another folder with --run") from error
    saved = saved_steps(folder / "checkpoints")
    config = folder / "config.json"
    if config.exists():
        if saved:
            _check_same(folder, _completed(read_json(config), experiment), encode(experiment), resume_anyway)
    elif saved or any(path.is_file() and path.name != lock.NAME for path in folder.iterdir()):
        raise InputError(str(folder), "is not empty and holds no run", "choose another folder with --run")


def _completed(config: Any, experiment: Experiment) -> Any:
    """`config` with the fields that jaxai has gained since, where these are what they are by default."""
    if not isinstance(config, dict):
        return config
    gained = {
        field.name: encode(value)
        for field in dataclasses.fields(experiment)
        if field.name not in config and (value := getattr(experiment, field.name)) == field.default
    }
    return config | gained


def _check_same(folder: Path, old: Any, new: Any, resume_anyway: bool) -> None:
    found = differences(old, new)
    harmful = [d for d in found if not _harmless(d[0])]
    if not found or (resume_anyway and not harmful):
        return
    listed = ", ".join(f"{field} {before} -> {now}" for field, before, now in (harmful or found)[:6])
    fix = "choose another folder with --run"
    if not harmful:
        fix = f"--resume-anyway to go on with it, or {fix}"
    raise InputError(str(folder), f"holds a run of another experiment: {listed}", fix)


def decisive(config: dict[str, Any], field: str = "") -> dict[str, Any]:
    """The fields of an encoded experiment that may not change on resume, by dotted name."""
    kept: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{field}{name}"
        if path == "train":
            kept |= decisive(value, "train.")
        elif not _harmless(path):
            kept[path] = value
    return kept


def _harmless(field: str) -> bool:
    return any(field == harmless or field.startswith(f"{harmless}.") for harmless in HARMLESS)


def claim(folder: Path, experiment: Experiment, source: Path | None) -> None:
    """Writes down what is run here: the experiment, its file, the environment."""
    write_json(folder / "config.json", encode(experiment))
    write_json(folder / "environment.json", environment())
    if source is not None and source.suffix == ".py":
        try:
            shutil.copyfile(source, folder / source.name)
        except OSError as error:
            raise cannot_write(folder / source.name, error) from error


def environment() -> dict[str, Any]:
    """Versions, devices, git revision and command of this process."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    devices = jax.devices()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "folder": str(Path.cwd()),
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "processes": jax.process_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "xla_cpu_threads": os.environ.get("PJRT_NPROC", ""),
        "versions": versions,
    }


def _git_revision() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_json(path: Path, data: Any) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it. Raises StorageError."""
    temporary = path.with_suffix(".json.tmp")
    try:
        with temporary.open("w") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; raises InputError naming the file if it is damaged."""
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(str(path), f"is not readable JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(str(path), "is not a JSON object")
    return data
