"""SIGTERM and SIGINT at random instants: the run saves the step it is at, says so by exit code, and loses nothing."""

from __future__ import annotations

import collections
import signal
import time

import numpy as np
import pytest

from tests.faults.jobs import write
from tests.faults.runs import differences, outcome, sealed, torn

pytestmark = pytest.mark.faults

STEPS = 120


def test_one_process(starter, tmp_path, scale, figure):
    """After a signal at most one more step is taken, the step stopped at is saved, and the run resumes bitwise."""
    file = write(tmp_path, steps=STEPS, save_every=40)
    whole = tmp_path / "whole"
    [process] = starter.train(file, whole)
    assert process.wait() == 0, process.said()
    times = [line["time"] for line in process.lines() if "step" in line]
    expected = outcome(whole)
    rng = np.random.default_rng(3)
    counts: collections.Counter[str] = collections.Counter()
    waited = 0.0
    while counts["signals"] < scale(4, 50):
        run, log = tmp_path / f"run{counts['runs']}", []
        code = None
        while code != 0:
            number = signal.SIGINT if rng.uniform() < 0.25 else signal.SIGTERM
            instant = rng.uniform(0, (times[-1] - times[0]) / 2)
            log.append(f"{number.name} {instant:.3f} s after its first step")
            [process] = starter.train(file, run)
            process.until(lambda process=process: process.told("step") or process.ended.is_set())
            process.ended.wait(instant if counts["signals"] < scale(4, 50) else None)
            sent = time.monotonic()
            process.send(number)
            code = process.wait()
            waited = max(waited, time.monotonic() - sent) if process.told("signal") else waited
            context = f"run{counts['runs']}, {log}, code {code}\n{process.said()}"
            steps, wrong = sealed(run)
            assert not wrong, context
            if code == 0 or not process.told("signal"):  # it came when all steps had been taken
                assert code in (0, -number, 128 + number), context
                assert steps[-1] == STEPS, context
                assert process.told("step")[-1:] in ([STEPS], []), context
                continue
            said = [line for line in process.lines() if "position" not in line]
            after = said[next(i for i, line in enumerate(said) if "signal" in line) :]
            assert code == 128 + number, context
            assert sum("step" in line for line in after) <= 1, f"{after} {context}"
            assert steps[-1] == process.told("step")[-1], f"{steps} {context}"
            assert f"interrupted at step {steps[-1]:,}" in process.out.read_text(), context
            assert torn(run) == [], context
            counts["signals"] += 1
            counts[number.name] += 1
            counts["steps after"] += sum("step" in line for line in after)
        found = differences(outcome(run), expected)
        assert not found, f"{log}: differs in {found}"
        counts["runs"] += 1
    figure(
        "signals",
        f"{counts['SIGTERM']} SIGTERM (143), {counts['SIGINT']} SIGINT (130) in {counts['runs']} runs: 0 steps lost,"
        f" {counts['steps after']} steps taken after, gone {waited:.1f} s later at most, all bitwise equal",
    )
