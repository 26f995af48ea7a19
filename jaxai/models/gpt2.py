"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners")."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.models.attention import Dropout, begin_or_continue, same_segment
from jaxai.models.blocks import Remat, through
from jaxai.models.text import TokenEmbed, check_tokens
from jaxai.models.transformer import TransformerBlock

#: Features of a token, blocks, heads.
_SIZES = {"small": (768, 12, 12), "medium": (1024, 24, 16), "large": (1280, 36, 20), "xl": (1600, 48, 25)}


def gpt2(size: Literal["small", "medium", "large", "xl"], **settings: Any) -> GPT2:
    """The published sizes."""
    if size not in _SIZES:
        raise InputError("size", f"there is no GPT-2 of size {size!r}", did_you_mean(size, _SIZES))
    dim, depth, num_heads = _SIZES[size]
    return GPT2(**{"dim": dim, "depth": depth, "num_heads": num_heads, **settings})


class GPT2(nn.Module):
    """A decoder of causal Transformer blocks that predicts each next token; `gpt2("small")` as it stands.

    `gpt2("small")` has 124,439,808 parameters, "medium" 354,823,168, "large" 774,030,080 and "xl" 1,557,611,200. The
    output shares the embedding's table. Kernels start normal with deviation 0.02, positions with 0.01, and those that
    end a shortcut by 1 / sqrt(2 depth) less, as in the published code.
    """

    vocab_size: int = 50_257
    """Tokens there are."""
    dim: int = 768
    """Features of a token."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 12
    """Heads of each block's attention."""
    max_length: int = 1024
    """Positions there are."""
    dropout: float = 0.0
    """Share dropped of the embeddings, the attention's weights and what each part adds, in training (paper: 0.1)."""
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

        Args:
            inputs: Token numbers.
            train: Whether dropout applies.
            segments: Number of the text that a token belongs to, from 1, and 0 for padding; tokens look only at their
                own text. By default all is one.
            positions: Of each token in its text, int [batch, length]; by default 0, 1, ...
            cache_size: Makes a cache of so many tokens (collection `cache`), in which later calls go on.
        """
        check_tokens(inputs, "GPT2", self.max_length)
        is_token = jnp.ones(inputs.shape, bool) if segments is None else segments > 0
        decoding = begin_or_continue(self, is_token, cache_size)
        mask, slots = None if segments is None else same_segment(segments), None
        if decoding is not None:
            slots, mask, positions = decoding
        elif positions is None:
            positions = jnp.arange(inputs.shape[1])[None]
        embed = TokenEmbed(self.vocab_size, self.dim, name="tokens")
        places = nn.Embed(self.max_length, self.dim, embedding_init=nn.initializers.normal(0.01), name="positions")
        x = Dropout(self.dropout)(embed(inputs) + places(positions), train)
        make = functools.partial(
            TransformerBlock,
            self.num_heads,
            4 * self.dim,
            causal=True,
            epsilon=1e-5,
            activation="gelu_tanh",
            dropout=self.dropout,
            attention_dropout=self.dropout,
            kernel_init=nn.initializers.normal(0.02),
            out_init=nn.initializers.normal(0.02 / np.sqrt(2 * self.depth)),
            remat=self.remat,
        )
        x = through(make, self.depth, self.scan, x, train, mask, positions, slots)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        return embed.attend(x) if self.head else x
