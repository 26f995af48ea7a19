"""What a task around another passes on."""

from __future__ import annotations

from typing import Any

import jax

from jaxai.core.errors import InputError
from jaxai.tasks.task import Batch, Task, Variables

OPTIONAL = ("predict", "embed", "check", "check_source", "images", "pictures")
"""What a task may have; a wrapper has of these what the task inside has."""


class Wrapper:
    """Base of tasks with a `task` inside whose variables are theirs: optional methods are the inner task's."""

    task: Any

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        return self.task.init(key, batch)

    def __getattr__(self, name: str) -> Any:
        """The inner task's optional method, or its absence."""
        if name in OPTIONAL:
            return getattr(self.task, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


def check_task(task: Any, field: str = "task.task") -> None:
    """Raises InputError for what is no task."""
    if isinstance(task, type) or not isinstance(task, Task):
        raise InputError(field, f"{getattr(task, '__name__', type(task).__name__)} is no task", "see jaxai.Task")
