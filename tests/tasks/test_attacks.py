"""Attacks against closed forms on linear models, and against the same search in PyTorch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.core.rng import example_keys
from jaxai.tasks.attacks import FGSM, PGD

W = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
KEYS = example_keys(jax.random.key(3), jnp.arange(32))
IMAGES = np.random.default_rng(1).uniform(0.3, 0.7, (32, 4, 3, 2)).astype(np.float32)
SIDES = np.where(np.arange(32) % 2, 1.0, -1.0).astype(np.float32)


def margins(images):
    return SIDES * (jnp.tensordot(images, W, 3) - 0.5 * W.sum())


def logistic(images):
    """The loss of a linear model of two classes."""
    return jax.nn.softplus(-margins(images))


def run(attack, losses=logistic, images=IMAGES, keys=KEYS):
    return np.asarray(jax.jit(lambda x, k: attack(losses, x, k))(images, keys))


def lengths(offset, norm):
    flat = np.asarray(offset, np.float64).reshape(len(offset), -1)
    return np.abs(flat).max(1) if norm == "linf" else np.sqrt(np.square(flat).sum(1))


@pytest.mark.parametrize(
    ("attack", "dual"),
    [
        (FGSM(epsilon=0.1), np.abs(W).sum()),
        (FGSM(epsilon=0.1, norm="l2"), np.sqrt(np.square(W).sum())),
        (PGD(epsilon=0.1, steps=1, step_size=0.1, random_start=False), np.abs(W).sum()),
        (PGD(epsilon=0.1, steps=2, restarts=2), np.abs(W).sum()),
        (PGD(epsilon=0.1, norm="l2", steps=2, random_start=False), np.sqrt(np.square(W).sum())),
    ],
    ids=repr,
)
def test_a_linear_margin_falls_by_epsilon_times_the_dual_norm(attack, dual):
    expected = np.logaddexp(0, 0.1 * dual - np.asarray(margins(IMAGES), np.float64))
    np.testing.assert_allclose(logistic(run(attack)), expected, rtol=2e-5)


def test_l2_search_from_a_random_start_comes_to_the_closed_form():
    found = margins(IMAGES) - margins(run(PGD(epsilon=0.1, norm="l2", steps=2, step_size=1.0)))
    most = 0.1 * np.sqrt(np.square(W).sum())
    assert (found > 0.999 * most).all()
    assert (found < 1.0001 * most).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_stays_in_the_ball_and_in_the_range_of_images(kind, norm):
    images = np.random.default_rng(2).integers(0, 2, IMAGES.shape).astype(np.float32)
    attack = FGSM(epsilon=0.3, norm=norm) if kind == "fgsm" else PGD(epsilon=0.3, norm=norm, steps=2, step_size=0.5)
    found = run(attack, lambda x: logistic(x) + jnp.sum(jnp.sin(9 * x), (1, 2, 3)), images)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    moved = lengths(found - images, norm)
    assert moved.max() <= 0.3 * (1 + 1e-6)
    assert moved.min() > 0


def test_each_image_keeps_its_worst_restart():
    def losses(images):
        return jnp.sum(jnp.sin(20 * images * W[None]), (1, 2, 3))

    whole = run(PGD(epsilon=0.1, steps=2, restarts=4), losses)
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    once = jax.jit(lambda keys: PGD(epsilon=0.1, steps=2)(losses, IMAGES, keys))
    each = [np.asarray(once(fold(KEYS, i))) for i in range(4)]
    values = np.stack([losses(one) for one in each])
    worst = values.argmax(0)
    assert len(set(worst)) == 4
    np.testing.assert_allclose(whole, np.stack(each)[worst, np.arange(32)], atol=1e-6)
    np.testing.assert_allclose(losses(whole), values.max(0), rtol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_uniform_in_the_ball(norm):
    images = np.full((4000, 1, 2, 1), 0.5, np.float32)
    keys = example_keys(jax.random.key(0), jnp.arange(4000))
    still = PGD(epsilon=0.2, norm=norm, steps=1, step_size=0.0)
    offset = (run(still, lambda x: jnp.sum(x, (1, 2, 3)), images, keys) - images).reshape(-1, 2) / 0.2
    radius = np.abs(offset) if norm == "linf" else np.square(offset).sum(1)  # both uniform in 0..1
    assert 0 <= radius.min() < 0.01
    assert 0.99 < radius.max() <= 1 + 1e-5
    # Five standard deviations of a mean of 4,000.
    assert abs(radius.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 4000)
    assert np.abs(offset.mean(0)).max() < 5 * np.sqrt(1 / 3 / 4000)


def test_without_a_gradient_nothing_moves_from_the_start():
    for attack in (
        FGSM(epsilon=0.1),
        FGSM(epsilon=0.1, norm="l2"),
        PGD(epsilon=0.1, steps=1, norm="l2", random_start=False),
    ):
        np.testing.assert_array_equal(run(attack, lambda x: jnp.zeros(len(x))), IMAGES)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_radius_is_no_attack(norm):
    np.testing.assert_array_equal(run(PGD(epsilon=0, norm=norm, steps=2)), IMAGES)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_is_attacked_alike_in_any_batch(norm):
    attack = PGD(epsilon=0.1, norm=norm, steps=1, restarts=2)
    loss = lambda x: jnp.sum(jnp.sin(20 * x * W[None]), (1, 2, 3))  # noqa: E731
    np.testing.assert_allclose(run(attack, loss)[5:9], run(attack, loss, IMAGES[5:9], KEYS[5:9]), atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_search_is_pytorchs(norm):
    """The loop of Madry's `robustness` library, on a smooth network of two layers."""
    import torch

    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(24, 16)).astype(np.float32), rng.normal(size=(16, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 32)

    def losses(x):
        logits = jnp.tanh(x.reshape(len(x), -1) @ first) @ second
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]

    found = run(PGD(epsilon=0.3, norm=norm, steps=6, step_size=0.1, random_start=False), losses)
    start = torch.tensor(IMAGES.reshape(32, -1))
    x = start.clone()
    for _ in range(6):
        x = x.clone().requires_grad_(True)
        logits = torch.tanh(x @ torch.tensor(first)) @ torch.tensor(second)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x)
        if norm == "linf":
            x = start + torch.clamp(x + 0.1 * gradient.sign() - start, -0.3, 0.3)
        else:
            x = x + 0.1 * gradient / gradient.norm(dim=1, keepdim=True)
            x = start + (x - start).renorm(p=2, dim=0, maxnorm=0.3)
        x = torch.clamp(x.detach(), 0, 1)
    np.testing.assert_allclose(found.reshape(32, -1), x.numpy(), atol=2e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(epsilon=-0.1), r"PGD.epsilon: must not be negative, is -0.1"),
        (lambda: PGD(epsilon=0.1, steps=0), r"PGD.steps: must be at least 1, is 0"),
        (lambda: PGD(epsilon=0.1, restarts=0), r"PGD.restarts: must be at least 1, is 0"),
        (lambda: PGD(epsilon=0.1, restarts=2, random_start=False), r"PGD.restarts: 2 searches from the same point"),
        (lambda: FGSM(epsilon=0.1, norm="l1"), r"FGSM.norm: 'l1' is unknown .*l"),
        (lambda: FGSM(epsilon=float("nan")), r"FGSM.epsilon: must not be negative, is nan"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
