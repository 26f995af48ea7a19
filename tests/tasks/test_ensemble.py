"""An ensemble is its members, each as if it were alone, and the mean of their answers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import metrics, optim
from jaxai.core.errors import InputError
from jaxai.data.augment import RandomFlip
from jaxai.models import ConvNet
from jaxai.tasks import Classification, Ensemble
from jaxai.tasks.inputs import part

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 255, (10, 6, 6, 1)).astype(np.uint8),
    "label": RNG.integers(0, 3, 10).astype(np.int32),
    "index": np.arange(10, dtype=np.int32),
}
MODEL = ConvNet(features=(4,), dense=(6,), norm="batch", dropout=0.5, num_classes=3)
INNER = Classification(model=MODEL, augment=(RandomFlip(),))
TASK = Ensemble(task=INNER, size=3)
KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(TASK.init)(KEY, BATCH)


def member(variables, i):
    return part(variables, f"member_{i}")


def gradients(task):
    """A function of (variables, key): (total, out), and the gradient of the total."""

    def objective(params, rest, key):
        out = task.loss({"params": params, **rest}, BATCH, key, True)
        return out.total, out

    compiled = jax.jit(jax.value_and_grad(objective, has_aux=True))
    return lambda variables, key: compiled(variables["params"], {"batch_stats": variables["batch_stats"]}, key)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "any other"])
def test_each_member_starts_and_learns_as_it_would_alone(variables, backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)

    (total, out), whole = gradients(TASK)(variables, KEY)
    alone_gradients, init = gradients(INNER), jax.jit(INNER.init)
    totals = []
    for i in range(3):
        key = TASK._key(KEY, i)
        alone = init(key, BATCH)
        jax.tree.map(np.testing.assert_array_equal, member(variables, i), alone)
        (one, its), expected = alone_gradients(alone, key)
        close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)  # noqa: E731
        jax.tree.map(close, whole[f"member_{i}"], expected)
        jax.tree.map(close, out.model_state["batch_stats"][f"member_{i}"], its.model_state["batch_stats"])
        totals.append(float(one))
    assert len(set(totals)) == 3
    assert float(total) == pytest.approx(np.mean(totals), rel=1e-6)
    assert float(out.weight) == 10
    assert int(out.metrics["accuracy"].weight) == 30


@pytest.mark.slow
def test_evaluation_is_of_the_mean_probability(variables):
    mask = np.where(np.arange(10) < 7, 1, 0).astype(np.float32)
    out = jax.jit(lambda v, b: TASK.loss(v, b, KEY, False))(variables, {**BATCH, "mask": mask})
    each = np.stack([jax.jit(INNER.predict)(member(variables, i), BATCH["image"]) for i in range(3)])[:, :7]
    mean, labels = each.mean(0), BATCH["label"][:7]
    ones = jnp.ones(7)
    measured = metrics.compute(out.metrics)
    assert float(out.total) == pytest.approx(-np.log(mean[np.arange(7), labels]).sum(), rel=1e-5)
    assert float(out.weight) == 7
    assert measured["accuracy"] == pytest.approx((mean.argmax(-1) == labels).mean())
    assert measured["ece"] == pytest.approx(metrics.Calibration.of(mean, labels, ones).compute(), abs=1e-6)
    assert measured["member_loss"] == pytest.approx(-np.log(each[:, np.arange(7), labels]).mean(), rel=1e-5)
    assert measured["member_accuracy"] == pytest.approx((each.argmax(-1) == labels).mean())
    eces = [metrics.Calibration.of(one, labels, ones).compute() for one in each]
    assert measured["member_ece"] == pytest.approx(np.mean(eces), abs=1e-6)
    # Jensen: the mean answer is never worse than the mean of the members' losses.
    assert float(out.total) / 7 <= measured["member_loss"]


def test_predicts_with_all_and_checks_with_one(variables):
    each = [INNER.predict(member(variables, i), BATCH["image"]) for i in range(3)]
    np.testing.assert_allclose(TASK.predict(variables, BATCH["image"]), np.mean(each, axis=0), atol=1e-6)
    features = [INNER.embed(member(variables, i), BATCH["image"]) for i in range(3)]
    np.testing.assert_allclose(TASK.embed(variables, BATCH["image"]), np.concatenate(features, axis=-1), atol=1e-6)
    assert TASK.images(BATCH).keys() == INNER.images(BATCH).keys()
    with pytest.raises(InputError, match="label: is 7"):
        TASK.check(variables, {**BATCH, "label": np.full(10, 7)})


def test_decay_finds_the_same_parameters_in_each_member_as_alone(variables):
    chosen = optim.optimizer.decay_multipliers(None, variables["params"])
    alone = optim.optimizer.decay_multipliers(None, member(variables, 0)["params"])
    assert all(chosen[f"member_{i}"] == alone for i in range(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ensemble(task=INNER, size=0), "task.size: must be at least 1, is 0"),
        (lambda: Ensemble(task=MODEL), "task.task: ConvNet is no task"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
