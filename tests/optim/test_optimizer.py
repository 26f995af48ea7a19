"""Optimizers and schedules in closed form, and their rules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxai import Call, Epochs, InputError, Steps, optim
from jaxai.core import tree

PARAMS = {"dense": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}}
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)


def to_steps(duration):
    return duration.steps(10, 100)


def update(optimizer, gradients=None):
    chain = optimizer.build(100, to_steps)
    updates, _ = chain.update(ZERO if gradients is None else gradients, chain.init(PARAMS), PARAMS)
    return updates["dense"]


def test_decay_spares_vectors_by_default_and_follows_rules():
    updates = update(optim.adamw(0.1, weight_decay=0.5))
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 3)
    np.testing.assert_array_equal(updates["bias"], 0)
    updates = update(optim.adamw(0.1, weight_decay=0.5, decay=(("bias", 2.0),)))
    np.testing.assert_array_equal(updates["kernel"], 0)
    np.testing.assert_allclose(updates["bias"], -0.1 * 1.0 * 3)


def test_multipliers_scale_the_learning_rate():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    updates = update(optim.sgd(0.1, multipliers=(("kernel$", 0.25), ("bias", 0.0))), ones)
    np.testing.assert_allclose(updates["kernel"], -0.025)
    np.testing.assert_array_equal(updates["bias"], 0)


def test_a_rule_that_matches_nothing_names_the_nearest_paths():
    with pytest.raises(
        InputError, match=r"optimizer.decay: rule 'kernal' matches no parameter \(nearest: dense/kernel"
    ):
        update(optim.adamw(0.1, decay=(("kernal", 1.0),)))


def test_lion_moves_every_parameter_by_the_learning_rate():
    rng = np.random.default_rng(0)
    gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS)
    updates = update(optim.lion(0.1, weight_decay=0.0), gradients)
    np.testing.assert_allclose(updates["kernel"], -0.1 * np.sign(gradients["dense"]["kernel"]), rtol=1e-6)


def test_muon_orthogonalises_matrices_and_uses_adam_for_vectors():
    gradients = {"dense": {"kernel": jnp.array([[3.0, 0.0], [0.0, 0.1]]), "bias": jnp.array([0.2, -4.0])}}
    updates = update(optim.muon(0.1, weight_decay=0.0), gradients)
    singular = np.linalg.svd(np.asarray(updates["kernel"]), compute_uv=False) / 0.1
    # Five Newton-Schulz steps bring singular values near 1, from 3 and from 0.1 alike (Jordan et al. 2024: 0.7 to 1.2).
    assert ((singular > 0.6) & (singular < 1.3)).all()
    nadam = optax.nadam(0.1)
    expected, _ = nadam.update(gradients["dense"]["bias"], nadam.init(jnp.zeros(2)))
    np.testing.assert_allclose(updates["bias"], expected, rtol=1e-5)


def test_of_several_layers_in_one_each_is_as_it_were_alone():
    """Queries, keys and values: no decay of their biases, and Muon sees three matrices; scanned blocks are no dim."""
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(2, 6, 3, 4)), jnp.float32)
    params = {"blocks": {"qkv": {"kernel": kernel, "bias": jnp.ones((2, 3, 4))}}}
    decayed = tree.flatten(optim.adamw(0.1).decays(params))
    assert {path: bool(value) for path, value in decayed.items()} == {
        "blocks/qkv/kernel": True,
        "blocks/qkv/bias": False,
    }

    def muon(params, gradients):
        chain = optim.muon(0.1, weight_decay=0.0).build(100, to_steps)
        return chain.update(gradients, chain.init(params), params)[0]

    together = muon(params, params)["blocks"]["qkv"]["kernel"]
    for layer, part in np.ndindex(2, 3):
        alone = {"kernel": kernel[layer, :, part]}
        np.testing.assert_allclose(together[layer, :, part], muon(alone, alone)["kernel"], rtol=1e-4, atol=1e-5)


def test_warmup_in_epochs_then_cosine():
    schedule = optim.WarmupCosine(peak=1.0, warmup=Epochs(2), end=0.1).build(100, to_steps)
    assert float(schedule(0)) == 0.0
    assert float(schedule(10)) == pytest.approx(0.5)
    assert float(schedule(20)) == pytest.approx(1.0)
    assert float(schedule(60)) == pytest.approx(0.55)
    assert float(schedule(100)) == pytest.approx(0.1)


def test_boundaries_count_from_the_start_of_the_run():
    schedule = optim.WarmupSteps(peak=1.0, warmup=Steps(10), boundaries=(Epochs(3), Steps(50))).build(100, to_steps)
    assert [float(schedule(step)) for step in (5, 29, 31, 49, 51)] == pytest.approx([0.5, 1.0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.adamw(0.1, weight_decay=-1.0), "optimizer.weight_decay: must not be negative"),
        (lambda: optim.sgd(0.1, clip_norm=0.0), "optimizer.clip_norm: must be above 0"),
        (
            lambda: update(optim.sgd(optim.Constant(peak=1.0, warmup=Steps(100)))),
            "learning_rate.warmup: 100steps is 100",
        ),
        (lambda: Call(optax.adam, learning_rat=1.0), "adam: has no argument 'learning_rat'"),
    ],
)
def test_bad_values_name_the_field(make, message):
    with pytest.raises(InputError, match=message):
        make()
