"""The training loop, a generator: evaluate and save what is due, next batch, step, log, in this order.

The boundary before step k + 1 sees a state of k steps: there it is evaluated, saved, and training ends or is
interrupted. The loop passes that boundary once more than it takes steps, so the end needs no special case. What it does
there is a function of the step number and of the history of evaluations, so a resumed run does the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax

from jaxai import compat, metrics
from jaxai.core.duration import Epochs, Minutes
from jaxai.core.errors import DivergedError, InputError, did_you_mean
from jaxai.experiment.declaration import Experiment
from jaxai.log import Display, NullDisplay, Writer
from jaxai.training import history as past
from jaxai.training.checkpoint import Checkpointer, retain
from jaxai.training.evaluate import Evaluator
from jaxai.training.initial import load_params
from jaxai.training.records import Sink, TrainingLog, scalars
from jaxai.training.setup import Setup, check_batch, check_evaluation, set_up
from jaxai.training.signals import Signals
from jaxai.training.state import TrainState
from jaxai.training.step import Packed
from jaxai.training.traces import Traced


class Step(NamedTuple):
    """What the loop gives after each step."""

    step: int
    """Steps taken."""
    total_steps: int
    """Steps that the experiment comes to."""
    state: TrainState
    """The state, until the next step consumes it."""
    packed: Packed
    """The step's metrics, still on the device."""
    evaluations: Mapping[str, float]
    """The latest evaluation: `{"test/accuracy": 0.98, ...}`; empty before the first."""

    def metrics(self) -> dict[str, Any]:
        """The step's metrics; waits for the device."""
        return metrics.compute(self.packed.unpack())


class Loop:
    """A run of an experiment from its first or its last saved step; entered once and iterated once."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path | None,
        *,
        display: Display | None,
        writers: Sequence[Writer],
        title: str,
    ):
        compat.enable_compilation_cache()
        self.setup: Setup = set_up(experiment)
        self.experiment = experiment
        self._sink = Sink(writers, display or NullDisplay())
        self._title = title
        self._layout = self.setup.layout
        self._traced, self._num_traces = Traced(self.setup.train_step()), 0
        self._train_step = self._layout.compile_step(self._traced)
        self._evaluate = Evaluator(experiment.task, self._layout, seed=experiment.seed, precision=experiment.precision)
        self._checkpoints = Checkpointer(folder / "checkpoints") if folder is not None else None
        self._signals = Signals()
        self.history: list[past.Entry] = []
        self._best_variables: Any = None
        self._check_best_metric()
        self._restore()
        every = experiment.checkpoint.every
        self._save_every = None if isinstance(every, Minutes) else self.setup.to_steps(every)
        self._last_save = time.monotonic()

    def _check_best_metric(self) -> None:
        """Before the first step, not after the first epoch."""
        best = self.experiment.best
        if best is None:
            return
        name = best.metric.split("/")[0]
        reported = self._evaluate.names(
            self.setup.abstract_state.variables(), next(self.setup.evals[name].evaluation())
        )
        known = [f"{name}/{metric}" for metric in reported]
        if best.metric not in known:
            raise InputError("best.metric", f"no {best.metric!r} is reported", did_you_mean(best.metric, known))

    def add_writers(self, writers: Sequence[Writer]) -> None:
        """Further destinations of records; to be called before the loop is entered."""
        self._sink.writers.extend(writers)

    def final_variables(self, best_step: int | None) -> Any:
        """The variables of `best_step`, or of the state at hand."""
        if best_step is None or best_step == self.step:
            return self.state.variables()
        if self._checkpoints is not None and best_step in self._checkpoints.steps():
            abstract = self._layout.abstract(self.setup.abstract_state)
            return self._checkpoints.restore(best_step, abstract).state.variables()
        return self._best_variables if self._best_variables is not None else self.state.variables()

    def _restore(self) -> None:
        """The newest checkpoint, or the state before the first step."""
        saved = self._checkpoints.steps() if self._checkpoints is not None else []
        meta: dict[str, Any] = {}
        if saved and self._checkpoints is not None:
            abstract = self._layout.abstract(self.setup.abstract_state)
            restored = self._checkpoints.restore(saved[-1], abstract)
            self.state, self.position, meta = restored.state, restored.position, restored.meta
        else:
            self.state, self.position = self._layout.init(self.setup.create, self.setup.example), 0
            self._start_from()
        self.step = self.start_step = int(self.state.step)
        self.history = past.from_json(meta.get("history", []))
        self._patience_over = past.patience_over(self.history, self.experiment)
        self.log = TrainingLog(
            self._sink,
            batch_size=self.experiment.train.batch_size,
            seconds_before=meta.get("seconds", 0.0),
            carried=meta.get("interval"),
            on_nonfinite=self._nonfinite,
            start_step=self.step,
            # The first epoch of cached data is slow by intent, and no reason to advise caching.
            warm_until=self.step + (self.setup.to_steps(Epochs(1.5)) if self.experiment.train.cache else 1),
        )

    def _start_from(self) -> None:
        if self.experiment.start_from is not None:
            self.state = load_params(self.state, Path(self.experiment.start_from))

    def __enter__(self) -> Loop:
        self._signals.__enter__()
        self._sink.display.start(self._title, self.step, self.setup.total_steps)
        if self.step:
            self._sink.display.note(f"resumed at step {self.step:,}")
        else:
            images = getattr(self.experiment.task, "images", None)
            self._sink.images(0, "train", images(self.setup.example) if images is not None else {})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.__exit__()
        try:
            if self._checkpoints is not None:
                self._checkpoints.wait()
                self._retain()
                self._checkpoints.close()
        finally:
            self._sink.close()
            self._sink.display.close()

    @property
    def status(self) -> str:
        """`finished`, `stopped early`, `interrupted` or `training`."""
        if self._signals.received is not None:
            return "interrupted"
        if self.step >= self.setup.total_steps:
            return "finished"
        return "stopped early" if self._patience_over else "training"

    @property
    def signal(self) -> int | None:
        """The signal that interrupted the run, if one did."""
        return self._signals.received

    def steps(self) -> Iterator[Step]:
        """The loop itself."""
        experiment, total_steps, display = self.experiment, self.setup.total_steps, self._sink.display
        batches = self.setup.reader.batches(self.position // experiment.train.batch_size)
        log_every = self.setup.to_steps(experiment.log_every)
        evaluate_every = self.setup.to_steps(experiment.evaluate_every or experiment.duration)
        display.status("compiling")
        over = self.status != "training"
        while True:
            if self.step != self.start_step:
                improved = False
                if self.step % evaluate_every == 0 or self.step == total_steps:
                    improved = self._evaluate_all()
                over = self.status != "training"
                if over or improved or self._save_is_due():
                    self._save()
            if over:
                break
            before = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - before
            self.state, packed = self._train_step(self.state, batch)
            self.step += 1
            self.position += self.experiment.train.batch_size
            self.log.add(packed, waited)
            if len(self._traced.signatures) != self._num_traces:
                self._compiled(time.perf_counter() - before)
            if self.step % log_every == 0 or self.step == total_steps:
                self.log.cut(self.step)
            display.advance(self.step)
            yield Step(self.step, total_steps, self.state, packed, past.latest(self.history))
        self.log.flush()
        display.status(self.status)

    def _compiled(self, seconds: float) -> None:
        """Says so, and why if it was not the first step."""
        again = self._num_traces > 0
        self._num_traces = len(self._traced.signatures)
        if again:
            self._sink.display.note(f"step {self.step:,}: recompiled, because {self._traced.last_change()}")
        else:
            self._sink.display.note(f"compiled in {seconds:.1f} s")
            self._sink.display.status("training")

    def _evaluate_all(self) -> bool:
        """Runs all evaluations; whether the best metric improved."""
        if not self.setup.evals:
            return False
        began = time.perf_counter()
        self.log.flush()
        values: dict[str, float] = {}
        for name in self.setup.evals:
            values |= {f"{name}/{metric}": value for metric, value in self.evaluate(name).items()}
        before = past.best(self.history, self.experiment.best)
        self.history.append(past.Entry(self.step, values))
        self._patience_over = past.patience_over(self.history, self.experiment)
        self._sink.display.status("training")
        self.log.pause(time.perf_counter() - began)
        improved = past.best(self.history, self.experiment.best) != before
        if improved and self._checkpoints is None:
            self._best_variables = jax.device_get(self._layout.saveable(self.state.variables()))
        return improved

    def evaluate(self, name: str) -> dict[str, float]:
        """Scalar metrics of one evaluation of the state at hand, recorded as well."""
        reader = self.setup.evals[name]
        self._sink.display.status(f"evaluating {name}")
        began = time.perf_counter()
        values = self._evaluate(self.state.variables(), reader.evaluation())
        check_evaluation(self.setup, name, values)
        seconds = time.perf_counter() - began
        numbers = scalars(values)
        record = {"step": self.step, "split": name, **numbers, "seconds": self.log.seconds()}
        self._sink.record({**record, "examples_per_second": reader.num_examples / seconds})
        self._sink.arrays(self.step, name, values, reader.classes)
        return numbers

    def _save_is_due(self) -> bool:
        if self._save_every is None:
            return time.monotonic() - self._last_save >= self.experiment.checkpoint.every.count * 60
        return self.step % self._save_every == 0

    def _save(self) -> None:
        """Saves the state, once everything that led to it is known to be finite."""
        interval = self.log.carry(self.step)
        self._last_save = time.monotonic()
        if self._checkpoints is None:
            return
        self._checkpoints.wait()
        self._retain()
        meta = {
            "history": past.to_json(self.history),
            "interval": interval,
            "seconds": self.log.seconds(),
            "seed": self.experiment.seed,
        }
        self._checkpoints.save(self.step, self._layout.saveable(self.state), self.position, meta)
        self._sink.display.note(f"step {self.step:,}: checkpoint")

    def _retain(self) -> None:
        assert self._checkpoints is not None
        steps = self._checkpoints.steps()
        if steps:
            scores = past.scores(self.history, self.experiment.best)
            keep = retain(steps, scores, self.experiment.checkpoint, self.experiment.best)
            self._checkpoints.delete_all_but(keep)

    def _nonfinite(self, first: int, step: int, count: int) -> None:
        """Finds out why, among batches `first` to `step`: data that cannot be learned from, else divergence."""
        for number in range(first, step):
            check_batch(self.setup, self.setup.reader.batch(number), "train")
        if self.experiment.on_nonfinite == "skip":
            self._sink.display.note(f"step {step:,}: {count} steps skipped, loss or gradient not finite")
            return
        saved = self._checkpoints.steps() if self._checkpoints is not None else []
        kept = f"; the last good checkpoint is step {saved[-1]:,}" if saved else ""
        what = f"loss or gradient became nan or infinite by step {step:,}{kept}"
        raise DivergedError("training", what, "lower the learning rate, or set clip_norm or on_nonfinite")
