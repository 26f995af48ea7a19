"""The variational autoencoder against closed forms: the divergence, and the likelihood of a linear model."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import MLP, ConvDecoder, ConvNet, DenseDecoder
from jaxai.tasks import VAE
from jaxai.tasks.vae import kl_divergence

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
BATCH = {"image": IMAGES, "index": np.arange(6), "label": np.arange(6)}
SMALL = VAE(encoder=MLP(features=(8,)), decoder=DenseDecoder(shape=(4, 4, 1), features=(8,)), num_latents=3)
LINEAR = VAE(
    encoder=MLP(features=()),
    decoder=DenseDecoder(shape=(2, 2, 1), features=()),
    num_latents=2,
    likelihood="gaussian",
    std=0.5,
)


@functools.cache
def compiled(task, train):
    return jax.jit(lambda variables, batch, key: task.loss(variables, batch, key, train))


def evaluate(task, variables, batch, key, train=False):
    return compiled(task, train)(variables, batch, key)


@functools.cache
def initialised(task):
    return jax.jit(task.init)(jax.random.key(0), BATCH)


def test_the_divergence_is_that_of_two_normal_distributions():
    """By quadrature of q log(q / p) on a fine grid."""
    mean, log_variance = np.array([[0.3, -1.2], [0.0, 0.0]]), np.log(np.array([[0.25, 2.0], [1.0, 1.0]]))
    z, step = np.linspace(-20, 20, 200_001, retstep=True)

    def log_density(mean, variance):
        return -0.5 * (z - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)

    expected = [
        sum(
            np.sum(np.exp(log_density(m, v)) * (log_density(m, v) - log_density(0, 1))) * step
            for m, v in zip(means, variances, strict=True)
        )
        for means, variances in zip(mean, np.exp(log_variance), strict=True)
    ]
    np.testing.assert_allclose(kl_divergence(jnp.array(mean), jnp.array(log_variance)), expected, atol=1e-6)


def linear_model(posterior_bias=0.0):
    """x = W z + b + noise, with orthogonal columns in W so that the posterior is diagonal and the encoder exact."""
    basis = np.linalg.qr(RNG.normal(size=(4, 2)))[0]
    weights, bias, variance = basis * np.array([0.8, 0.3]), RNG.uniform(size=4), LINEAR.std**2
    gain = 1 / (1 + np.array([0.8, 0.3]) ** 2 / variance)  # the posterior's variance
    to_mean = weights * gain / variance
    encoder = {
        "kernel": np.concatenate([to_mean, np.zeros((4, 2))], axis=1),
        "bias": np.concatenate([-bias @ to_mean + posterior_bias, np.log(gain)]),
    }
    params = {"encoder": {"head": encoder}, "decoder": {"head": {"kernel": weights.T, "bias": bias}}}
    covariance = weights @ weights.T + variance * np.eye(4)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {"params": params}), bias, covariance


def linear_elbo(variables, image, samples=20_000):
    """The mean bound over many samples of the latent numbers, and its standard error."""
    batch = {"image": jnp.broadcast_to(image, (samples, 2, 2, 1)), "index": jnp.arange(samples)}
    measured = evaluate(LINEAR, variables, batch, jax.random.key(0)).metrics
    return measured["elbo"].compute()


@pytest.mark.parametrize("x", [[0.1, 0.9, 0.4, 0.6], [1.0, 0.0, 0.0, 0.2]])
def test_with_the_true_posterior_the_bound_is_the_likelihood_and_with_another_it_is_less(x):
    variables, mean, covariance = linear_model()
    centred = np.array(x) - mean
    quadratic = centred @ np.linalg.solve(covariance, centred)
    log_likelihood = -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + 4 * math.log(2 * math.pi))
    image = jnp.array(x, jnp.float32).reshape(2, 2, 1)
    assert linear_elbo(variables, image) == pytest.approx(log_likelihood, abs=0.02)
    head = variables["params"]["encoder"]["head"]
    shift = 0.5
    wrong = {"kernel": head["kernel"], "bias": head["bias"] + jnp.array([shift, 0.0, 0.0, 0.0])}
    variables = {"params": variables["params"] | {"encoder": {"head": wrong}}}
    # The gap is KL(q || true posterior), which is shift^2 / (2 variance) for a mean that is off.
    gap = shift**2 / (2 * math.exp(float(head["bias"][2])))
    assert linear_elbo(variables, image) == pytest.approx(log_likelihood - gap, abs=0.04)


@pytest.mark.slow
def test_the_bernoulli_likelihood_of_a_decoder_that_knows_nothing_is_log_2_a_pixel():
    shapes = jax.eval_shape(SMALL.init, jax.random.key(0), BATCH)
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
    out = evaluate(SMALL, variables, BATCH, jax.random.key(1))
    assert out.metrics["reconstruction"].compute() == pytest.approx(-16 * math.log(2), rel=1e-6)
    assert out.metrics["kl"].compute() == pytest.approx(0.0, abs=1e-6)
    assert float(out.total / out.weight) == pytest.approx(16 * math.log(2), rel=1e-6)


@pytest.mark.slow
def test_padding_counts_nowhere():
    variables = initialised(SMALL)
    padded = {
        **BATCH,
        "image": np.concatenate([IMAGES[:4], IMAGES[:2] * 0]),
        "mask": np.array([1.0, 1, 1, 1, 0, 0], np.float32),
    }
    short = {name: values[:4] for name, values in BATCH.items()}
    one, two = (evaluate(SMALL, variables, batch, jax.random.key(1)) for batch in (short, padded))
    assert float(one.weight) == float(two.weight) == 4
    np.testing.assert_allclose(one.total, two.total, rtol=1e-5)
    for name in one.metrics:
        assert one.metrics[name].compute() == pytest.approx(two.metrics[name].compute(), rel=1e-5)


def test_an_example_is_treated_alike_wherever_it_stands_in_a_batch():
    variables = initialised(SMALL)
    backwards = {name: values[::-1] for name, values in BATCH.items()}
    totals = [evaluate(SMALL, variables, batch, jax.random.key(1), True).total for batch in (BATCH, backwards)]
    np.testing.assert_allclose(*totals, rtol=1e-5)


@pytest.mark.slow
def test_the_divergence_warms_up_in_training_alone():
    task = dataclasses.replace(SMALL, kl_warmup_steps=4)
    variables = initialised(task)
    assert set(variables) == {"params", "progress"}
    for step in range(6):
        out = evaluate(task, variables, BATCH, jax.random.key(1), True)
        kl, reconstruction = (float(out.metrics[name].total) for name in ("kl", "reconstruction"))
        assert float(out.total) == pytest.approx(min(step / 4, 1) * kl - reconstruction, rel=1e-5)
        bound = evaluate(task, variables, BATCH, jax.random.key(1))
        assert float(bound.total) == pytest.approx(kl - reconstruction, rel=1e-5)
        assert not bound.model_state
        variables = dict(variables) | dict(out.model_state)
        assert float(variables["progress"]["step"]) == step + 1


def test_the_state_of_both_parts_is_kept():
    task = VAE(
        encoder=ConvNet(features=(4,), dense=(), norm="batch"),
        decoder=ConvDecoder(shape=(4, 4, 1), features=(4,), norm=True),
        num_latents=2,
    )
    variables = jax.eval_shape(task.init, jax.random.key(0), BATCH)
    out = jax.eval_shape(lambda v: task.loss(v, BATCH, jax.random.key(1), True), variables)
    assert jax.tree.structure(out.model_state) == jax.tree.structure({"batch_stats": variables["batch_stats"]})


@pytest.mark.slow
def test_pictures_codes_and_reconstructions():
    variables = initialised(SMALL)
    pictures = jax.jit(SMALL.pictures)(variables, BATCH, jax.random.key(0))
    assert {name: (x.shape, str(x.dtype)) for name, x in pictures.items()} == {
        "reconstructions": ((2 * 6, 4, 4, 1), "uint8"),
        "samples": ((32, 4, 4, 1), "uint8"),
    }
    np.testing.assert_array_equal(pictures["reconstructions"][:6], IMAGES)
    assert SMALL.embed(variables, IMAGES).shape == (6, 3)
    decoded = np.asarray(jax.jit(SMALL.predict)(variables, IMAGES))
    np.testing.assert_array_equal(np.round(decoded * 255), pictures["reconstructions"][6:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_latents": 0}, "task.num_latents: must be at least 1"),
        ({"std": 0.0}, "task.std: must be above 0"),
        ({"kl_warmup_steps": -1}, "task.kl_warmup_steps: must not be negative"),
        ({"encoder": DenseDecoder(shape=(4, 4, 1))}, "task.encoder: DenseDecoder has no num_classes"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **change)


def test_a_decoder_of_another_size_is_named():
    task = dataclasses.replace(SMALL, decoder=DenseDecoder(shape=(8, 8, 1)))
    with pytest.raises(InputError, match=r"task.decoder: gives images \[8, 8, 1\], the data has \[4, 4, 1\]"):
        initialised(task)
    with pytest.raises(InputError, match=r"task.inputs: the data has no field 'picture'"):
        dataclasses.replace(SMALL, inputs="picture").init(jax.random.key(0), BATCH)
