"""Diffusion against closed forms: the schedules, the noise, and the samples of denoisers that are ideal."""

from __future__ import annotations

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import UNet
from jaxai.tasks import Diffusion
from jaxai.tasks.diffusion import alpha_bars, ddim

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8),
    "label": np.array([0, 1, 2, 0, 1, 2]),
    "index": np.arange(6),
}
POINT = 0.4
"""The one image of the ideal models, grey, in -1..1; that of class c is c / 10 above it."""


class Ideal(nn.Module):
    """Knows that every pixel of every image is POINT + label / 10, and nothing of images without a label but POINT."""

    target: str = "noise"
    schedule: str = "cosine"
    num_classes: int = 0

    def __call__(self, images, train=False, *, time, label=None):
        share = jnp.asarray(alpha_bars(self.schedule))[time][:, None, None, None]
        point = jnp.full(images.shape, POINT)
        if label is not None:
            point += (label % self.num_classes / 10)[:, None, None, None]
        noise = (images - jnp.sqrt(share) * point) / jnp.sqrt(1 - share)
        return noise if self.target == "noise" else jnp.sqrt(share) * noise - jnp.sqrt(1 - share) * point


def ideal(**fields) -> Diffusion:
    model = Ideal(**{name: fields[name] for name in ("target", "schedule") if name in fields})
    return Diffusion(model=model, shape=(4, 4, 1), **fields)


SMALL = Diffusion(model=UNet(features=(8,), time=True, norm="group"), shape=(4, 4, 1), num_classes=3, sampling_steps=2)


@functools.cache
def compiled(task, train):
    return jax.jit(lambda variables, batch, key: task.loss(variables, batch, key, train))


def test_the_linear_schedule_is_that_of_the_paper():
    """Ho et al. 2020: variances from 0.0001 to 0.02, after which almost nothing of the image is left."""
    bars = alpha_bars("linear")
    assert bars.shape == (1001,)
    assert bars[0] == 1
    assert bars[1] == pytest.approx(1 - 1e-4, rel=1e-6)
    assert bars[1000] == pytest.approx(4.0358e-5, rel=1e-3)
    betas = 1 - bars[1:] / bars[:-1]
    np.testing.assert_allclose(betas[[0, 499, 999]], [1e-4, 1e-4 + 499 * 0.0199 / 999, 0.02], atol=1e-6)


def test_the_cosine_schedule_is_that_of_the_paper():
    """Nichol and Dhariwal 2021, eq. 17, except where the variance is held to 0.999: at the last time."""
    bars, time = alpha_bars("cosine"), np.arange(1001) / 1000
    share = np.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
    np.testing.assert_allclose(bars[:1000], (share / share[0])[:1000], rtol=1e-4)
    assert bars[1000] == pytest.approx(bars[999] * 1e-3, rel=1e-3)
    assert bars[500] == pytest.approx(0.4938, abs=1e-4)
    assert (np.diff(bars) < 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "schedule"), [("noise", "cosine"), ("velocity", "linear")])
def test_a_model_that_knows_the_only_image_has_no_loss_and_makes_it(target, schedule):
    task = ideal(target=target, schedule=schedule, sampling_steps=3)
    grey = {"image": np.full((6, 4, 4, 1), (POINT + 1) / 2, np.float32), "index": np.arange(6)}
    variables = {"params": {}}
    assert float(compiled(task, True)(variables, grey, jax.random.key(0)).total) == pytest.approx(0, abs=1e-6)
    samples = jax.jit(task.sample)(variables, jax.random.key(0), jnp.zeros(5, jnp.int32))
    np.testing.assert_allclose(samples, np.full((5, 4, 4, 1), (POINT + 1) / 2), atol=1e-5)


@pytest.mark.parametrize(("guidance", "shift"), [(1.0, 1.0), (3.0, 3.0), (0.0, 0.0)])
def test_guidance_goes_so_many_times_as_far_as_the_class_says(guidance, shift):
    task = ideal(num_classes=3, guidance=guidance, sampling_steps=2)
    labels = jnp.array([0, 1, 2])
    samples = np.asarray(jax.jit(task.sample)({"params": {}}, jax.random.key(0), labels))
    expected = (np.clip(POINT + shift * np.arange(3) / 10, -1, 1) + 1) / 2
    np.testing.assert_allclose(samples, np.broadcast_to(expected[:, None, None, None], samples.shape), atol=1e-5)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_ideal_denoiser_of_normal_data_makes_normal_data(schedule):
    """Of data N(mean, deviation^2), the image expected behind x is known; DDIM's error falls with the steps."""
    mean, deviation, bars = 0.3, 0.5, alpha_bars(schedule)
    noise = jax.random.normal(jax.random.key(0), (20_000,))

    def clean(x, time):
        share = jnp.asarray(bars)[time]
        gain = deviation**2 * jnp.sqrt(share) / (deviation**2 * share + 1 - share)
        return mean + gain * (x - jnp.sqrt(share) * mean)

    exact, errors = mean + deviation * np.asarray(noise), []
    for steps in (10, 50, 250):
        made = np.asarray(jax.jit(lambda x, steps=steps: ddim(clean, x, bars, steps))(noise))
        errors.append(float(np.abs(made - exact).max()))
        if steps == 250:
            assert made.mean() == pytest.approx(mean, abs=0.01)
            assert made.std() == pytest.approx(deviation, abs=0.01)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_noised_images_have_the_mean_and_variance_of_their_times():
    """Over uniform times: means sqrt(a) x, second moments a x^2 + 1 - a."""
    num, value = 20_000, 0.8
    task = ideal()
    batch = {"image": np.full((num, 1, 1, 1), (value + 1) / 2, np.float32), "index": np.arange(num)}
    noisy = np.asarray(compiled(task, True)({"params": {}}, batch, jax.random.key(3)).outputs)
    share = alpha_bars("cosine")[1:].astype(np.float64)
    assert noisy.mean() == pytest.approx(np.mean(np.sqrt(share) * value), abs=4 / math.sqrt(num))
    assert np.mean(noisy**2) == pytest.approx(np.mean(share * value**2 + 1 - share), abs=4 * 1.5 / math.sqrt(num))


def test_a_model_that_says_nothing_loses_the_variance_of_its_target():
    """What is left is the squared noise, of mean 1."""

    class Silent(nn.Module):
        def __call__(self, images, train=False, *, time):
            return jnp.zeros(images.shape)

    num = 2_000
    batch = {"image": np.zeros((num, 4, 4, 1), np.uint8), "index": np.arange(num)}
    out = compiled(Diffusion(model=Silent(), shape=(4, 4, 1)), False)({"params": {}}, batch, jax.random.key(0))
    assert float(out.total / out.weight) == pytest.approx(1, abs=4 * math.sqrt(2 / (16 * num)))


def test_classes_are_hidden_at_their_rate_in_training_alone():
    class Echo(nn.Module):
        """Gives the label that it was shown."""

        num_classes: int = 0

        def __call__(self, images, train=False, *, time, label):
            return jnp.zeros(images.shape) + label[:, None, None, None].astype(jnp.float32) * 1000

    num = 4_000
    task = Diffusion(model=Echo(), shape=(1, 1, 1), num_classes=1, label_dropout=0.25)
    batch = {"image": np.zeros((num, 1, 1, 1), np.uint8), "label": np.zeros(num, np.int32), "index": np.arange(num)}
    for train, share in ((True, 0.25), (False, 0.0)):
        out = task.loss({"params": {}}, batch, jax.random.key(0), train)
        error = float(out.total / out.weight) / 1000**2
        assert error == pytest.approx(share, abs=4 * math.sqrt(0.25 * 0.75 / num))


def test_padding_counts_nowhere_and_an_example_is_noised_alike_wherever_it_stands():
    task = dataclasses.replace(ideal(), sampling_steps=1)
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    turned = {name: values[[3, 2, 1, 0, 0, 0]] for name, values in BATCH.items()}
    batches = (BATCH | {"mask": mask}, turned | {"mask": mask})
    one, two = (compiled(task, False)({"params": {}}, batch, jax.random.key(1)) for batch in batches)
    assert float(one.weight) == 4
    np.testing.assert_allclose(one.total, two.total, rtol=1e-5)


def test_pictures_have_a_row_of_each_class():
    variables = jax.eval_shape(SMALL.init, jax.random.key(0), BATCH)
    pictures = jax.eval_shape(SMALL.pictures, variables, BATCH, jax.random.key(0))
    assert {name: (x.shape, str(x.dtype)) for name, x in pictures.items()} == {"samples": ((24, 4, 4, 1), "uint8")}


def test_a_label_outside_the_classes_makes_the_loss_nan_and_is_named():
    wrong = {**BATCH, "label": np.array([0, 1, 3, 0, 1, 2])}
    task = ideal(num_classes=3)
    assert np.isnan(compiled(task, False)({"params": {}}, wrong, jax.random.key(1)).total)
    with pytest.raises(InputError, match=r"label: is 3 in example 2, the task has 3 classes"):
        task.check({}, wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance": 2.0, "num_classes": 0}, "task.guidance: needs classes"),
        ({"label_dropout": 1.0}, "task.label_dropout: must be at least 0 and below 1"),
        ({"sampling_steps": 0}, "task.sampling_steps: is 0 .1 to 1000"),
        ({"num_classes": -1}, "task.num_classes: must not be negative"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (8, 8, 1)}, r"task.shape: is \[8, 8, 1\], that of the data is \[4, 4, 1\]"),
        ({"model": UNet(features=(8,), time=True, norm="group", out_channels=3)}, r"task.model: gives \[4, 4, 3\] for"),
    ],
)
def test_a_model_or_shape_that_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(dataclasses.replace(SMALL, **change).init, jax.random.key(0), BATCH)
