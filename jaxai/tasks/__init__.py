"""What is learned: pairs of pure functions, `init` and `loss`, that own their models."""

from jaxai.tasks.classification import Classification
from jaxai.tasks.task import Out, Task

__all__ = ["Classification", "Out", "Task"]
