"""Broken storage: a disk that is full, gone or failing ends the run in a line, at once, and harms nothing saved."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxai.core.errors import StorageError
from jaxai.training import seal
from jaxai.training.checkpoint import saved_steps

from .processes import Process, Starter
from .small import train, until

pytestmark = pytest.mark.faults

JOB = "tests.faults.small:run"
KNOWN_SECONDS = 5.0
ENDLESS = 10**7


@pytest.fixture
def disk(tmp_path):
    """Mounts small file systems in memory; unmounts them at the end, whoever still uses them."""
    mounted = []

    def mount(path: Path, size: str = "16m") -> Path:
        path.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def traced(starter: Starter, run: Path, faults: list[str], paths: list[Path], **options: object) -> Iterator[Process]:
    """A run whose system calls fail, or wait, as strace is told, on these paths only."""
    gate, log = run.with_name(f"{run.name}.gate"), run.with_name(f"{run.name}.trace")
    os.mkfifo(gate)
    process = starter.start(JOB, str(run), str(gate), options)
    calls = ",".join(fault.split(":")[0] for fault in faults)
    command = ["strace", "-f", "-ttt", "-o", str(log), "-e", f"trace={calls}", "-p", str(process.pid)]
    command += [part for fault in faults for part in ("-e", f"inject={fault}")]
    command += [part for path in paths for part in ("-P", str(path))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            gate.write_text("go")
            yield process
        finally:
            process.send(signal.SIGKILL)
            process.ended.wait(30)
            tracer.terminate()


def when_faulty(run: Path) -> float:
    """When the first fault took effect, by the clock."""
    lines = run.with_name(f"{run.name}.trace").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if "INJECTED" in line or "DELAYED" in line)


def error_line(process: Process, run: Path) -> str:
    """The one line that the run ended with."""
    # Another thread's message, such as TensorStore's below, may stand in the same line.
    lines = [line for line in process.err.read_text().splitlines() if "jaxai: error: " in line]
    assert len(lines) == 1, process.said()
    assert str(run) in lines[0], process.said()
    assert "tensorboardX" not in process.err.read_text(), process.said()
    # TensorStore may print that a loop of Orbax is closed; what jaxai does must not show as a traceback.
    assert "jaxai/" not in process.err.read_text().replace(lines[0], ""), process.said()
    return lines[0]


def said_error(process: Process) -> Callable[[], bool]:
    return lambda: "jaxai: error" in process.err.read_text() or process.ended.is_set()


def intact(run: Path, at_least: int) -> list[int]:
    """The saved steps of a run, each of which verifies."""
    steps = saved_steps(run / "checkpoints")
    assert len(steps) >= at_least, sorted(run.rglob("*"))
    for step in steps:
        assert seal.verify(run / "checkpoints" / str(step)).step == step
    return steps


def touched(run: Path, step: int, call: str) -> list[Path]:
    """Some paths on which saving `step` makes a system call: arrays, files of Orbax, folders, the seal."""
    folder, saved = run / "checkpoints" / f"{step}.orbax-checkpoint-tmp", run / "checkpoints" / str(step)
    state = folder / "state.orbax-checkpoint-tmp"
    arrays = [state / name / "0.0.__lock" for name in ("params.Dense_0.kernel", "ema.head.kernel")]
    texts = [folder / f"{name}.orbax-checkpoint-tmp" / "metadata" for name in ("data", "meta")]
    sealing = [saved / "seal.json.tmp"]
    if call == "fsync":
        return [*arrays, *sealing, saved, saved / "data" / "metadata", saved / "state" / "_METADATA"]
    if call == "rename":
        return [*arrays, *sealing, folder]
    if call == "mkdir":
        return [folder, state, state / "ema.head.kernel"]
    return [*arrays, *texts, *sealing]


WRITE = "write,pwrite64,writev,pwritev"
ERRORS = {
    "openat": ("EDQUOT", "ENOSPC", "EIO", "EROFS", "EACCES"),
    WRITE: ("EDQUOT", "ENOSPC", "EIO"),
    "fsync": ("EIO", "EDQUOT"),
    "rename": ("EIO", "EROFS", "ENOSPC"),
    "mkdir": ("EACCES", "EROFS", "ENOSPC"),
}


def test_failing_system_calls_end_the_run(starter, tmp_path, scale, figure):
    """Whichever call of a save fails, and however: exit code 3 within 5 s, one line, older steps intact."""
    counted, slowest = {}, 0.0
    for seed in range(scale(3, 30)):
        rng, run = np.random.default_rng(seed), tmp_path / f"run{seed}"
        call = list(ERRORS)[seed % len(ERRORS)]
        error, paths = str(rng.choice(ERRORS[call])), touched(run, 6, call)
        path = paths[rng.integers(len(paths))]
        case = f"seed {seed}: {error} from {call} of {path.relative_to(run)}"
        with traced(starter, run, [f"{call}:error={error}"], [path], steps=ENDLESS) as process:
            until(said_error(process), lambda case=case, p=process: f"{case}: {p.said()}")
            known = time.time()
            code = process.wait(30)
        assert code == 3, f"{case}: {code} {process.said()}"
        error_line(process, run / "checkpoints")
        took = known - when_faulty(run)
        assert took < KNOWN_SECONDS, f"{case}: {took}"
        assert 6 not in intact(run, 1), case
        counted[f"{call.partition(',')[0]} {error}"], slowest = (
            counted.get(f"{call.partition(',')[0]} {error}", 0) + 1,
            max(slowest, took),
        )
    total = sum(counted.values())
    text = f"{total} faults, 0 hangs, exit code 3, known after at most {slowest:.1f} s, older steps intact"
    figure("failing system calls", f"{text} ({', '.join(sorted(counted))})")


def fill(run: Path, rng: np.random.Generator) -> None:
    """A full disk, but for some bytes."""
    with contextlib.suppress(OSError), (run.parent / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(run.parent / "filler", max(0, (run.parent / "filler").stat().st_size - 4096 * int(rng.integers(12))))


def remount(run: Path, rng: np.random.Generator) -> None:
    """A disk that turned read-only, as disks do after errors."""
    command = ["mount", "-o", "remount,ro", str(run / "checkpoints")]
    until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)


def remove(path: Path) -> None:
    """Removes a folder, whatever is written into it meanwhile."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


ACTS: dict[str, Callable[[Path, np.random.Generator], object]] = {
    "disk full": fill,
    "remounted read-only": remount,
    "checkpoints renamed": lambda run, rng: (run / "checkpoints").rename(run / "elsewhere"),
    "run removed": lambda run, rng: remove(run),
    "run renamed": lambda run, rng: run.rename(run.parent / "elsewhere"),
    "checkpoints removed": lambda run, rng: remove(run / "checkpoints"),
}


def test_a_disk_that_fails_under_a_run_ends_it(starter, disk, tmp_path, scale, figure):
    """Full, read-only, removed or renamed in the middle: known within 5 s, exit code 3, what was saved is intact."""
    slowest, number = 0.0, scale(4, 24)
    for seed in range(number):
        rng, name = np.random.default_rng(seed), list(ACTS)[seed % len(ACTS)]
        root = disk(tmp_path / f"disk{seed}")
        run = root / "run"
        if name == "remounted read-only":
            disk(run / "checkpoints")
        process = starter.start(JOB, str(run), None, {"steps": ENDLESS})
        try:
            saved = int(rng.integers(1, 4))
            case = lambda seed=seed, name=name, p=process: f"seed {seed}, {name}: {p.said()}"  # noqa: E731
            until(lambda run=run, saved=saved: len(saved_steps(run / "checkpoints")) >= saved, case)
            ACTS[name](run, rng)
            began = time.monotonic()
            until(said_error(process), case)
            took = time.monotonic() - began
            code = process.wait(30)
        finally:
            process.send(signal.SIGKILL)
            process.ended.wait(30)
        assert code == 3, f"{code}, {case()}"
        error_line(process, run)
        assert took < KNOWN_SECONDS, f"seed {seed}, {name}: {took}"
        where = {"checkpoints renamed": run / "elsewhere", "run renamed": root / "elsewhere" / "checkpoints"}
        steps = saved_steps(where.get(name, run / "checkpoints"))
        assert len(steps) >= saved or "removed" in name, f"seed {seed}, {name}: {steps}"
        for step in steps:
            seal.verify(where.get(name, run / "checkpoints") / str(step))
        slowest = max(slowest, took)
    figure("disks failing under a run", f"{number} faults, 0 hangs, exit code 3, known after at most {slowest:.1f} s")


@pytest.mark.parametrize(("step", "code", "saved"), [(6, 0, [3, 9]), (9, 3, [3, 6])])
def test_a_run_told_to_continue_goes_on(starter, tmp_path, step, code, saved):
    """A warning for the save that failed; exit code 3 only if that was the last."""
    run = tmp_path / "run"
    paths = touched(run, step, WRITE)[:1]
    with traced(starter, run, [f"{WRITE}:error=EDQUOT"], paths, on_failure="continue") as process:
        assert process.wait(60) == code, process.said()
    assert intact(run, 2) == saved
    if code:
        error_line(process, run / "checkpoints")
    else:
        warnings = [line for line in process.err.read_text().splitlines() if line.startswith("jaxai: warning: ")]
        assert len(warnings) == 1, process.said()
        assert f"step {step}" in warnings[0], process.said()
        assert str(run) in warnings[0], process.said()


@pytest.mark.parametrize("stuck", ["seal", "orbax", "main thread"])
def test_a_save_past_its_deadline_is_a_failure(starter, tmp_path, stuck):
    """`Checkpoints(deadline=3)` holds even where writing never returns, and so does leaving."""
    run = tmp_path / "run"
    process = starter.start(JOB, str(run), None, {"deadline": 3.0, "steps": ENDLESS, "stuck": stuck})
    try:
        until(lambda: "begins to wait" in process.err.read_text() or process.ended.is_set())
        began = time.monotonic()
        until(said_error(process))
        known = time.monotonic() - began
        code = process.wait(15)
    finally:
        process.send(signal.SIGKILL)
        process.ended.wait(30)
    assert code == 3, process.said()
    assert "not saved after 3 s" in error_line(process, run / "checkpoints")
    assert known < 3 + KNOWN_SECONDS
    assert saved_steps(run / "checkpoints") == [3]
    assert seal.verify(run / "checkpoints" / "3").step == 3


def test_too_little_space_is_refused_before_the_first_step(disk, tmp_path):
    """Room for two checkpoints is wanted before anything is computed; nothing is left behind."""
    run = disk(tmp_path / "disk", "64k") / "run"
    (run.parent / "filler").write_bytes(bytes(65536 - 8192))
    with pytest.raises(StorageError, match="MiB free, its checkpoints need") as raised:
        train(run)
    assert str(run / "checkpoints") in str(raised.value)
    assert list(run.iterdir()) == []
