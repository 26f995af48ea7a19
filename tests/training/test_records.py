import numpy as np
import pytest

from jaxai import metrics
from jaxai.log import NullDisplay
from jaxai.training import records
from jaxai.training.records import Sink, TrainingLog
from jaxai.training.step import Packed

BATCH_SIZE = 10
ONE = np.float32(1)


class Clock:
    """A clock that stands still but for what is waited for."""

    now = 100.0

    def perf_counter(self):
        return self.now


class Vector:
    """A step's metrics that the device has at `ready`; whoever fetches them before waits."""

    def __init__(self, clock, ready, numbers):
        self.clock, self.ready, self.numbers = clock, ready, numbers

    def is_ready(self):
        return self.clock.now >= self.ready

    def __array__(self, dtype=None, copy=None):
        self.clock.now = max(self.clock.now, self.ready)
        return np.asarray(self.numbers, dtype)


class Records(list):
    def write(self, record):
        self.append(record)


@pytest.fixture
def run(monkeypatch):
    """Runs 9 steps in intervals of 3, each step sent off in `host` seconds and computed in `device`; the records."""

    def run(host, device):
        clock, written = Clock(), Records()
        monkeypatch.setattr(records, "time", clock)
        log = TrainingLog(
            Sink([written], NullDisplay()),
            batch_size=BATCH_SIZE,
            seconds_before=0.0,
            carried=None,
            carried_from="",
            on_nonfinite=lambda *_: None,
            on_loss=lambda *_: None,
            start_step=0,
            warm_until=100,
        )
        packed = Packed.of({"loss": metrics.Mean(ONE, ONE), "nonfinite_steps": metrics.Mean(0 * ONE, ONE)})
        done = clock.now
        for step in range(1, 10):
            clock.now += host
            done = max(done, clock.now) + device
            log.add(Packed(Vector(clock, done, packed.vector), packed.structure), 1, 0.0)
            if step % 3 == 0:
                log.cut(step)
        log.flush()
        return written

    return run


def test_throughput_is_the_devices_where_it_is_behind(run):
    first, *later = run(host=0.25, device=2.0)
    # The clock starts when the first of the three is sent off, which is not counted.
    assert first["examples_per_second"] == pytest.approx(2 * BATCH_SIZE / 6)
    assert [record["examples_per_second"] for record in later] == pytest.approx([BATCH_SIZE / 2] * 2)
    assert [first["seconds"], *(record["seconds"] for record in later)] == pytest.approx([6.25, 12.25, 18.25])


def test_throughput_is_the_hosts_where_the_device_waits(run):
    *first, last = [record["examples_per_second"] for record in run(host=2.0, device=0.25)]
    assert first == pytest.approx([BATCH_SIZE / 2] * 2)
    assert last == pytest.approx(3 * BATCH_SIZE / 6.25)  # the run's end waits for the last step
