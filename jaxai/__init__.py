"""jaxai: an experiment is a value; training is a pure function of it.

The names below are loaded when they are first used, so that `import jaxai` costs nothing and imports no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxai import adapt, metrics, models, optim
    from jaxai.core.call import Call
    from jaxai.core.duration import Epochs, Examples, Minutes, Steps
    from jaxai.core.errors import DivergedError, InputError, JaxaiError, RetryError, StorageError
    from jaxai.data.pipeline import Pipeline
    from jaxai.experiment import Best, Checkpoints, EarlyStopping, Experiment, RollBack, load
    from jaxai.parallel import Mesh, PMap
    from jaxai.tasks import Out, Task
    from jaxai.training.run import Result, steps, train
    from jaxai.training.state import TrainState

_HOME = {
    "Best": "experiment",
    "Call": "core.call",
    "Checkpoints": "experiment",
    "DivergedError": "core.errors",
    "EarlyStopping": "experiment",
    "Epochs": "core.duration",
    "Examples": "core.duration",
    "Experiment": "experiment",
    "InputError": "core.errors",
    "JaxaiError": "core.errors",
    "Mesh": "parallel",
    "Minutes": "core.duration",
    "Out": "tasks",
    "PMap": "parallel",
    "Pipeline": "data.pipeline",
    "Result": "training.run",
    "RetryError": "core.errors",
    "RollBack": "experiment",
    "Steps": "core.duration",
    "StorageError": "core.errors",
    "Task": "tasks",
    "TrainState": "training.state",
    "load": "experiment",
    "steps": "training.run",
    "train": "training.run",
}
_ROOMS = ("adapt", "metrics", "models", "optim")

__all__ = [
    "Best", "Call", "Checkpoints", "DivergedError", "EarlyStopping", "Epochs", "Examples", "Experiment", "InputError",
    "JaxaiError", "Mesh", "Minutes", "Out", "PMap", "Pipeline", "Result", "RetryError", "RollBack", "Steps",
    "StorageError", "Task", "TrainState", "adapt", "load", "metrics", "models", "optim", "steps", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"jaxai.{_HOME[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"jaxai.{name}")
    raise AttributeError(f"module 'jaxai' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
