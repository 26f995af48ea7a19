"""Several processes as one job: joining it, who is alive, and agreeing on what all do at one step.

Arrays travel by XLA's collectives. The little here travels through the coordination service that JAX itself starts,
beside the devices: so it works while they wait for each other, and tells whom they wait for.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import json
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxai import compat
from jaxai.core.errors import InputError, RetryError, leave
from jaxai.parallel.relay import Relay

BEAT_SECONDS = 0.5
LOST_SECONDS = 8.0
"""A process that has not been heard of for so long is lost."""
JOIN_SECONDS = 300
LEAD = 8
"""Steps that a process may dispatch before the first of them has ended."""
_ANSWER_MILLISECONDS = 3_600_000
_HEARD_SECONDS = 60
_count = itertools.count()
_joined = threading.Event()
_told = threading.Event()
"""Whether an error of the first process, which ends them all, has been heard of here."""
_handlers: list[Any] = []
_runs: list[Peers] = []
"""The run under way, if there is one."""


def join(coordinator: str | None, num_processes: int | None, process: int | None) -> None:
    """Makes this process one of a job; what is None JAX finds out (SLURM, Kubernetes, Cloud TPU, MPI).

    Raises InputError where it cannot, RetryError where the others do not come.
    """
    given = {"--coordinator": coordinator, "--processes": num_processes, "--process": process}
    missing = [flag for flag, value in given.items() if value is None]
    if missing and len(missing) < 3:
        raise InputError(missing[0], "is missing: --coordinator, --processes and --process go together")
    if coordinator is not None and num_processes is not None and process is not None:
        host, colon, port = coordinator.rpartition(":")
        if not host or not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
            raise InputError("--coordinator", f"{coordinator!r} is not HOST:PORT", "such as localhost:9876")
        if num_processes < 1:
            raise InputError("--processes", f"must be at least 1, is {num_processes}")
        if not 0 <= process < num_processes:
            fix = f"0 to {num_processes - 1}"
            raise InputError("--process", f"{process} is none of {num_processes} processes", fix)
    try:
        # Its own watch over processes aborts without an exit code of ours: it must be slower than `Peers`.
        with compat.coordinated_through(_way):
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process,
                # Told everything, JAX would still ask the cluster which devices are whose: under SLURM one a process.
                cluster_detection_method="deactivate" if not missing else None,
                initialization_timeout=JOIN_SECONDS,
                heartbeat_timeout_seconds=100,
            )
        _joined.set()
        _pause_aborts()
    except ValueError as error:
        what = f"no cluster was found that says who the processes are: {error}"
        raise InputError("--distributed", what, "--coordinator HOST:PORT --processes N --process I") from error
    except RuntimeError as error:
        raise RetryError("--distributed", f"the job did not come together: {str(error).splitlines()[0]}") from error


def _way(service: str) -> str:
    """The address at which this process reaches the coordination service; all but the first go through a relay."""
    if compat.process_number() == 0 or jax.config.values.get("jax_mtls_cert_file"):
        return service
    return Relay(service, _service_lost, LOST_SECONDS).address


def _service_lost() -> bool:
    """Ends this process, naming the first, if it still needs the service; else whether JAX's client may know."""
    time.sleep(LOST_SECONDS / 2)  # an error that all have met ends this one too, by itself
    run = _runs[-1] if _runs else None
    if not _joined.is_set() or (run is not None and run.done):
        return True
    if not _told.is_set() and (run is None or not run.over):
        name = run.name(0) if run is not None else "process 0"
        leave(RetryError(name, "is lost", "the job, started again, goes on from its last checkpoint"))
    return False  # it ends with an error of its own, which JAX's abort would hide


def _pause_aborts() -> None:
    """Has an abort wait until `Peers` has named whom it comes of.

    Collectives of a lost process can end in an exception of their own threads (Gloo), which nobody can catch.
    """
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: time.sleep(LOST_SECONDS + 4 * BEAT_SECONDS))
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)
    _handlers.append(handler)


def is_primary() -> bool:
    """Whether this is the process that writes files and speaks."""
    return jax.process_index() == 0


def from_primary(make: Callable[[], Any]) -> Any:
    """The JSON-able `make()` of the primary process, in all processes; an InputError of it too."""
    if jax.process_count() == 1:
        return make()
    client, key = compat.coordination(), f"jaxai/primary/{next(_count)}"
    if is_primary():
        try:
            value = make()
        except InputError as error:
            client.key_value_set(key, json.dumps({"error": [error.field, error.what, error.fix]}))
            _all_heard(client, key)
            raise
        client.key_value_set(key, json.dumps({"value": value}))
        return value
    answer = json.loads(client.blocking_key_value_get(key, _ANSWER_MILLISECONDS))
    if "error" in answer:
        _told.set()
        # The first process ends as soon as it has this, perhaps before it has answered: no wait for that is endless.
        thread = threading.Thread(target=_hear, args=(client, key), daemon=True)
        thread.start()
        thread.join(LOST_SECONDS / 4)
        raise InputError(*answer["error"])
    return answer["value"]


def _hear(client: Any, key: str) -> None:
    with contextlib.suppress(Exception):
        client.key_value_set(f"{key}/heard/{jax.process_index()}", "")


def _all_heard(client: Any, key: str) -> None:
    """Waits until every other process knows of an error: the service that tells of it ends with the first."""
    until = time.monotonic() + _HEARD_SECONDS
    with contextlib.suppress(Exception):
        while len(client.key_value_dir_get(f"{key}/heard/")) < jax.process_count() - 1 and time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 10)


class Peers:
    """The processes of this job while a run lasts; alone it answers for itself."""

    def __init__(self):
        self.done = False
        """Whether the run has ended well in this process."""
        self.stride = 1
        """Steps that a dispatch may take."""
        self.step = 0
        """Steps for which this process has had its data, the last perhaps still to be dispatched; set by the loop."""
        self._process, self._num = jax.process_index(), jax.process_count()
        self.alone = self._num == 1
        """Whether there are no others, who might ask for something."""
        self._client: Any = compat.coordination() if self._num > 1 else None
        self._prefix = f"jaxai/run/{next(_count)}"
        self._asked: dict[str, tuple[int, int]] = {}
        self._rounds: dict[str, int] = {}
        self._targets: dict[str, int] = {}
        self._acknowledged: set[str] = set()
        self._heard: dict[int, tuple[list[Any], float]] = {}
        self._recent: collections.deque[jax.Array] = collections.deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="jaxai peers", daemon=True)

    def __enter__(self) -> Peers:
        if self._client is not None:
            self._thread.start()
            _runs[:] = [self]
            _told.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._client is None:
            return
        self.done = kind is None
        self._over.set()
        self._thread.join(BEAT_SECONDS * 4)
        if kind is None:
            with contextlib.suppress(Exception):
                self._say("done")

    @property
    def over(self) -> bool:
        """Whether the run has ended in this process, well or not."""
        return self._over.is_set()

    def dispatched(self, step: int, result: jax.Array) -> None:
        """Step number `step` is under way; among several processes none runs more than `LEAD` steps ahead."""
        self.step = step
        if self._client is not None:
            self._recent.append(result)
            if len(self._recent) > LEAD:
                jax.block_until_ready(self._recent.popleft())

    def ask(self, what: str, number: int = 0) -> None:
        """Asks all processes to do `what` at one step; `due` tells when."""
        turn = self._rounds.get(what, 0)
        if self._client is None:
            self._asked[what] = turn, number
        else:
            with contextlib.suppress(Exception):  # another process asked first
                self._client.key_value_set(f"{self._prefix}/ask/{what}/{turn}", str(number))

    def due(self, what: str, step: int) -> int | None:
        """The number that came with asking, if all do `what` at `step`. Waits for nobody.

        Once all have acknowledged, the first process names a step that none can have passed, and each looks for it
        before every step.
        """
        turn, number = self._asked.get(what, (-1, 0))
        if turn != self._rounds.get(what, 0):
            return None
        if self._client is not None:
            key = f"{self._prefix}/{what}/{turn}"
            if what not in self._acknowledged:
                self._acknowledged.add(what)
                self._client.key_value_set(f"{key}/here/{self._process}", "")
            undecided = what not in self._targets
            if undecided and is_primary() and len(self._client.key_value_dir_get(f"{key}/here/")) == self._num:
                self._client.key_value_set(f"{key}/target", str(step + LEAD * self.stride + 1))
            if what not in self._targets:
                with contextlib.suppress(Exception):  # there is none yet
                    self._targets[what] = int(self._client.key_value_try_get(f"{key}/target"))
            if self._targets.get(what, math.inf) > step:
                return None
            del self._targets[what]
            self._acknowledged.discard(what)
        self._rounds[what] = turn + 1
        return number

    @contextlib.contextmanager
    def blaming(self) -> Iterator[None]:
        """Leaves it to the heartbeat to name the process whose loss made a collective fail."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self._client is None:
                raise
            time.sleep(LOST_SECONDS + 4 * BEAT_SECONDS)  # within which this process leaves if another is lost
            raise RetryError("process", f"a collective failed: {str(error).splitlines()[0][:200]}") from error

    def behind(self) -> str:
        """The processes that the others wait for, in words; empty where there are no others."""
        if len(self._heard) < 2:
            return ""
        now = time.monotonic()
        silent = [process for process, (_, when) in self._heard.items() if now - when > 4 * BEAT_SECONDS]
        least = min(said[1] for said, _ in self._heard.values())
        last = [process for process, (said, _) in self._heard.items() if said[1] == least]
        return ", ".join(self.name(process) for process in silent or last)

    def _say(self, state: str) -> None:
        beat = [time.monotonic(), self.step, socket.gethostname(), os.getpid(), state]
        self._client.key_value_set(f"{self._prefix}/beat/{self._process}", json.dumps(beat), allow_overwrite=True)

    def _beat(self) -> None:
        reached = time.monotonic()
        while not self._over.wait(BEAT_SECONDS):
            now = time.monotonic()
            try:
                self._say("alive")
                self._listen(now)
                reached = now
            except Exception:
                if now - reached > LOST_SECONDS / 2:  # the service lives in the first process
                    self._lost(0)
            for process, (said, when) in self._heard.items():
                if said[4] == "alive" and now - when > LOST_SECONDS:
                    self._lost(process)

    def _listen(self, now: float) -> None:
        for key, value in self._client.key_value_dir_get(f"{self._prefix}/beat/"):
            process, said = int(key.rpartition("/")[2]), json.loads(value)
            if process not in self._heard or self._heard[process][0] != said:
                self._heard[process] = (said, now)
        for key, value in self._client.key_value_dir_get(f"{self._prefix}/ask/"):
            what, turn = key.split("/")[-2:]
            if int(turn) >= self._asked.get(what, (-1, 0))[0]:
                self._asked[what] = int(turn), int(value)

    def _lost(self, process: int) -> None:
        if not self._over.is_set():
            what = f"is lost at step {self.step:,}"
            leave(RetryError(self.name(process), what, "the job, started again, goes on from its last checkpoint"))

    def name(self, process: int) -> str:
        """A process in words."""
        said, _ = self._heard.get(process, ([0, 0, "unknown host", "?"], 0.0))
        return f"process {process} (pid {said[3]} on {said[2]}, step {said[1]:,})"
