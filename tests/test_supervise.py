"""`--restarts`: what a restart can mend is started again, what it cannot is not, and signals reach the child."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from jaxai import supervise as module
from jaxai.core.errors import InputError
from jaxai.supervise import FINAL, MAX_FUTILE, child_command, supervise

SAVE = """
step = pathlib.Path("checkpoints") / str(n)
step.mkdir(parents=True)
(step / "seal.json").write_text(json.dumps({"seal": {"step": n}}))
"""


@pytest.fixture
def paused(monkeypatch) -> list[float]:
    """The seconds for which it would have waited before each restart."""
    seconds: list[float] = []
    monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def run(tmp_path, paused, monkeypatch):
    """Supervises a child that runs `code` in `tmp_path`, where `n` numbers its starts; gives exit code and starts."""
    monkeypatch.chdir(tmp_path)
    count = "f = pathlib.Path('count'); n = len(f.read_text()) + 1 if f.exists() else 1; f.write_text('x' * n)\n"

    def start(code: str, restarts: int = 9) -> tuple[int, int]:
        Path("count").unlink(missing_ok=True)
        source = f"import json, os, pathlib, signal, sys, time\n{count}{code}"
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        ended = supervise([sys.executable, "-S", "-E", "-c", source], tmp_path, restarts)
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        return ended, len(Path("count").read_text())

    return start


@pytest.mark.parametrize("code", FINAL)
def test_what_a_restart_cannot_mend_ends_at_once(run, code, capfd):
    assert run(f"sys.exit({code})") == (code, 1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(75)", 75), ("sys.exit(1)", 1), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_a_crash_is_started_again(run, end, code, capfd):
    assert run(f"if n < 3: {end}") == (0, 3)
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        f"jaxai: the run ended with exit code {code}: restart {i} of 9 in {pause} s" for i, pause in ((1, 1), (2, 3))
    ]


def test_crashes_without_a_step_saved_between_are_refused(run, paused, capfd):
    assert run("sys.exit(1)") == (1, MAX_FUTILE)
    assert paused == [1, 3]
    assert (
        f"exit code 1, {MAX_FUTILE} times in a row without saving a step: not started again" in capfd.readouterr().err
    )


def test_a_run_that_gets_on_is_started_as_often_as_allowed(run, paused, capfd):
    assert run(f"{SAVE}\nsys.exit(75)", restarts=6) == (75, 7)
    assert paused == [0] * 6
    assert capfd.readouterr().err.splitlines()[-1] == "jaxai: the run ended with exit code 75: no restart is left"


def test_a_step_saved_makes_the_count_of_futile_crashes_begin_anew(run, paused):
    assert run(f"if n in (3, 6):\n    {SAVE.strip().replace(chr(10), chr(10) + '    ')}\nsys.exit(1)") == (1, 9)
    assert paused == [1, 3, 0, 1, 3, 0, 1, 3]


def test_only_a_readable_seal_is_progress(run):
    torn = SAVE.replace('json.dumps({"seal": {"step": n}})', '"{"')
    assert run(f"{torn}\nsys.exit(1)") == (1, MAX_FUTILE)
    other = SAVE.replace('{"seal": {"step": n}}', '["seal"]')
    assert run(f"n += 10\n{other}\nsys.exit(1)") == (1, MAX_FUTILE)


def test_no_restarts_is_one_start_and_fewer_is_refused(run):
    assert run("sys.exit(1)", restarts=0) == (1, 1)
    with pytest.raises(InputError, match="--restarts: must not be negative, is -1"):
        run("", restarts=-1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_child_which_saves_and_leaves(run, number):
    code = f"""
signal.signal({number:d}, lambda *_: (pathlib.Path("saved").touch(), sys.exit(128 + {number:d})))
os.kill(os.getppid(), {number:d})
time.sleep(20)
"""
    assert run(code) == (128 + number, 1)
    assert Path("saved").exists()


def test_a_child_that_crashes_once_told_to_stop_is_not_started_again(run):
    assert run("os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(20)") == (128 + signal.SIGTERM, 1)
    code = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\nos.kill(os.getppid(), signal.SIGTERM)"
    assert run(f"{code}\ntime.sleep(20)") == (75, 1)


def test_a_signal_while_it_waits_ends_it(run, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert run("sys.exit(1)") == (128 + signal.SIGTERM, 1)


def test_a_signal_between_two_children_is_not_lost(run, monkeypatch):
    """It comes after the last look for one and before the next child is there."""
    newest, calls = module._newest, []

    def interrupted(folder):
        calls.append(folder)
        if len(calls) == 3:  # before and after the first child, before the second
            os.kill(os.getpid(), signal.SIGTERM)
        return newest(folder)

    monkeypatch.setattr(module, "_newest", interrupted)
    code, starts = run("if n == 1: sys.exit(1)\ntime.sleep(20)\nsys.exit(0)")
    assert code == 128 + signal.SIGTERM
    assert starts <= 2


def test_the_child_is_in_a_session_of_its_own(run):
    """So Ctrl-C, which the terminal sends to all of a session's foreground, reaches it once."""
    assert run("sys.exit(0 if os.getsid(0) == os.getpid() else 2)") == (0, 1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("train a.py --restarts 3 --run x", "train a.py --run x"),
        ("train a.py --restarts=3 --run x", "train a.py --run x"),
        ("train --restarts 3 a.py --debug", "train a.py --debug"),
        ("train a.py --run x", "train a.py --run x"),
    ],
)
def test_the_childs_command_is_the_same_without_restarts(given, kept):
    assert child_command(given.split()) == [sys.executable, "-m", "jaxai", *kept.split()]


def test_newest_step_of_a_folder(tmp_path):
    assert module._newest(tmp_path) == -1
    for step in (2, 10, 9):
        folder = tmp_path / "checkpoints" / str(step)
        folder.mkdir(parents=True)
        (folder / "seal.json").write_text(json.dumps({"seal": {"step": step}}))
    assert module._newest(tmp_path) == 10
