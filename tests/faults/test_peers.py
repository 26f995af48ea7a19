"""Jobs of two processes: one is killed, stuck or told to stop; and the job goes on as another number of processes."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

from jaxai.training.watchdog import TIMES_MEDIAN
from tests.faults.jobs import write
from tests.faults.processes import Process
from tests.faults.runs import differences, outcome, sealed, torn

pytestmark = pytest.mark.faults

ENDLESS = 1_000_000
PARALLEL = ("PMap()", "Mesh(fsdp=2)", "Mesh()")


def under_way(processes: list[Process], steps: int) -> None:
    """Returns once all have taken so many steps."""
    for process in processes:
        process.until(lambda process=process: len(process.told("step")) >= steps)


def test_killed_peer(starter, tmp_path, scale, figure):
    """Whichever process is killed, the other ends within 15 s, exits with 75, and names it in one line."""
    rng = np.random.default_rng(4)
    slowest, count = 0.0, 0
    for parallel in scale(PARALLEL[:1], PARALLEL):
        file = write(tmp_path / parallel, steps=ENDLESS, save_every=20, parallel=parallel)
        for victim in scale((0,), (0, 1) * 4):
            processes = starter.train(file, tmp_path / f"run{count}", processes=2, devices=2)
            at = int(rng.integers(1, 60))
            under_way(processes, at)
            killed, other = processes[victim], processes[1 - victim]
            killed.send(signal.SIGKILL)
            began = time.monotonic()
            code = other.wait(60)
            seconds = time.monotonic() - began
            context = f"{parallel}, process {victim} killed at step {at}: {code} after {seconds:.1f} s\n{other.said()}"
            assert code == 75, context
            assert seconds < 15, context
            lines = [line for line in other.err.read_text().splitlines() if line.startswith("jaxai:")]
            assert len(lines) == 1, context
            assert lines[0].startswith(f"jaxai: error: process {victim} (pid {killed.pid} on "), context
            assert not sealed(tmp_path / f"run{count}")[1], context
            slowest, count = max(slowest, seconds), count + 1
    figure("killed peer", f"{count} killed: the other ended within {slowest:.1f} s with exit code 75, naming it")


def test_stuck_peer(starter, tmp_path, scale, figure):
    """A process whose data never come ends all within the watchdog's time + 5 s, named, with everyone's stacks."""
    slowest, count, watchdog = 0.0, 0, 5
    for parallel in scale(PARALLEL[:1], PARALLEL):
        for victim in scale((1,), (0, 1)):
            folder = tmp_path / f"{parallel}{victim}"
            stop = folder / "stop"
            file = write(folder, steps=ENDLESS, save_every=20, parallel=parallel, stopping=str(stop))
            options = ("--watchdog", str(watchdog))
            processes = starter.train(file, folder / "run", *options, processes=2, devices=2)
            under_way(processes, 40)
            (folder / "stop.new").write_text(str(victim))
            (folder / "stop.new").rename(stop)
            began = time.monotonic()
            codes = [process.wait(60) for process in processes]
            seconds = time.monotonic() - began
            context = f"{parallel}, process {victim} stuck: {codes} after {seconds:.1f} s\n"
            context += "\n---".join(process.said() for process in processes)
            assert codes == [75, 75], context
            times = [line["time"] for line in processes[victim].lines() if "step" in line]
            limit = max(watchdog, TIMES_MEDIAN * float(np.median(np.diff(times))))
            assert seconds < limit + 5, f"{limit:.1f} s; {context}"
            for process in processes:
                [line] = [x for x in process.err.read_text().splitlines() if x.startswith("jaxai:")]
                assert line.startswith("jaxai: error: watchdog: step "), context
                assert f"; waiting for process {victim} (pid {processes[victim].pid} on " in line, context
                assert f"process {1 - victim} " not in line, context
                assert "most recent call first" in process.err.read_text(), context
            assert "in told_batches" in processes[victim].err.read_text(), context
            slowest, count = max(slowest, seconds), count + 1
    figure("stuck peer", f"{count} stuck, watchdog {watchdog} s: all ended within {slowest:.1f} s with exit code 75")


def test_one_is_told_to_stop(starter, tmp_path, scale, figure):
    """A SIGTERM to one process stops all at one step, which is saved; all exit with 143."""
    count = 0
    for parallel in scale(PARALLEL[1:2], PARALLEL):
        file = write(tmp_path / parallel, steps=ENDLESS, save_every=50, parallel=parallel)
        for told in scale((1,), (0, 1)):
            run = tmp_path / parallel / f"run{told}"
            processes = starter.train(file, run, processes=2, devices=2)
            under_way(processes, 5)
            processes[told].send(signal.SIGTERM)
            codes = [process.wait(60) for process in processes]
            last = [process.told("step")[-1] for process in processes]
            steps, wrong = sealed(run)
            context = f"{parallel}, process {told} told: {codes} at {last}, saved {steps}\n{processes[0].said()}"
            assert codes == [143, 143], context
            assert last == [steps[-1]] * 2, context
            assert (wrong, torn(run)) == ([], []), context
            count += 1
    figure("SIGTERM to one of two", f"{count} times: both exit with 143 at the same step, which is saved")


def test_an_error_of_all(starter, tmp_path, scale, figure):
    """What ends one process ends the others with the same exit code and line, not as a lost process."""
    count = 0
    for parallel in scale(PARALLEL[:1], PARALLEL):
        folder = tmp_path / parallel
        file = write(folder, parallel=parallel, steps=6, save_every=2)
        [alone] = starter.train(file, folder / "run", devices=4)
        assert alone.wait() == 0, alone.said()
        bad = write(folder / "bad", parallel=parallel, peak=1e38)
        for code, cause, command in [
            (2, "holds a run of another experiment", (file, folder / "run", "--seed", "1")),
            (4, "became nan or infinite", (bad, folder / "bad" / "run")),
        ]:
            processes = starter.train(*command, processes=2, devices=2)
            codes = [process.wait(60) for process in processes]
            context = f"{parallel}: {codes}, not {code}\n{processes[0].said()}\n---{processes[1].said()}"
            assert codes == [code, code], context
            for process in processes:
                [line] = [x for x in process.err.read_text().splitlines() if x.startswith("jaxai: error:")]
                assert cause in line, context
            count += 1
    figure("an error of all", f"{count} times: both processes ended with the same exit code and cause")


def examples(run_of: list[list[Process]], per_step: int) -> dict[int, list[int]]:
    """Which examples each step saw, in order, of the processes of a run that was started again and again."""
    seen: dict[int, list[int]] = {}
    for processes in run_of:
        shares = [[line for line in process.lines() if "signal" not in line] for process in processes]
        for said in zip(*shares, strict=False):
            if "position" in said[0]:
                seen[said[0]["position"] // per_step + 1] = [i for line in said for i in line["indices"]]
    return seen


def test_other_number_of_processes(starter, tmp_path, scale, figure):
    """Cut and started again as 1 and as 2 processes, a run sees the same examples, and reproducible is bitwise."""
    rng = np.random.default_rng(5)
    plans = scale([(2, 1, 2)], [(2, 1, 2), (1, 2, 1), (2, 2, 1)])
    for parallel in scale(["PMap()"], ["PMap()", "Mesh()"]):
        folder = tmp_path / parallel
        file = write(folder, parallel=parallel, steps=scale(24, 40), reproducible=True)
        whole = starter.train(file, folder / "whole")
        assert [process.wait() for process in whole] == [0], whole[0].said()
        for plan in plans:
            run, started = folder / "-".join(map(str, plan)), []
            cuts = sorted(int(n) for n in rng.choice(np.arange(4, scale(22, 38)), len(plan) - 1, replace=False))
            for num, cut in zip(plan, [*cuts, None], strict=True):
                processes = starter.train(file, run, processes=num, devices=2)
                started.append(processes)
                if cut is not None:
                    processes[0].until(lambda p=processes, cut=cut: cut in p[0].told("step"))
                    for process in processes:
                        process.send(signal.SIGKILL)
                codes = [process.wait() for process in processes]
                context = f"{parallel}, {plan} at {cuts}: {codes}\n{processes[0].said()}"
                assert codes == [0 if cut is None else -9] * num, context
            found = differences(outcome(run), outcome(folder / "whole"))
            assert not found, f"{parallel}, {plan} at {cuts}: differs in {found}"
            assert examples(started, 48) == examples([whole], 48), f"{parallel}, {plan} at {cuts}"
            assert torn(run) == []
        figure(f"other number of processes, {parallel}", f"{len(plans)} plans: the same examples and bits as one")
