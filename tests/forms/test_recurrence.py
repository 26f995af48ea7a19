"""The gradient of a recurrent layer's kernel is the loop's own, made after it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import forms
from jaxai.models.recurrent import RecurrentEncoder


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_values_and_gradients(cell):
    """In both directions, with padding in between and at the ends."""
    model = RecurrentEncoder(vocab_size=11, dim=5, features=6, depth=2, cell=cell, num_classes=3)
    tokens = np.random.default_rng(0).integers(0, 11, (4, 9))
    segments = np.array([[1] * 9, [1] * 6 + [0] * 3, [0] * 2 + [1] * 7, [1, 1, 0, 0, 1, 1, 1, 0, 0]])
    params = jax.jit(model.init)(jax.random.key(0), tokens)

    def loss(params):
        return jnp.sum(jnp.sin(model.apply(params, tokens, segments=segments)))

    fast, plain = (
        forms.using(choice, jax.jit(lambda p: jax.value_and_grad(loss)(p)))(params) for choice in ("fast", "plain")
    )
    jax.tree.map(lambda mine, theirs: np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6), fast, plain)


def test_the_backward_loop_sums_no_kernel():
    """Nothing of the kernel's shape is carried from token to token."""
    model = RecurrentEncoder(vocab_size=11, dim=5, features=6, bidirectional=False, num_classes=3)
    tokens = np.zeros((4, 9), int)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)

    def carried(choice):
        with forms.use(choice):
            made = jax.make_jaxpr(jax.grad(lambda p: jnp.sum(model.apply(p, tokens))))(params)
        scans = [e for e in made.eqns if e.primitive.name == "scan"]
        shapes = [aval.shape for e in scans for aval in e.params["jaxpr"].out_avals]
        return (6, 24) in shapes

    assert carried("plain")
    assert not carried("fast")
