"""Forms of operations that are fast where they run, and equal to the plain ones; chosen by backend, with a switch.

`use("fast")` compiles with them, `use("plain")` without; `Experiment.forms` says which a run takes.
"""

from jaxai.forms.choice import Forms, is_fast, use, using

__all__ = ["Forms", "is_fast", "use", "using"]
