"""A tiny decoder, and the same one in `transformers`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core import tree
from jaxai.models.gpt2 import GPT2

MODEL = GPT2(vocab_size=23, dim=16, depth=2, num_heads=2, max_length=64)
PROMPTS = [[5, 3, 9], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]


def larger(made):
    """Weights with which what comes next depends on all that was before, unlike those that training begins with."""
    return tree.map_paths(lambda path, leaf: leaf * (15 if "kernel" in path else 6 if leaf.ndim == 2 else 1), made)


@functools.cache
def variables():
    return larger(jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))


@jax.jit
def full_pass(made, tokens):
    """Logits of whole texts, without a cache."""
    return MODEL.apply(made, tokens)


def continued(prompt, number, choose):
    """`prompt` and `number` tokens more, each what `choose(logits [vocab], text)` makes of a full pass."""
    text = list(prompt)
    for _ in range(number):
        tokens = np.zeros((1, 32), np.int32)
        tokens[0, : len(text)] = text
        logits = np.asarray(full_pass(variables(), tokens))[0, len(text) - 1]
        text.append(int(choose(logits, text)))
    return text


def their_model(model: GPT2, made):
    """The same model in `transformers`, with the same weights."""
    import torch

    from tests.oracle import transformers

    config = transformers.GPT2Config(
        vocab_size=model.vocab_size,
        n_embd=model.dim,
        n_layer=model.depth,
        n_head=model.num_heads,
        n_positions=model.max_length,
        bos_token_id=0,
        eos_token_id=None,
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    params = jax.device_get(made["params"])
    weights = {"wte.weight": params["tokens"]["embedding"], "wpe.weight": params["positions"]["embedding"]}
    weights |= {"ln_f.weight": params["norm"]["scale"], "ln_f.bias": params["norm"]["bias"]}
    for i in range(model.depth):
        block = params[f"block{i}"]
        for name, ours in (("ln_1", block["norm1"]), ("ln_2", block["norm2"])):
            weights |= {f"h.{i}.{name}.weight": ours["scale"], f"h.{i}.{name}.bias": ours["bias"]}
        for name, ours in (
            ("attn.c_attn", block["attention"]["qkv"]),
            ("attn.c_proj", block["attention"]["out"]),
            ("mlp.c_fc", block["mlp"]["dense1"]),
            ("mlp.c_proj", block["mlp"]["dense2"]),
        ):
            kernel = ours["kernel"].reshape(len(ours["kernel"]), -1)
            weights |= {f"h.{i}.{name}.weight": kernel, f"h.{i}.{name}.bias": ours["bias"].reshape(-1)}
    theirs.transformer.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return theirs
