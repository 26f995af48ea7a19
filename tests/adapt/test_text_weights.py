"""Published weights of models of text: transformers' names, the way back, and MiniLM as it is."""

from __future__ import annotations

import functools
import zlib

import jax
import numpy as np
import pytest

from jaxai.adapt import load_pretrained, save_pretrained
from jaxai.adapt.files import write_safetensors
from jaxai.adapt.weights import to_published
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models.bert import Bert, albert, minilm
from jaxai.models.gpt2 import GPT2
from jaxai.models.llama import Llama

SMALL = {"vocab_size": 11, "dim": 8, "depth": 2, "num_heads": 4}
BERT = Bert(**SMALL, max_length=6)
LLAMA = Llama(**SMALL, num_kv_heads=2, hidden=12)
MODELS = {
    "bert": BERT,
    "bert with a head": BERT.clone(num_classes=3),
    "bert without a pooler": BERT.clone(pool="none", num_classes=3),
    "bert without blocks": BERT.clone(depth=0),
    "albert": albert(**SMALL, embedding_dim=4, max_length=6),
    "albert with a head": albert(**SMALL, embedding_dim=4, max_length=6, num_classes=3),
    "gpt2": GPT2(**SMALL, max_length=6),
    "llama": LLAMA,
    "llama as many keys": LLAMA.clone(num_kv_heads=None),
    "llama tied": LLAMA.clone(tied=True),
}
#: The layouts of each family that have names for all of a model's parameters.
LAYOUTS = {
    "bert": ("transformers", "transformers with a head"),
    "bert with a head": ("transformers with a head",),
    "bert without a pooler": ("transformers with a head",),
    "bert without blocks": ("transformers", "transformers with a head"),
    "albert": ("transformers' ALBERT", "transformers' ALBERT with a head"),
    "albert with a head": ("transformers' ALBERT with a head",),
    "gpt2": ("transformers", "transformers with a head"),
    "llama": ("transformers with a head",),
    "llama as many keys": ("transformers with a head",),
    "llama tied": ("transformers with a head", "transformers"),
}


@functools.cache
def variables(name):
    """All of them different, so that a swap shows."""
    abstract = jax.eval_shape(MODELS[name].init, jax.random.key(0), np.zeros((1, 6), np.int32))

    def draw(path, leaf):
        return np.random.default_rng(zlib.crc32(path.encode())).normal(size=leaf.shape).astype(np.float32)

    return tree.map_paths(draw, abstract)


def published(name, **settings):
    return dict(to_published(MODELS[name], variables(name), **settings))


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name in MODELS for layout in LAYOUTS[name]])
def test_the_round_trip_is_exact(name, layout, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_pretrained(MODELS[name], variables(name), path, layout=layout)
    loaded = load_pretrained(MODELS[name], path)
    assert loaded.layout == layout
    assert not loaded.missing + loaded.unexpected + loaded.reshaped
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables(name))


@pytest.mark.parametrize("name", MODELS)
def test_the_first_layout_that_names_all_is_what_is_written(name):
    assert published(name).keys() == published(name, layout=LAYOUTS[name][0]).keys()


def test_joined_kernels_are_parted_in_their_order():
    params, arrays = variables("bert")["params"], published("bert")
    qkv = params["block1"]["attention"]["qkv"]
    for i, part in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(arrays[f"encoder.layer.1.attention.self.{part}.weight"], qkv["kernel"][:, i].T)
        np.testing.assert_array_equal(arrays[f"encoder.layer.1.attention.self.{part}.bias"], qkv["bias"][i])
    block, arrays = variables("llama")["params"]["block0"], published("llama")
    kv, gated = block["attention"]["kv"]["kernel"], block["mlp"]["dense1"]["kernel"]
    found = {
        "self_attn.q_proj": block["attention"]["query"]["kernel"],
        "self_attn.k_proj": kv[:, 0],
        "self_attn.v_proj": kv[:, 1],
        "mlp.gate_proj": gated[:, 0],
        "mlp.up_proj": gated[:, 1],
    }
    for part, kernel in found.items():
        np.testing.assert_array_equal(arrays[f"model.layers.0.{part}.weight"], kernel.T)


def test_kernels_of_gpt2_stay_as_they_are():
    block, arrays = variables("gpt2")["params"]["block1"], published("gpt2")
    np.testing.assert_array_equal(arrays["h.1.attn.c_attn.weight"], block["attention"]["qkv"]["kernel"].reshape(8, 24))
    np.testing.assert_array_equal(arrays["h.1.mlp.c_fc.weight"], block["mlp"]["dense1"]["kernel"])
    assert arrays["h.1.mlp.c_fc.weight"].shape == (8, 32)


def test_normalizations_may_have_the_names_of_the_first_files():
    """As those of bert-base-uncased have, beside `bert.` and the heads of pre-training."""
    first = {"weight": "gamma", "bias": "beta"}
    old = {"cls.seq_relationship.bias": np.zeros(2, np.float32)}
    for key, array in published("bert", layout="transformers with a head").items():
        module, _, leaf = key.rpartition(".")
        old[f"{module}.{first[leaf]}" if module.endswith("LayerNorm") else key] = array
    assert sum(key.endswith(".gamma") for key in old) == 5
    loaded = load_pretrained(BERT, old, unused=(r"^cls\.",))
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables("bert"))


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("bert", "embeddings.position_ids"),
        ("bert with a head", "bert.embeddings.position_ids"),
        ("gpt2", "h.0.attn.bias"),
        ("gpt2", "h.1.attn.masked_bias"),
        ("gpt2", "lm_head.weight"),
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    ],
)
def test_what_is_no_parameter_is_ignored(name, buffer):
    loaded = load_pretrained(MODELS[name], {**published(name), buffer: np.zeros(1)})
    assert not loaded.unexpected
    with pytest.raises(InputError, match=f"also has '{buffer}s'"):
        load_pretrained(MODELS[name], {**published(name), f"{buffer}s": np.zeros(1)})


def test_an_encoder_starts_a_classifier():
    model = MODELS["bert with a head"]
    loaded = load_pretrained(model, published("bert"), new=("^head/",))
    assert loaded.missing == ("params/head/bias", "params/head/kernel")
    assert set(loaded.loaded) == set(tree.flatten(variables("bert")))
    with pytest.raises(InputError, match=r"lacks .* \(2 missing, 0 unexpected\) \(new=\('head',\) starts it anew"):
        load_pretrained(model, published("bert"))


@pytest.mark.parametrize(
    ("model", "weights", "says"),
    [
        (
            "bert",
            "gpt2",
            r"lacks 'encoder\.layer\.0\..*' for block0/attention/.* of Bert \(31 missing, 28 unexpected\)",
        ),
        ("gpt2", "llama", r"lacks '.*' for block0/\w+/.* of GPT2 \(28 missing, 20 unexpected\)"),
        ("llama tied", "llama", r"also has 'lm_head\.weight', which Llama does not"),
        ("llama", "llama as many keys", r"block0/attention/kv/kernel is \[8, 2, 8\] in .*, \[8, 2, 4\] here"),
    ],
)
def test_weights_of_another_architecture_are_named_by_their_keys(model, weights, says, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, published(weights))
    with pytest.raises(InputError, match=says):
        load_pretrained(MODELS[model], path)


#: Pairs of sentences as WordPiece numbers, and the cosine that transformers' `BertModel` gives them with these weights.
PAIRS = {
    0.893904: ([101, 1996, 2047, 3185, 2003, 12476, 102], [101, 1996, 2047, 3185, 2003, 2061, 2307, 102]),  # new movie
    0.678789: ([101, 1996, 4937, 7719, 2648, 102], [101, 1996, 4937, 3248, 1999, 1996, 3871, 102]),  # the cat
    0.509550: ([101, 1045, 2293, 24857, 102], [101, 2079, 2017, 2066, 10733, 1029, 102]),  # pasta, pizza
}


@pytest.mark.slow
def test_minilm_finds_sentences_as_alike_as_in_transformers():
    model = minilm()
    loaded = load_pretrained(model, "minilm", unused=("^pooler",))
    assert sorted(loaded.unexpected) == ["pooler.dense.bias", "pooler.dense.weight"]
    sentences = [sentence for pair in PAIRS.values() for sentence in pair]
    tokens = np.array([sentence + [0] * (8 - len(sentence)) for sentence in sentences], np.int32)
    apply = jax.jit(model.apply, compiler_options={"xla_backend_optimization_level": 0})
    vectors = np.asarray(apply(loaded.variables, tokens))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(np.sum(vectors[::2] * vectors[1::2], axis=1), list(PAIRS), atol=1e-5)
