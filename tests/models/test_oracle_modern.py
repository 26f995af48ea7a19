"""MobileNetV2 to ConvNeXt against torchvision and timm, by the names of their weights: logits, gradients, averages."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.tables import resnet as resnet_tables
from jaxai.adapt.tables.table import Table
from jaxai.adapt.weights import load_pretrained, save_pretrained, to_published
from jaxai.core import tree
from jaxai.models import Airbench, ConvNeXt, MobileNetV2, ResNet, ViT
from jaxai.models.resnet import cifar_resnet, resnet, wide_resnet
from jaxai.models.vit import vit

pytestmark = pytest.mark.oracle
BATCH = 3
#: Each is compiled to run once.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True)
class Case:
    """One model, here and there."""

    model: Any
    network: Callable[[Any, Any], Any]
    """Theirs, of (torchvision.models, timm)."""
    layout: str = "torchvision"
    side: int = 64
    """Pixels a side of the images."""
    momentum: float = 0.9
    """Share of the old averages."""


def their_resnet(model):
    """`model` in PyTorch, as its papers' authors wrote it, with torchvision's names."""
    import torch
    from torch import nn
    from torch.nn.functional import pad

    class Shortcut(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.stride, self.more = stride, after - before

        def forward(self, x):
            return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    class Unit(nn.Module):
        def __init__(self, before, inside, after, stride, first):
            super().__init__()
            self.first, self.changes = first, stride > 1 or before != after
            sizes = [(before, inside, 3, stride), (inside, after, 3, 1)]
            if model.block == "bottleneck":
                sizes = [(before, inside, 1, 1), (inside, inside, 3, stride), (inside, after, 1, 1)]
            self.num = len(sizes)
            for i, (num_in, num_out, size, step) in enumerate(sizes, start=1):
                setattr(self, f"conv{i}", nn.Conv2d(num_in, num_out, size, step, size // 2, bias=False))
                if not (model.preactivation and first and i == 1):
                    setattr(self, f"bn{i}", nn.BatchNorm2d(num_in if model.preactivation else num_out))
            self.downsample = nn.Identity()
            if self.changes and model.shortcut == "zeros":
                self.downsample = Shortcut(before, after, stride)
            elif self.changes:
                conv = nn.Conv2d(before, after, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, *([] if model.preactivation else [nn.BatchNorm2d(after)]))

        def forward(self, x):
            if not model.preactivation:
                y = torch.relu(self.bn1(self.conv1(x)))
                y = self.bn2(self.conv2(y))
                y = self.bn3(self.conv3(torch.relu(y))) if self.num == 3 else y
                return torch.relu(self.downsample(x) + y)
            active = x if self.first else torch.relu(self.bn1(x))
            y = self.conv2(torch.relu(self.bn2(self.conv1(active))))
            y = self.conv3(torch.relu(self.bn3(y))) if self.num == 3 else y
            return y + (self.downsample(active) if self.changes else x)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            large, before = model.stem == "large", model.features
            self.conv1 = nn.Conv2d(3, before, *((7, 2, 3) if large else (3, 1, 1)), bias=False)
            self.bn1 = nn.BatchNorm2d(before)
            self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
            for stage, num_units in enumerate(model.stages):
                inside = model.features * 2**stage * model.width
                after = model.features * 2**stage * 4 if model.block == "bottleneck" else inside
                units = []
                for i in range(num_units):
                    units.append(Unit(before, inside, after, 2 if stage and not i else 1, not stage and not i))
                    before = after
                setattr(self, f"layer{stage + 1}", nn.Sequential(*units))
            if model.preactivation:
                self.bn = nn.BatchNorm2d(before)
            self.fc = nn.Linear(before, model.num_classes)

        def forward(self, x):
            x = self.pool(torch.relu(self.bn1(self.conv1(x))))
            for stage in range(len(model.stages)):
                x = getattr(self, f"layer{stage + 1}")(x)
            x = torch.relu(self.bn(x)) if model.preactivation else x
            return self.fc(x.mean((2, 3)))

    return Network()


def their_airbench(model):
    """The network of airbench94.py, with names for its layers; the whitening is left random."""
    from torch import nn

    def norm(width):
        layer = nn.BatchNorm2d(width, eps=1e-12, momentum=1 - 0.6)
        layer.weight.requires_grad = False
        return layer

    def conv(before, after):
        return nn.Conv2d(before, after, 3, padding="same", bias=False)

    class Group(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.conv1, self.conv2 = conv(before, after), conv(after, after)
            self.norm1, self.norm2 = norm(after), norm(after)
            self.pool, self.activ = nn.MaxPool2d(2), nn.GELU()

        def forward(self, x):
            x = self.activ(self.norm1(self.pool(self.conv1(x))))
            return self.activ(self.norm2(self.conv2(x)))

    class Scale(nn.Module):
        def forward(self, x):
            return x * (1 / 9)

    network = nn.Sequential()
    network.add_module("whitening", nn.Conv2d(3, 24, 2, padding=0, bias=True))
    network.whitening.weight.requires_grad = False
    network.add_module("activ", nn.GELU())
    widths = (24, *model.widths)
    for i in (1, 2, 3):
        network.add_module(f"group{i}", Group(widths[i - 1], widths[i]))
    network.add_module("pool", nn.MaxPool2d(3))
    network.add_module("flatten", nn.Flatten())
    network.add_module("head", nn.Linear(widths[-1], model.num_classes, bias=False))
    network.add_module("scale", Scale())
    return network


@pytest.fixture(autouse=True)
def _names(monkeypatch):
    """What is not published under these names: the definitions above."""
    rules = (*resnet_tables.TABLES[0].rules, ("norm", "bn"))
    monkeypatch.setattr(resnet_tables, "TABLES", (Table(layout="torchvision", rules=rules),))
    rules = ((r"(whitening|head)", r"\1"), (r"(group\d)_(\w+)", r"\1.\2"))
    airbench = Table(layout="torchvision", rules=rules, ignored=(r"num_batches_tracked$", r"norm\d\.weight$"))
    monkeypatch.setitem(sys.modules, "jaxai.adapt.tables.airbench", types.SimpleNamespace(TABLES=(airbench,)))


PREACTIVATION = ResNet(num_classes=7, stages=(1, 2, 1), features=16, block="bottleneck", preactivation=True)
AIRBENCH = Airbench(num_classes=7, widths=(32, 40, 48))
CASES = {
    "mobilenet_v2": Case(
        MobileNetV2(num_classes=7, dropout=0.0),
        lambda tv, timm: tv.mobilenet_v2(num_classes=7, dropout=0.0),
    ),
    "mobilenet_v2 timm": Case(
        MobileNetV2(num_classes=7, width=0.5, dropout=0.0),
        lambda tv, timm: timm.create_model("mobilenetv2_050", num_classes=7),
        layout="timm",
        side=33,
    ),
    "resnet18": Case(resnet(18, 7), lambda tv, timm: tv.resnet18(num_classes=7)),
    "resnet50": Case(
        resnet(50, 7, remat="full"),
        lambda tv, timm: timm.create_model("resnet50", num_classes=7),
        side=32,
    ),
    "wide resnet": Case(
        ResNet(num_classes=7, stages=(1, 2, 1, 1), block="bottleneck", width=2),
        lambda tv, timm: tv.ResNet(tv.resnet.Bottleneck, [1, 2, 1, 1], 7, width_per_group=128),
        side=37,
    ),
    "resnet20": Case(cifar_resnet(20, 7), lambda tv, timm: their_resnet(cifar_resnet(20, 7)), side=17),
    "wide preactivation": Case(wide_resnet(10, 3, 7), lambda tv, timm: their_resnet(wide_resnet(10, 3, 7)), side=16),
    "preactivation": Case(PREACTIVATION, lambda tv, timm: their_resnet(PREACTIVATION), side=40),
    "airbench": Case(AIRBENCH, lambda tv, timm: their_airbench(AIRBENCH), side=32, momentum=0.6),
    "vit": Case(
        ViT(num_classes=7, depth=2, patch=8),
        lambda tv, timm: timm.create_model(
            "vit_tiny_patch16_224", num_classes=7, img_size=32, patch_size=8, depth=2, dynamic_img_size=False
        ),
        layout="timm",
        side=32,
    ),
    "vit mean": Case(
        ViT(num_classes=7, depth=2, pool="mean", remat="full"),
        lambda tv, timm: timm.create_model(
            "vit_tiny_patch16_224", num_classes=7, img_size=32, depth=2, global_pool="avg", class_token=False
        ),
        layout="timm mean",
        side=32,
    ),
    "vit torchvision": Case(
        ViT(num_classes=7, dim=48, depth=12, num_heads=4),
        lambda tv, timm: tv.VisionTransformer(
            image_size=32, patch_size=16, num_layers=12, num_heads=4, hidden_dim=48, mlp_dim=192, num_classes=7
        ),
        side=32,
    ),
    "convnext": Case(
        ConvNeXt(num_classes=7, stages=(1, 2), features=(16, 24)),
        lambda tv, timm: tv.ConvNeXt(
            [tv.convnext.CNBlockConfig(*c) for c in [(16, 24, 1), (24, None, 2)]], num_classes=7
        ),
    ),
    "convnext timm": Case(
        ConvNeXt(num_classes=7, stages=(1, 1, 1, 1), features=(16, 24, 32, 40)),
        lambda tv, timm: timm.create_model("convnext_tiny", num_classes=7, depths=(1, 1, 1, 1), dims=(16, 24, 32, 40)),
        layout="timm",
    ),
}


@functools.cache
def theirs(name):
    """Their network in float64, with every parameter and average away from where it starts, and its arrays by name."""
    import torch

    from tests.oracle import timm, torchvision

    torch.manual_seed(0)
    network = CASES[name].network(torchvision.models, timm)
    with torch.no_grad():
        trained = [leaf for leaf in network.parameters() if leaf.requires_grad]
        for leaf in (*trained, *network.buffers()):
            if leaf.is_floating_point():
                leaf += 0.3 * torch.rand_like(leaf) if leaf.squeeze().ndim == 1 else 0.02 * torch.randn_like(leaf)
    arrays = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    return network.double(), arrays


def tables_of(model):
    return importlib.import_module(type(model).__module__.replace("models", "adapt.tables")).TABLES


def load(name, weights):
    case = CASES[name]
    return load_pretrained(case.model, weights, shape=(case.side, case.side, 3))


@contextlib.contextmanager
def in_float64():
    """Rounding then hides nothing; older and newer JAX share no other way to ask for it."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def close(ours, reference, tolerance=1e-6):
    """Every array agrees to `tolerance` of its largest entry; one that is 0 but for rounding, to that of the others."""
    assert set(ours) == set(reference)
    largest = max(np.abs(array).max() for array in reference.values())
    for key, array in reference.items():
        size = np.abs(array).max() + 1e-6 * largest
        np.testing.assert_allclose(np.asarray(ours[key]) / size, array / size, atol=tolerance, rtol=0, err_msg=key)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_logits_gradients_and_averages_are_theirs(name, train):
    import torch

    case = CASES[name]
    network, arrays = theirs(name)
    before = {key: array for key, array in arrays.items() if "running_" in key}
    network.load_state_dict({key: torch.tensor(array) for key, array in arrays.items()})
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, case.side, case.side, 3))
    weight = rng.normal(size=(BATCH, 7))
    loaded = load(name, arrays)
    assert loaded.layout == case.layout
    assert not loaded.missing
    assert not loaded.unexpected

    def loss(params, variables):
        apply = functools.partial(case.model.apply, variables | {"params": params}, x, train)
        logits, state = apply(mutable=["batch_stats"]) if train else (apply(), {})
        return jnp.sum(logits * weight), (logits, state)

    with in_float64():
        variables = tree.cast(loaded.variables, jnp.float64)
        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(variables["params"], variables).compile(QUICK)
        (_, (logits, state)), grads = compiled(variables["params"], variables)

    their_logits = network.train(train)(torch.tensor(x.transpose(0, 3, 1, 2)))
    network.zero_grad()
    (their_logits * torch.tensor(weight)).sum().backward()
    close({"logits": logits}, {"logits": their_logits.detach().numpy()})
    gradients = {key: leaf.grad.numpy() for key, leaf in network.named_parameters() if leaf.requires_grad}
    ours = to_published(case.model, {"params": grads}, layout=case.layout)
    close(ours, gradients)
    if train and before:
        after = {key: leaf.numpy() for key, leaf in network.named_buffers() if "running_" in key}
        check_averages(to_published(case.model, state, layout=case.layout), after, before, case.momentum)


def check_averages(ours, after, before, momentum):
    """The same share of the batch's mean and variance; PyTorch's variance divides by n - 1, which shows by how much."""
    means = {key: array for key, array in after.items() if key.endswith("mean")}
    close({key: ours[key] for key in means}, means)
    for key in after.keys() - means.keys():
        batch = (after[key] - momentum * before[key], ours[key] - momentum * before[key])
        share = np.mean(batch[0] / batch[1])
        np.testing.assert_allclose(batch[0], share * batch[1], rtol=1e-4, atol=1e-7, err_msg=key)
        n = share / (share - 1)
        assert abs(n - round(n)) < 0.01 * n, key
        assert BATCH <= round(n) <= BATCH * 64**2, key


@pytest.mark.parametrize("name", CASES)
def test_saving_and_loading_again_gives_the_same_bits(name, tmp_path):
    case = CASES[name]
    arrays = theirs(name)[1]
    first = load(name, arrays)
    save_pretrained(case.model, first.variables, tmp_path / "w.safetensors", layout=case.layout)
    again = load(name, tmp_path / "w.safetensors")
    assert again.layout == case.layout
    jax.tree.map(np.testing.assert_array_equal, first.variables, again.variables)
    published = to_published(case.model, first.variables, layout=case.layout)
    (table,) = [table for table in tables_of(case.model) if table.layout == case.layout]
    assert set(published) == {key for key in arrays if not table.ignores(key)}
    for key, array in published.items():
        np.testing.assert_array_equal(array, arrays[key], err_msg=key)


#: Model, layout, and what has those names.
FULL = {
    "mobilenet_v2": (MobileNetV2(), "torchvision", lambda tv, timm: tv.mobilenet_v2()),
    "mobilenetv2_100": (MobileNetV2(), "timm", lambda tv, timm: timm.create_model("mobilenetv2_100")),
    "resnet34": (resnet(34), "torchvision", lambda tv, timm: tv.resnet34()),
    "resnet101": (resnet(101), "torchvision", lambda tv, timm: timm.create_model("resnet101")),
    "wide_resnet50_2": (resnet(50, width=2), "torchvision", lambda tv, timm: tv.wide_resnet50_2()),
    "vit_b_16": (vit("base"), "torchvision", lambda tv, timm: tv.vit_b_16()),
    "vit_small_patch16_224": (vit("small"), "timm", lambda tv, timm: timm.create_model("vit_small_patch16_224")),
    "convnext_tiny": (ConvNeXt(), "torchvision", lambda tv, timm: tv.convnext_tiny()),
    "convnext_tiny timm": (ConvNeXt(), "timm", lambda tv, timm: timm.create_model("convnext_tiny")),
}


@pytest.mark.parametrize("name", FULL)
def test_full_models_have_the_published_names_and_shapes(name):
    import torch

    from tests.oracle import timm, torchvision

    model, layout, make = FULL[name]
    with torch.device("meta"):
        network = make(torchvision.models, timm)
    theirs = {key: tuple(leaf.shape) for key, leaf in network.state_dict().items() if "num_batches" not in key}
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), variables)
    ours = {key: leaf.shape for key, leaf in to_published(model, empty, layout=layout).items()}
    assert ours == theirs
