"""LoRA and bottleneck adapters against PyTorch: outputs and gradients; merged weights in transformers."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxai.adapt import save_pretrained
from jaxai.adapt.efficient import Adapted, Houlsby, Lora, merge
from jaxai.core import tree
from jaxai.models.bert import Bert
from jaxai.tasks import Classification
from tests.adapt.efficient.small import KEY, TEXT, VOCABULARY, adapted, layers_of, learned

pytestmark = pytest.mark.oracle

RANK, ALPHA, OUT = 2, 8.0, 4
LORA = Lora(rules=(("", RANK),), alpha=ALPHA)


class Model(nn.Module):
    """One layer, called `layer`."""

    make: type
    settings: dict

    @nn.compact
    def __call__(self, x):
        return self.make(OUT, **self.settings, name="layer")(x)


def dense_lora(torch, x, base, own):
    """As in the authors' `loralib`: the layer plus x A B, scaled."""
    return x @ base["kernel"] + base["bias"] + (x @ own["lora/a"] @ own["lora/b"]) * (ALPHA / RANK)


def conv_lora(torch, x, base, own):
    """As in `peft`: A is a convolution of the same window and strides, B one of 1 x 1."""
    conv, turn = torch.nn.functional.conv2d, lambda kernel: kernel.permute(3, 2, 0, 1)
    x = x.permute(0, 3, 1, 2)
    low = conv(x, turn(own["lora/a"]), stride=2, padding=1)
    more = conv(low, own["lora/b"].T[:, :, None, None])
    y = conv(x, turn(base["kernel"]), base["bias"], stride=2, padding=1) + more * (ALPHA / RANK)
    return y.permute(0, 2, 3, 1)


def houlsby(torch, x, base, own):
    y = x @ base["kernel"] + base["bias"]
    between = torch.nn.functional.gelu(y @ own["houlsby/down/kernel"] + own["houlsby/down/bias"])
    return y + between @ own["houlsby/up/kernel"] + own["houlsby/up/bias"]


@pytest.mark.parametrize(
    ("adapter", "model", "shape", "by_torch"),
    [
        (LORA, Model(nn.Dense, {}), (5, 6), dense_lora),
        (LORA, Model(nn.Conv, {"kernel_size": (3, 3), "strides": 2, "padding": 1}), (2, 6, 6, 3), conv_lora),
        (Houlsby(rules=(("", RANK),)), Model(nn.Dense, {}), (5, 6), houlsby),
    ],
    ids=["lora of a dense layer", "lora of a convolution", "houlsby"],
)
def test_outputs_and_gradients_are_those_of_pytorch(adapter, model, shape, by_torch):
    import torch

    rng = np.random.default_rng(0)
    normal = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    x = rng.normal(size=shape).astype(np.float32)
    base = jax.tree.map(normal, jax.eval_shape(lambda: model.init(KEY, x))["params"]["layer"])
    places = adapter.init(KEY, layers_of(model, x), "rules")
    own = jax.tree.map(normal, {adapter.name: places["layer"]})

    theirs = {path: torch.tensor(leaf, requires_grad=True) for path, leaf in tree.flatten(own).items()}
    seen = torch.tensor(x, requires_grad=True)
    expected = by_torch(torch, seen, {name: torch.tensor(leaf) for name, leaf in base.items()}, theirs)
    torch.sin(expected).sum().backward()

    def ours(own, x):
        with nn.intercept_methods(adapter.interceptor()):
            y = model.apply({"params": {"layer": {**base, **own}}}, x)
        return jax.numpy.sum(jax.numpy.sin(y)), y

    (gradients, of_x), y = jax.grad(ours, argnums=(0, 1), has_aux=True)(own, x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(of_x, seen.grad.numpy(), rtol=1e-4, atol=1e-4)
    for name, leaf in tree.flatten(gradients).items():
        np.testing.assert_allclose(leaf, theirs[name].grad.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_merged_weights_are_a_model_of_transformers(tmp_path):
    """That gives, from the file alone, what base and adapters give here."""
    import torch

    from tests.oracle import transformers

    model = Bert(vocab_size=VOCABULARY, dim=8, depth=2, num_heads=2, max_length=8, num_classes=3, pad=None)
    task = Adapted(
        task=Classification(model=model, inputs="tokens"),
        adapters=(Lora(rules=(("attention/|mlp/", 2),)),),
        own=("^head/",),
    )
    batch = {**TEXT, "label": np.zeros(3, np.int32)}
    variables = learned(task, batch)
    save_pretrained(model, merge(task, variables), tmp_path / "model.safetensors")
    settings = {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = {"intermediate_size": 32, "max_position_embeddings": 8, "num_labels": 3}
    transformers.BertConfig(**settings, **sizes).save_pretrained(tmp_path)
    network, about = transformers.BertForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(TEXT["tokens"]).long()).logits
    np.testing.assert_allclose(adapted(task, variables, batch), expected.numpy(), atol=1e-5)
