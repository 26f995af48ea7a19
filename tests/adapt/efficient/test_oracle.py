"""LoRA and bottleneck adapters against PyTorch: outputs and gradients."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxai.adapt.efficient import Houlsby, Lora

pytestmark = pytest.mark.oracle

BATCH, WIDE, OUT, RANK, ALPHA = 5, 6, 4, 2, 8.0


def lora(torch, layer, own):
    """As in the authors' `loralib`: the layer plus x A^T B^T, scaled."""
    return lambda x: layer(x) + (x @ own["a"] @ own["b"]) * (ALPHA / RANK)


def houlsby(torch, layer, own):
    def apply(x):
        y = layer(x)
        between = torch.nn.functional.gelu(y @ own["down/kernel"] + own["down/bias"])
        return y + between @ own["up/kernel"] + own["up/bias"]

    return apply


@pytest.mark.parametrize(
    ("adapter", "by_torch"),
    [(Lora(rules=(("dense", RANK),), alpha=ALPHA), lora), (Houlsby(rules=(("dense", RANK),)), houlsby)],
    ids=["lora", "houlsby"],
)
def test_outputs_and_gradients_are_those_of_pytorch(adapter, by_torch):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((BATCH, WIDE), (WIDE, OUT), (OUT,)))
    shapes = adapter.init(jax.random.key(0), {"dense": {"kernel": kernel}})["dense"]
    own = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)

    layer = torch.nn.Linear(WIDE, OUT)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernel.T))
        layer.bias.copy_(torch.tensor(bias))
    theirs = {
        jax.tree_util.keystr(path, simple=True, separator="/"): torch.tensor(leaf, requires_grad=True)
        for path, leaf in jax.tree_util.tree_leaves_with_path(own)
    }
    seen = torch.tensor(x, requires_grad=True)
    expected = by_torch(torch, layer, theirs)(seen)
    torch.sin(expected).sum().backward()

    def ours(own, x):
        with nn.intercept_methods(adapter.interceptor()):
            y = nn.Dense(OUT).apply({"params": {"kernel": kernel, "bias": bias, adapter.name: own}}, x)
        return jax.numpy.sum(jax.numpy.sin(y)), y

    (gradients, of_x), y = jax.grad(ours, argnums=(0, 1), has_aux=True)(own, x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_x, seen.grad.numpy(), rtol=1e-4, atol=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_allclose(leaf, theirs[name].grad.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)
