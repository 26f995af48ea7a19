from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.models.layers import max_pool


@pytest.mark.parametrize(("shape", "size"), [((3, 8, 8, 5), 2), ((2, 11, 7, 4), 2), ((2, 7, 9, 1), 3)])
def test_max_pool_has_the_bits_of_flaxs_with_ties(shape, size):
    rng = np.random.default_rng(0)
    # ReLU leaves many zeros, rounding many other equals.
    x = np.maximum(rng.normal(size=shape).round(1).astype(np.float32), 0)
    rows, columns = shape[1] // size, shape[2] // size
    cotangent = rng.normal(size=(shape[0], rows, columns, shape[3])).astype(np.float32)

    def both(pool):
        value, pull = jax.vjp(pool, x)
        return value, pull(cotangent)[0]

    ours = jax.jit(lambda: both(lambda x: max_pool(x, size)))()
    theirs = jax.jit(lambda: both(lambda x: nn.max_pool(x, (size, size), (size, size))))()
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("corner", range(4))
def test_max_pool_does_not_hide_a_nan(corner):
    x = jnp.arange(4.0).at[corner].set(jnp.nan).reshape(1, 2, 2, 1)
    assert jnp.isnan(max_pool(x)).all()
