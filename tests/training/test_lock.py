"""One run a folder: the second is refused, a dead one's lock is taken over, a lost folder is known."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxai.core.errors import InputError, StorageError
from jaxai.training import lock
from jaxai.training.lock import Lock, refuse_if_held

HOLD = """
import sys
from pathlib import Path
from jaxai.core.errors import InputError, RetryError, leave
from jaxai.training import lock
from jaxai.training.lock import Lock

table = lock._table() + sys.argv[2]
lock._table = lambda: table
sys.stdin.readline()
try:
    with Lock(Path(sys.argv[1])):
        print("held", flush=True)
        if sys.stdin.readline().strip() == "leave":
            leave(RetryError("process 1", "is lost"))
except InputError as error:
    print(error, flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that take the lock of `tmp_path` once told, as from another table of processes; ends them."""
    started = []

    def start(elsewhere: str = "") -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(tmp_path), elsewhere]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen) -> str:
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def owner(**changed) -> str:
    return json.dumps({**lock._myself(), **changed})


class Clock:
    """The time as the lock sees it, which passes only while it sleeps; at `when` seconds something may happen."""

    def __init__(self, monkeypatch):
        self.slept, self.begun = 0.0, time.time()
        self._events: list[tuple[float, Callable[[], object]]] = []
        clock = {"time": lambda: self.begun + self.slept, "monotonic": lambda: self.slept, "sleep": self._sleep}
        monkeypatch.setattr(lock, "time", SimpleNamespace(strftime=time.strftime, **clock))

    def at(self, when: float, what: Callable[[], object]) -> None:
        self._events.append((when, what))

    def touch(self, path: Path) -> None:
        now = self.begun + self.slept
        os.utime(path, (now, now))

    def _sleep(self, seconds: float) -> None:
        assert 0 < seconds <= lock.TOUCH_SECONDS
        self.slept += seconds
        for event in [event for event in self._events if event[0] <= self.slept]:
            self._events.remove(event)
            event[1]()


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def refusal(folder) -> str:
    before = time.monotonic()
    with pytest.raises(InputError) as caught, Lock(folder):
        pass
    assert time.monotonic() - before < 1
    return str(caught.value)


def test_a_second_holder_in_the_same_process_is_refused_within_a_second(tmp_path):
    with Lock(tmp_path):
        content = (tmp_path / "lock").read_bytes()
        line = refusal(tmp_path)
        assert line.startswith(f"{tmp_path}: is in use by process {os.getpid()} on {socket.gethostname()} since ")
        assert "close() the steps() that it has begun" in line
        assert (tmp_path / "lock").read_bytes() == content
        with pytest.raises(InputError, match="is in use by"):
            refuse_if_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    refuse_if_held(tmp_path)
    with Lock(tmp_path):
        pass


def test_another_process_is_named_and_its_lock_taken_over_once_it_is_dead(tmp_path, holder):
    process = holder()
    assert tell(process) == "held"
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path}: is in use by process {process.pid} on {socket.gethostname()} since ")
    assert line.endswith("(wait for it, stop it, or choose another folder with --run)")
    process.kill()
    # Dead, though its parent has not asked: no process is left that writes.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (tmp_path / "lock").exists()
    refuse_if_held(tmp_path)
    with Lock(tmp_path) as taken:
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        taken.check()
    assert not (tmp_path / "lock").exists()


def assert_one_wins(processes):
    """Has all of them try at once: one gets the lock, and the others name it."""
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes]
    assert answers.count("held") == 1
    winner = processes[answers.index("held")].pid
    assert all(f"in use by process {winner} " in answer for answer in answers if answer != "held")


def test_of_several_at_once_one_gets_a_dead_ones_lock(tmp_path, holder):
    (tmp_path / "lock").write_text(owner(start="1"))
    processes = [holder() for _ in range(4)]
    assert_one_wins(processes)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"host": "els', b"[]", b"null", b"\xff\xfe\x00", b"\x00" * 200, b"[" * 4096],
    ids=["empty", "brace", "half", "list", "null", "binary", "zeros", "deep"],
)
def test_torn_content_protects_nothing(tmp_path, content):
    (tmp_path / "lock").write_bytes(content)
    refuse_if_held(tmp_path)
    with Lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_pid_that_means_another_process_by_now_protects_nothing(tmp_path):
    (tmp_path / "lock").write_text(owner(start="1"))
    with Lock(tmp_path):
        pass
    (tmp_path / "lock").write_text(owner(pid=2**22 + 1))
    with Lock(tmp_path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"processes": "pid:[1] another boot"}])
@pytest.mark.parametrize(
    ("age", "waits", "says"),
    [
        (0, 60, "held it 0 s ago: waits 60 s at most"),
        (41.5, 18.5, "held it 41 s ago: waits 19 s at most"),
        (59.5, 0.5, "held it 59 s ago: waits 1 s at most"),
        (61, 0, None),
        (-3600, 60, "held it 0 s ago: waits 60 s at most"),
    ],
    ids=lambda x: f"{x}",
)
def test_of_one_out_of_sight_the_time_of_the_last_touch_decides(tmp_path, clock, caplog, elsewhere, age, waits, says):
    (tmp_path / "lock").write_text(owner(pid=1, start="1", **elsewhere))
    touched = clock.begun - age
    os.utime(tmp_path / "lock", (touched, touched))
    refuse_if_held(tmp_path)
    assert caplog.messages == []
    with Lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert clock.slept == pytest.approx(waits, abs=1e-3)
    who = f"process 1 on {elsewhere.get('host', socket.gethostname())}, which cannot be seen from here"
    line = f"jaxai: warning: {tmp_path}: {who}, {says} for a sign of it, then goes on"
    assert caplog.messages == ([line] if says else [])


def test_a_holder_out_of_sight_that_stirs_is_named_and_keeps_its_lock(tmp_path, clock):
    content = owner(pid=1, host="elsewhere")
    (tmp_path / "lock").write_text(content)
    clock.at(30, lambda: clock.touch(tmp_path / "lock"))
    assert "is in use by process 1 on elsewhere since " in refusal(tmp_path)
    assert clock.slept == 30
    assert (tmp_path / "lock").read_text() == content


@pytest.mark.parametrize(
    "what", [Path.unlink, lambda path: path.write_text(owner(start="1"))], ids=["released", "taken by one now dead"]
)
def test_a_lock_that_becomes_free_meanwhile_is_taken_at_once(tmp_path, clock, what):
    (tmp_path / "lock").write_text(owner(pid=1, host="elsewhere"))
    clock.at(30, lambda: what(tmp_path / "lock"))
    with Lock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert clock.slept == 30


@pytest.mark.parametrize("host", [socket.gethostname(), "a third"])
def test_a_lock_that_another_takes_meanwhile_is_its(tmp_path, clock, host):
    (tmp_path / "lock").write_text(owner(pid=1, host="elsewhere"))
    clock.at(30, lambda: (tmp_path / "lock").write_text(owner(host=host, since="now")))
    assert f"is in use by process {os.getpid()} on {host} since now" in refusal(tmp_path)
    assert clock.slept == 30


def test_a_process_out_of_sight_is_refused_while_it_lives_and_followed_once_it_is_dead(tmp_path, holder, monkeypatch):
    process = holder("another")
    assert tell(process) == "held"
    refuse_if_held(tmp_path)
    before = time.monotonic()
    with pytest.raises(InputError, match=f"is in use by process {process.pid} on "), Lock(tmp_path):
        pass
    assert time.monotonic() - before < 10
    process.kill()
    process.wait()
    monkeypatch.setattr(lock, "DEAD_SECONDS", 1.5)
    touched = (tmp_path / "lock").stat().st_mtime
    with Lock(tmp_path):
        assert time.time() - touched >= 1.5


def test_of_several_that_wait_one_gets_the_lock(tmp_path, holder):
    (tmp_path / "lock").write_text(owner(host="elsewhere"))
    processes = [holder() for _ in range(3)]
    almost = time.time() - lock.DEAD_SECONDS + 2
    os.utime(tmp_path / "lock", (almost, almost))
    assert_one_wins(processes)


def test_leaving_releases_the_lock(tmp_path, holder):
    process = holder()
    assert tell(process) == "held"
    process.communicate("leave\n", timeout=10)
    assert process.returncode == 75
    assert list(tmp_path.iterdir()) == []


def test_leaving_does_not_wait_for_storage(tmp_path, holder):
    process = holder()
    assert tell(process) == "held"
    with (tmp_path / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as a file system that does not answer
        process.communicate("leave\n", timeout=10)
        assert process.returncode == 75
    assert (tmp_path / "lock").exists()


def test_the_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.01)
    with Lock(tmp_path) as held:
        os.utime(tmp_path / "lock", (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / "lock").stat().st_mtime < 1:
            assert time.monotonic() < until
            time.sleep(0.005)
        held.check()


def fault_within(held: Lock, seconds: float) -> str:
    """Why the folder can no longer be written, known within so many seconds."""
    until = time.monotonic() + seconds
    while held.fault is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    with pytest.raises(StorageError) as caught:
        held.check()
    return str(caught.value)


def test_a_vanished_folder_is_known_within_three_seconds(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with Lock(folder) as held:
        shutil.rmtree(folder)
        assert fault_within(held, 3) == f"{folder}: can no longer be written: No such file or directory"
    assert not folder.exists()


def test_a_lock_taken_by_another_run_is_known_and_left_to_it(tmp_path):
    other = owner(pid=1, host="elsewhere")
    with Lock(tmp_path) as held:
        (tmp_path / "lock").write_text(other)
        assert fault_within(held, 3) == f"{tmp_path / 'lock'}: was taken by another run"
    assert (tmp_path / "lock").read_text() == other


def test_a_folder_that_cannot_be_written_is_an_error_of_storage(tmp_path):
    with pytest.raises(StorageError, match=r"run/lock: cannot be written: No such file"), Lock(tmp_path / "run"):
        pass
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match=r"lock: cannot be written: Is a directory"), Lock(tmp_path):
        pass
