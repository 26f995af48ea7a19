"""An experiment bound to this machine: open data, devices, the optimizer with its steps counted out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from jaxai import compat, forms
from jaxai.core import allocator
from jaxai.core.call import Call
from jaxai.core.duration import Duration, Minutes
from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.pipeline import Batch, Reader
from jaxai.experiment.declaration import Experiment
from jaxai.experiment.json import encode
from jaxai.optim import Grouped, Optimizer
from jaxai.parallel import Layout
from jaxai.parallel.tree_sum import num_virtual_shards
from jaxai.training import state as train_state
from jaxai.training.calls import Calls, has_convolutions
from jaxai.training.evaluate import Evaluator
from jaxai.training.feed import open_feed
from jaxai.training.flops import Utilization, model_flops
from jaxai.training.state import TrainState
from jaxai.training.step import StepOptions, make_train_step
from jaxai.training.traces import tracing


@dataclasses.dataclass(frozen=True)
class Setup:
    """What training, evaluating and describing an experiment have in common."""

    experiment: Experiment
    layout: Layout
    reader: Reader
    evals: dict[str, Reader]
    total_steps: int
    optimizer: optax.GradientTransformation
    schedule: Callable[[Any], Any] | None
    example: Batch
    """The first training batch."""

    def to_steps(self, duration: Duration) -> int:
        """A duration as steps of this run, at least 1."""
        return max(1, duration.steps(self.experiment.train.batch_size, self.reader.num_examples))

    def create(self, batch: Any) -> TrainState:
        """The state before the first step; pure, to be compiled or evaluated abstractly."""
        experiment = self.experiment
        return train_state.create(
            experiment.task,
            self.optimizer,
            batch,
            seed=experiment.seed,
            freeze=experiment.freeze,
            ema=experiment.ema is not None,
        )

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of the state, without computing any."""
        with tracing("task.init"):
            return jax.eval_shape(self.create, self.example)

    def train_step(self) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
        """The training step, not yet compiled."""
        layout = self.layout
        return make_train_step(
            self.experiment.task, self.optimizer, self.schedule, self.step_options, layout.axis, layout.for_use
        )

    @property
    def step_options(self) -> StepOptions:
        """The parts of the experiment that the step is made of."""
        e, num_devices = self.experiment, self.layout.num_shards
        shards = num_virtual_shards(e.train.batch_size, num_devices, "train") if e.reproducible else None
        return StepOptions(e.seed, e.precision, e.accumulate, e.ema, e.on_nonfinite, shards, num_devices)

    def init(self) -> TrainState:
        """The state before the first step, where it lives."""
        with forms.use(self.experiment.forms):
            return self.layout.init(self.create, self.example)

    def compiled_step(self) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
        """The compiled training step for batches of the host, which consumes its state."""
        step, layout = self.train_step(), self.layout

        def alone(state: TrainState, _: Any, batch: Any) -> tuple[TrainState, Any]:
            return step(state, batch)

        compiled = forms.using(self.experiment.forms, layout.compile_step(alone))
        return lambda state, batch: compiled(state, (), layout.send(batch))

    def calls(self, position: int = 0, step: int = 0, on_trace: Callable[[], None] = lambda: None) -> Calls:
        """Compiled steps over the training data from `position` on, as many a dispatch as the experiment says.

        The first is taken of a state after `step` steps.
        """
        e, train_step = self.experiment, self.train_step()
        rolls = e.steps_per_call == 1 or self.layout.devices[0].platform != "cpu" or e.reproducible
        if not rolls:
            alone = make_train_step(e.task, self.optimizer, self.schedule, self.step_options, None)
            rolls = not has_convolutions(alone, self.abstract_state, self.example)
        feed = open_feed(self.reader, self.layout, position, step, e.steps_per_call)
        return Calls(
            train_step, self.layout, feed, most=e.steps_per_call, rolls=rolls, choice=e.forms, on_trace=on_trace
        )

    def utilization(self) -> Utilization:
        """What a rate of steps comes to."""

        def count() -> float:
            with forms.use(e.forms):
                alone = make_train_step(e.task, self.optimizer, self.schedule, self.step_options, None)
                return model_flops(alone, self.abstract_state, self.example)

        e, tokens = self.experiment, self.example.get(getattr(self.experiment.task, "tokens", ""))
        size = None
        if tokens is not None and tokens.ndim == 2 and not hasattr(self.reader.source, "cut"):
            size = e.train.batch_size * tokens.shape[1]
        return Utilization(count, self.layout.devices, size)

    def evaluator(self) -> Evaluator:
        """The evaluation of the experiment's task."""
        e = self.experiment
        settings = {"seed": e.seed, "precision": e.precision, "reproducible": e.reproducible, "choice": e.forms}
        return Evaluator(e.task, self.layout, **settings)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The experiment as JSON-able data."""
        return encode(self.experiment)

    def fingerprint(self) -> dict[str, Any]:
        """Which examples a position in the data means, by field."""
        train, task = self.config["train"], self.config["task"]
        return {
            "seed": self.config["seed"],
            "train.source": train["source"],
            "train.source length": self.reader.num_examples,
            "train.shuffle": train["shuffle"],
            "train.batch_size": train["batch_size"],
            "task.augment": task.get("augment"),
        }


def set_up(experiment: Experiment) -> Setup:
    """Opens the data, binds the devices and checks that everything fits; raises InputError where it does not."""
    allocator.keep_warm()
    if experiment.reproducible:
        compat.be_deterministic()
    layout = experiment.parallel.lay_out(mapped=experiment.reproducible)
    process, num_processes = layout.share
    share = {"process": process, "num_processes": num_processes}
    reader = experiment.train.open("train", seed=experiment.seed, **share)
    evals = {name: pipeline.open(f"evals.{name}", **share) for name, pipeline in experiment.evals.items()}
    _check_batches(experiment, layout)
    _check_calls(experiment, reader)
    count = functools.partial(_to_steps, experiment, reader)
    total_steps = count("duration", experiment.duration)
    for name in ("evaluate_every", "log_every"):
        if getattr(experiment, name) is not None:
            count(name, getattr(experiment, name))
    if not isinstance(experiment.checkpoint.every, Minutes):
        count("checkpoint.every", experiment.checkpoint.every)
    if experiment.checkpoint.keep_every is not None:
        count("checkpoint.keep_every", experiment.checkpoint.keep_every)
    to_steps = functools.partial(count, "optimizer.learning_rate")
    if isinstance(experiment.optimizer, (Optimizer, Grouped)):
        optimizer = experiment.optimizer.build(total_steps, to_steps)
        schedule = experiment.optimizer.schedule(total_steps, to_steps)
    else:
        optimizer, schedule = _foreign_optimizer(experiment.optimizer), None
    # The same in all processes: a model may be initialized by what it sees.
    example = (reader if reader.process == 0 else dataclasses.replace(reader, process=0)).at(0)
    setup = Setup(experiment, layout, reader, evals, total_steps, optimizer, schedule, example)
    _check_data(setup)
    return setup


def _check_calls(experiment: Experiment, reader: Reader) -> None:
    if experiment.train.resident and jax.process_count() > 1:
        what = f"needs one process, not {jax.process_count()}"
        raise InputError("train.resident", what, "leave it at False")
    if experiment.steps_per_call > 1 and hasattr(reader.source, "cut"):
        raise InputError("steps_per_call", "train.source gives batches of several lengths", "steps_per_call=1")


def _to_steps(experiment: Experiment, reader: Reader, field: str, duration: Duration) -> int:
    if isinstance(duration, Minutes):
        raise InputError(field, f"{duration} does not come to a number of steps", "use steps, epochs or examples")
    return max(1, duration.steps(experiment.train.batch_size, reader.num_examples))


def _foreign_optimizer(optimizer: Any) -> optax.GradientTransformation:
    with tracing("optimizer"):
        built = optimizer() if isinstance(optimizer, Call) else optimizer
    if not isinstance(built, optax.GradientTransformation):
        what = f"gives {type(built).__name__}, not an Optax GradientTransformation"
        raise InputError("optimizer", what, "such as optim.adamw(1e-3) or Call(optax.adam, learning_rate=1e-3)")
    return built


def _check_batches(experiment: Experiment, layout: Layout) -> None:
    parts = layout.num_shards * experiment.accumulate
    for field, size, of in [
        ("train", experiment.train.batch_size, parts),
        *((f"evals.{name}", pipeline.batch_size, layout.num_shards) for name, pipeline in experiment.evals.items()),
    ]:
        if size % of:
            what = f"{size} does not divide by {of} ({layout.num_shards} devices"
            what += f" x {experiment.accumulate} micro-batches)" if of != layout.num_shards else ")"
            raise InputError(f"{field}.batch_size", what, f"nearest: {max(size // of, 1) * of}")
        if experiment.reproducible:
            num_virtual_shards(size, layout.num_shards, field)


def _check_data(setup: Setup) -> None:
    """The task's own checks of source and first batches, and that evaluations look like the training data."""
    if (check_source := getattr(setup.experiment.task, "check_source", None)) is not None:
        try:
            check_source(setup.experiment.train.source)
        except InputError as error:
            raise InputError(f"train.source.{error.field}", error.what, error.fix) from error
    check_batch(setup, setup.example, "train")
    for name, reader in setup.evals.items():
        for field in sorted(reader.spec.keys() & setup.reader.spec.keys()):
            mine, theirs = reader.spec[field], setup.reader.spec[field]
            if mine != theirs:
                what = f"{field!r} is {_spell(mine)}, in the training data {_spell(theirs)}"
                raise InputError(f"evals.{name}", what)
        missing = setup.reader.spec.keys() - reader.spec.keys()
        if missing:
            raise InputError(f"evals.{name}", f"lacks the field {min(missing)!r} of the training data")
    for name, reader in setup.evals.items():
        check_batch(setup, next(reader.evaluation()), f"evals.{name}")


def check_best(setup: Setup) -> None:
    """Raises InputError if `best` names no metric that is reported: before the first step, not after an epoch."""
    best = setup.experiment.best
    if best is None:
        return
    name = best.metric.split("/")[0]
    reported = setup.evaluator().names(setup.abstract_state.variables(), next(setup.evals[name].evaluation()))
    known = [f"{name}/{metric}" for metric in reported]
    if best.metric not in known:
        raise InputError("best.metric", f"no {best.metric!r} is reported", did_you_mean(best.metric, known))


def check_batch(setup: Setup, batch: Batch, field: str) -> None:
    """Raises InputError if a host batch cannot be learned from: not finite, or not what the task takes."""
    for name, array in batch.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            row = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(axis=1)))
            index = int(batch["index"][row])
            raise InputError(field, f"example {index}: {name!r} holds a value that is not finite", "clean the data")
    check = getattr(setup.experiment.task, "check", None)
    if check is None:
        return
    variables = setup.abstract_state.variables()
    try:
        with tracing("task.check"):
            check(variables, batch)
    except InputError as error:
        raise InputError(f"{field}.{error.field}", error.what, error.fix) from error


def check_evaluation(setup: Setup, name: str, values: Mapping[str, Any]) -> None:
    """Raises InputError if the loss among `values` is not finite because of the data; a model's own nan passes."""
    if np.isfinite(values["loss"]):
        return
    for batch in setup.evals[name].evaluation():
        check_batch(setup, batch, f"evals.{name}")


def _spell(spec: tuple[tuple[int, ...], np.dtype]) -> str:
    return f"{spec[1]}{list(spec[0])}"
