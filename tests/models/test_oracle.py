"""The convolutional models against PyTorch: the same weights, the same logits and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.models import ConvNet, LeNet

MNIST_CNN = ConvNet(features=(32, 64, 64), dense=(64,), padding="VALID", pool_last=False)
CIFAR_CNN = ConvNet(features=(64, 128), dense=(512,))
CASES = {
    "lenet": (LeNet(), (28, 28, 1)),
    "lenet relu max": (LeNet(activation="relu", pool="max"), (28, 28, 1)),
    "mnist cnn": (MNIST_CNN, (28, 28, 1)),
    "cifar cnn": (CIFAR_CNN, (32, 32, 3)),
    "odd sizes": (ConvNet(features=(4, 8), dense=()), (11, 7, 2)),
    "batch norm": (ConvNet(features=(8, 16), norm="batch", padding="VALID"), (14, 14, 3)),
}


def torch_lenet(model):
    from torch import nn

    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[model.activation]
    pool = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}[model.pool]
    return nn.Sequential(
        *[nn.Conv2d(1, 6, 5, padding=2), activation(), pool(2), nn.Conv2d(6, 16, 5), activation(), pool(2)],
        *[nn.Flatten(), nn.Linear(400, 120), activation(), nn.Linear(120, 84), activation(), nn.Linear(84, 10)],
    )


def torch_convnet(model, shape):
    import torch
    from torch import nn

    layers, channels = [], shape[-1]
    for i, features in enumerate(model.features):
        norm = model.norm == "batch"
        layers.append(nn.Conv2d(channels, features, 3, padding=model.padding.lower(), bias=not norm))
        layers += [nn.BatchNorm2d(features)] if norm else []
        layers += [nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if model.pool_last or i < len(model.features) - 1 else []
        channels = features
    layers.append(nn.Flatten())
    width = nn.Sequential(*layers)(torch.zeros(2, shape[-1], *shape[:2])).shape[1]
    for features in model.dense:
        layers += [nn.Linear(width, features), nn.ReLU()]
        width = features
    return nn.Sequential(*layers, nn.Linear(width, 10))


def pairs(network, variables, x):
    """(torch parameter, its name in ours, function from ours to its layout), layer by layer."""
    from torch import nn

    counts = {"Conv": 0, "Dense": 0, "BatchNorm": 0}
    shape = None
    for layer in network:
        kind = {nn.Conv2d: "Conv", nn.Linear: "Dense", nn.BatchNorm2d: "BatchNorm"}.get(type(layer))
        if isinstance(layer, nn.Flatten):
            shape = x.shape[1:]
        x = layer(x)
        if kind is None:
            continue
        name = f"{kind}_{counts[kind]}" if layer is not network[-1] else "head"
        counts[kind] += 1
        if kind == "BatchNorm":
            yield layer.weight, (name, "scale"), lambda a: a
        elif kind == "Conv":
            yield layer.weight, (name, "kernel"), lambda a: a.transpose(3, 2, 0, 1)
        else:
            # PyTorch flattens [channel, height, width], and so orders the rows of the first dense layer.
            yield layer.weight, (name, "kernel"), flat_kernel(shape)
            shape = None
        if layer.bias is not None:
            yield layer.bias, (name, "bias"), lambda a: a


def flat_kernel(shape):
    if shape is None:
        return np.transpose
    channel, height, width = shape

    def convert(a):
        return a.reshape(height, width, channel, -1).transpose(3, 2, 0, 1).reshape(a.shape[1], -1)

    return convert


@pytest.mark.oracle
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_are_pytorchs(name, train):
    import torch

    model, shape = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, *shape)).astype(np.float32)
    labels = rng.integers(0, 10, 8)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    # Biases, scales and averages away from zero and one, so that a forgotten one shows.
    variables = jax.tree.map(lambda v: v + rng.random(v.shape, np.float32) * (v.ndim == 1), variables)
    params, stats = variables["params"], variables.get("batch_stats", {})

    network = torch_lenet(model) if isinstance(model, LeNet) else torch_convnet(model, shape)
    theirs_x = torch.tensor(x.transpose(0, 3, 1, 2))
    layout = list(pairs(network.eval(), params, theirs_x))
    assert sum(p.numel() for p, _, _ in layout) == sum(p.size for p in jax.tree.leaves(params))
    norms = [layer for layer in network if isinstance(layer, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for theirs, (layer, leaf), convert in layout:
            theirs.copy_(torch.tensor(convert(np.asarray(params[layer][leaf]))))
        for i, norm in enumerate(norms):
            norm.running_mean.copy_(torch.tensor(np.asarray(stats[f"BatchNorm_{i}"]["mean"])))
            norm.running_var.copy_(torch.tensor(np.asarray(stats[f"BatchNorm_{i}"]["var"])))

    def loss(params):
        logits, state = model.apply({"params": params, "batch_stats": stats}, x, train, mutable=["batch_stats"])
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(8), labels]), (logits, state)

    (_, (logits, state)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    their_logits = network.train(train)(theirs_x)
    torch.nn.functional.cross_entropy(their_logits, torch.tensor(labels)).backward()
    np.testing.assert_allclose(logits, their_logits.detach().numpy(), atol=1e-5, rtol=1e-5)
    for theirs, (layer, leaf), convert in layout:
        np.testing.assert_allclose(convert(np.asarray(grads[layer][leaf])), theirs.grad.numpy(), atol=1e-5, rtol=1e-5)
    for i, norm in enumerate(norms):
        new, old = state["batch_stats"][f"BatchNorm_{i}"], stats[f"BatchNorm_{i}"]
        np.testing.assert_allclose(new["mean"], norm.running_mean.numpy(), atol=1e-5)
        # PyTorch's running variance divides by n - 1, ours by n.
        n = 8 * (12 * 12 if i == 0 else 4 * 4) if train else np.inf
        batch = (norm.running_var.numpy() - 0.9 * old["var"]) * (1 - 1 / n)
        np.testing.assert_allclose(new["var"], 0.9 * old["var"] + batch, atol=1e-5)
