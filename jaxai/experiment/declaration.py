"""`Experiment`: everything that decides the numbers of a run, as one frozen value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from jaxai.core.duration import Duration, Epochs, Minutes, Steps
from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data.pipeline import Pipeline
from jaxai.parallel import PMap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """By which evaluation metric checkpoints are compared."""

    metric: str
    """EVALUATION/METRIC, such as `test/accuracy`."""
    mode: Literal["max", "min"] = "max"
    """Whether more or less is better."""

    def __post_init__(self):
        check_fields(self, "best.")
        if self.metric.count("/") != 1:
            raise InputError("best.metric", f"{self.metric!r} is not EVALUATION/METRIC", "such as test/accuracy")

    def improves(self, value: float, on: float | None, by: float = 0.0) -> bool:
        """Whether `value` is better than `on` by more than `by`; what is not finite never is."""
        if not math.isfinite(value):
            return False
        return on is None or (value > on + by if self.mode == "max" else value < on - by)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """When to stop before the end, by `Experiment.best`; the best weights are then the result."""

    patience: int = 5
    """Evaluations in a row without improvement after which training stops."""
    min_delta: float = 0.0
    """The least change that counts as an improvement."""

    def __post_init__(self):
        check_fields(self, "early_stopping.")
        if self.patience < 1:
            raise InputError("early_stopping.patience", f"must be at least 1, is {self.patience}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """When the state is saved, and which saves are kept; one is always made at the end."""

    every: Duration = Minutes(10)  # noqa: RUF009 - a frozen value
    """Interval in steps, epochs, examples or minutes."""
    keep_last: int = 1
    """How many of the newest are kept."""
    keep_best: int = 1
    """How many of the best, by `Experiment.best`, are kept besides."""
    keep_every: Duration | None = None
    """Interval of which the first checkpoint is kept for good."""
    verify: bool = True
    """Whether every byte is held to its checksum before a checkpoint is used; files and sizes always are."""
    on_failure: Literal["stop", "continue"] = "stop"
    """What to do when a checkpoint cannot be saved: stop, or warn and go on without it."""
    deadline: float = 600.0
    """Seconds after which a checkpoint that is still being written has failed; the process ends if it waits for it."""

    def __post_init__(self):
        check_fields(self, "checkpoint.")
        if self.keep_last < 1:
            raise InputError("checkpoint.keep_last", f"must be at least 1, is {self.keep_last}")
        if self.keep_best < 0:
            raise InputError("checkpoint.keep_best", f"must not be negative, is {self.keep_best}")
        if not self.deadline > 0:
            raise InputError("checkpoint.deadline", f"must be positive, is {self.deadline:g}")
        if self.deadline > 1e9:
            raise InputError("checkpoint.deadline", f"must be at most 1e9 seconds, is {self.deadline:g}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollBack:
    """When the loss spikes or is not finite: back to the last good checkpoint, and on with the data that comes next."""

    deviations: float = 6.0
    """How many standard deviations above the median of the intervals before it an interval's loss is a spike, if it is
    also twice as far above as any of them."""
    window: int = 20
    """With how many intervals of `log_every` it is compared; no spike is seen before a quarter of them."""
    at_most: int = 3
    """After how many roll-backs the run has diverged."""

    def __post_init__(self):
        check_fields(self, "roll_back.")
        for name, least in (("window", 4), ("at_most", 1)):
            if getattr(self, name) < least:
                raise InputError(f"roll_back.{name}", f"must be at least {least}, is {getattr(self, name)}")
        if not self.deviations > 0:
            raise InputError("roll_back.deviations", f"must be positive, is {self.deviations:g}")


@runtime_checkable
class Start(Protocol):
    """Values that training starts from."""

    def load(self, wanted: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Arrays by path and a line about them; what is left out starts anew.

        `wanted` has the shapes and types of all variables by path, such as `params/head/kernel`. Raises InputError.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training run as a value: the same value gives the same numbers."""

    task: Any
    """What is learned: a `jaxai.Task`, which owns its model."""
    train: Pipeline
    """The training data and how it becomes batches."""
    evals: Mapping[str, Pipeline] = dataclasses.field(default_factory=dict)
    """Named evaluations; each sees every example of its data exactly once."""
    optimizer: Any
    """How it is learned: a `jaxai.optim.Optimizer`, or `Call(optax.adam, learning_rate=...)`."""
    duration: Duration
    """How long to train."""
    seed: int = 0
    """Decides initial values, order of the data, augmentation and dropout."""
    parallel: Any = PMap()  # noqa: RUF009 - a frozen value
    """How to use several devices: `PMap()` or `Mesh(...)`."""
    steps_per_call: int = 1
    """Steps in one dispatch, where no record, evaluation or save comes between: for models whose steps are short."""
    forms: Literal["fast", "plain"] = "fast"
    """Whether operations take the forms that are fast on this backend, or XLA's own; equal up to rounding."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters are always float32."""
    accumulate: int = 1
    """Micro-batches whose gradients make one step: less memory, same result."""
    ema: float | None = None
    """Decay of an exponential moving average of the parameters; evaluations then use the average."""
    freeze: tuple[str, ...] = ()
    """Regexes of parameter paths that are not trained."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What to do about a loss or gradient that is not finite: stop, or leave that step out."""
    roll_back: RollBack | None = None
    """What is a loss spike, and to go back to the last good checkpoint at one; None goes on."""
    reproducible: bool = False
    """Sum in one order whatever the number of devices: the same bits on 1, 2, 4 and 8, at some cost in speed."""
    evaluate_every: Duration | None = Epochs(1)  # noqa: RUF009 - a frozen value
    """Interval between evaluations; one is always made at the end, which None leaves as the only one."""
    log_every: Duration = Steps(50)  # noqa: RUF009 - a frozen value
    """Interval between records of training metrics."""
    checkpoint: Checkpoints = Checkpoints()
    """When the state is saved, and which saves are kept."""
    best: Best | None = None
    """By which metric the best checkpoint is kept."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the end; None never does."""
    start_from: str | Start | None = None
    """A run folder whose variables training starts from, or a value such as `adapt.Pretrained(...)`."""

    def __post_init__(self):
        check_fields(self)
        self._check_methods("task", ("init", "loss"), "see jaxai.Task")
        self._check_methods("parallel", ("lay_out",), "PMap() or Mesh()")
        self._check_evals()
        self._check_numbers()
        if self.early_stopping is not None and self.best is None:
            raise InputError(
                "early_stopping", "needs `best` to know what improves", "best=Best(metric='test/loss', mode='min')"
            )

    def _check_methods(self, field: str, methods: tuple[str, ...], fix: str) -> None:
        value = getattr(self, field)
        if isinstance(value, type):
            raise InputError(field, f"is the class {value.__name__}, not a value", f"{value.__name__}(...)")
        for method in methods:
            if not callable(getattr(value, method, None)):
                raise InputError(field, f"{type(value).__name__} has no method {method!r}", fix)

    def _check_evals(self) -> None:
        for name, pipeline in self.evals.items():
            if not isinstance(name, str) or not name.isidentifier() or name == "train":
                raise InputError("evals", f"{name!r} cannot name an evaluation", "letters, digits, _; not train")
            if not isinstance(pipeline, Pipeline):
                raise InputError(f"evals.{name}", f"must be a Pipeline, is {type(pipeline).__name__}")
        if self.best is not None:
            name = self.best.metric.split("/")[0]
            if name not in self.evals:
                raise InputError("best.metric", f"there is no evaluation {name!r}", did_you_mean(name, self.evals))

    def _check_numbers(self) -> None:
        if self.seed < 0:
            raise InputError("seed", f"must not be negative, is {self.seed}")
        if self.seed >= 2**63:
            raise InputError("seed", f"must be below 2^63, is {self.seed}")
        if self.accumulate < 1:
            raise InputError("accumulate", f"must be at least 1, is {self.accumulate}")
        if self.steps_per_call < 1:
            raise InputError("steps_per_call", f"must be at least 1, is {self.steps_per_call}")
        if self.train.batch_size % self.accumulate:
            what = f"{self.train.batch_size} does not divide into {self.accumulate} micro-batches"
            raise InputError("train.batch_size", what)
        if self.reproducible and self.accumulate > 1:
            what = "cannot go with accumulate: a step is taken in virtual shards already"
            raise InputError("reproducible", what, "accumulate=1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise InputError("ema", f"must lie between 0 and 1, is {self.ema}")
