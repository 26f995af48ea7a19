"""What a call of the compiled step is fed: the same batches, from the host or the device, one or several at once."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai import Pipeline, PMap
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.tfds import Tfds
from jaxai.training.feed import Fed, HostFeed, ResidentFeed, open_feed


def arrays(num=50):
    random = np.random.default_rng(0)
    return Arrays({"image": random.integers(0, 256, (num, 4, 3, 1), dtype=np.uint8), "label": np.arange(num)})


def taken(feed, step, num_steps, room):
    """The batches of the next call, of a state after `step` steps, as the compiled step makes them out."""
    fed = feed.take(num_steps, room)
    pick = jax.jit(lambda fed, number, step: feed.batch(Fed(*fed), number, room, step))
    return [jax.device_get(pick(tuple(fed), i, np.int32(step + i))) for i in range(num_steps)]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [16, 64, 120])
@pytest.mark.parametrize("position", [0, 32, 47])
@pytest.mark.parametrize("resident", [True, False])
def test_batches_have_the_bits_of_the_reader(shuffle, batch_size, position, resident):
    """Also where a batch straddles epochs, or holds more than one, and where there is room for more steps."""
    pipeline = Pipeline(source=arrays(), batch_size=batch_size, shuffle=shuffle, resident=resident)
    reader = pipeline.open("train", seed=3)
    begun = 2**31 // batch_size - 3  # the examples seen are about to be more than 32 bits can count
    feed = open_feed(reader, PMap(devices=1).lay_out(), position, begun, 4)
    assert type(feed) is (ResidentFeed if resident else HostFeed)
    mine = []
    for num_steps, room in ((1, 1), (4, 4), (2, 4), (1, 1)):
        mine += taken(feed, begun + len(mine), num_steps, room)
    assert len(mine) == 8
    feed.went_back(5)  # the data go on
    mine += taken(feed, 5, 1, 1)
    for number, batch in enumerate(mine):
        theirs = reader.at(position + number * batch_size)
        assert batch.keys() == theirs.keys()
        for name, value in batch.items():
            assert value.dtype == theirs[name].dtype
            np.testing.assert_array_equal(value, theirs[name])


def test_an_accelerator_is_sent_the_next_batch_while_it_works():
    sent = []

    class Layout:
        devices = (type("Device", (), {"platform": "gpu"}),)

        @staticmethod
        def send(batch, dim):
            sent.append(batch["label"][0])
            return batch

    reader = Pipeline(source=arrays(), batch_size=10, shuffle=False).open("train")
    feed = HostFeed(reader, Layout, 0)
    assert feed.take(1, 1).cut["label"][0] == 0
    assert sent == [0, 10]
    assert feed.take(1, 1).cut["label"][0] == 10
    assert sent == [0, 10, 20]


def test_a_cached_dataset_is_read_once_and_resident():
    pipeline = Pipeline(source=Tfds("digits"), batch_size=32, cache=True, resident=True)
    feed = open_feed(pipeline.open("train"), PMap(devices=1).lay_out(), 32, 0, 1)
    (batch,) = taken(feed, 0, 1, 1)
    expected = Pipeline(source=Tfds("digits"), batch_size=32).open("train").at(32)
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)


def test_what_cannot_be_resident_is_refused():
    with pytest.raises(InputError, match=r"train.resident: the source is not in memory \(add cache=True\)"):
        Pipeline(source=Tfds("digits"), resident=True).open("train")
    with pytest.raises(InputError, match=r"train.resident: needs one process, not 2"):
        Pipeline(source=arrays(), resident=True).open("train", num_processes=2)


@pytest.mark.slow
def test_a_run_has_the_bits_of_one_that_reads_on_the_host(run_apart):
    """On one device and over several, by `PMap` and by `Mesh`."""
    layouts = ("PMap(devices=1)", "PMap()", "Mesh(data=2, fsdp=2)")
    specs = [{"parallel": p, "steps": 4, "resident": resident} for p in layouts for resident in (False, True)]
    results = run_apart(*specs, devices=4)
    for host, resident in zip(results[::2], results[1::2], strict=True):
        assert resident == host
