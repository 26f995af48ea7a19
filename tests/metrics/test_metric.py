from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.metrics import Confusion, Mean, accuracy, compute, merge


def test_compute_names_a_mean_by_its_metric_and_keeps_the_names_of_a_confusion():
    metrics = {
        "loss": Mean.of(jnp.array([1.0, 3.0]), jnp.array([1.0, 3.0])),
        "confusion": Confusion.of(jnp.array([0, 1]), jnp.array([0, 1]), jnp.ones(2), 2),
    }
    values = compute(metrics)
    assert values["loss"] == 2.5
    assert values["f1_macro"] == 1.0
    np.testing.assert_array_equal(values["confusion"], np.eye(2))
    assert set(values) == {"loss", "confusion"} | {
        f"{kind}_{average}" for kind in ("precision", "recall", "f1") for average in ("macro", "micro")
    }


def test_two_metrics_computing_one_name_are_refused():
    confusion = Confusion.of(jnp.array([0]), jnp.array([0]), jnp.ones(1), 2)
    with pytest.raises(InputError, match=r"metrics\.b: computes 'precision_macro'"):
        compute({"a": confusion, "b": confusion})


@pytest.mark.slow
def test_psum_over_devices_and_scan_over_steps_equal_the_whole():
    logits = jax.random.normal(jax.random.key(0), (24, 5))
    labels = jnp.arange(24) % 5
    weights = (jnp.arange(24) % 7 != 0).astype(jnp.float32)

    def state(logits, labels, weights):
        return {
            "accuracy": accuracy(logits, labels, weights),
            "confusion": Confusion.of(labels, jnp.argmax(logits, -1), weights, 5),
        }

    def summed(*batch):
        return jax.lax.psum(state(*batch), "data")

    whole = state(logits, labels, weights)
    split = [x.reshape(4, 6, *x.shape[1:]) for x in (logits, labels, weights)]
    mapped = jax.tree.map(lambda x: x[0], jax.vmap(summed, axis_name="data")(*split))
    zero = jax.tree.map(jnp.zeros_like, whole)
    scanned, _ = jax.lax.scan(lambda total, batch: (merge(total, state(*batch)), None), zero, split)
    for other in (mapped, scanned):
        jax.tree.map(np.testing.assert_array_equal, whole, other)
        assert jax.tree.map(lambda x: x.dtype, other) == jax.tree.map(lambda x: x.dtype, whole)
