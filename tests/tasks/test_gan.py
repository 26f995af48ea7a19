"""Adversarial learning as one loss: whose gradient is whose, and the penalty in closed form."""

from __future__ import annotations

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.core.rng import example_keys, stream
from jaxai.models import Discriminator, Generator
from jaxai.tasks import GAN

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8),
    "label": np.array([0, 1, 2, 0, 1, 2]),
    "index": np.arange(6),
}


class DenseGenerator(nn.Module):
    """One dense layer, which compiles quickly."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, latents, train=False, label=None):
        x = jnp.concatenate([latents, jax.nn.one_hot(label, self.num_classes)], axis=-1)
        return jnp.tanh(nn.Dense(16)(x)).reshape(-1, 4, 4, 1)


class LinearCritic(nn.Module):
    """A score that is linear in the pixels: its gradient is its kernel, everywhere."""

    num_classes: int = 0

    @nn.compact
    def __call__(self, images, train=False, label=None):
        return nn.Dense(1, name="head")(images.reshape(len(images), -1))[:, 0]


SMALL = GAN(generator=DenseGenerator(), discriminator=Discriminator(features=(), dense=8), num_latents=3, num_classes=3)
WASSERSTEIN = dataclasses.replace(SMALL, objective="wgan_gp")
CONVOLUTIONAL = dataclasses.replace(SMALL, generator=Generator(shape=(4, 4, 1), features=(4,)))


@functools.cache
def compiled(task, train):
    return jax.jit(lambda variables, batch, key: task.loss(variables, batch, key, train))


@functools.cache
def initialised(task):
    return jax.jit(task.init)(jax.random.key(0), BATCH)


def zeros(task):
    return jax.tree.map(lambda x: jnp.zeros(x.shape), jax.eval_shape(task.init, jax.random.key(0), BATCH))


def own_losses(task, params, constants):
    """The losses of generator and discriminator as papers write them, `constants` being parameters held fixed."""
    key, real, label = jax.random.key(1), 2 * jnp.float32(BATCH["image"]) / 255 - 1, BATCH["label"]

    def make(params):
        return task.loss({**initialised(task), "params": params}, BATCH, key, True).outputs

    def score(params, images):
        return task.discriminator.clone(num_classes=3).apply({"params": params["discriminator"]}, images, label=label)

    made, deceived = make(constants), score(constants, make(params))
    if task.objective == "wgan_gp":
        generator, discriminator = -deceived, score(params, made) - score(params, real)
        share = jax.vmap(jax.random.uniform)(example_keys(stream(key, "between"), BATCH["index"]))[:, None, None, None]
        slopes = jax.grad(lambda x: jnp.sum(score(params, x)))(share * real + (1 - share) * made)
        penalty = jnp.square(jnp.sqrt(jnp.sum(jnp.square(slopes), axis=(1, 2, 3))) - 1)
    else:
        generator, realness = -jnp.log(jax.nn.sigmoid(deceived)), jax.nn.sigmoid(score(params, real))
        discriminator = -jnp.log(realness) - jnp.log(1 - jax.nn.sigmoid(score(params, made)))
        slopes = jax.grad(lambda x: jnp.sum(score(params, x)))(real)
        penalty = jnp.sum(jnp.square(slopes), axis=(1, 2, 3)) / 2
    return jnp.sum(generator), jnp.sum(discriminator + task.penalty * penalty)


@pytest.mark.slow
@pytest.mark.parametrize("task", [SMALL, WASSERSTEIN], ids=["non-saturating", "wgan-gp"])
def test_each_part_gets_the_gradient_of_its_own_loss(task):
    variables = initialised(task)
    params = variables["params"]

    @jax.jit
    def gradients(params):
        together = jax.grad(lambda p: task.loss({**variables, "params": p}, BATCH, jax.random.key(1), True).total)
        return together(params), jax.jacobian(lambda p: own_losses(task, p, params))(params)

    together, (generator, discriminator) = gradients(params)
    chex.assert_trees_all_close(together["generator"], generator["generator"], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(together["discriminator"], discriminator["discriminator"], rtol=1e-4, atol=1e-5)
    for part in ("generator", "discriminator"):
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(together[part])) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "closed"), [("wgan_gp", lambda n: (n - 1) ** 2), ("non_saturating", lambda n: n**2 / 2)]
)
def test_the_penalty_of_a_linear_critic_is_that_of_its_kernel(objective, closed):
    task = dataclasses.replace(SMALL, discriminator=LinearCritic(), objective=objective, penalty=3.0)
    variables = initialised(task)
    norm = float(jnp.linalg.norm(variables["params"]["discriminator"]["head"]["kernel"]))
    out = compiled(task, True)(variables, BATCH, jax.random.key(1))
    assert out.metrics["gradient_penalty"].compute() == pytest.approx(closed(norm), rel=1e-5)
    parts = sum(out.metrics[f"{name}_loss"].compute() for name in ("generator", "discriminator"))
    assert float(out.total / out.weight) == pytest.approx(parts + 3 * closed(norm), rel=1e-5)


def test_a_critic_that_knows_nothing_loses_log_2_on_each_image():
    variables = zeros(SMALL)
    measured = compiled(SMALL, False)(variables, BATCH, jax.random.key(1)).metrics
    assert measured["discriminator_loss"].compute() == pytest.approx(2 * np.log(2), rel=1e-6)
    assert measured["generator_loss"].compute() == pytest.approx(np.log(2), rel=1e-6)
    assert measured["gradient_penalty"].compute() == 0


def test_padding_counts_nowhere():
    variables = initialised(SMALL)
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    odd = {**BATCH, "image": np.where(mask[:, None, None, None] > 0, BATCH["image"], 0).astype(np.uint8), "mask": mask}
    one, two = (compiled(SMALL, False)(variables, batch, jax.random.key(1)) for batch in (BATCH | {"mask": mask}, odd))
    assert float(one.weight) == 4
    np.testing.assert_allclose(one.total, two.total, rtol=1e-6)
    for name in one.metrics:
        np.testing.assert_allclose(one.metrics[name].compute(), two.metrics[name].compute(), rtol=1e-5)


def test_a_label_outside_the_classes_makes_the_loss_nan_and_is_named():
    wrong = {**BATCH, "label": np.array([0, 1, 3, 0, 1, 2])}
    assert np.isnan(compiled(SMALL, True)(initialised(SMALL), wrong, jax.random.key(1)).total)
    with pytest.raises(InputError, match=r"label: is 3 in example 2, the task has 3 classes"):
        SMALL.check({}, wrong)


@pytest.mark.slow
def test_samples_are_of_the_classes_asked_for_and_in_rows():
    variables = initialised(SMALL)
    pictures = jax.jit(SMALL.pictures)(variables, BATCH, jax.random.key(0))
    assert {name: (x.shape, str(x.dtype)) for name, x in pictures.items()} == {"samples": ((24, 4, 4, 1), "uint8")}
    sample = jax.jit(SMALL.sample)
    zeros, ones = (sample(variables, jax.random.key(0), jnp.full(4, label)) for label in (0, 1))
    assert float(jnp.min(zeros)) >= 0
    assert float(jnp.max(zeros)) <= 1
    assert not np.allclose(zeros, ones)


def test_without_classes_no_label_is_needed_and_the_generators_state_is_kept():
    task = dataclasses.replace(CONVOLUTIONAL, num_classes=0)
    batch = {name: BATCH[name] for name in ("image", "index")}
    task.check({}, batch)
    variables = jax.eval_shape(task.init, jax.random.key(0), batch)
    out = jax.eval_shape(lambda v: task.loss(v, batch, jax.random.key(0), True), variables)
    assert set(out.model_state) == {"batch_stats"}
    assert jax.eval_shape(task.pictures, variables, batch, jax.random.key(0))["samples"].shape == (32, 4, 4, 1)
    with pytest.raises(InputError, match=r"task.label: the data has no field 'label'"):
        SMALL.check({}, batch)


def test_mistakes_are_named():
    with pytest.raises(InputError, match=r"task.penalty: must be at least 0, is -1"):
        dataclasses.replace(SMALL, penalty=-1.0)
    with pytest.raises(InputError, match=r"task.generator: Dense has no num_classes"):
        dataclasses.replace(SMALL, generator=nn.Dense(3))
    larger = dataclasses.replace(SMALL, generator=Generator(shape=(8, 8, 1)))
    with pytest.raises(InputError, match=r"task.generator: makes images \[8, 8, 1\], the data has \[4, 4, 1\]"):
        jax.eval_shape(larger.init, jax.random.key(0), BATCH)


class NormalizedCritic(Discriminator):
    """Scores that depend on the batch."""

    @nn.compact
    def __call__(self, images, train=False, label=None):
        return super().__call__(nn.BatchNorm(use_running_average=not train)(images), train, label)


def test_a_critic_with_state_is_refused():
    task = dataclasses.replace(SMALL, discriminator=NormalizedCritic())
    with pytest.raises(InputError, match=r"task.discriminator: keeps state: batch_stats"):
        jax.eval_shape(task.init, jax.random.key(0), BATCH)
