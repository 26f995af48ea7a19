"""AlexNet, GoogLeNet, Inception-v3 against torchvision, by its weights' names; the U-Net against one in PyTorch."""

from __future__ import annotations

import contextlib
import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.weights import load_pretrained, save_pretrained, to_published
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models import AlexNet, GoogLeNet, InceptionV3, UNet
from jaxai.models.layers import adaptive_average_pool, overlapping_max_pool
from jaxai.models.unet import time_embedding

#: Compiles in half the time; what it gives runs slower.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
#: Whether each trains; the one that changes averages comes last.
MODES = {"evaluation": False, "training": True}
#: Model, torchvision's settings, side of the images, batch. Fewer classes keep AlexNet's and the others' heads small.
CASES = {
    "alexnet": (AlexNet(num_classes=10, dropout=0.0), {"dropout": 0.0}, 96, 4),
    "googlenet": (
        GoogLeNet(num_classes=10, dropout=0.0, aux_dropout=0.0),
        {"dropout": 0.0, "dropout_aux": 0.0, "aux_logits": True, "init_weights": False},
        96,
        4,
    ),
    "inception_v3": (
        InceptionV3(num_classes=10, dropout=0.0),
        {"dropout": 0.0, "aux_logits": True, "init_weights": False},
        299,
        3,
    ),
}


@functools.cache
def torchvisions(name):
    """torchvision's model, with every bias, scale and running average away from where it starts; and its arrays."""
    import torch

    from tests.oracle import torchvision

    torch.manual_seed(0)
    network = getattr(torchvision.models, name)(num_classes=10, **CASES[name][1])
    for leaf in (*network.parameters(), *network.buffers()):
        if leaf.ndim == 1:
            leaf.data += 0.5 * torch.rand_like(leaf)
    return network, {key: value.numpy().copy() for key, value in network.state_dict().items()}


@contextlib.contextmanager
def float64():
    """Both sides compute in float64: in float32, PyTorch's own gradients of GoogLeNet are off by up to 15 %, since a
    rounding switches a ReLU or a pool's choice somewhere."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


@functools.cache
def compared(name):
    """What ours and theirs give: logits and gradients, and in training averages, by torchvision's names."""
    _, _, side, batch = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, side, side, 3))
    labels = rng.integers(0, 10, batch)
    with float64():
        return ours(name, x, labels), theirs(name, x, labels)


def ours(name, x, labels):
    model, variables = CASES[name][0], load_pretrained(CASES[name][0], torchvisions(name)[1]).variables
    variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)

    def loss(params, train):
        changed = ["batch_stats", "auxiliary"]
        logits, state = model.apply(variables | {"params": params}, x, train=train, mutable=changed)
        logits = [logits, *state.pop("auxiliary", {"logits": ()})["logits"]]
        losses = [-jnp.mean(jax.nn.log_softmax(part)[jnp.arange(len(labels)), labels]) for part in logits]
        return losses[0] + 0.3 * sum(losses[1:]), (logits, state)

    quick = jax.jit if name == "inception_v3" else jit  # its large images take longer than compiling them well
    found = {}
    for mode, train in MODES.items():
        run = quick(jax.value_and_grad(functools.partial(loss, train=train), has_aux=True))
        (_, (logits, state)), grads = run(variables["params"])
        found[mode] = {"logits": logits, "gradients": to_published(model, {"params": grads})}
    return {**found, "averages": to_published(model, state)}


def theirs(name, x, labels):
    import torch
    from torch.nn.functional import cross_entropy

    network = copy.deepcopy(torchvisions(name)[0]).double()
    x = torch.tensor(x.transpose(0, 3, 1, 2))
    found = {}
    for mode, train in MODES.items():
        logits = network.train(train)(x)
        # torchvision gives auxiliary logits from the last head to the first.
        logits = [logits[0], *logits[:0:-1]] if isinstance(logits, tuple) else [logits]
        losses = [cross_entropy(part, torch.tensor(labels)) for part in logits]
        for leaf in network.parameters():
            leaf.grad = torch.zeros_like(leaf)  # of auxiliary heads too, which evaluation leaves out
        (losses[0] + 0.3 * sum(losses[1:])).backward()
        gradients = {key: leaf.grad.numpy().copy() for key, leaf in network.named_parameters()}
        found[mode] = {"logits": [part.detach().numpy() for part in logits], "gradients": gradients}
    averages = {key: leaf.numpy() for key, leaf in network.named_buffers() if "running" in key}
    return {**found, "averages": averages}


def close(mine, their, key=""):
    """Within 1e-9 of the largest number of the array; rounding alone comes to 3e-12."""
    np.testing.assert_allclose(np.asarray(mine), their, rtol=0, atol=1e-9 * np.abs(their).max(), err_msg=key)


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_logits_gradients_and_averages_are_torchvisions(name):
    mine, their = compared(name)
    for mode in MODES:
        for i, pair in enumerate(zip(mine[mode]["logits"], their[mode]["logits"], strict=True)):
            close(*pair, f"{mode} {i}")
        assert mine[mode]["gradients"].keys() == their[mode]["gradients"].keys()
        for key, gradient in their[mode]["gradients"].items():
            close(mine[mode]["gradients"][key], gradient, f"{mode} {key}")
    assert len(mine["training"]["logits"]) == {"alexnet": 1, "googlenet": 3, "inception_v3": 2}[name]
    before = torchvisions(name)[1]
    assert mine["averages"].keys() == their["averages"].keys()
    for key, average in their["averages"].items():
        if key.endswith("mean"):
            close(mine["averages"][key], average, key)
            continue
        # Ours adds a tenth of the sum of squares over n; theirs over n - 1, where n is a number of pixels of the batch.
        kept = 0.9 * before[key].astype(np.float64)
        ratio = (average - kept) / (mine["averages"][key] - kept)
        n = ratio / (ratio - 1)
        np.testing.assert_allclose(n, np.rint(n[0] / CASES[name][3]) * CASES[name][3], rtol=1e-4, err_msg=key)


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_saving_gives_back_the_weights_that_were_loaded(name, tmp_path):
    model, (_, arrays) = CASES[name][0], torchvisions(name)
    loaded = load_pretrained(model, arrays)
    assert (loaded.missing, loaded.unexpected, loaded.reshaped) == ((), (), ())
    save_pretrained(model, loaded.variables, tmp_path / "weights.safetensors")
    again = load_pretrained(model, tmp_path / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, again.variables, loaded.variables)
    published = to_published(model, again.variables)
    assert published.keys() == {key for key in arrays if not key.endswith("num_batches_tracked")}
    for key, array in published.items():
        np.testing.assert_array_equal(array, arrays[key])


@pytest.mark.oracle
def test_weights_of_another_architecture_or_number_of_classes_are_refused_by_name():
    arrays = torchvisions("googlenet")[1]
    with pytest.raises(InputError, match=r"lacks 'features.0.bias' for conv1/bias of AlexNet"):
        load_pretrained(AlexNet(), arrays)
    with pytest.raises(InputError, match=r"lacks '.*' for .* of InceptionV3"):
        load_pretrained(InceptionV3(num_classes=10), arrays)
    with pytest.raises(InputError, match=r"also has 'aux1.conv.conv.weight', which GoogLeNet does not"):
        load_pretrained(GoogLeNet(num_classes=10, aux=False), arrays)
    with pytest.raises(InputError, match=r"aux1/head/bias is \[10\] in weights, \[7\] here"):
        load_pretrained(GoogLeNet(num_classes=7), arrays)
    assert load_pretrained(GoogLeNet(num_classes=10, aux=False), arrays, unused=("^aux",)).missing == ()
    encoder = load_pretrained(GoogLeNet(num_classes=0), arrays, unused=("^aux", "^fc"))
    assert len(encoder.unexpected) == 2 * (5 + 4) + 2


def torch_unet(model, channels):
    """The U-Net that `model` is, in PyTorch; its parts have the same names, but for dots in place of slashes."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    def norm(features):
        return nn.BatchNorm2d(features) if model.norm == "batch" else nn.GroupNorm(model.groups, features)

    class Block(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norm1, self.norm2 = norm(outputs), norm(outputs)
            if model.time:
                self.condition = nn.Linear(4 * model.features[0], 2 * outputs)
                if inputs != outputs:
                    self.across = nn.Conv2d(inputs, outputs, 1)

        def forward(self, x, condition):
            if condition is None:
                return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))
            scale, shift = self.condition(condition)[:, :, None, None].chunk(2, dim=1)
            y = self.norm2(self.conv2(F.silu(self.norm1(self.conv1(x)) * (1 + scale) + shift)))
            return F.silu(y) + (self.across(x) if hasattr(self, "across") else x)

    class Attention(nn.Module):
        def __init__(self, features):
            super().__init__()
            self.norm = norm(features)
            self.attention = nn.ModuleDict({k: nn.Linear(features, features) for k in ("query", "key", "value", "out")})

        def forward(self, x):
            y = self.norm(x).flatten(2).transpose(1, 2)
            shape = (*y.shape[:2], model.attention_heads, -1)
            q, k, v = (self.attention[key](y).reshape(shape).transpose(1, 2) for key in ("query", "key", "value"))
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return x + self.attention["out"](y).transpose(1, 2).reshape(x.shape)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            width, inputs = 4 * model.features[0], channels
            for i, features in enumerate(model.features[:-1], 1):
                self.add_module(f"down{i}", Block(inputs, features))
                self.add_module(f"up{i}", Block(2 * features, features))
                self.add_module(f"double{i}", nn.ConvTranspose2d(model.features[i], features, 2, 2))
                inputs = features
            self.middle = Block(inputs, model.features[-1])
            self.head = nn.Conv2d(model.features[0], model.out_channels, 1)
            if model.attention_heads:
                self.attention = Attention(model.features[-1])
            if model.time:
                self.time1, self.time2 = nn.Linear(model.features[0], width), nn.Linear(width, width)
                self.label = nn.Embedding(model.num_classes + 1, width)

        def forward(self, x, embedded=None, label=None):
            condition = None
            if model.time:
                condition = F.silu(self.time2(F.silu(self.time1(embedded))) + self.label(label))
            across, levels = [], range(1, len(model.features))
            for i in levels:
                across.append(self.get_submodule(f"down{i}")(x, condition))
                x = F.max_pool2d(across[-1], 2)
            x = self.middle(x, condition)
            x = self.attention(x) if model.attention_heads else x
            for i in reversed(levels):
                x = torch.cat([across[i - 1], self.get_submodule(f"double{i}")(x)], dim=1)
                x = self.get_submodule(f"up{i}")(x, condition)
            return self.head(x)

    return Network().double()


def torch_leaf(path, leaf):
    """PyTorch's name and array of one of the U-Net's."""
    layer, _, kind = path.rpartition("/")
    leaf = np.asarray(leaf)
    if kind == "kernel" and "double" in layer:
        leaf = leaf.transpose(0, 3, 1, 2)
    elif kind == "kernel" and leaf.ndim == 4:
        leaf = leaf.transpose(3, 2, 0, 1)
    elif kind == "kernel":
        width = leaf.shape[0] if leaf.ndim == 2 or not layer.endswith("out") else leaf.shape[-1]
        leaf = leaf.reshape(width, -1).T
    elif kind == "bias":
        leaf = leaf.reshape(-1)
    kinds = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}
    return f"{layer.replace('/', '.')}.{kinds.get(kind, kind)}", leaf


UNETS = {
    "segmentation": UNet(features=(4, 8, 16), out_channels=3),
    "diffusion": UNet(features=(8, 8, 16), norm="group", groups=4, time=True, num_classes=3, attention_heads=2),
    "batch norm diffusion": UNet(features=(4, 8), time=True, num_classes=3, attention_heads=1, remat="full"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", UNETS)
def test_the_unet_is_pytorchs(name, train):
    import torch

    model = UNETS[name]
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(4, 12, 8, 2)), rng.normal(size=(4, 12, 8, model.out_channels))
    told = {"time": np.float32([0.1, 0.5, 0.9, 0.9]), "label": np.array([0, 3, 2, 2])} if model.time else {}
    with float64():
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, **told))
        variables = jax.tree.map(lambda leaf: 0.5 + rng.random(leaf.shape) - (leaf.ndim > 1), shapes)
        stats = variables.get("batch_stats", {})

        def loss(params):
            given = {"params": params, "batch_stats": stats}
            outputs, state = model.apply(given, x, train, **told, mutable=["batch_stats"])
            return jnp.mean((outputs - target) ** 2), (outputs, state)

        (_, (outputs, _)), grads = jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
        embedded = np.array(time_embedding(told["time"], model.features[0])) if told else None
    network = torch_unet(model, channels=2).train(train)
    found = dict(torch_leaf(path.partition("/")[2], leaf) for path, leaf in tree.flatten(variables).items())
    network.load_state_dict({key: torch.tensor(leaf) for key, leaf in found.items()}, strict=not stats)
    assert {key for key in network.state_dict() if not key.endswith("tracked")} == found.keys()
    more = [torch.tensor(embedded).double(), torch.tensor(told["label"])] if told else []
    their_outputs = network(torch.tensor(x.transpose(0, 3, 1, 2)), *more)
    ((their_outputs - torch.tensor(target.transpose(0, 3, 1, 2))) ** 2).mean().backward()
    close(outputs, their_outputs.detach().numpy().transpose(0, 2, 3, 1))
    gradients = dict(torch_leaf(path, leaf) for path, leaf in tree.flatten(grads).items())
    for key, leaf in network.named_parameters():
        # Keys move all of a pixel's attention alike, so that their bias has no gradient.
        close(gradients[key], leaf.grad.numpy(), key) if "key.bias" not in key else None


@pytest.mark.oracle
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 2, 0), (3, 1, 1), (2, 2, 0), (3, 2, 1)])
@pytest.mark.parametrize("side", [6, 7])
def test_overlapping_max_pools_and_their_ties_are_pytorchs(side, size, stride, padding, ceil):
    import torch

    x = np.random.default_rng(0).integers(0, 4, (2, side, side + 1, 3)).astype(np.float32)

    def pool(x):
        return overlapping_max_pool(x, size, stride, (padding, padding), ceil)

    their_x = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    their = torch.nn.functional.max_pool2d(their_x, size, stride, padding, ceil_mode=ceil)
    weight = np.random.default_rng(1).normal(size=their.shape).astype(np.float32)
    (their * torch.tensor(weight)).sum().backward()
    np.testing.assert_array_equal(jit(pool)(x), their.detach().numpy().transpose(0, 2, 3, 1))
    gradient = jit(jax.grad(lambda x: jnp.sum(pool(x) * weight.transpose(0, 2, 3, 1))))(x)
    np.testing.assert_allclose(gradient, their_x.grad.numpy().transpose(0, 2, 3, 1), atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("side", [1, 4, 6, 7, 9, 13])
def test_adaptive_average_pools_are_pytorchs(side):
    import torch

    x = np.random.default_rng(0).normal(size=(2, side, 2 * side + 1, 3)).astype(np.float32)
    their = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), 4)
    np.testing.assert_allclose(
        jit(adaptive_average_pool, static_argnums=1)(x, 4), their.numpy().transpose(0, 2, 3, 1), atol=1e-6
    )
