"""The estimate of a program's memory: in closed form, and beside what the compiler asks for."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import models, optim
from jaxai.data.augment import Normalize, RandomCrop, RandomFlip
from jaxai.data.source import Arrays
from jaxai.forms import lowering
from jaxai.models.resnet import resnet
from jaxai.tasks import Classification, LanguageModel
from jaxai.training.compiled import compile_step
from jaxai.training.describe import describe
from jaxai.training.peak import peak_bytes
from jaxai.training.setup import set_up

N = 32
MATRIX = 4 * N * N
SQUARE = jax.ShapeDtypeStruct((N, N), jnp.float32)


def peak(fn, *args, num_updated=0, shares=None):
    return peak_bytes(jax.make_jaxpr(fn)(*args), num_updated, shares)


@pytest.mark.parametrize(("fn", "matrices"), [
    (lambda x: x @ x @ x, 1),
    (lambda x: jnp.sum(jnp.maximum((x @ x) * 2 + 1, 0) - x), 1),  # element by element, so all of it in the sum
    (lambda x: (jnp.sum(jnp.tanh(x @ x)), jnp.max(x)), 1),
    (lambda x: [y @ x for y in [jnp.tanh(x @ x)]], 1),  # the tangent takes the place of the product
    (lambda x: (x @ x) @ (2 * x), 2),  # a product cannot compute what it reads
    (lambda x: jax.jit(lambda y: (y @ y) @ (y @ y).T)(x), 2),
    (lambda x: jax.lax.scan(lambda c, _: ((c @ c) @ (c @ c).T, None), x @ x, None, 3)[0], 3),
])  # fmt: skip
def test_what_is_stored(fn, matrices):
    assert peak(fn, SQUARE) == pytest.approx(matrices * MATRIX, rel=0.01)


def test_activations_die_as_gradients_are_born():
    """Ten layers keep one activation each, and all gradients are needed at once."""

    def step(layers, x):
        def loss(layers):
            y = x
            for layer in layers:
                y = jnp.tanh(y @ layer)
            return jnp.sum(y)

        gradients = jax.grad(loss)(layers)
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in gradients))
        return [layer - g / norm for layer, g in zip(layers, gradients, strict=True)]

    layers = [SQUARE] * 10
    assert 10 * MATRIX < peak(step, layers, SQUARE, num_updated=10) < 13 * MATRIX
    wide = jax.ShapeDtypeStruct((8 * N, N), jnp.float32)
    assert 10 * 8 * MATRIX < peak(step, layers, wide, num_updated=10) < 13 * 8 * MATRIX


@pytest.mark.parametrize(("reads", "waits", "copies"), [(False, False, 0), (True, False, 1), (True, True, 0)])
def test_what_is_updated_is_copied_for_those_that_it_does_not_wait_for(reads, waits, copies):
    def step(w, x):
        back = jnp.sum(x @ w) if reads else jnp.float32(0)
        change = x * back if waits else x
        return w - change, back

    made = 1 if reads else 0
    assert peak(step, SQUARE, SQUARE, num_updated=1) == pytest.approx((copies + made) * MATRIX, rel=0.01)


def test_of_what_is_cut_a_device_has_its_share():
    assert peak(lambda x: x @ x @ x, SQUARE, shares={SQUARE.shape: 1 / 8}) == MATRIX / 8


def pictures(model, size, batch_size, augment=()):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (64, size, size, 3), dtype=np.uint8)
    return jaxai.Experiment(
        task=Classification(model=model, augment=augment),
        train=jaxai.Pipeline(
            source=Arrays({"image": images, "label": random.integers(0, 10, 64)}), batch_size=batch_size
        ),
        optimizer=optim.sgd(0.01),
        duration=jaxai.Steps(10),
        evaluate_every=None,
        parallel=jaxai.PMap(devices=1),
    )


def language():
    tokens = np.random.default_rng(0).integers(1, 256, (16, 256)).astype(np.int32)
    model = models.GPT2(vocab_size=256, dim=384, depth=6, num_heads=6, max_length=256)
    return dataclasses.replace(
        pictures(model, 4, 8),
        task=LanguageModel(model=model),
        train=jaxai.Pipeline(source=Arrays({"tokens": tokens}), batch_size=8),
        optimizer=optim.adamw(1e-3),
    )


def convnet():
    augment = (RandomCrop(padding=4), RandomFlip(), Normalize())
    return pictures(models.ConvNet(features=(64, 128), dense=(512,)), 32, 64, augment)


def perceptron():
    return pictures(models.MLP(features=(512, 512), num_classes=10), 16, 64)


def bottlenecks():
    return pictures(models.ResNet(stages=(1, 1, 1), block="bottleneck", num_classes=10), 64, 16)


def resnet50():
    return pictures(resnet(50, 10), 64, 16)


@pytest.mark.parametrize("make", [
    pytest.param(perceptron, marks=pytest.mark.slow),
    pytest.param(convnet, marks=pytest.mark.slow),
    pytest.param(language, marks=pytest.mark.slow),
    pytest.param(bottlenecks, marks=pytest.mark.slow),
    pytest.param(resnet50, marks=pytest.mark.experiments),
])  # fmt: skip
def test_the_estimate_is_what_the_compiler_asks_for(make, figure, monkeypatch):
    monkeypatch.setattr(lowering, "is_ready", lambda: False)  # the compiler does not know what a library takes
    setup = set_up(make())
    estimated, compiled = describe(setup).bytes_memory, compile_step(setup).bytes_memory
    figure(
        f"memory of a step, {make.__name__}", f"estimated {estimated / 1e6:.0f} MB, compiled {compiled / 1e6:.0f} MB"
    )
    assert estimated == pytest.approx(compiled, rel=0.25)
