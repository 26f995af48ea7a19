"""Joining a job and agreeing on steps, as far as one process alone can show it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from jaxai.core.errors import InputError, RetryError
from jaxai.parallel import distributed
from jaxai.parallel.distributed import Peers, from_primary, is_primary, join
from tests.faults.processes import free_port


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((None, 2, 0), "--coordinator: is missing: --coordinator, --processes and --process go together"),
        (("localhost:1234", None, 0), "--processes: is missing"),
        (("localhost:1234", 2, None), "--process: is missing"),
        ((None, None, 0), "--coordinator: is missing"),
        (("localhost:1234", None, None), "--processes: is missing"),
        (("localhost", 2, 0), "--coordinator: 'localhost' is not HOST:PORT (such as localhost:9876)"),
        (("localhost:", 2, 0), "--coordinator: 'localhost:' is not HOST:PORT"),
        ((":1234", 2, 0), "--coordinator: ':1234' is not HOST:PORT"),
        (("", 2, 0), "--coordinator: '' is not HOST:PORT"),
        (("localhost:port", 2, 0), "--coordinator: 'localhost:port' is not HOST:PORT"),
        (("localhost:-1", 2, 0), "--coordinator: 'localhost:-1' is not HOST:PORT"),
        (("localhost:0", 2, 0), "--coordinator: 'localhost:0' is not HOST:PORT"),
        (("localhost:65536", 2, 0), "--coordinator: 'localhost:65536' is not HOST:PORT"),
        (("localhost:1²", 2, 0), "--coordinator: 'localhost:1²' is not HOST:PORT"),
        (("localhost:1234", 0, 0), "--processes: must be at least 1, is 0"),
        (("localhost:1234", -2, 0), "--processes: must be at least 1, is -2"),
        (("localhost:1234", 2, 2), "--process: 2 is none of 2 processes (0 to 1)"),
        (("localhost:1234", 2, -1), "--process: -1 is none of 2 processes (0 to 1)"),
    ],
    ids=str,
)
def test_what_cannot_be_a_job_is_refused_before_anything_is_waited_for(given, says, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: pytest.fail("it was joined"))
    with pytest.raises(InputError) as caught:
        join(*given)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("raised", "error", "says"),
    [
        (ValueError("coordinator_address should be defined."), InputError, "--distributed: no cluster was found"),
        (RuntimeError("DEADLINE_EXCEEDED: barrier\ndump"), RetryError, "--distributed: the job did not come together"),
    ],
)
def test_what_jax_says_about_joining_is_one_line(raised, error, says, monkeypatch):
    def initialize(*_, **__):
        raise raised

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(error) as caught:
        join(None, None, None)
    assert str(caught.value).startswith(says)
    assert "dump" not in str(caught.value)


def test_alone_this_process_is_the_first_and_answers_itself():
    assert is_primary()
    made = []
    assert from_primary(lambda: made.append(1) or {"value": [1, None]}) == {"value": [1, None]}
    assert made == [1]
    with pytest.raises(InputError, match="field: what"):
        from_primary(lambda: (_ for _ in ()).throw(InputError("field", "what")))


class Service:
    """A coordination service of one error, whose first process ends before it has answered who has heard of it."""

    def __init__(self):
        self.values: dict[str, str] = {}
        self.answers = threading.Event()

    def blocking_key_value_get(self, key: str, _: int) -> str:
        return json.dumps({"error": ["field", "what", "fix"]})

    def key_value_set(self, key: str, value: str) -> None:
        self.values[key] = value
        self.answers.wait()

    def key_value_dir_get(self, prefix: str) -> list[tuple[str, str]]:
        return [(key, value) for key, value in self.values.items() if key.startswith(prefix)]


def test_an_error_of_the_first_process_needs_no_answer_from_it(monkeypatch):
    service = Service()
    monkeypatch.setattr(distributed.compat, "coordination", lambda: service)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(distributed, "LOST_SECONDS", 0.1)
    monkeypatch.setattr(distributed, "_told", threading.Event())
    monkeypatch.setattr(distributed, "leave", lambda error: pytest.fail(f"it left with {error}"))
    with pytest.raises(InputError, match="field: what"):
        from_primary(lambda: pytest.fail("it asked itself"))
    assert [key.rpartition("/heard/")[2] for key in service.values] == ["1"]
    distributed._joined.set()
    try:
        assert not distributed._service_lost()  # the error of its own is what ends it
    finally:
        distributed._joined.clear()
        service.answers.set()


def test_an_error_of_the_first_process_waits_until_all_have_heard(monkeypatch):
    service = Service()
    service.answers.set()
    monkeypatch.setattr(distributed.compat, "coordination", lambda: service)
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(distributed, "BEAT_SECONDS", 0.01)
    asked = []

    def heard(prefix: str) -> list[tuple[str, str]]:
        asked.append(prefix)
        return [(f"{prefix}{process}", "") for process in range(min(len(asked), 2))]

    monkeypatch.setattr(service, "key_value_dir_get", heard)
    with pytest.raises(InputError, match="field: what"):
        from_primary(lambda: (_ for _ in ()).throw(InputError("field", "what")))
    assert len(asked) == 2


def test_alone_what_is_asked_is_due_at_once_and_once():
    with Peers() as peers:
        assert peers.due("save", 1) is None
        peers.ask("save")
        peers.ask("stop", 15)
        assert peers.due("save", 2) == 0
        assert peers.due("save", 2) is None
        assert peers.due("stop", 3) == 15
        assert peers.due("stop", 4) is None
        peers.ask("save", 7)
        peers.ask("save", 8)
        assert peers.due("save", 5) == 8
        assert peers.due("save", 6) is None


def test_alone_nobody_is_waited_for():
    with Peers() as peers:
        for step in range(100):
            peers.dispatched(step, jnp.zeros(()))
        assert peers.step == 99
        assert peers.behind() == ""
        assert not peers._recent
        assert not peers._thread.is_alive()


def test_alone_a_failed_computation_is_the_runs_own(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits for a peer"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"), Peers() as peers, peers.blaming():
        raise jax.errors.JaxRuntimeError("out of memory")


def test_who_is_behind_is_who_is_silent_else_who_has_taken_fewest_steps(monkeypatch):
    peers = Peers()
    now = time.monotonic()

    def heard(step: int, ago: float = 0.0) -> tuple[list, float]:
        return [now, step, "host", 100 + step, "alive"], now - ago

    peers._heard = {0: heard(9)}
    assert peers.behind() == ""
    peers._heard = {0: heard(9), 1: heard(7), 2: heard(9)}
    assert peers.behind() == "process 1 (pid 107 on host, step 7)"
    peers._heard = {0: heard(9), 1: heard(7), 2: heard(9, ago=distributed.LOST_SECONDS)}
    assert peers.behind() == "process 2 (pid 109 on host, step 9)"


JOIN = """
import sys, jax
from jaxai.parallel.distributed import join
join(f"localhost:{sys.argv[1]}", 1, 0)
print(jax.config.values["jax_cuda_visible_devices"])
"""


def test_a_process_that_is_told_everything_takes_all_devices_under_slurm():
    slurm = {"SLURM_JOB_ID": "1", "SLURM_LOCALID": "3", "SLURM_PROCID": "3", "SLURM_NTASKS": "8"}
    slurm |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "8"}
    command = [sys.executable, "-c", JOIN, str(free_port())]
    done = subprocess.run(command, env=os.environ | slurm, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "all\n", done.stderr
