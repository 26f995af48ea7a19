"""Two encoders into one space, as CLIP has them (Radford et al. 2021), and its encoder of text."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.models.attention import Dropout, same_segment
from jaxai.models.text import TokenEmbed, check_tokens
from jaxai.models.transformer import TransformerBlock


class DualEncoder(nn.Module):
    """An encoder of queries and one of candidates, each projected into the space where they are compared.

    For CLIP the queries are images, `ViT(num_classes=0, ...)`, and the candidates their captions, `TextEncoder(...)`.
    For questions and answers one encoder may serve both.
    """

    query: nn.Module
    """Encoder of queries: `query(inputs, train) -> features [batch, feature]`, a model of no classes."""
    candidate: nn.Module | None = None
    """Encoder of candidates; by default the queries', with its projection."""
    dim: int | None = 512
    """Features of the common space; None leaves out the projections, which have no bias."""
    temperature: float = 0.07
    """What cosines are divided by at first; it is learned, as the logarithm of its inverse."""

    def setup(self):
        self.log_scale = self.param("log_scale", nn.initializers.constant(-np.log(self.temperature)), ())
        if self.dim is not None:
            self.query_projection = nn.Dense(self.dim, use_bias=False)
            if self.candidate is not None:
                self.candidate_projection = nn.Dense(self.dim, use_bias=False)

    def __call__(
        self, inputs: jax.Array, candidates: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries `inputs` and `candidates`, both [batch, dim], and the logarithm of what cosines are scaled by."""
        return self.encode_query(inputs, train), self.encode_candidate(candidates, train), self.log_scale

    def encode_query(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """[batch, dim] of queries."""
        features = self.query(inputs, train)
        return features if self.dim is None else self.query_projection(features)

    def encode_candidate(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """[batch, dim] of candidates."""
        if self.candidate is None:
            return self.encode_query(inputs, train)
        features = self.candidate(inputs, train)
        return features if self.dim is None else self.candidate_projection(features)


class TextEncoder(nn.Module):
    """Transformer blocks that make one vector of a text; as it stands the base CLIP's, of 63,165,952 parameters.

    Kernels and tables start normal as in the published code: by width and depth, as for GPT-2.
    """

    vocab_size: int = 49_408
    """Tokens there are."""
    dim: int = 512
    """Features of a token."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 8
    """Heads of each block's attention."""
    max_length: int = 77
    """Positions there are."""
    causal: bool = True
    """Whether a token looks only at itself and those before it."""
    pool: Literal["last", "mean"] = "last"
    """What stands for the text: the last token that is no padding, or the mean over them."""
    pad: int | None = None
    """The token that only pads; None where there is none."""
    dropout: float = 0.0
    """Share dropped of the embeddings and of what each part of a block adds, in training."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, *, segments: jax.Array | None = None) -> jax.Array:
        """Features [batch, dim] of token numbers [batch, length]; `segments` [batch, length] are 0 for padding."""
        check_tokens(inputs, "TextEncoder", self.max_length)
        if segments is None:
            segments = jnp.ones_like(inputs) if self.pad is None else (inputs != self.pad).astype(jnp.int32)
        places = self.param("positions", nn.initializers.normal(0.01), (self.max_length, self.dim))
        x = TokenEmbed(self.vocab_size, self.dim, name="tokens")(inputs) + places[None, : inputs.shape[1]]
        x = Dropout(self.dropout)(x, train)
        for i in range(self.depth):
            x = TransformerBlock(
                self.num_heads,
                4 * self.dim,
                causal=self.causal,
                epsilon=1e-5,
                dropout=self.dropout,
                kernel_init=nn.initializers.normal(self.dim**-0.5),
                out_init=nn.initializers.normal(self.dim**-0.5 / np.sqrt(2 * self.depth)),
                name=f"block{i}",
            )(x, train, same_segment(segments))
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        return _last(x, segments) if self.pool == "last" else _mean(x, segments)


def _last(x: jax.Array, segments: jax.Array) -> jax.Array:
    """Of tokens [batch, length, dim] the last whose segment is not 0: [batch, dim]."""
    place = jnp.max(jnp.where(segments > 0, jnp.arange(x.shape[1])[None], 0), axis=1)
    return jnp.take_along_axis(x, place[:, None, None], axis=1)[:, 0]


def _mean(x: jax.Array, segments: jax.Array) -> jax.Array:
    """The mean [batch, dim] over tokens [batch, length, dim] whose segment is not 0; zeros where there are none."""
    real = (segments > 0)[..., None].astype(x.dtype)
    return jnp.sum(x * real, axis=1) / jnp.maximum(jnp.sum(real, axis=1), 1)
