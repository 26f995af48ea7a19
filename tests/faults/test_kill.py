"""kill -9 at random instants: what was saved stays saved, and the run ends as if it had never been touched."""

from __future__ import annotations

import collections
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.jobs import write
from tests.faults.processes import Process
from tests.faults.runs import differences, outcome, sealed, torn

pytestmark = pytest.mark.faults

KEPT = 3
"""Checkpoints that `jobs.tiny` keeps."""


class Victim:
    """A run that is killed and started again; counts what its kills met, and fails if a saved step suffers."""

    def __init__(self, run: Path, launch: Callable[[], list[Process]], rng: np.random.Generator, duration: float):
        self.run, self._launch, self._rng, self._duration = run, launch, rng, duration
        self.counts: collections.Counter[str] = collections.Counter()
        self._seen: set[int] = set()
        self._log: list[str] = []

    def kill_once(self) -> bool:
        """Starts the run and kills it; whether it had ended before."""
        processes = self._launch()
        from_start = self._rng.uniform() < 0.15
        if not from_start:
            # Killed after its last step was saved, it has none to take.
            processes[0].until(lambda: processes[0].told("step") or processes[0].ended.is_set())
        instant = self._rng.uniform(0, self._duration)
        # Before they have met, processes wait for one that does not come for minutes: none dies alone there.
        alone = not from_start and self._rng.uniform() < 0.5
        hit = [processes[self._rng.integers(len(processes))]] if alone else processes
        self._log.append(f"{instant:.3f} s after {'start' if from_start else 'step 1'}, {len(hit)} of {len(processes)}")
        processes[0].ended.wait(instant)
        for process in hit:
            process.send(signal.SIGKILL)
        codes = [process.wait(60) for process in processes]
        if -signal.SIGKILL not in codes:
            assert codes == [0] * len(codes), f"{self}: {codes}\n{processes[0].said()}"
            return True
        self.counts["kills"] += 1
        self._look()
        return False

    def _look(self) -> None:
        steps, wrong = sealed(self.run)
        assert not wrong, f"{self}: {wrong}"
        self.counts["seals verified"] += len(steps)
        oldest_kept = steps[-KEPT] if len(steps) >= KEPT else 0
        lost = [step for step in self._seen if step not in steps and step >= oldest_kept]
        assert not lost, f"{self}: steps {lost} were sealed and are not among {steps}"
        self._seen |= set(steps)
        left = torn(self.run)
        self.counts["in a save"] += any("tmp" in name or name.split("/")[-1].isdigit() for name in left)

    def __str__(self) -> str:
        return f"{self.run.parent.name}, kills {self._log}"


def assert_same(victim: Victim, expected: dict[str, Any]) -> None:
    """The run has ended, holds what `expected` does bit for bit, and has left nothing lying about."""
    found = differences(outcome(victim.run), expected)
    assert not found, f"{victim}: differs in {found}"
    assert torn(victim.run) == [], f"{victim}: left {torn(victim.run)}"


def kill_until(count: int, seed: int, folder: Path, launch: Callable[[Path], list[Process]]) -> collections.Counter:
    """Kills runs until `count` kills are done; every run is held to one that was left alone."""
    whole = folder / "whole" / "run"
    processes = launch(whole)
    assert [process.wait() for process in processes] == [0] * len(processes), processes[0].said()
    times = [line["time"] for line in processes[0].lines() if "step" in line]
    duration = times[-1] - times[0]
    expected = outcome(whole)
    assert {name.split(".")[0] for name in expected["arrays"]} == {"params", "opt_state", "ema", "step"}
    rng = np.random.default_rng(seed)
    counts: collections.Counter[str] = collections.Counter()
    while counts["kills"] < count:
        run = folder / f"seed{seed}-run{counts['runs']}" / "run"
        victim = Victim(run, lambda run=run: launch(run), rng, duration)
        finished = False
        while not finished and counts["kills"] + victim.counts["kills"] < count:
            finished = victim.kill_once()
        if not finished:
            assert [process.wait() for process in launch(run)] == [0] * len(processes), str(victim)
        assert_same(victim, expected)
        counts += victim.counts
        counts["runs"] += 1
    return counts


def told(counts: collections.Counter) -> str:
    return (
        f"{counts['kills']} kills ({counts['in a save']} within a save) of {counts['runs']} runs,"
        f" {counts['seals verified']} seals verified: 0 sealed steps lost, 0 unreadable, 0 left over, all bitwise equal"
    )


def test_one_process(starter, tmp_path, scale, figure):
    """Killed at any instant, a run loses no saved step, leaves no rubbish, and ends bitwise as one left alone."""
    file = write(tmp_path)
    counts = kill_until(scale(8, 200), 0, tmp_path, lambda run: starter.train(file, run))
    assert counts["in a save"] > 0
    figure("kill -9, one process", told(counts))


def test_two_processes(starter, tmp_path, scale, figure):
    """The same for a job of two processes with two devices each, of which one or both are killed."""
    for seed, parallel in enumerate(scale(("Mesh(fsdp=2)",), ("Mesh(fsdp=2)", "PMap()")), start=1):
        folder = tmp_path / parallel
        file = write(folder, parallel=parallel, steps=scale(12, 30))
        counts = kill_until(
            scale(1, 25), seed, folder, lambda run, file=file: starter.train(file, run, processes=2, devices=2)
        )
        figure(f"kill -9, two processes, {parallel}", told(counts))
