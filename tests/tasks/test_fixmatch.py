"""FixMatch in closed form, its expectation, and its evaluation as classification."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize, RandomFlip
from jaxai.models import MLP
from jaxai.tasks import Classification, FixMatch

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (8, 3, 3, 1)).astype(np.uint8)
LABELS = np.array([0, -1, 2, -1, -1, 1, -1, -1], np.int32)
BATCH = {"image": IMAGES, "label": LABELS, "index": np.arange(8, dtype=np.int32)}
MODEL = MLP(features=(), num_classes=3)
#: Every strong view is a mirror image, so that nothing is random.
TASK = FixMatch(
    model=MODEL,
    weak=(Normalize(mean=(0.4,), std=(0.2,)),),
    strong=(RandomFlip(probability=1.0), Normalize(mean=(0.4,), std=(0.2,))),
    labelled_share=0.25,
    threshold=0.7,
    unlabelled_weight=0.5,
)


@pytest.fixture(scope="module")
def variables():
    kernel = RNG.normal(0, 0.5, (9, 3)).astype(np.float32)
    return {"params": {"head": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(3)}}}


def log_probabilities(variables, images):
    x = (images.reshape(len(images), -1) / 255 - 0.4) / 0.2
    return np.asarray(jax.nn.log_softmax(x @ np.asarray(variables["params"]["head"]["kernel"])))


def test_the_loss_in_closed_form(variables):
    out = TASK.loss(variables, BATCH, jax.random.key(0), train=True)
    weak, strong = (log_probabilities(variables, x) for x in (IMAGES, IMAGES[:, :, ::-1]))
    known = LABELS >= 0
    supervised = -weak[known, LABELS[known]].sum() / 0.25
    guesses, confident = weak.argmax(1), np.exp(weak.max(1)) >= 0.7
    consistency = -strong[np.arange(8), guesses][~known & confident].sum() / 0.75
    assert float(out.total) == pytest.approx(supervised + 0.5 * consistency, rel=1e-4)
    assert float(out.weight) == 8
    measured = {name: metric.compute() for name, metric in out.metrics.items()}
    assert measured["accuracy"] == pytest.approx((guesses == LABELS)[known].mean())
    assert measured["mask_rate"] == pytest.approx(confident[~known].mean())
    assert 0 < measured["mask_rate"] < 1


def test_its_expectation_is_the_papers_sum_of_two_means(variables):
    """Over all ways to fill a batch of two from four labelled and twelve unlabelled examples."""
    images = RNG.integers(0, 255, (16, 3, 3, 1)).astype(np.uint8)
    labels = np.where(np.arange(16) < 4, np.arange(16) % 3, -1).astype(np.int32)
    loss = jax.jit(TASK.loss, static_argnames="train")

    def total(rows):
        batch = {"image": images[rows], "label": labels[rows], "index": rows.astype(np.int32)}
        return loss(variables, batch, jax.random.key(0), train=True)

    pairs = [total(np.array([i, j])) for i in range(16) for j in range(16)]
    mean = np.mean([float(out.total) / float(out.weight) for out in pairs])
    weak, strong = (log_probabilities(variables, x) for x in (images, images[:, :, ::-1]))
    confident = np.exp(weak.max(1)) >= 0.7
    consistency = np.where(confident, -strong[np.arange(16), weak.argmax(1)], 0)
    paper = -weak[np.arange(4), labels[:4]].mean() + 0.5 * consistency[4:].mean()
    assert mean == pytest.approx(paper, rel=1e-4)


def test_guesses_are_targets_and_have_no_gradient(variables):
    """Without labels the gradient is that of cross-entropy to fixed targets, on strong views alone."""
    batch = {**BATCH, "label": np.full(8, -1, np.int32)}
    gradient = jax.grad(lambda v: TASK.loss(v, batch, jax.random.key(0), train=True).total)(variables)
    weak = log_probabilities(variables, IMAGES)
    confident = np.exp(weak.max(1)) >= 0.7
    x = (IMAGES[:, :, ::-1].reshape(8, -1) / 255 - 0.4) / 0.2
    errors = np.exp(log_probabilities(variables, IMAGES[:, :, ::-1])) - np.eye(3)[weak.argmax(1)]
    want = x.T @ (errors * confident[:, None]) * 0.5 / 0.75
    np.testing.assert_allclose(gradient["params"]["head"]["kernel"], want, rtol=1e-4, atol=1e-5)


def test_evaluation_prediction_and_features_are_classifications(variables):
    plain = Classification(model=MODEL, augment=TASK.weak)
    mask = np.array([1, 1, 1, 1, 1, 1, 0, 0], np.float32)
    batch = {**BATCH, "label": np.maximum(LABELS, 0), "mask": mask}
    mine, theirs = (task.loss(variables, batch, jax.random.key(0), train=False) for task in (TASK, plain))
    assert float(mine.total) == float(theirs.total)
    assert float(mine.weight) == 6
    np.testing.assert_array_equal(mine.metrics["confusion"].matrix, theirs.metrics["confusion"].matrix)
    np.testing.assert_array_equal(TASK.predict(variables, IMAGES), plain.predict(variables, IMAGES))
    np.testing.assert_array_equal(TASK.embed(variables, IMAGES), plain.embed(variables, IMAGES))


def test_pictures_are_weak_and_strong_side_by_side(variables):
    pictures = TASK.pictures(variables, BATCH, jax.random.key(0))["views"]
    np.testing.assert_array_equal(pictures, np.concatenate([IMAGES, IMAGES[:, :, ::-1]], axis=2))


def test_what_does_not_fit_is_named(variables):
    TASK.check(variables, BATCH)
    with pytest.raises(InputError, match="label: is 3 in example 4, the model has 3 classes"):
        TASK.check(variables, {**BATCH, "label": np.array([0, 0, 0, 0, 3, 0, 0, 0])})
    with pytest.raises(InputError, match="label: is -2"):
        TASK.check(variables, {**BATCH, "label": np.array([0, 0, 0, 0, -2, 0, 0, 0])})
    with pytest.raises(InputError, match="label: is -1"):
        TASK.check(variables, {**BATCH, "mask": np.ones(8)})
    assert np.isnan(TASK.loss(variables, {**BATCH, "label": LABELS + 2}, jax.random.key(0), train=True).total)
    for field, value in {"labelled_share": 1.0, "threshold": 1.5, "unlabelled_weight": -1.0}.items():
        with pytest.raises(InputError, match=f"task.{field}"):
            FixMatch(**{"model": MODEL, "weak": (), "strong": (), "labelled_share": 0.1, field: value})
    with pytest.raises(InputError, match=r"strong\.0: int is no augmentation"):
        FixMatch(model=MODEL, weak=(), strong=(3,), labelled_share=0.5)
