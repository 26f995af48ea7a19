"""The training loop, a generator: evaluate and save what is due, next batch, step, log, in this order.

The boundary before step k + 1 sees a state of k steps: there it is evaluated, saved, and training ends or is
interrupted. The loop passes that boundary once more than it takes steps, so the end needs no special case. What it does
there is a function of the step number and of the history of evaluations, so a resumed run does the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax

from jaxai import compat, metrics
from jaxai.core.duration import Epochs, Minutes
from jaxai.core.errors import InputError, StorageError
from jaxai.experiment.declaration import Experiment
from jaxai.log import Display, NullDisplay, Writer
from jaxai.parallel.distributed import Peers, is_primary
from jaxai.training import history as past
from jaxai.training.calls import Calls
from jaxai.training.divergence import Divergence
from jaxai.training.evaluations import Evaluations
from jaxai.training.initial import initialize, load_start
from jaxai.training.keeper import Keeper, finite
from jaxai.training.lock import Lock
from jaxai.training.profiler import Profiler
from jaxai.training.records import Sink, TrainingLog
from jaxai.training.setup import Setup, check_best, set_up
from jaxai.training.signals import Signals
from jaxai.training.state import TrainState
from jaxai.training.step import Packed
from jaxai.training.times import Times, described
from jaxai.training.traces import tracing
from jaxai.training.watchdog import Watchdog

LOOK_SECONDS = 0.1
"""How often a loop of short steps looks whether a checkpoint is saved, or due by the clock."""


class Step(NamedTuple):
    """What the loop gives after each dispatch, which is a step, or as many as `steps_per_call` says."""

    step: int
    """Steps taken."""
    total_steps: int
    """Steps that the experiment comes to."""
    state: TrainState
    """The state, until the next step consumes it."""
    packed: Packed
    """Metrics of the dispatch, still on the device."""
    evaluations: Mapping[str, float]
    """The latest evaluation: `{"test/accuracy": 0.98, ...}`; empty before the first."""

    def metrics(self) -> dict[str, Any]:
        """Metrics of the dispatch, of several steps over all their examples; waits for the device."""
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
        lock: Lock | None = None,
        resume_anyway: bool = False,
        watchdog: float | None = None,
        profile: int | None = None,
    ):
        compat.enable_compilation_cache()
        self.setup: Setup = set_up(experiment)
        check_best(self.setup)
        self.experiment = experiment
        self._sink = Sink(writers, display or NullDisplay())
        self._title, self._folder = title, folder
        self._layout = self.setup.layout
        self._evaluations = Evaluations(self.setup, self._sink)
        self._signals, self._peers, self._primary = Signals(), Peers(), is_primary()
        self._utilization, self.num_recompiled = self.setup.utilization(), 0
        traced_into = folder / "profile" if folder is not None else None
        self._profiler = Profiler(profile if self._primary else None, traced_into, self._sink.display.note)
        self._watchdog = Watchdog(watchdog, self._peers.behind)
        self._keeper = None
        if folder is not None:
            self._keeper = Keeper(folder / "checkpoints", self.setup, lock, self._sink.display.note)
        elif experiment.roll_back is not None:
            raise InputError("roll_back", "needs a run folder, where there are checkpoints to go back to")
        self.history: list[past.Entry] = []
        self._best_variables: Any = None
        self._stopped_by: int | None = None
        self._divergence = Divergence(self.setup, self._keeper, self._sink.display.note)
        self._restore(resume_anyway)
        every = experiment.checkpoint.every
        self._save_every = None if isinstance(every, Minutes) else self.setup.to_steps(every)
        self._evaluate_every = self.setup.to_steps(experiment.evaluate_every or experiment.duration)
        self._last_save = time.monotonic()

    def add_writers(self, writers: Sequence[Writer]) -> None:
        """Further destinations of records; to be called before the loop is entered."""
        self._sink.writers.extend(writers)

    def final_variables(self, best_step: int | None) -> Any:
        """The variables of `best_step`, or of the state at hand; raises InputError if its checkpoint is damaged."""
        if best_step is None or best_step == self.step:
            return self.state.variables()
        if self._keeper is not None:
            return self._keeper.verified(best_step).state.variables()
        return self._best_variables if self._best_variables is not None else self.state.variables()

    def _restore(self, resume_anyway: bool) -> None:
        """The newest good checkpoint, or the state before the first step."""
        restored = self._keeper.newest() if self._keeper is not None else None
        if restored is not None and self._keeper is not None:
            self._keeper.check_data(restored.fingerprint, resume_anyway)
            self.position = restored.position
            self._take(restored.state, restored.meta)
        else:
            self.position = 0
            arrays = {}
            if self.experiment.start_from is not None:  # what does not fit is known before anything is compiled
                arrays, line = load_start(self.setup.abstract_state, self.experiment.start_from)
                self._sink.display.note(line)
            state = self.setup.init()
            state = initialize(state, arrays) if arrays else state
            self._take(state, {})

    def _take(self, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Goes on from `state`, with everything that the loop knew there."""
        self.state = state
        self.step = self.start_step = int(state.step)
        self.times = Times(meta.get("times"))
        self.history = past.from_json(meta.get("history", []))
        self._patience_over = past.patience_over(self.history, self.experiment)
        self._divergence.start(self.step, self.position, meta)
        self.log = TrainingLog(
            self._sink,
            batch_size=self.experiment.train.batch_size,
            rates=self._utilization.rates,
            seconds_before=meta.get("seconds", 0.0),
            carried=meta.get("interval"),
            carried_from=f"{self._folder}/checkpoints/{self.step}",
            on_nonfinite=self._divergence.nonfinite,
            on_loss=self._divergence.loss,
            start_step=self.step,
            # The first epoch of cached data is slow by intent, and no reason to advise caching.
            warm_until=self.step + (self.setup.to_steps(Epochs(1.5)) if self.experiment.train.cache else 1),
        )

    def __enter__(self) -> Loop:
        for guard in (self._signals, self._peers, self._watchdog):
            guard.__enter__()
        self._sink.display.start(self._title, self.step, self.setup.total_steps)
        if self.step:
            self._sink.display.note(f"resumed at step {self.step:,}")
        else:
            images = getattr(self.experiment.task, "images", None)
            with tracing("task.images"):
                named = images(self.setup.example) if images is not None else {}
            self._sink.images(0, "train", named)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.__exit__()
        try:
            with contextlib.ExitStack() as last_first:  # each, whether or not another fails
                last_first.callback(self._signals.__exit__)  # not before the last step is saved
                last_first.callback(self._sink.display.close)
                last_first.callback(self._sink.close)
                last_first.callback(self._peers.__exit__, kind)
                if self._keeper is not None:
                    last_first.callback(self._keeper.close)
        except StorageError:
            if error is None:
                raise

    @property
    def status(self) -> str:
        """`finished`, `stopped early`, `interrupted` or `training`."""
        if self._stopped_by is not None:
            return "interrupted"
        if self.step >= self.setup.total_steps:
            return "finished"
        return "stopped early" if self._patience_over else "training"

    @property
    def signal(self) -> int | None:
        """The signal that interrupted the run, if one did."""
        return self._stopped_by

    def steps(self) -> Iterator[Step]:
        """The loop itself."""
        return self._steps() if jax.process_count() == 1 else self._blaming_steps()

    def _blaming_steps(self) -> Iterator[Step]:
        with self._peers.blaming():
            yield from self._steps()

    def _steps(self) -> Iterator[Step]:
        total_steps, display = self.setup.total_steps, self._sink.display
        calls = self.setup.calls(self.position, self.step, lambda: self._watchdog.phase("compiling"))
        self._calls = calls
        self._peers.stride = self.experiment.steps_per_call
        log_every = self.setup.to_steps(self.experiment.log_every)
        events = [every for every in (log_every, self._evaluate_every, self._save_every) if every is not None]
        num_traces = 0
        display.status("compiling")
        self._utilization.start()
        due, look_again = self.step, 0.0  # at the next event, and ten times a second
        while self._is_quiet(due, look_again) or not self._boundary():
            before = time.perf_counter()
            if before > look_again:
                look_again = before + LOOK_SECONDS
            self._watchdog.phase("step" if num_traces else "compiling")
            self._profiler.before(self.step)
            until = min(total_steps - self.step, *(every - self.step % every for every in events))
            due = self.step + until
            taken = calls.take(until)
            waited = time.perf_counter() - before
            self._peers.step = self.step + 1
            self.state, packed = calls(self.state, taken)
            self.step += taken.num_steps
            self.position += taken.num_steps * self.experiment.train.batch_size
            self._watchdog.dispatched(self.step, packed.vector)
            self._peers.dispatched(self.step, packed.vector)
            self.log.add(packed, taken.num_steps, waited)
            self.times.add("data", waited)
            if calls.num_traces != num_traces:
                num_traces = calls.num_traces
                self._compiled(calls, time.perf_counter() - before - waited)
            self._profiler.after(self.step, taken.num_steps, packed.vector)
            if self.step % log_every == 0 or self.step == total_steps:
                self.log.cut(self.step)
            display.advance(self.step)
            self._watchdog.phase("")
            yield Step(self.step, total_steps, self.state, packed, past.latest(self.history))
        self.log.flush()
        self._profiler.close(self.step)
        display.note(f"time: {described(self.times.split(self.log.seconds()))}")
        display.status(self.status)

    def _is_quiet(self, due: int, look_again: float) -> bool:
        """Whether the boundary may be passed without a look: no event, nobody asked for anything, a moment ago."""
        nothing = self.step < due and self._signals.received is None and self._divergence.bad_since is None
        return nothing and self._peers.alone and time.perf_counter() < look_again

    def _boundary(self) -> bool:
        """Everything between two steps: evaluates and saves what is due; whether the run is over."""
        if self._keeper is not None:
            self._keeper.check()
        if self._signals.received is not None:
            self._peers.ask("stop", self._signals.received)
        self._stopped_by = self._peers.due("stop", self.step)
        if self.step != self.start_step:
            improved = False
            if self.step % self._evaluate_every == 0 or self.step == self.setup.total_steps:
                self._watchdog.phase("evaluating")
                with self.times.of("evaluation"):
                    improved = self._evaluate_all()
            due = self._save_is_due()
            if self.status != "training" or improved or due:
                self._watchdog.phase("saving")
                with self.times.of("checkpoint"):
                    self._save()
        if self._divergence.bad_since is not None:
            self._go_back()
        return self.status != "training"

    def _compiled(self, calls: Calls, seconds: float) -> None:
        """Says so."""
        text = calls.last_trace(seconds)
        again = not text.startswith("compiled")
        self.num_recompiled += again
        self.times.add("compile", seconds)
        self._sink.display.note(f"step {self.step:,}: {text}" if again else text)
        self._sink.display.status("training")

    def _evaluate_all(self) -> bool:
        """Runs all evaluations; whether the best metric improved."""
        if not self.setup.evals:
            return False
        self.log.flush()
        jax.block_until_ready(self.state.step)  # the evaluation would wait for it, and call that its own time
        began = time.perf_counter()
        values = self._evaluations(self.state.variables(), self.step, self.log.seconds)
        before = past.best(self.history, self.experiment.best)
        self.history.append(past.Entry(self.step, values))
        self._patience_over = past.patience_over(self.history, self.experiment)
        self._sink.display.status("training")
        self.log.pause(time.perf_counter() - began)
        improved = past.best(self.history, self.experiment.best) != before
        if improved and self._keeper is None:
            self._best_variables = jax.device_get(self._layout.saveable(self.state.variables()))
        return improved

    def _save_is_due(self) -> bool:
        if self._save_every is not None:
            return self.step % self._save_every == 0
        # Clocks differ: one process looks at its own, and all save at one step.
        if self._primary and time.monotonic() - self._last_save >= self.experiment.checkpoint.every.count * 60:
            self._peers.ask("save")
        return self._peers.due("save", self.step) is not None

    def _save(self) -> None:
        """Saves the state, once it and everything that led to it is known to be finite."""
        interval = self.log.carry(self.step)
        self._last_save = time.monotonic()
        if self._divergence.bad_since is not None:
            return
        if not finite(self.state):
            self._divergence.found(self.step, self.step, "a parameter")
            return
        if self._keeper is None:
            return
        meta = {"history": past.to_json(self.history), "interval": interval, "seconds": self.log.seconds()}
        meta |= {"times": self.times.split(self.log.seconds()), **self._divergence.meta()}
        # Until the interval under way is judged, the run may have to go back to before it.
        before = self.log.interval_start if self.experiment.roll_back is not None else None
        self._keeper.save(self.step, self.state, self.position, self.history, meta, before)

    def _go_back(self) -> None:
        """To the last good checkpoint from before it went wrong; the data consumed since stays consumed."""
        assert self._keeper is not None
        good, step = self._divergence.last_good(), self.step
        self._take(good.state, good.meta)
        self._calls.went_back(self.step)
        self._keeper.forget_after(self.step)
        skipped = self.position - good.position
        self._sink.display.note(f"step {step:,}: back to step {self.step:,}, {skipped:,} examples skipped")
