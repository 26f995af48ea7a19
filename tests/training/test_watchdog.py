"""A stuck step ends the process with all stacks; work that goes on, however slowly, does not."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import pytest

from jaxai.training import watchdog
from jaxai.training.watchdog import POLL_SECONDS, SLOW_SECONDS, TIMES_MEDIAN, Watchdog

STUCK = """
import time
from jaxai.training.watchdog import Watchdog

class Never:
    def is_ready(self):
        return False

def stuck_here():
    time.sleep(60)

with Watchdog(0.2, lambda: "process 3 (pid 9 on elsewhere, step 7)") as dog:
    dog.phase("step")
    dog.dispatched(7, Never())
    stuck_here()
"""


@pytest.mark.slow
def test_a_stuck_step_exits_75_with_the_stacks_of_all_threads():
    command = [sys.executable, "-c", STUCK]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 75
    line, *stacks = done.stderr.splitlines()
    assert line.startswith("jaxai: error: watchdog: step 7 has taken ")
    assert "s; waiting for process 3 (pid 9 on elsewhere, step 7) (" in line
    assert any("in stuck_here" in entry for entry in stacks)
    assert any("in _watch" in entry for entry in stacks)
    assert sum(entry.startswith(("Thread ", "Current thread ")) for entry in stacks) >= 2


class Barked(Exception):
    pass


class World:
    """Seconds pass only while the watchdog sleeps; what happens at which second is written down before."""

    def __init__(self, monkeypatch, seconds: float = 60.0, behind: str = ""):
        self.now, self.end = 0.0, 0.0
        self.events: list[tuple[float, object]] = []
        monkeypatch.setattr(watchdog, "time", types.SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(watchdog, "leave", self._leave)
        self.dog = Watchdog(seconds, lambda: behind)
        monkeypatch.setattr(self.dog, "_over", self)

    def wait(self, seconds: float) -> bool:
        """In place of the event that ends the watch."""
        until = self.now + seconds
        while self.events and self.events[0][0] <= until:
            self.now, event = self.events.pop(0)
            event()
        self.now = until
        return self.now >= self.end

    def at(self, second: float, event) -> None:
        self.events.append((second, event))
        self.events.sort(key=lambda entry: entry[0])

    def step(self, number: int, *, dispatched: float, ready: float) -> None:
        self.at(dispatched, lambda: self.dog.dispatched(number, Result(self, ready)))

    def watch(self, until: float) -> str:
        """What it barks, if it does, and when."""
        self.end = until
        try:
            self.dog._watch()
        except Barked as barked:
            return str(barked)
        return ""

    def _leave(self, error, *, stacks: bool, after: float):
        assert stacks
        assert after == (watchdog.LINGER_SECONDS if "waiting for" in str(error) else 0)
        assert error.exit_code == 75
        raise Barked(f"{self.now:g}: {error}")


class Result:
    """The result of a step that is there from a certain second on."""

    def __init__(self, world: World, ready: float):
        self.world, self.ready = world, ready

    def is_ready(self) -> bool:
        return self.world.now >= self.ready


def test_queued_steps_that_progress_are_left_alone(monkeypatch):
    """Eight steps wait in the queue for four minutes each, but one ends every half minute."""
    world = World(monkeypatch)
    world.dog.phase("step")
    for number in range(100):
        world.step(number, dispatched=max(0, 30 * (number - 7)) + 1, ready=30 * (number + 1))
    assert world.watch(until=3000) == ""


def test_a_queue_that_stops_moving_is_known_within_the_limit(monkeypatch):
    world = World(monkeypatch, behind="process 1")
    world.dog.phase("step")
    for number in range(10):
        ready = 1.0 + number if number < 5 else 1e9
        world.step(number, dispatched=0.1 * number, ready=ready)
    barked = world.watch(until=1000)
    assert 65 < float(barked.split(":")[0]) <= 65 + 3 * POLL_SECONDS
    assert "watchdog: step 9 has taken 60 s; waiting for process 1 (the stacks of all threads follow)" in barked


def test_slow_steps_raise_the_limit_to_twenty_times_their_median(monkeypatch):
    for gap, barks in ((TIMES_MEDIAN * 10 - 10, False), (TIMES_MEDIAN * 10 + 10, True)):
        world = World(monkeypatch)
        world.dog.phase("step")
        for number in range(20):
            world.step(number, dispatched=10 * number, ready=10 * (number + 1))
        world.step(20, dispatched=200, ready=200 + gap)
        world.at(200 + gap, lambda world=world: world.dog.phase(""))
        assert bool(world.watch(until=1000)) is barks


def test_one_slow_step_does_not_raise_it(monkeypatch):
    world = World(monkeypatch)
    world.dog.phase("step")
    for number, ready in enumerate([1, 2, 3, 50, 51, 52, 1e9]):
        world.step(number, dispatched=ready - 0.5 if ready < 1e9 else 52, ready=ready)
    barked = world.watch(until=1000)
    assert 112 < float(barked.split(":")[0]) < 115


@pytest.mark.parametrize(
    ("phase", "limit"),
    [("", None), ("saving", SLOW_SECONDS), ("evaluating", SLOW_SECONDS), ("compiling", SLOW_SECONDS), ("step", 60)],
)
def test_each_phase_has_its_own_patience(monkeypatch, phase, limit):
    """Nothing is watched while the caller of `steps()` has the word, however long it keeps it."""
    world = World(monkeypatch)
    world.dog.phase("step")
    world.step(3, dispatched=0.1, ready=1.0)
    world.at(2.0, lambda: world.dog.phase(phase))
    barked = world.watch(until=100_000)
    if limit is None:
        assert barked == ""
    else:
        assert limit + 2 < float(barked.split(":")[0]) <= limit + 2 + 2 * POLL_SECONDS
        assert ("step 3 has taken" if phase == "step" else f"{phase} at step 3 has taken") in barked


def test_what_is_not_training_does_not_count_as_a_steps_time(monkeypatch):
    """A step dispatched before a long evaluation, and one after it, both have their full time."""
    world = World(monkeypatch)
    world.dog.phase("step")
    world.step(1, dispatched=0.1, ready=1.0)
    world.at(2.0, lambda: world.dog.phase("evaluating"))
    world.at(900.0, lambda: world.dog.phase("step"))
    world.step(2, dispatched=901.0, ready=950.0)
    world.at(951.0, lambda: world.dog.phase(""))
    assert world.watch(until=5000) == ""


def test_without_seconds_nothing_watches():
    with Watchdog(None, lambda: "") as dog:
        dog.phase("step")
        dog.dispatched(1, None)
        assert not dog._thread.is_alive()
