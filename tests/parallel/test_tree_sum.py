"""One order of summation: the same bits on 1, 2, 4 and 8 devices, and those of the tree on paper."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.parallel.tree_sum import MAX_SHARDS, num_virtual_shards, tree_sum

AWKWARD = """
import numpy as np

def awkward(seed, shards, rows=1):
    \"\"\"Numbers of all sizes that cancel: in float32 every order of adding them gives another sum.\"\"\"
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(shards * rows, 37)) * 10.0 ** rng.integers(-6, 7, (shards * rows, 37))
    return x.astype(np.float32)
"""
namespace: dict = {}
exec(AWKWARD, namespace)
awkward = namespace["awkward"]


def on_paper(parts: np.ndarray) -> np.ndarray:
    """The sum along the binary tree over `parts` [shard, ...], in numpy's float32."""
    while len(parts) > 1:
        parts = parts[::2] + parts[1::2]
    return parts[0]


@pytest.mark.parametrize("shards", [2, 4, 8, 16])
def test_the_sum_is_that_of_the_tree_on_paper(shards):
    total = jax.jit(lambda x: tree_sum(lambda part: part[0], x, shards, None, 1))
    differ = 0
    for seed in range(20):
        x = awkward(seed, shards)
        np.testing.assert_array_equal(np.asarray(total(x)), on_paper(x))
        differ += bool((on_paper(x) != np.add.accumulate(x)[-1]).any())
    # Else the numbers would not be awkward, and any order would do.
    assert differ == (0 if shards == 2 else 20)


def test_a_tree_of_values_is_summed_value_by_value():
    batch = {"a": awkward(0, 4), "b": np.arange(4, dtype=np.int32)}
    total = tree_sum(lambda part: {"a": part["a"][0], "n": part["b"].sum(), "one": np.float32(1)}, batch, 4, None, 1)
    np.testing.assert_array_equal(total["a"], on_paper(batch["a"]))
    assert (int(total["n"]), float(total["one"])) == (6, 4.0)


ON_8_DEVICES = f"""
import functools, hashlib
import jax, jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxai import compat
from jaxai.parallel.tree_sum import tree_sum
compat.enable_compilation_cache()
{AWKWARD}
weights = awkward(99, 37)

def fn(part):
    return {{"sum": part.sum(0), "product": jnp.tanh(part) @ weights, "squares": jnp.sum(part * part)}}

digests = {{seed: [] for seed in range(9)}}
for devices in (1, 2, 4, 8):
    step = lambda x: tree_sum(fn, x, 16, "data" if devices > 1 else None, devices)
    if devices == 1:
        apart, together = None, jax.jit(step)
    else:
        some = jax.devices()[:devices]
        mesh = jax.sharding.Mesh(np.asarray(some), ("data",))
        apart = jax.pmap(step, "data", devices=some)
        together = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False))
    for seed in digests:
        x = awkward(seed, 16, 3)
        results = [together(x)]
        if apart is not None:
            mapped = apart(x.reshape(devices, -1, 37))
            results += [jax.tree.map(lambda y, i=i: y[i], mapped) for i in range(devices)]
        for result in results:
            bits = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result))
            digests[seed].append(hashlib.sha256(bits).hexdigest())
for seed in digests:
    print(seed, len(digests[seed]), len(set(digests[seed])))
"""


@pytest.mark.slow
def test_the_same_bits_on_1_2_4_and_8_devices_under_pmap_and_shard_map():
    """And on every device of them: none needs to be told the result by another."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ON_8_DEVICES]
    done = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = 1 + (2 + 1) + (4 + 1) + (8 + 1)
    assert done.stdout.splitlines() == [f"{seed} {counted} 1" for seed in range(9)]


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_number_of_shards_is_one_of_the_batch_alone(devices):
    for batch in range(1, 200):
        shards = 1
        while shards < MAX_SHARDS and batch % (2 * shards) == 0:
            shards *= 2
        if shards >= 2 * devices:
            assert num_virtual_shards(batch, devices, "train") == shards
        else:
            with pytest.raises(InputError) as caught:
                num_virtual_shards(batch, devices, "train")
            assert caught.value.field == "train.batch_size"
            assert caught.value.fix == f"reproducible=True wants a multiple of {2 * devices}"


@pytest.mark.parametrize("devices", [3, 5, 6, 7, 9, 16, 32])
def test_other_numbers_of_devices_are_refused_whatever_the_batch(devices):
    for batch in (devices, 2 * devices, 16 * devices, 64):
        with pytest.raises(
            InputError, match=f"reproducible: {devices} devices do not share 16 virtual shards"
        ) as caught:
            num_virtual_shards(batch, devices, "evals.test")
        assert caught.value.fix == "1, 2, 4 or 8 devices"
