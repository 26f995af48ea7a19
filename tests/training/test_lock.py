"""One run a folder: the second is refused at once, a dead one's lock is taken over, a lost folder is known."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from jaxai.core.errors import InputError, StorageError
from jaxai.training import lock
from jaxai.training.lock import Lock, refuse_if_held

HOLD = """
import sys
from pathlib import Path
from jaxai.core.errors import InputError
from jaxai.training.lock import Lock

sys.stdin.readline()
try:
    with Lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except InputError as error:
    print(error, flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that take the lock of `tmp_path` once told; ends them."""
    started = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(tmp_path)]
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


def test_of_several_at_once_one_gets_a_dead_ones_lock(tmp_path, holder):
    (tmp_path / "lock").write_text(owner(start="1"))
    processes = [holder() for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes]
    assert answers.count("held") == 1
    winner = processes[answers.index("held")].pid
    assert all(f"in use by process {winner} " in answer for answer in answers if answer != "held")


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
def test_on_another_host_the_time_of_the_last_touch_decides(tmp_path, elsewhere):
    (tmp_path / "lock").write_text(owner(pid=1, **elsewhere))
    assert "is in use by process 1 on " in refusal(tmp_path)
    stale = time.time() - lock.DEAD_SECONDS - 1
    os.utime(tmp_path / "lock", (stale, stale))
    with Lock(tmp_path):
        pass


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
