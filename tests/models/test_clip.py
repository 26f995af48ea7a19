"""Two encoders into one space: the encoder of text against transformers', and what padding may not change."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import ViT
from jaxai.models.clip import DualEncoder, TextEncoder

TEXT = TextEncoder(vocab_size=20, dim=8, depth=2, num_heads=2, max_length=7, pad=0)
TOKENS = np.array([[3, 5, 7, 19, 0, 0], [4, 4, 2, 9, 11, 19]])


@functools.cache
def variables(pool="last"):
    return jax.jit(TEXT.clone(pool=pool).init)(jax.random.key(0), TOKENS)


def count(variables):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["last", "mean"])
def test_padding_changes_nothing(pool):
    model = TEXT.clone(pool=pool, causal=pool == "last")
    apply = jax.jit(model.apply)
    features = apply(variables(), TOKENS)
    np.testing.assert_allclose(apply(variables(), TOKENS[:1, :4])[0], features[0], atol=1e-5)
    segments = np.array([[1, 1, 1, 1, 0, 0], [1] * 6])
    others = np.where(segments > 0, TOKENS, 13)
    told = jax.jit(lambda v, x, s: model.clone(pad=None).apply(v, x, segments=s))(variables(), others, segments)
    np.testing.assert_allclose(told, features, atol=1e-5)


def test_the_base_size_is_clips():
    shapes = jax.eval_shape(TextEncoder().init, jax.random.key(0), jnp.zeros((1, 77), jnp.int32))
    assert count(shapes) == 63_165_952


@pytest.mark.oracle
def test_features_and_gradients_of_text_are_transformers():
    import torch

    from tests.oracle import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=20, hidden_size=8, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=7, projection_dim=6, hidden_act="gelu", eos_token_id=19, pad_token_id=0,
        initializer_factor=5.0, bos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.CLIPTextModelWithProjection(config)
    model = DualEncoder(query=TEXT, dim=6)
    params = dual_params({name: p.detach().numpy() for name, p in theirs.named_parameters()})
    tokens = torch.tensor(TOKENS)
    want = theirs(input_ids=tokens, attention_mask=(tokens != 0).long()).text_embeds
    (want**2).sum().backward()

    def loss(params):
        got = model.apply({"params": params}, TOKENS, method="encode_query")
        return jnp.sum(got**2), got

    (_, got), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(got, want.detach(), atol=1e-4)
    expected = dual_params({name: p.grad.numpy() for name, p in theirs.named_parameters()})
    for (path, mine), their in zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-4, atol=1e-4, err_msg=jax.tree_util.keystr(path))


def dual_params(theirs):
    """The parameters of a `DualEncoder` of text alone, of those of transformers by name."""

    def layer(name):
        return {"scale": theirs[f"{name}.weight"], "bias": theirs[f"{name}.bias"]}

    def dense(name):
        return {"kernel": theirs[f"{name}.weight"].T, "bias": theirs[f"{name}.bias"]}

    root = "text_model.encoder.layers"
    blocks = {}
    for i in range(2):
        each = [dense(f"{root}.{i}.self_attn.{kind}_proj") for kind in "qkv"]
        qkv = {name: np.stack([part[name] for part in each], axis=-2) for name in ("kernel", "bias")}
        blocks[f"block{i}"] = {
            "attention": {"qkv": qkv, "out": dense(f"{root}.{i}.self_attn.out_proj")},
            "mlp": {"dense1": dense(f"{root}.{i}.mlp.fc1"), "dense2": dense(f"{root}.{i}.mlp.fc2")},
            "norm1": layer(f"{root}.{i}.layer_norm1"),
            "norm2": layer(f"{root}.{i}.layer_norm2"),
        }
    text = {
        "tokens": {"embedding": theirs["text_model.embeddings.token_embedding.weight"]},
        "positions": theirs["text_model.embeddings.position_embedding.weight"],
        "norm": layer("text_model.final_layer_norm"),
        **blocks,
    }
    projection = {"kernel": theirs["text_projection.weight"].T}
    return {"query": text, "query_projection": projection, "log_scale": np.float32(0)}


@pytest.mark.slow
def test_towers_are_vit_and_text_and_each_is_seen_alone():
    vit = ViT(patch=4, dim=8, depth=1, num_heads=2, num_classes=0)
    model = DualEncoder(query=vit, candidate=TEXT, dim=6)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images, TOKENS)
    queries, candidates, log_scale = jax.jit(model.apply)(variables, images, TOKENS)
    assert queries.shape == candidates.shape == (2, 6)
    assert float(log_scale) == pytest.approx(np.log(1 / 0.07))
    params = variables["params"]
    assert set(params) == {"query", "candidate", "query_projection", "candidate_projection", "log_scale"}
    kernel = params["query_projection"]["kernel"]
    np.testing.assert_allclose(jax.jit(vit.apply)({"params": params["query"]}, images) @ kernel, queries, atol=1e-5)
    alone = jax.jit(functools.partial(model.apply, method="encode_candidate"))(variables, TOKENS)
    np.testing.assert_allclose(alone, candidates, atol=1e-5)


@pytest.mark.slow
def test_one_encoder_may_serve_both_and_without_projections_features_are_as_they_are():
    shared = DualEncoder(query=TEXT, dim=None)
    made = jax.jit(shared.init)(jax.random.key(0), TOKENS, TOKENS[::-1])
    assert set(made["params"]) == {"query", "log_scale"}
    queries, candidates, _ = jax.jit(shared.apply)(made, TOKENS, TOKENS[::-1])
    np.testing.assert_allclose(queries, candidates[::-1], atol=1e-5)
    want = jax.jit(TEXT.apply)({"params": made["params"]["query"]}, TOKENS)
    np.testing.assert_allclose(queries, want, atol=1e-5)


def test_too_long_a_text_is_refused():
    with pytest.raises(InputError, match="TextEncoder inputs: sequences of 9 tokens, but it has 7 positions"):
        TEXT.init(jax.random.key(0), np.ones((1, 9), int))
