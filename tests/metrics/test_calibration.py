"""The expected calibration error against its definition in plain numpy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.metrics import Calibration, merge


def by_definition(probabilities, labels, num_bins=15):
    """Guo et al. 2017, equation 3, bin by bin, each (low, high]."""
    confidence, hits = probabilities.max(-1), probabilities.argmax(-1) == labels
    error = 0.0
    for i in range(num_bins):
        inside = (confidence > i / num_bins) & (confidence <= (i + 1) / num_bins)
        if inside.any():
            error += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    return error


def answers(num, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.4), num).astype(np.float32)
    return probabilities, rng.integers(0, 4, num)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_is_the_definition_over_padded_batches(num_bins):
    probabilities, labels = answers(103)
    state = None
    for start in range(0, 103, 16):
        index = np.minimum(np.arange(start, start + 16), 102)
        mask = jnp.asarray(np.arange(start, start + 16) < 103, jnp.float32)
        part = Calibration.of(jnp.asarray(probabilities[index]), jnp.asarray(labels[index]), mask, num_bins)
        state = part if state is None else merge(state, part)
    assert int(state.counts.sum()) == 103
    assert state.compute() == pytest.approx(by_definition(probabilities, labels, num_bins), abs=1e-6)


def test_a_bin_holds_its_upper_edge():
    probabilities = jnp.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.51, 0.49]])
    state = Calibration.of(probabilities, jnp.array([0, 0, 0, 1]), jnp.ones(4), num_bins=4)
    np.testing.assert_array_equal(state.counts, [0, 1, 2, 1])
    np.testing.assert_array_equal(state.hits, [0, 1, 1, 1])


def test_who_is_always_sure_and_half_the_time_right_is_off_by_a_half():
    probabilities = jnp.eye(2)[jnp.array([0, 0, 1, 1])]
    assert Calibration.of(probabilities, jnp.array([0, 1, 1, 0]), jnp.ones(4)).compute() == pytest.approx(0.5)
    assert Calibration.of(probabilities, jnp.array([0, 0, 1, 1]), jnp.ones(4)).compute() == 0


def test_an_example_of_no_weight_may_be_anything():
    probabilities = jnp.array([[0.9, 0.1], [math.nan, math.nan]])
    state = Calibration.of(probabilities, jnp.array([0, 0]), jnp.array([1.0, 0.0]))
    assert state.compute() == pytest.approx(0.1)
    assert math.isnan(Calibration.of(probabilities, jnp.array([0, 0]), jnp.zeros(2)).compute())


def test_of_several_models_is_the_mean_of_their_errors():
    several = np.stack([answers(50, seed)[0] for seed in range(3)])
    labels = answers(50)[1]
    state = jax.vmap(Calibration.of, in_axes=(0, None, None))(several, labels, jnp.ones(50))
    assert state.compute() == pytest.approx(np.mean([by_definition(p, labels) for p in several]), abs=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(InputError, match="labels: probabilities, labels and weights differ in shape"):
        Calibration.of(jnp.ones((3, 2)), jnp.zeros((3, 1), jnp.int32), jnp.ones(3))
