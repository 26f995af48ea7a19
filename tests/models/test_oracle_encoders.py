"""Heads of BERT, recurrent and convolutional encoders against transformers' and PyTorch's, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.weights import load_pretrained, to_published
from jaxai.models.bert import Bert
from jaxai.models.recurrent import RecurrentEncoder
from jaxai.models.textcnn import TextCNN

pytestmark = pytest.mark.oracle

VOCAB, LENGTH, NUM_CLASSES = 20, 9, 3
RNG = np.random.default_rng(0)
#: Two texts end in padding.
VALID = np.arange(LENGTH)[None] < np.array([9, 6, 4])[:, None]
TOKENS = np.where(VALID, RNG.integers(1, VOCAB, (3, LENGTH)), 0).astype(np.int32)


def theirs(network, run, shape):
    """Theirs: logits, weights [shape] by which they are added up, and what that gives the parameters.

    What is made of padding is nobody's, and 0.
    """
    import torch

    kept = VALID[:, :, None] if len(shape) == 3 else 1.0
    weights = RNG.standard_normal(shape) * kept
    logits = run()
    (logits * torch.from_numpy(weights)).sum().backward()
    grads = {name: leaf.grad.numpy() for name, leaf in network.named_parameters()}
    return logits.detach().numpy() * kept, weights, grads


def ours(model, params, weights, train):
    """Logits, and gradients of their sum by `weights`."""

    def loss(params):
        logits = model.apply({"params": params}, TOKENS, train)
        return jnp.sum(logits * weights), logits * (weights != 0)

    compiled = jax.jit(jax.grad(loss, has_aux=True), compiler_options={"xla_backend_optimization_level": 0})
    grads, logits = compiled(params)
    return logits, grads


@pytest.mark.parametrize(
    ("name", "pool"), [("BertForSequenceClassification", "token"), ("BertForTokenClassification", "none")]
)
def test_heads_of_bert_are_transformers(name, pool):
    import torch

    from tests.oracle import transformers

    torch.manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        num_labels=NUM_CLASSES,
        initializer_range=0.5,
        attn_implementation="eager",
    )
    network = getattr(transformers, name)(settings).double().eval()
    given = {"input_ids": torch.from_numpy(TOKENS).long(), "attention_mask": torch.from_numpy(VALID).long()}
    shape = (3, LENGTH, NUM_CLASSES) if pool == "none" else (3, NUM_CLASSES)
    logits, weights, grads = theirs(network, lambda: network(**given).logits, shape)

    model = Bert(
        vocab_size=VOCAB, dim=8, depth=1, num_heads=2, max_length=LENGTH, pool=pool, num_classes=NUM_CLASSES, pad=0
    )
    with jax.enable_x64(True):
        loaded = load_pretrained(model, {key: leaf.numpy() for key, leaf in network.state_dict().items()})
        assert loaded.layout == "transformers with a head"
        params = jax.tree.map(np.float64, loaded.variables["params"])
        found, mine = ours(model, params, weights, False)
        mine = to_published(model, {"params": mine})
    np.testing.assert_allclose(found, logits, atol=1e-5)
    assert mine.keys() == grads.keys()
    for key, leaf in mine.items():
        np.testing.assert_allclose(leaf, grads[key], rtol=1e-4, atol=1e-5, err_msg=key)


RECURRENT = {
    "lstm": RecurrentEncoder(cell="lstm", pool="attention"),
    "lstm of two layers": RecurrentEncoder(cell="lstm", depth=2, pool="last"),
    "gru": RecurrentEncoder(cell="gru", bidirectional=False, pool="last"),
    "gru of two layers": RecurrentEncoder(cell="gru", depth=2, pool="mean"),
    "lstm one way": RecurrentEncoder(cell="lstm", depth=2, bidirectional=False, pool="max"),
    "gru of each token": RecurrentEncoder(cell="gru", depth=2, pool="none"),
}


def their_encoder(model):
    """`torch.nn.LSTM` or `GRU` on packed sequences, from a table to pooling and a linear layer."""
    import torch
    from torch import nn

    width = model.features * (2 if model.bidirectional else 1)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(VOCAB, model.dim)
            kind = nn.LSTM if model.cell == "lstm" else nn.GRU
            self.layers = kind(
                model.dim, model.features, model.depth, bidirectional=model.bidirectional, batch_first=True
            )
            if model.pool == "attention":
                self.attention, self.score = nn.Linear(width, width // 2), nn.Linear(width // 2, 1, bias=False)
            self.head = nn.Linear(width, NUM_CLASSES)

        def forward(self, tokens):
            x = nn.utils.rnn.pack_padded_sequence(self.tokens(tokens), VALID.sum(1).tolist(), batch_first=True)
            outputs, state = self.layers(x)
            x = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)[0]
            state = state[0] if model.cell == "lstm" else state
            return self.head(self.pooled(x, state))

        def pooled(self, x, state):
            keep = torch.from_numpy(VALID)[:, :, None]
            if model.pool == "last":
                return torch.cat(list(state[-2:] if model.bidirectional else state[-1:]), dim=-1)
            if model.pool == "max":
                return x.masked_fill(~keep, -torch.inf).amax(1)
            if model.pool == "mean":
                return (x * keep).sum(1) / keep.sum(1)
            if model.pool == "attention":
                scores = self.score(torch.tanh(self.attention(x))).masked_fill(~keep, -torch.inf)
                return (torch.softmax(scores, 1) * x).sum(1)
            return x

    torch.manual_seed(0)
    return Network().double()


def as_ours(model, arrays):
    """Their parameters, or gradients of them, by our names; of an LSTM's two biases, which are added, the first."""

    def dense(weight, bias=None):
        return {"kernel": arrays[weight].T, **({} if bias is None else {"bias": arrays[bias]})}

    params = {"tokens": {"embedding": arrays["tokens.weight"]}, "head": dense("head.weight", "head.bias")}
    for i in range(model.depth):
        for name, ending in (("forward", ""), ("backward", "_reverse"))[: 2 if model.bidirectional else 1]:
            end = f"_l{i}{ending}"
            state = None if model.cell == "lstm" else f"layers.bias_hh{end}"
            params[f"{name}{i}"] = {
                "inputs": dense(f"layers.weight_ih{end}", f"layers.bias_ih{end}"),
                "state": dense(f"layers.weight_hh{end}", state),
            }
    if model.pool == "attention":
        params |= {"attention": dense("attention.weight", "attention.bias"), "score": dense("score.weight")}
    return params


def closely(mine, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), mine, theirs)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_encoders_are_pytorchs(name):
    import torch

    model = RECURRENT[name].clone(vocab_size=VOCAB, dim=5, features=6, num_classes=NUM_CLASSES, pad=0)
    network = their_encoder(model)
    if model.cell == "lstm":
        with torch.no_grad():
            for key, leaf in network.layers.named_parameters():
                if "bias_hh" in key:
                    leaf.zero_()
    shape = (3, LENGTH, NUM_CLASSES) if model.pool == "none" else (3, NUM_CLASSES)
    tokens = torch.from_numpy(TOKENS).long()
    logits, weights, grads = theirs(network, lambda: network(tokens), shape)
    with jax.enable_x64(True):
        params = as_ours(model, {key: leaf.detach().numpy() for key, leaf in network.named_parameters()})
        found, mine = ours(model, params, weights, True)
    np.testing.assert_allclose(found, logits, atol=1e-10)
    closely(mine, as_ours(model, grads))


def test_textcnn_is_pytorchs():
    """A table, a convolution a window, beyond the end too, ReLU, the maximum over the text, a linear layer."""
    import torch
    from torch import nn

    model = TextCNN(vocab_size=VOCAB, dim=5, windows=(2, 5), features=4, num_classes=NUM_CLASSES, dropout=0.0, pad=0)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(VOCAB, 5)
            self.convs = nn.ModuleList(nn.Conv1d(5, 4, window) for window in model.windows)
            self.head = nn.Linear(8, NUM_CLASSES)

        def forward(self, tokens):
            vectors = self.tokens(tokens)
            logits = []
            for row, length in zip(vectors, VALID.sum(1), strict=True):  # each by itself, without its padding
                found = []
                for conv, window in zip(self.convs, model.windows, strict=True):
                    ended = nn.functional.pad(row[:length].T, (0, window - 1))
                    found.append(torch.relu(conv(ended)).amax(-1))
                logits.append(self.head(torch.cat(found)))
            return torch.stack(logits)

    torch.manual_seed(0)
    network = Network().double()
    tokens = torch.from_numpy(TOKENS).long()
    logits, weights, grads = theirs(network, lambda: network(tokens), (3, NUM_CLASSES))

    def renamed(arrays):
        convs = {
            f"conv{window}": {
                "kernel": arrays[f"convs.{i}.weight"].transpose(2, 1, 0),
                "bias": arrays[f"convs.{i}.bias"],
            }
            for i, window in enumerate(model.windows)
        }
        head = {"kernel": arrays["head.weight"].T, "bias": arrays["head.bias"]}
        return {"tokens": {"embedding": arrays["tokens.weight"]}, "head": head, **convs}

    with jax.enable_x64(True):
        params = renamed({key: leaf.detach().numpy() for key, leaf in network.named_parameters()})
        found, mine = ours(model, params, weights, True)
    np.testing.assert_allclose(found, logits, atol=1e-10)
    closely(mine, renamed(grads))
