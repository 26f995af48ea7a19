"""Facts that hold for every architecture, and their published parameter counts."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import MLP, ConvNet, LeNet, SoftmaxRegression

MNIST_CNN = ConvNet(features=(32, 64, 64), dense=(64,), padding="VALID", pool_last=False)
CIFAR_CNN = ConvNet(features=(64, 128), dense=(512,))
COUNTS = {
    "softmax": (SoftmaxRegression(), (28, 28, 1), 7_850),
    "mlp": (MLP(), (28, 28, 1), 535_818),
    "linear mlp": (MLP(features=()), (28, 28, 1), 7_850),
    "lenet": (LeNet(), (28, 28, 1), 61_706),
    "mnist cnn": (MNIST_CNN, (28, 28, 1), 93_322),
    "cifar cnn": (CIFAR_CNN, (32, 32, 3), 4_275_594),
    "digits": (ConvNet(), (8, 8, 1), 53_002),
    "batch norm": (ConvNet(norm="batch"), (8, 8, 1), 53_002 + 32 + 64),
}
SMALL = {
    "softmax": SoftmaxRegression(num_classes=3),
    "mlp": MLP(features=(8,), num_classes=3, dropout=0.5),
    "lenet": LeNet(num_classes=3),
    "convnet": ConvNet(features=(4, 4), dense=(8,), num_classes=3, norm="batch", dropout=0.5),
}


X = np.random.default_rng(0).normal(size=(6, 12, 12, 2)).astype(np.float32)


@functools.cache
def initialised(name):
    return jax.jit(SMALL[name].init)(jax.random.key(0), X)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    model, shape, count = COUNTS[name]
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])) == count
    assert variables["params"]["head"]["kernel"].shape[-1] == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_one_logit_a_class_and_bfloat16_in_bfloat16_out(name):
    variables, apply = initialised(name), jax.jit(SMALL[name].apply)
    logits = apply(variables, X)
    assert logits.shape == (6, 3)
    assert logits.dtype == jnp.float32
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables["params"])
    half_logits = apply(variables | {"params": half}, X.astype(jnp.bfloat16))
    assert half_logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(half_logits.astype(np.float32), logits, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_evaluation_treats_examples_alone(name):
    variables, apply = initialised(name), jax.jit(SMALL[name].apply)
    np.testing.assert_allclose(apply(variables, X)[:2], apply(variables, X[:2]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_dropout_draws_from_its_key_in_training_only(name):
    variables, model = initialised(name), SMALL[name]

    @jax.jit
    def train(key):
        keys = {"dropout": jax.random.key(key)}
        return model.apply(variables, X, train=True, rngs=keys, mutable=["batch_stats"])[0]

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.array_equal(train(0), train(1))


def test_the_first_loss_of_softmax_regression_is_log_classes():
    logits = SoftmaxRegression(num_classes=3).apply(initialised("softmax"), X)
    np.testing.assert_allclose(-jax.nn.log_softmax(logits), math.log(3), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_deep_networks_start_with_signals_of_steady_size(activation):
    """He's result: without the right scale, 20 layers shrink or grow the signal by orders of magnitude."""
    model = MLP(features=(256,) * 20, num_classes=256, activation=activation)
    x = np.random.default_rng(1).normal(size=(64, 256)).astype(np.float32)
    logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), x)
    assert 0.1 < float(jnp.std(logits)) < 3


@pytest.mark.parametrize(
    ("model", "smallest"), [(MNIST_CNN, 18), (CIFAR_CNN, 4), (ConvNet(pool_last=False), 2), (LeNet(), 12)]
)
def test_the_smallest_image_works_and_a_smaller_one_says_so(model, smallest):
    shape = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((1, smallest, smallest, 1))))[1]
    assert min(math.prod(leaf.shape) for leaf in jax.tree.leaves(shape)) > 0
    small = smallest - 1
    with pytest.raises(InputError, match=f"images of {small} x 99 .needs at least {smallest} x {smallest}"):
        model.init(jax.random.key(0), jnp.zeros((1, small, 99, 1)))


@pytest.mark.parametrize("model", [ConvNet(), LeNet()])
def test_a_forgotten_channel_axis_is_named(model):
    with pytest.raises(InputError, match=r"inputs: shape \(4, 28, 28\) .needs \[batch, height, width, channel"):
        model.init(jax.random.key(0), jnp.zeros((4, 28, 28)))
