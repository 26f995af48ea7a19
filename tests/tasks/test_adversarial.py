"""Adversarial training in closed form on linear models, and what it hands on to the task inside."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.rng import example_keys, stream
from jaxai.data.augment import Normalize, RandomFlip
from jaxai.models import ConvNet, SoftmaxRegression
from jaxai.tasks import Adversarial, Classification, Trades
from jaxai.tasks.attacks import FGSM, PGD

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(80, 170, (12, 5, 4, 1)).astype(np.uint8)
LABELS = RNG.integers(0, 2, 12).astype(np.int32)
BATCH = {"image": IMAGES, "label": LABELS, "index": np.arange(12, dtype=np.int32)}
KERNEL = RNG.normal(size=(20, 2)).astype(np.float32)
LINEAR = {"params": {"head": {"kernel": KERNEL, "bias": np.zeros(2, np.float32)}}}
INNER = Classification(model=SoftmaxRegression(num_classes=2))
KEY = jax.random.key(5)


@dataclasses.dataclass(frozen=True)
class Shift:
    """No attack at all: every value moves by `by`."""

    by: float
    random_start: bool = True

    def __call__(self, losses: Any, images: jax.Array, keys: jax.Array) -> jax.Array:
        return images + self.by


def adversarial(**fields):
    return Adversarial(
        **{"task": INNER, "attack": PGD(epsilon=0.1, steps=2), "eval_attack": FGSM(epsilon=0.2)} | fields
    )


def loss(task, variables, batch=BATCH, train=True):
    return jax.jit(lambda v, b: task.loss(v, b, KEY, train))(variables, batch)


def margins():
    """How far the logit of the true class is ahead, and by how much an attack of radius 1 changes that."""
    ahead = KERNEL[:, 1] - KERNEL[:, 0]
    return np.where(LABELS, 1, -1) * (IMAGES.reshape(12, -1) / 255 @ ahead), np.abs(ahead).sum()


def test_training_learns_from_the_worst_image_of_a_linear_model():
    margin, reach = margins()
    out = loss(adversarial(), LINEAR)
    assert float(out.total) == pytest.approx(np.logaddexp(0, 0.1 * reach - margin).sum(), rel=1e-5)
    assert float(out.weight) == 12
    assert set(out.metrics) == {"robust_loss", "robust_accuracy"}
    assert out.metrics["robust_accuracy"].compute() == pytest.approx((margin > 0.1 * reach).mean())
    # The attack is a constant of the gradient: that of a loss at given images.
    got = jax.jit(jax.grad(lambda p: adversarial().loss({"params": p}, BATCH, KEY, True).total))(LINEAR["params"])
    direction = np.sign(KERNEL[:, 1] - KERNEL[:, 0]) * np.where(LABELS, -1, 1)[:, None]
    attacked = BATCH | {"image": IMAGES / np.float32(255) + 0.1 * direction.reshape(IMAGES.shape).astype(np.float32)}
    expected = jax.jit(jax.grad(lambda p: INNER.loss({"params": p}, attacked, KEY, True).total))(LINEAR["params"])
    np.testing.assert_allclose(got["head"]["kernel"], expected["head"]["kernel"], atol=2e-5)


def test_evaluation_reports_clean_and_robust_metrics_and_no_padding():
    margin, reach = margins()
    mask = np.where(np.arange(12) < 9, 1, 0).astype(np.float32)
    out = loss(adversarial(), LINEAR, BATCH | {"mask": mask}, train=False)
    clean = loss(INNER, LINEAR, BATCH | {"mask": mask}, train=False)
    assert float(out.total) == pytest.approx(float(clean.total), rel=1e-6)
    measured = metrics.compute(out.metrics)
    assert measured["accuracy"] == metrics.compute(clean.metrics)["accuracy"]
    assert measured["confusion"].sum() == 9
    assert measured["robust_accuracy"] == pytest.approx((margin > 0.2 * reach)[:9].mean())
    assert measured["robust_loss"] == pytest.approx(np.logaddexp(0, 0.2 * reach - margin)[:9].mean(), rel=1e-5)


@pytest.mark.slow
def test_the_model_is_attacked_as_in_evaluation_and_learns_as_in_training():
    """Batch statistics are of the attacked batch; the attack is on what evaluation would see, and knows no dropout."""
    inner = Classification(
        model=ConvNet(features=(4,), dense=(6,), norm="batch", dropout=0.5, num_classes=2), augment=(Normalize(),)
    )
    task = adversarial(task=inner, augment=(RandomFlip(probability=1.0),))
    variables = jax.jit(task.init)(KEY, BATCH)
    variables = variables | {"batch_stats": jax.tree.map(lambda x: x + 0.3, variables["batch_stats"])}
    out = loss(task, variables)
    images = jnp.asarray(IMAGES[:, :, ::-1], jnp.float32) / 255

    def losses(x):
        logits = inner.model.apply(variables, (x - 0.5) / 0.5, train=False)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), LABELS[:, None], axis=1)[:, 0]

    keys = example_keys(stream(KEY, "attack"), BATCH["index"])
    attacked = jax.jit(lambda: task.attack(losses, images, keys))()
    expected = loss(inner, variables, BATCH | {"image": attacked})
    assert float(out.total) == pytest.approx(float(expected.total), rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), out.model_state, expected.model_state)


def divergences(clean, attacked):
    """KL of two-class answers given by the margin of class 1, [batch]."""
    p, q = 1 / (1 + np.exp(-clean)), 1 / (1 + np.exp(-attacked))
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def test_trades_is_cross_entropy_plus_beta_times_the_divergence():
    task = Trades(task=INNER, attack=Shift(0.1), eval_attack=FGSM(epsilon=0.2), beta=3.0)
    weight = np.linspace(0, 2, 12).astype(np.float32)
    out = loss(task, LINEAR, BATCH | {"weight": weight})
    ahead = KERNEL[:, 1] - KERNEL[:, 0]
    margin, _ = margins()
    one = IMAGES.reshape(12, -1) / 255 @ ahead
    apart = divergences(one, one + 0.1 * ahead.sum())
    assert float(out.total) == pytest.approx((weight * (np.logaddexp(0, -margin) + 3 * apart)).sum(), rel=1e-5)
    assert float(out.weight) == pytest.approx(weight.sum())
    assert out.metrics["divergence"].compute() == pytest.approx((weight * apart).sum() / weight.sum(), rel=1e-4)
    assert {"accuracy", "robust_accuracy", "robust_loss"} < set(out.metrics)


def test_trades_attacks_the_divergence():
    """On a linear model it is greatest at one of two corners of the ball; ten starts find the right one."""
    task = Trades(task=INNER, attack=PGD(epsilon=0.1, steps=2, restarts=10), eval_attack=FGSM(epsilon=0.1), beta=1.0)
    _, reach = margins()
    one = IMAGES.reshape(12, -1) / 255 @ (KERNEL[:, 1] - KERNEL[:, 0])
    most = np.maximum(divergences(one, one + 0.1 * reach), divergences(one, one - 0.1 * reach))
    assert loss(task, LINEAR).metrics["divergence"].compute() == pytest.approx(most.mean(), rel=1e-4)


@pytest.mark.slow
def test_trades_gives_the_gradient_of_both_answers_and_averages_both_statistics():
    inner = Classification(model=ConvNet(features=(4,), dense=(), norm="batch", num_classes=2))
    task = Trades(task=inner, attack=Shift(0.1), eval_attack=FGSM(epsilon=0.1), beta=2.0)
    variables = jax.jit(task.init)(KEY, BATCH)
    images = IMAGES.astype(np.float32) / 255

    def by_hand(params):
        apply = lambda v, x: inner.model.apply(v, x, train=True, mutable=["batch_stats"])  # noqa: E731
        clean, state = apply({**variables, "params": params}, images)
        moved, state = apply({"params": params, **state}, images + 0.1)
        p, log_p, log_q = jax.nn.softmax(clean), jax.nn.log_softmax(clean), jax.nn.log_softmax(moved)
        natural = -jnp.sum(jnp.take_along_axis(log_p, LABELS[:, None], axis=1))
        return natural + 2 * jnp.sum(p * (log_p - log_q)), state

    def ours(params):
        out = task.loss({**variables, "params": params}, BATCH, KEY, True)
        return out.total, out.model_state

    pairs = [jax.jit(jax.value_and_grad(fn, has_aux=True))(variables["params"]) for fn in (ours, by_hand)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *pairs)


@pytest.mark.slow
def test_several_devices_and_micro_batches_give_the_numbers_of_one():
    asked = [("one", 1), ("pmap", 2), ("mesh", 1)]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).parent / "layouts.py"), json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    one, *others = map(json.loads, done.stdout.splitlines())
    for other in others:
        assert other["measured"] == pytest.approx(one["measured"], rel=1e-4, abs=1e-6)
        for name, values in one["params"].items():
            assert other["params"][name] == pytest.approx(values, abs=1e-5), name


def test_optional_methods_are_the_inner_tasks():
    task = adversarial()
    np.testing.assert_array_equal(task.predict(LINEAR, IMAGES), INNER.predict(LINEAR, IMAGES))
    assert task.images(BATCH).keys() == INNER.images(BATCH).keys()
    with pytest.raises(InputError, match="label: is 7"):
        task.check(LINEAR, BATCH | {"label": np.full(12, 7)})

    class Bare:
        def init(self, key, batch): ...

        def loss(self, variables, batch, key, train): ...

    bare = adversarial(task=Bare())
    assert not hasattr(bare, "predict")
    assert not hasattr(bare, "check")
    assert not hasattr(bare, "nonsense")


def test_pictures_show_clean_beside_attacked():
    pictures = jax.jit(lambda v, b: adversarial().pictures(v, b, KEY))(LINEAR, BATCH)["adversarial"]
    assert pictures.shape == (12, 5, 8, 1)
    assert pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures[:, :, :4], IMAGES)
    moved = np.abs(np.asarray(pictures[:, :, 4:], np.int32) - IMAGES)
    np.testing.assert_array_equal(moved, 51)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adversarial(task=Classification), "task.task: Classification is no task"),
        (lambda: adversarial(attack=FGSM), "task.attack: is no attack"),
        (lambda: adversarial(eval_attack=0.1), "task.eval_attack: is no attack"),
        (lambda: adversarial(augment=(1,)), "task.augment.0: int is no augmentation"),
        (lambda: Trades(task=INNER, attack=FGSM(epsilon=1), eval_attack=FGSM(epsilon=1)), "task.attack: starts from"),
        (lambda: Trades(task=INNER, attack=Shift(1), eval_attack=Shift(1), beta=-1), "task.beta: must not be negative"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
