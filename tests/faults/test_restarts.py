"""`--restarts`: a run whose process is killed goes on by itself; one that cannot get on, or must not, is left alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from jaxai.training.checkpoint import saved_steps
from tests.faults.jobs import write
from tests.faults.processes import Process
from tests.faults.runs import differences, outcome, torn

pytestmark = pytest.mark.faults


def child(supervisor: Process) -> int | None:
    """The process that `supervisor` has under it, once there is one."""
    for path in Path(f"/proc/{supervisor.pid}/task").glob("*/children"):
        pids = path.read_text().split()
        if pids:
            return int(pids[0])
    return None


def newest(run: Path) -> int:
    return max(saved_steps(run / "checkpoints"), default=-1)


def test_killed_child(starter, tmp_path, scale, figure):
    """Killed with -9 whenever it has saved another step, the run is started again each time and ends bitwise equal."""
    kills = scale(1, 12)
    file = write(tmp_path, steps=scale(24, 600), save_every=6)
    [alone] = starter.train(file, tmp_path / "whole")
    assert alone.wait() == 0, alone.said()
    rng = np.random.default_rng(7)
    run = tmp_path / "run"
    [supervisor] = starter.train(file, run, "--restarts", "50")
    try:
        for _ in range(kills):
            before = newest(run)
            supervisor.until(lambda before=before: newest(run) > before)
            time.sleep(rng.uniform(0, 0.2))
            os.kill(child(supervisor) or supervisor.pid, signal.SIGKILL)
        assert supervisor.wait(300) == 0, supervisor.said()
    finally:
        if supervisor.code is None and (pid := child(supervisor)):
            os.kill(pid, signal.SIGKILL)
    said = supervisor.err.read_text()
    for number in range(1, kills + 1):
        assert f"jaxai: the run ended with exit code 137: restart {number} of 50\n" in said, said
    found = differences(outcome(run), outcome(tmp_path / "whole"))
    assert not found, f"differs in {found}"
    assert torn(run) == []
    figure("--restarts", f"{kills} kills of the child: started again each time, ended with exit code 0, bitwise equal")


def test_no_progress_and_final_codes(starter, tmp_path, scale, figure):
    """Three crashes in a row without a step end it; bad input and divergence are not tried again."""
    counts = {}
    for code, starts in scale(((9, 3),), ((9, 3), (2, 1), (4, 1), (75, 3))):
        folder = tmp_path / str(code)
        folder.mkdir()
        file, log = folder / "crash.py", folder / "log"
        file.write_text(f"import os\nwith open({str(log)!r}, 'a') as f:\n    f.write('x')\nos._exit({code})\n")
        [supervisor] = starter.train(file, folder / "run", "--restarts", "10")
        assert supervisor.wait(120) == code, supervisor.said()
        counts[code] = len(log.read_text())
        assert counts[code] == starts, f"{code}: {supervisor.said()}"
        refused = "3 times in a row without saving a step: not started again" in supervisor.err.read_text()
        assert refused == (starts == 3), supervisor.said()
    figure("--restarts refused", ", ".join(f"exit code {code}: {n} starts" for code, n in counts.items()))


def test_told_to_stop(starter, tmp_path, scale, figure):
    """SIGTERM to the supervisor ends both with 143, and the step at which the run stopped is saved."""
    rng = np.random.default_rng(8)
    count = scale(1, 5)
    file = write(tmp_path, steps=1_000_000, save_every=20)
    for number in range(count):
        run = tmp_path / f"run{number}"
        [supervisor] = starter.train(file, run, "--restarts", "3")
        supervisor.until(lambda run=run: newest(run) > 0)
        pid = child(supervisor)
        time.sleep(rng.uniform(0, 0.5))
        supervisor.send(signal.SIGTERM)
        assert supervisor.wait(60) == 143, supervisor.said()
        assert f"interrupted at step {newest(run):,};" in supervisor.out.read_text(), supervisor.said()
        assert not Path(f"/proc/{pid}").exists()
        assert torn(run) == []
    figure("--restarts told to stop", f"{count} SIGTERMs: exit code 143, the last step saved")
