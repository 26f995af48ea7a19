"""Heads on one encoder: losses in closed form, and learned weights against their optimum."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize
from jaxai.models import MLP, ConvNet, UNet
from jaxai.tasks import ClassificationHead, MultiTask, RegressionHead

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 255, (12, 4, 4, 1)).astype(np.uint8),
    "label": RNG.integers(0, 3, 12).astype(np.int32),
    "size": RNG.normal(size=12).astype(np.float32),
    "index": np.arange(12, dtype=np.int32),
    "weight": RNG.uniform(0, 2, 12).astype(np.float32),
}
HEADS = {
    "kind": ClassificationHead(field="label", num_classes=3, weight=0.5),
    "size": RegressionHead(field="size", weight=2.0),
}
ENCODER = MLP(features=(6,), num_classes=0)
TASK = MultiTask(encoder=ENCODER, heads=HEADS, augment=(Normalize(),))
LEARNED = dataclasses.replace(TASK, weighting="uncertainty")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(LEARNED.init)(KEY, BATCH)


def with_variances(variables, kind, size):
    values = {"kind": jnp.float32(kind), "size": jnp.float32(size)}
    return {"params": {**variables["params"], "log_variances": values}}


def losses(variables):
    """Cross-entropies and half squared errors, in numpy."""
    params = jax.tree.map(np.asarray, variables["params"])
    x = np.maximum((BATCH["image"].reshape(12, -1) / 127.5 - 1) @ params["encoder"]["Dense_0"]["kernel"], 0)
    z, y = (x @ params["heads"][name]["kernel"] for name in HEADS)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return -log_p[np.arange(12), BATCH["label"]], (y[:, 0] - BATCH["size"]) ** 2 / 2


def loss(task, variables, batch=BATCH, train=True):
    return jax.jit(lambda v, b: task.loss(v, b, KEY, train))(variables, batch)


def test_fixed_weights_add_up_the_losses_of_the_heads(variables):
    kind, size = losses(variables)
    out = loss(TASK, variables)
    w = BATCH["weight"]
    assert float(out.total) == pytest.approx((w * (0.5 * kind + 2 * size)).sum(), rel=1e-4)
    assert float(out.weight) == pytest.approx(w.sum())
    measured = metrics.compute(out.metrics)
    assert set(measured) == {"kind_loss", "kind_accuracy", "size_loss", "size_mse"}
    assert measured["kind_loss"] == pytest.approx((w * kind).sum() / w.sum(), rel=1e-4)
    assert measured["size_mse"] == pytest.approx((w * 2 * size).sum() / w.sum(), rel=1e-4)


def test_learned_weights_in_closed_form(variables):
    """Kendall et al. 2018: exp(-s) L + s / 2, which is least at the variance 2 L."""
    kind, size = losses(variables)
    w = BATCH["weight"]
    chosen = with_variances(variables, 0.3, -0.7)
    out = loss(LEARNED, chosen)
    expected = 0.5 * (np.exp(-0.3) * kind + 0.15) + 2 * (np.exp(0.7) * size - 0.35)
    assert float(out.total) == pytest.approx((w * expected).sum(), rel=1e-4)
    assert out.metrics["size_weight"].compute() == pytest.approx(np.exp(0.7), rel=1e-5)
    best = with_variances(variables, *(np.log(2 * (w * each).sum() / w.sum()) for each in (kind, size)))
    gradient = jax.jit(jax.grad(lambda v: LEARNED.loss(v, BATCH, KEY, True).total))(best)["params"]["log_variances"]
    for slope in gradient.values():
        assert abs(float(slope)) < 1e-4
    # For a regression that is the likelihood of a normal distribution of that variance.
    variance = float(jnp.exp(best["params"]["log_variances"]["size"]))
    likelihood = scipy.stats.norm.logpdf(np.sqrt(2 * size), scale=np.sqrt(variance)) + np.log(2 * np.pi) / 2
    regression = dataclasses.replace(LEARNED, heads={"size": RegressionHead(field="size")})
    assert float(loss(regression, best).total) == pytest.approx(-(w * likelihood).sum(), rel=1e-4)


def test_one_head_alone_is_the_task_without_the_other(variables):
    alone = dataclasses.replace(TASK, heads={"size": HEADS["size"]})
    own = {
        "params": {"encoder": variables["params"]["encoder"], "heads": {"size": variables["params"]["heads"]["size"]}}
    }
    shapes = jax.tree.map(jnp.shape, jax.jit(alone.init)(KEY, BATCH))
    assert shapes == jax.tree.map(jnp.shape, own)
    assert float(loss(alone, own).total) == pytest.approx(2 * (BATCH["weight"] * losses(variables)[1]).sum(), rel=1e-4)


def test_padding_counts_nowhere(variables):
    mask = np.where(np.arange(12) < 8, 1, 0).astype(np.float32)
    spoiled = {**BATCH, "mask": mask, "size": np.where(mask == 1, BATCH["size"], np.nan).astype(np.float32)}
    short = {name: values[:8] for name, values in BATCH.items()}
    padded, whole = loss(LEARNED, variables, spoiled, False), loss(LEARNED, variables, short, False)
    assert float(padded.total) == pytest.approx(float(whole.total), rel=1e-5)
    assert metrics.compute(padded.metrics) == pytest.approx(metrics.compute(whole.metrics), rel=1e-5)


@pytest.mark.slow
def test_statistics_and_features_are_the_encoders():
    task = dataclasses.replace(
        LEARNED, encoder=ConvNet(features=(4,), dense=(), norm="batch", dropout=0.5, num_classes=0)
    )
    variables = jax.jit(task.init)(KEY, BATCH)
    out = loss(task, variables)
    assert jax.tree.structure(out.model_state) == jax.tree.structure({"batch_stats": variables["batch_stats"]})
    assert set(out.model_state["batch_stats"]) == {"encoder"}
    features = jax.jit(task.embed)(variables, BATCH["image"])
    encoder = {name: values["encoder"] for name, values in variables.items() if "encoder" in values}
    expected = jax.jit(task.encoder.apply)(encoder, BATCH["image"] / np.float32(127.5) - 1)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    answers = jax.jit(task.predict)(variables, BATCH["image"])
    head = variables["params"]["heads"]["size"]
    np.testing.assert_allclose(answers["size"], (expected @ head["kernel"])[:, 0] + head["bias"], atol=1e-5)
    np.testing.assert_allclose(answers["kind"].sum(-1), 1, atol=1e-5)


def test_a_label_outside_the_classes_is_not_learned_silently(variables):
    wrong = {**BATCH, "label": np.full(12, 3, np.int32)}
    assert np.isnan(float(loss(TASK, variables, wrong).total))
    with pytest.raises(InputError, match="label: is 3 in example 0, the head has 3 classes"):
        TASK.check(variables, wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiTask(encoder=ENCODER, heads={}), "task.heads: is empty"),
        (lambda: MultiTask(encoder=ENCODER, heads={"a/b": HEADS["size"]}), "task.heads: 'a/b' cannot name a head"),
        (lambda: MultiTask(encoder=ENCODER, heads={"a": 3}), "task.heads.a: 3 is no head"),
        (lambda: dataclasses.replace(TASK, weighting="learned"), "task.weighting: 'learned' is unknown"),
        (lambda: TASK.check({}, {**BATCH, "size": np.ones((12, 2))}), "size: must be one number an example"),
        (lambda: TASK.check({}, {"image": BATCH["image"], "index": BATCH["index"]}), "no field 'label'"),
        (
            lambda: jax.eval_shape(dataclasses.replace(TASK, encoder=UNet(features=(4,))).init, KEY, BATCH),
            r"task.encoder: must give features \[batch, feature\], gives \[12, 4, 4, 1\]",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
