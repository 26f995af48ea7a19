"""LoRA and bottlenecks on layers of all kinds: Flax's own, in recurrent cells, in transformations, and ours."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.efficient import Adapted, Houlsby, Lora, merge
from jaxai.core import tree
from jaxai.models import MobileNetV2, ResNet
from jaxai.models.recurrent import RecurrentEncoder
from jaxai.tasks import Classification
from tests.adapt.efficient.small import FAST, IMAGES, KEY, TEXT, VIT, adapted, learned

TEXTS = {**TEXT, "label": np.zeros(3, np.int32)}


class Attends(nn.Module):
    """Kernels [feature, head, each] and [head, each, feature]."""

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.MultiHeadDotProductAttention(2, qkv_features=4, name="attention")(inputs.reshape(len(inputs), 8, 8))
        return nn.DenseGeneral(3, axis=(1, 2), name="head")(jnp.tanh(x))


class Convolves(nn.Module):
    """Groups, a masked kernel, and convolutions the other way."""

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.Conv(4, (3, 3), strides=2, name="conv")(inputs)
        x = nn.Conv(6, (3, 3), feature_group_count=2, name="grouped")(x)
        x = nn.Conv(4, (3, 3), mask=np.tri(3)[:, :, None, None] * np.ones((3, 3, 6, 4)), name="masked")(x)
        x = nn.ConvTranspose(4, (3, 3), name="up")(x)
        x = nn.ConvTranspose(5, (3, 3), transpose_kernel=True, name="turned")(x)
        return nn.Dense(3, name="head")(jnp.mean(jnp.tanh(x), axis=(1, 2)))


class Reads(nn.Module):
    """Flax's recurrent cells over the rows of an image."""

    cell: Any

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.RNN(self.cell(4), name="rnn")(inputs.reshape(len(inputs), 8, 8))
        return nn.Dense(3, name="head")(x[:, -1])


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.DenseGeneral((2, 4), axis=(-2, -1), name="dense")(jnp.tanh(x)), None


class Scans(nn.Module):
    """Three layers whose parameters are stacked, and two side by side."""

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.DenseGeneral((2, 4), name="into")(inputs.reshape(len(inputs), -1))
        settings = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x = nn.scan(Layer, length=3, **settings)(name="layers")(x, None)[0]
        x = nn.vmap(nn.Dense, in_axes=None, out_axes=1, axis_size=2, **settings)(5, name="heads")(x)
        return nn.Dense(3, name="head")(x.reshape(len(x), -1))


IMAGE_MODELS = {
    "attention": Attends(),
    "convolutions": Convolves(),
    "lstm": Reads(nn.OptimizedLSTMCell),
    "lstm of dense layers": Reads(nn.LSTMCell),
    "gru": Reads(nn.GRUCell),
    "scan and vmap": Scans(),
    "scanned blocks": VIT.clone(scan=True),
}
PUBLISHED = {"mobilenet_v2": MobileNetV2(num_classes=3, width=0.25), "resnet": ResNet(num_classes=3)}
EVERY = (Lora(rules=(("", 2),), alpha=6),)


def compare(model, batch, adapters=EVERY, **settings):
    """The layers that were adapted; merged kernels give what the adapters give, which is not what the base gives."""
    task = Adapted(task=Classification(model=model, **settings), adapters=adapters)
    variables = learned(task, batch)
    if "batch_stats" in variables:
        variables["batch_stats"] = jax.tree.map(lambda leaf: 1 + np.abs(leaf), variables["batch_stats"])
    found, merged = adapted(task, variables, batch), merge(task, variables)
    scale = 1 + np.abs(found).max()
    np.testing.assert_allclose(adapted(task.task, merged, batch) / scale, found / scale, atol=1e-5)
    base = {**variables, "params": variables["params"]["base"]}
    assert np.abs(adapted(task.task, base, batch) - found).max() > 1e-2 * scale
    return task, variables, merged["params"]


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_kernel_of_a_model_can_be_changed(name):
    task, variables, merged = compare(IMAGE_MODELS[name], IMAGES)
    params = variables["params"]
    kernels = [path for path in tree.flatten(params["base"]) if path.endswith("/kernel")]
    assert len(jax.tree.leaves(params["adapters"])) == 2 * len(kernels)
    value = lambda p: task.loss({"params": {**params, "adapters": p}}, IMAGES, KEY, True).total  # noqa: E731
    gradient = jax.jit(jax.grad(value), compiler_options=FAST)(params["adapters"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert all(np.any(a != b) for a, b in zip(_kernels(params["base"]), _kernels(merged), strict=True))


def _kernels(params):
    return [leaf for path, leaf in tree.flatten(params).items() if path.endswith("/kernel")]


def test_what_comes_in_and_what_goes_out_are_of_several_axes():
    _, variables, merged = compare(IMAGE_MODELS["attention"], IMAGES)
    base, own = (variables["params"][name]["attention"] for name in ("base", "adapters"))
    for part, product in (("query", "ir,rhe->ihe"), ("out", "her,ro->heo")):
        expected = base[part]["kernel"] + 6 / 2 * np.einsum(product, own[part]["lora"]["a"], own[part]["lora"]["b"])
        np.testing.assert_allclose(merged["attention"][part]["kernel"], expected, rtol=1e-5, atol=1e-6)
    assert own["out"]["lora"]["a"].shape == (2, 2, 2)
    assert own["query"]["lora"]["b"].shape == (2, 2, 2)


def test_stacked_layers_have_an_adapter_each():
    _, variables, merged = compare(IMAGE_MODELS["scan and vmap"], IMAGES)
    base, own = (variables["params"][name]["layers"]["dense"] for name in ("base", "adapters"))
    assert {name: leaf.shape for name, leaf in own["lora"].items()} == {"a": (3, 2, 4, 2), "b": (3, 2, 2, 4)}
    expected = base["kernel"] + 6 / 2 * np.einsum("nijr,nrkl->nijkl", own["lora"]["a"], own["lora"]["b"])
    np.testing.assert_allclose(merged["layers"]["dense"]["kernel"], expected, rtol=1e-5, atol=1e-6)


def test_a_bottleneck_of_several_axes_and_of_each_stacked_layer():
    task = Adapted(task=Classification(model=IMAGE_MODELS["scan and vmap"]), adapters=(Houlsby(rules=(("", 3),)),))
    variables = learned(task, IMAGES)
    base, own = variables["params"]["base"], variables["params"]["adapters"]

    def after(y, own):
        own, flat = jax.tree.map(np.asarray, own), y.reshape(len(y), -1)
        inside = flat @ own["down"]["kernel"].reshape(flat.shape[1], 3) + own["down"]["bias"]
        inside = np.asarray(jax.nn.gelu(inside, approximate=False))
        return y + (inside @ own["up"]["kernel"].reshape(3, -1)).reshape(y.shape) + own["up"]["bias"]

    x = IMAGES["image"].reshape(4, 64).astype(np.float32) / 255
    x = np.einsum("bi,ihe->bhe", x, base["into"]["kernel"]) + base["into"]["bias"]
    x = after(x, own["into"]["houlsby"])
    for i in range(3):
        dense = base["layers"]["dense"]
        y = np.einsum("bij,ijkl->bkl", np.tanh(x), dense["kernel"][i]) + dense["bias"][i]
        x = x + after(y, jax.tree.map(lambda leaf, i=i: leaf[i], own["layers"]["dense"]["houlsby"]))
    heads = []
    for i in range(2):
        y = (x @ base["heads"]["kernel"][i] + base["heads"]["bias"][i]).reshape(8, 5)
        heads.append(after(y, jax.tree.map(lambda leaf, i=i: leaf[i], own["heads"]["houlsby"])).reshape(4, 2, 5))
    x = np.stack(heads, axis=1).reshape(4, -1) @ base["head"]["kernel"] + base["head"]["bias"]
    np.testing.assert_allclose(adapted(task, variables, IMAGES), after(x, own["head"]["houlsby"]), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_encoder_is_adapted_also_within_its_loop(cell):
    model = RecurrentEncoder(vocab_size=12, dim=4, features=4, cell=cell, num_classes=3, pad=None)
    _, variables, _ = compare(model, TEXTS, inputs="tokens")
    assert "lora" in variables["params"]["adapters"]["backward0"]["state"]
    compare(model, TEXTS, (Lora(rules=(("state/", 2),)),), inputs="tokens")


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_of_images_can_be_adapted_throughout(name):
    _, variables, _ = compare(PUBLISHED[name], {**IMAGES, "image": np.repeat(IMAGES["image"], 3, axis=3)})
    assert len(jax.tree.leaves(variables["params"]["adapters"])) == {"mobilenet_v2": 106, "resnet": 42}[name]
