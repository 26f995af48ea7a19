"""Weights of models of text, from transformers and back to it, and MiniLM, which embeds sentences as it does there."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

from jaxai.adapt.files import read_weights
from jaxai.adapt.weights import load_pretrained, save_pretrained, to_published
from jaxai.core.errors import InputError
from jaxai.models.bert import Bert, albert, bert, minilm
from jaxai.models.gpt2 import GPT2, gpt2
from jaxai.models.llama import Llama, llama

pytestmark = pytest.mark.oracle

#: Model, what has its names in transformers, and the settings of that.
BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
LLAMA_3 = {"vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8}
FULL = {
    "bert-base-uncased": (bert("base"), "Bert", {}),
    "bert-large-uncased": (
        bert("large"),
        "Bert",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "all-MiniLM-L6-v2": (
        minilm(pool="token"),
        "Bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    ),
    "albert-base-v2": (albert(), "Albert", BASE),
    "gpt2": (gpt2("small"), "GPT2", {}),
    "gpt2-xl": (gpt2("xl"), "GPT2", {"n_embd": 1600, "n_layer": 48, "n_head": 25}),
    "Llama-2-7b": (llama("2-7b"), "Llama", {}),
    "Meta-Llama-3-8B": (llama("3-8b"), "Llama", LLAMA_3),
}


@pytest.mark.parametrize("name", FULL)
def test_full_models_have_the_published_names_and_shapes(name):
    import torch

    from tests.oracle import transformers

    model, kind, settings = FULL[name]
    make = getattr(transformers, "LlamaForCausalLM" if kind == "Llama" else f"{kind}Model")
    with torch.device("meta"):
        network = make(getattr(transformers, f"{kind}Config")(**settings))
    expected = {key: tuple(leaf.shape) for key, leaf in network.named_parameters()}
    variables = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 1), np.int32))
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), variables)
    assert {key: leaf.shape for key, leaf in to_published(model, empty).items()} == expected


SMALL = {"vocab_size": 11, "dim": 8, "depth": 2, "num_heads": 4}
LENGTH = 6
TOKENS = np.random.default_rng(0).integers(1, 11, (3, LENGTH)).astype(np.int32)
_SIZES = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4}
_BERT = {**_SIZES, "intermediate_size": 32, "max_position_embeddings": LENGTH, "initializer_range": 0.5}
_GPT = {"vocab_size": 11, "n_embd": 8, "n_layer": 2, "n_head": 4, "n_positions": LENGTH, "initializer_range": 0.5}
_LLAMA = {**_BERT, "intermediate_size": 12, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
BERT = Bert(**SMALL, max_length=LENGTH, pad=None)
LLAMA = Llama(**SMALL, hidden=12, num_kv_heads=2)
#: Ours, their class with its configuration, and what of their output is ours.
SAVED = {
    "BERT": (BERT, "BertModel", "BertConfig", _BERT, "pooler_output"),
    "BERT with a head": (
        BERT.clone(num_classes=3), "BertForSequenceClassification", "BertConfig", {**_BERT, "num_labels": 3}, "logits",
    ),
    "BERT of tokens": (
        BERT.clone(num_classes=3, pool="none"),
        "BertForTokenClassification",
        "BertConfig",
        {**_BERT, "num_labels": 3},
        "logits",
    ),
    "ALBERT": (
        albert(**SMALL, embedding_dim=4, max_length=LENGTH, pad=None),
        "AlbertModel",
        "AlbertConfig",
        {**_BERT, "embedding_size": 4},
        "pooler_output",
    ),
    "GPT-2": (GPT2(**SMALL, max_length=LENGTH), "GPT2LMHeadModel", "GPT2Config", _GPT, "logits"),
    "GPT-2 without a head": (
        GPT2(**SMALL, max_length=LENGTH, head=False), "GPT2Model", "GPT2Config", _GPT, "last_hidden_state",
    ),
    "Llama": (LLAMA, "LlamaForCausalLM", "LlamaConfig", _LLAMA, "logits"),
    "Llama, tied": (
        LLAMA.clone(tied=True), "LlamaForCausalLM", "LlamaConfig", {**_LLAMA, "tie_word_embeddings": True}, "logits",
    ),
}  # fmt: skip


def outputs_of(network, name):
    import torch

    with torch.no_grad():
        return network.eval()(torch.from_numpy(TOKENS).long())[name].numpy()


@pytest.mark.parametrize("name", SAVED)
def test_a_folder_of_transformers_is_loaded_strictly_and_written_back(name, tmp_path):
    """Names and bits are the same after both ways, and transformers reads what is written as its own."""
    import torch

    from tests.oracle import transformers

    model, kind, config, settings, output = SAVED[name]
    torch.manual_seed(0)
    network = getattr(transformers, kind)(getattr(transformers, config)(**settings))
    for parameter in network.parameters():  # biases and scales too
        torch.nn.init.normal_(parameter, std=0.5)
    network.save_pretrained(tmp_path)
    expected = outputs_of(network, output)

    path = tmp_path / "model.safetensors"
    loaded = load_pretrained(model, path)
    assert not loaded.missing + loaded.unexpected + loaded.reshaped
    np.testing.assert_allclose(jax.jit(model.apply)(loaded.variables, TOKENS), expected, rtol=1e-4, atol=1e-4)

    before = read_weights(path)
    save_pretrained(model, loaded.variables, path, layout=loaded.layout)
    after = read_weights(path)
    assert after.keys() == before.keys()
    for key, array in after.items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)
    again, about = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    np.testing.assert_array_equal(outputs_of(again, output), expected)

    lost, *_ = before
    with pytest.raises(InputError, match=rf"lacks '{re.escape(lost)}' for .* \(1 missing, 0 unexpected\)"):
        load_pretrained(model, {key: array for key, array in before.items() if key != lost})
    with pytest.raises(InputError, match=r"also has 'encoder\.more', which \w+ does not \(1 unexpected\)"):
        load_pretrained(model, {**before, "encoder.more": before[lost]})


SENTENCES = (
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell today.",
    "How do I reset my password?",
    "To be, or not to be, that is the question:",
    "Ich verstehe nur Bahnhof.",
    "antidisestablishmentarianism!",
    "a",
    "In the beginning God created the heaven and the earth. And the earth was without form, and void.",
    "Café, naïve, 東京; 3.14159 & <b>",
)


def test_minilm_embeds_sentences_as_transformers_does():
    import torch

    from jaxai.data.text.tokenizers import WordPiece
    from tests.oracle import transformers

    tokenizer = WordPiece(file="bert_uncased").open()
    rows = [[tokenizer.cls, *tokenizer.encode(sentence).tolist(), tokenizer.sep] for sentence in SENTENCES]
    longest = max(map(len, rows))
    tokens = np.array([row + [0] * (longest - len(row)) for row in rows], np.int32)

    settings = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
    network = transformers.BertModel(transformers.BertConfig(**settings)).eval()
    arrays = {key: torch.from_numpy(leaf) for key, leaf in read_weights("minilm").items()}
    assert not network.load_state_dict(arrays, strict=False).missing_keys
    mask = torch.from_numpy(tokens > 0).long()
    with torch.no_grad():
        hidden = network(torch.from_numpy(tokens).long(), attention_mask=mask).last_hidden_state
    expected = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    expected = torch.nn.functional.normalize(expected).numpy()

    variables = load_pretrained(minilm(), "minilm", unused=("^pooler",)).variables
    found = np.asarray(jax.jit(minilm().apply)(variables, tokens))
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), expected, atol=1e-5)
