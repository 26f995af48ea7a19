"""The blocks of all Transformers: closed forms, names, masks, precision, and what dropout does to attention."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core import tree
from jaxai.core.rules import hits
from jaxai.models.attention import Attention, rows_times, same_segment
from jaxai.models.bert import Bert
from jaxai.models.llama import Llama
from jaxai.models.seq2seq import Seq2Seq
from jaxai.models.transformer import Norm, TransformerBlock, gelu
from jaxai.parallel.placing import MEGATRON

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 8)).astype(np.float32)
TOKENS = np.ones((1, 2), np.int32)


def shapes(model, *inputs):
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]


def quick(function):
    """Compiled to run once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def start(module, *inputs, **further):
    return quick(module.init)(jax.random.key(0), *inputs, **further)


def run(module, variables, x, **further):
    return quick(module.apply)(variables, x, **further)


def test_names_of_parameters_and_the_dim_that_a_tensor_axis_parts():
    model = Seq2Seq(vocab_size=12, dim=8, depth=1, num_heads=2, hidden=16, norm_first=True)
    params = shapes(model, TOKENS, TOKENS)
    found = {path: dim for _, dim, paths in hits((*MEGATRON, ("", None)), params) for path in paths}
    dense = dict.fromkeys(("qkv", "query", "kv", "dense1"), (-1, -1)) | {"out": (-2, None), "dense2": (-2, None)}
    expected: dict[str, int | None] = {"tokens/embedding": 0}
    for stack, parts in (
        ("encoder", ("attention/qkv", "attention/out")),
        ("decoder", ("attention/qkv", "attention/out", "cross/query", "cross/kv", "cross/out")),
    ):
        for part in (*parts, "mlp/dense1", "mlp/dense2"):
            kernel, bias = dense[part.rpartition("/")[2]]
            expected |= {f"{stack}/block0/{part}/kernel": kernel, f"{stack}/block0/{part}/bias": bias}
        norms = ("block0/norm1", "block0/norm2", *(("block0/norm_cross",) if stack == "decoder" else ()), "norm")
        expected |= {f"{stack}/{norm}/{leaf}": None for norm in norms for leaf in ("scale", "bias")}
    assert found == expected


def test_names_and_shapes_of_grouped_queries_and_gates():
    model = Llama(vocab_size=12, dim=8, depth=1, num_heads=4, num_kv_heads=2, hidden=6)
    assert {path: leaf.shape for path, leaf in tree.flatten(shapes(model, TOKENS)).items()} == {
        "tokens/embedding": (12, 8),
        "block0/norm1/scale": (8,),
        "block0/attention/query/kernel": (8, 8),
        "block0/attention/kv/kernel": (8, 2, 4),
        "block0/attention/out/kernel": (8, 8),
        "block0/norm2/scale": (8,),
        "block0/mlp/dense1/kernel": (8, 2, 6),
        "block0/mlp/dense2/kernel": (6, 8),
        "norm/scale": (8,),
        "head/kernel": (8, 12),
    }


def test_attention_is_the_formula():
    """softmax(q k^T / sqrt(width)) v of each head by itself, only past tokens, over the tokens of one text."""
    module = Attention(2, causal=True)
    variables = start(module, X)
    segments = np.array([[1, 1, 1, 2, 2], [1, 1, 1, 1, 1]])
    params = variables["params"]
    qkv = X @ np.asarray(params["qkv"]["kernel"]).reshape(8, 24)
    gathered = np.zeros_like(X)
    for row, head, place in np.ndindex(2, 2, 5):
        query, key, value = (qkv[row, :, 8 * i + 4 * head : 8 * i + 4 * head + 4] for i in range(3))
        seen = [other for other in range(place + 1) if segments[row, other] == segments[row, place]]
        scores = np.exp(key[seen] @ query[place] / 2)
        gathered[row, place, 4 * head : 4 * head + 4] = scores @ value[seen] / scores.sum()
    expected = gathered @ np.asarray(params["out"]["kernel"])
    np.testing.assert_allclose(run(module, variables, X, mask=same_segment(segments)), expected, atol=1e-5)


def test_queries_that_share_keys_are_as_if_each_had_a_copy():
    shared = Attention(4, num_kv_heads=2, use_bias=False)
    variables = start(shared, X)["params"]
    keys, values = (
        jnp.repeat(variables["kv"]["kernel"][:, part].reshape(8, 2, 2), 2, axis=1).reshape(8, 8) for part in range(2)
    )
    kernel = jnp.stack([variables["query"]["kernel"], keys, values], axis=1)
    params = {"qkv": {"kernel": kernel}, "out": variables["out"]}
    apart = run(Attention(4, use_bias=False), {"params": params}, X)
    np.testing.assert_allclose(run(shared, {"params": variables}, X), apart, atol=1e-6)


def test_a_look_at_another_sequence_leaves_its_padding_out():
    block = TransformerBlock(2, 16, cross=True)
    context = RNG.normal(size=(2, 4, 8)).astype(np.float32)
    variables = start(block, X, context=context)
    keep = (np.arange(4)[None] < np.array([[4], [2]]))[:, None, None, :]
    apply = quick(lambda context: block.apply(variables, X, context=context, context_mask=keep))
    changed = context.copy()
    changed[1, 2:] += 1
    np.testing.assert_array_equal(apply(context), apply(changed))
    changed[1, 1] += 1
    assert np.abs(apply(context) - apply(changed))[1].max(axis=-1).min() > 1e-3


def test_after_its_shortcut_a_block_ends_normalized():
    block = TransformerBlock(2, 16, norm_first=False)
    variables = start(block, 3 * X)
    y = np.asarray(run(block, variables, 3 * X))
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis=-1), 1, atol=1e-4)


def test_before_its_parts_a_block_adds_to_what_came():
    """With kernels of zero where its parts end, it does nothing."""
    block = TransformerBlock(2, 16, out_init=jax.nn.initializers.zeros)
    np.testing.assert_array_equal(run(block, start(block, X), X), X)


def test_norms_are_the_formulas():
    for kind, expected in (
        ("layer", (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 0.1)),
        ("rms", X / np.sqrt((X**2).mean(-1, keepdims=True) + 0.1)),
    ):
        norm = Norm(kind, epsilon=0.1)
        variables = start(norm, X)
        assert set(variables["params"]) == ({"scale", "bias"} if kind == "layer" else {"scale"})
        np.testing.assert_allclose(run(norm, variables, X), expected, atol=1e-5)


@pytest.mark.slow
def test_dropped_attention_is_right_on_average():
    """Weights are dropped one by one, before values are gathered, and the kept are larger by as much."""
    module = Attention(2, dropout=0.25)
    x = RNG.normal(size=(1, 4, 8)).astype(np.float32)
    variables = start(module, x)
    whole = run(module, variables, x)

    drawn = quick(jax.vmap(lambda key: module.apply(variables, x, True, rngs={"dropout": key})))
    samples = np.asarray(drawn(jax.random.split(jax.random.key(1), 4000)))
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - whole) < 5 * error).all()
    assert samples.std(axis=0).min() > 0.01
    np.testing.assert_array_equal(run(module, variables, x), whole)


def test_rates_of_dropout_reach_the_embeddings_attention_and_both_parts():
    """BERT drops in all four places, and each draws by itself."""
    tokens = np.arange(6, dtype=np.int32)[None]
    model = Bert(vocab_size=8, dim=8, depth=1, num_heads=2, pool="none", dropout=0.5, pad=None)
    variables = {"params": shapes(model, tokens)}
    names = []

    def record(next_function, args, kwargs, context):
        if type(context.module).__name__ == "Dropout" and context.module.rate:
            names.append("/".join(context.module.path))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda v, k: model.apply(v, tokens, True, rngs={"dropout": k}), variables, jax.random.key(1))
    assert names == ["Dropout_0", "block0/attention/dropout", "block0/Dropout_0", "block0/Dropout_1"]


@pytest.mark.parametrize("model", [Bert(vocab_size=8, dim=8, depth=1, num_heads=2), Llama(8, 8, 1, 2, hidden=8)])
def test_half_precision_stays_half(model):
    variables = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), shapes(model, TOKENS))
    assert jax.eval_shape(model.apply, {"params": variables}, TOKENS).dtype == jnp.bfloat16


@pytest.mark.slow
def test_packed_texts_are_read_by_an_encoder_as_if_apart():
    model = Bert(vocab_size=20, dim=8, depth=2, num_heads=2, pool="none", max_length=4)
    first, second = RNG.integers(1, 20, (1, 3)), RNG.integers(1, 20, (1, 4))
    variables = start(model, second)
    params = variables["params"]
    table = np.concatenate([params["positions"]["embedding"]] * 2)  # there are eight places, but four positions
    longer = {"params": {**params, "positions": {"embedding": table}}}
    row = np.concatenate([first, second, [[0]]], axis=1)
    segments, positions = np.array([[1] * 3 + [2] * 4 + [0]]), np.array([[0, 1, 2, 0, 1, 2, 3, 0]])
    packed = run(model.clone(max_length=8), longer, row, segments=segments, positions=positions)
    np.testing.assert_allclose(packed[:, :3], run(model, variables, first), atol=1e-5)
    np.testing.assert_allclose(packed[:, 3:7], run(model, variables, second), atol=1e-5)


def test_gelu_is_the_exact_one():
    x = jnp.linspace(-8, 8, 4001)
    np.testing.assert_allclose(gelu(x), jax.nn.gelu(x, approximate=False), atol=1e-6)
    slopes = jax.vmap(jax.grad(gelu))(x)
    np.testing.assert_allclose(slopes, jax.vmap(jax.grad(lambda x: jax.nn.gelu(x, approximate=False)))(x), atol=1e-6)


def test_rows_times_is_the_product_of_a_dense_layer():
    kernel = RNG.normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_allclose(rows_times(X, kernel, None), X @ kernel, rtol=1e-5)
    assert rows_times(X[0, 0], kernel, None).shape == (3,)
