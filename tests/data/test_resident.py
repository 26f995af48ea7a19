"""Data that lives on the device: the same batches as from the host, from any position."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.tfds import Tfds


def arrays(num=50):
    random = np.random.default_rng(0)
    return Arrays({"image": random.integers(0, 256, (num, 4, 3, 1), dtype=np.uint8), "label": np.arange(num)})


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [16, 64, 120])
@pytest.mark.parametrize("position", [0, 32, 47])
def test_batches_have_the_bits_of_the_host(shuffle, batch_size, position):
    """Also where a batch straddles epochs, or holds more than one."""
    host, device = (
        Pipeline(source=arrays(), batch_size=batch_size, shuffle=shuffle, resident=resident).open("train", seed=3)
        for resident in (False, True)
    )
    pairs = zip(host.batches(position), device.batches(position), strict=False)
    for theirs, mine in itertools.islice(pairs, 9):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert isinstance(value, jax.Array)
            assert value.dtype == theirs[name].dtype
            np.testing.assert_array_equal(value, theirs[name])


def test_a_cached_dataset_is_read_once_and_resident():
    pipeline = Pipeline(source=Tfds("digits"), batch_size=32, cache=True, resident=True)
    batch = next(pipeline.open("train").batches(32))
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
