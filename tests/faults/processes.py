"""Starts processes fast: a server that has imported JAX and jaxai, but uses no device, forks one for every job.

A job is a function named `module:function` and its JSON-able arguments. Its process is like one that Python started:
the function's result is its exit code, output goes to files, and the interpreter ends as interpreters do.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PRELOAD = (
    "jax", "jax.numpy", "optax", "flax.linen", "flax.nnx", "orbax.checkpoint", "grain", "jaxai", "jaxai.__main__",
    "jaxai.training.run", "jaxai.log.tensorboard", "jaxai.experiment.override", "jaxai.data.builders.digits",
    "jaxai.models", "jaxai.tasks", "tensorflow_datasets", "matplotlib.figure", "matplotlib.backends.backend_agg",
    "tests.faults.jobs",
)  # fmt: skip


class Process:
    """A process that the server forked."""

    def __init__(self, pid: int, folder: Path, kill: Callable[[int], None]):
        self.pid, self._kill = pid, kill
        self._read, self._lines = 0, []
        self.out, self.err = folder / "out", folder / "err"
        self.ended = threading.Event()
        self.code: int | None = None
        """The exit code once it has ended, negative for a signal."""

    def wait(self, seconds: float = 120) -> int:
        """Its exit code; fails, after killing it, if it has not ended in time."""
        if not self.ended.wait(seconds):
            self.send(signal.SIGKILL)
            self.ended.wait()
            raise AssertionError(f"process {self.pid} did not end within {seconds:g} s\n{self.said()}")
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """A signal; nothing if it has ended."""
        self._kill(number)

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """What `condition` gives once it is true; fails if the process ends before, or after `seconds`."""
        over = time.monotonic() + seconds
        while not (value := condition()):
            alive = not self.ended.wait(0.003) and time.monotonic() < over
            if not alive and not (value := condition()):
                raise AssertionError(f"process {self.pid} waited for in vain, code {self.code}\n{self.said()}")
            if value:
                break
        return value

    def lines(self) -> list[Any]:
        """The objects that it has printed so far, one a line."""
        with self.out.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if line.startswith(b"{"):
                    self._lines.append(json.loads(line))
        return self._lines

    def told(self, name: str) -> list[Any]:
        """The values that it has told under `name` so far, oldest first."""
        return [line[name] for line in self.lines() if name in line]

    def said(self) -> str:
        """The end of what it wrote, for messages."""
        return f"{self.out.read_text()[-1500:]}\n{self.err.read_text()[-3000:]}"


class Starter:
    """The client of a server; entered once, and when left nothing that it started lives on."""

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0
        self._lock = threading.Lock()
        self._answers: dict[int, threading.Event] = {}
        self._pids: dict[int, int] = {}
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}

    def __enter__(self) -> Starter:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.processes"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._reader.join()

    def start(self, call: str, *arguments: Any, devices: int = 1, environment: dict[str, str] | None = None) -> Process:
        """A process that runs `call(*arguments)` on so many forced CPU devices."""
        with self._lock:
            number, self._count = self._count, self._count + 1
        folder = self._folder / str(number)
        folder.mkdir(parents=True)
        for name in ("out", "err"):
            (folder / name).touch()
        flags = f"--xla_force_host_platform_device_count={devices}"
        job = {
            "number": number,
            "call": call,
            "arguments": arguments,
            "environment": {"XLA_FLAGS": flags, **(environment or {})},
            "folder": str(folder),
        }
        self._answers[number] = threading.Event()
        assert self._server.stdin is not None
        with self._lock:
            self._server.stdin.write(json.dumps(job).encode() + b"\n")
            self._server.stdin.flush()
        assert self._answers[number].wait(120), "the server did not fork"
        with self._lock:
            return self._processes[number]

    def train(self, file: Path, run: Path, *arguments: str, processes: int = 1, devices: int = 1) -> list[Process]:
        """`jaxai train` as one process or as a job of several; each prints an object after every step."""
        command = ["train", str(file), "--run", str(run), "--display", "none", *arguments]
        call = "tests.faults.jobs:command_line"
        if processes == 1:
            return [self.start(call, command, True, devices=devices)]
        command += ["--distributed", "--coordinator", f"localhost:{free_port()}", "--processes", str(processes)]
        numbers = map(str, range(processes))
        return [self.start(call, [*command, "--process", number], True, devices=devices) for number in numbers]

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            said = json.loads(line)
            with self._lock:
                if "pid" in said:
                    number, pid = said["number"], said["pid"]
                    self._processes[number] = Process(pid, self._folder / str(number), self._killer(number, pid))
                    self._answers[number].set()
                else:
                    process = self._processes[said["number"]]
                    process.code = said["code"]
                    process.ended.set()
        for process in self._processes.values():
            process.ended.set()

    def _killer(self, number: int, pid: int) -> Callable[[int], None]:
        def kill(signal_number: int) -> None:
            with self._lock, contextlib.suppress(ProcessLookupError):
                if not self._processes[number].ended.is_set():
                    os.kill(pid, signal_number)

        return kill


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return sock.getsockname()[1]


def _serve() -> Callable[[], int] | None:
    """Forks what it is told to until its input ends; in a fork, what is to be run there."""
    children: dict[int, int] = {}
    notice, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    told, answers = sys.stdin.buffer.raw, os.dup(1)
    waiting = b""
    while True:
        ready, _, _ = select.select([told, notice], [], [])
        if notice in ready:
            os.read(notice, 4096)
            for number, code in _reap(children):
                os.write(answers, json.dumps({"number": number, "code": code}).encode() + b"\n")
        if told not in ready:
            continue
        some = told.read(65536)
        if not some:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return None
        *lines, waiting = (waiting + some).split(b"\n")
        for line in lines:
            job = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (notice, wake, answers):
                    os.close(descriptor)
                return lambda job=job: _run(job)
            children[pid] = job["number"]
            os.write(answers, json.dumps({"number": job["number"], "pid": pid}).encode() + b"\n")


def _reap(children: dict[int, int]) -> Iterator[tuple[int, int]]:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        yield children.pop(pid), os.waitstatus_to_exitcode(status)


def _run(job: dict[str, Any]) -> int:
    """In the fork: becomes the job."""
    folder = Path(job["folder"])
    for descriptor, name in ((1, "out"), (2, "err")):
        opened = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.environ.update(job["environment"])
    module, _, name = job["call"].partition(":")
    return getattr(importlib.import_module(module), name)(*job["arguments"]) or 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=r"os.fork\(\) was called")
    for _name in PRELOAD:
        importlib.import_module(_name)
    _told = _serve()
    sys.exit(_told() if _told is not None else 0)
