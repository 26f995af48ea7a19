"""Llama (Touvron et al. 2023, "Llama 2"; Grattafiori et al. 2024, "The Llama 3 Herd of Models")."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError, did_you_mean
from jaxai.models.attention import Dropout, begin_or_continue, same_segment
from jaxai.models.blocks import Remat, through
from jaxai.models.text import TokenEmbed, check_tokens
from jaxai.models.transformer import Norm, TransformerBlock

_SIZES: dict[str, dict[str, Any]] = {
    "2-7b": {},
    "3-8b": {"vocab_size": 128_256, "num_kv_heads": 8, "hidden": 14_336, "rotary": 500_000.0, "max_length": 8192},
}


def llama(size: Literal["2-7b", "3-8b"], **settings: Any) -> Llama:
    """The published sizes."""
    if size not in _SIZES:
        raise InputError("size", f"there is no Llama of size {size!r}", did_you_mean(size, _SIZES))
    return Llama(**{**_SIZES[size], **settings})


class Llama(nn.Module):
    """A decoder with rotary positions, root-mean-square norms, gated feed-forwards, no bias; Llama 2 7B as it stands.

    `llama("2-7b")` has 6,738,415,616 parameters, `llama("3-8b")` 8,030,261,248. Kernels and the table start normal with
    deviation 0.02.
    """

    vocab_size: int = 32_000
    """Tokens there are."""
    dim: int = 4096
    """Features of a token."""
    depth: int = 32
    """Blocks."""
    num_heads: int = 32
    """Heads of the queries."""
    num_kv_heads: int | None = None
    """Heads of keys and values; by default as many."""
    hidden: int = 11_008
    """Width inside the feed-forwards."""
    max_length: int = 4096
    """Tokens of the longest text."""
    rotary: float = 10_000.0
    """Base of the rotary positions."""
    epsilon: float = 1e-5
    """Of the normalizations."""
    tied: bool = False
    """Whether the output shares the embedding's table."""
    dropout: float = 0.0
    """Share dropped of the embeddings and of what each part adds, in training; published ones have none."""
    head: bool = True
    """Whether it ends in logits, or in what they are made of."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""
    scan: bool = False
    """One block compiled for all: a program that depth does not enlarge; parameters are [depth, ...] under `blocks`."""

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        train: bool = False,
        *,
        segments: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache_size: int | None = None,
    ) -> jax.Array:
        """Logits [batch, length, vocab_size] of the token that follows each of `inputs` int [batch, length].

        The arguments are those of `GPT2`.
        """
        check_tokens(inputs, "Llama", self.max_length)
        is_token = jnp.ones(inputs.shape, bool) if segments is None else segments > 0
        decoding = begin_or_continue(self, is_token, cache_size)
        mask, slots = None if segments is None else same_segment(segments), None
        if decoding is not None:
            slots, mask, positions = decoding
        init = nn.initializers.normal(0.02)
        embed = TokenEmbed(self.vocab_size, self.dim, init, name="tokens")
        x = Dropout(self.dropout)(embed(inputs), train)
        make = functools.partial(
            TransformerBlock,
            self.num_heads,
            self.hidden,
            self.num_kv_heads,
            causal=True,
            norm="rms",
            epsilon=self.epsilon,
            activation="swiglu",
            rotary=self.rotary,
            use_bias=False,
            dropout=self.dropout,
            kernel_init=init,
            remat=self.remat,
        )
        x = through(make, self.depth, self.scan, x, train, mask, positions, slots)
        x = Norm("rms", self.epsilon, name="norm")(x)
        if not self.head:
            return x
        return embed.attend(x) if self.tied else nn.Dense(self.vocab_size, False, kernel_init=init, name="head")(x)
