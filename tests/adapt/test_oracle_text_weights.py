"""Full models of text have transformers' names and shapes, and MiniLM embeds sentences as it does there."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai.adapt.files import read_weights
from jaxai.adapt.weights import load_pretrained, to_published
from jaxai.models.bert import albert, bert, minilm
from jaxai.models.gpt2 import gpt2
from jaxai.models.llama import llama

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
