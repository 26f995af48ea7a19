"""Random keys: functions of (seed, stream, step, example) and of nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core import rng


def bits(key: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(key))


def test_keys_never_change_between_versions():
    # By JAX's threefry, whose streams are fixed: numbers of the first release of jaxai.
    assert bits(rng.step_key(0, "train", 0)).tolist() == [941276958, 1067884796]
    assert bits(rng.step_key(7, "init", 3)).tolist() == [2981680008, 2527656651]


def test_seed_stream_and_step_each_make_another_key():
    keys = [rng.step_key(seed, name, step) for seed in (0, 1) for name in ("train", "init") for step in (0, 1)]
    assert len({tuple(bits(key)) for key in keys}) == 8


def test_a_traced_step_gives_the_key_of_the_number():
    traced = jax.jit(lambda step: jax.random.key_data(rng.step_key(3, "train", step)))(jnp.int32(5))
    np.testing.assert_array_equal(traced, bits(rng.step_key(3, "train", 5)))


def test_an_example_has_its_key_wherever_it_stands():
    key = rng.step_key(0, "train", 0)
    whole = bits(rng.example_keys(key, jnp.arange(8)))
    shuffled = bits(rng.example_keys(key, jnp.array([5, 2])))
    np.testing.assert_array_equal(shuffled, whole[[5, 2]])
    assert len({tuple(row) for row in whole}) == 8


def test_shares_of_a_batch_have_keys_of_their_own():
    key = rng.step_key(0, "train", 0)
    first, second = (bits(rng.batch_key(key, index)) for index in (jnp.array([0, 1]), jnp.array([2, 3])))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, bits(rng.example_keys(key, jnp.array([0])))[0])
