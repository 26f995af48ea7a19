"""The Transformer of Vaswani et al. (2017), "Attention Is All You Need": an encoder and a decoder that looks at it."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.models.attention import Dropout, Slots, begin_or_continue, same_segment, sinusoids
from jaxai.models.text import TokenEmbed, check_tokens
from jaxai.models.transformer import Norm, TransformerBlock


class Seq2Seq(nn.Module):
    """From a sequence of tokens to another; the paper's base model, with a vocabulary of 37,000, as it stands.

    63,082,496 parameters. Source, target and output share one table, which starts normal with deviation dim^-0.5, as
    what is looked up is multiplied by sqrt(dim); kernels start Xavier uniform. Positions are fixed sines.
    """

    vocab_size: int = 37_000
    """Tokens there are, of both languages."""
    dim: int = 512
    """Features of a token."""
    depth: int = 6
    """Blocks of the encoder, and of the decoder."""
    num_heads: int = 8
    """Heads of each attention."""
    hidden: int = 2048
    """Width inside the feed-forwards."""
    max_length: int = 1024
    """Tokens of the longest sequence."""
    norm_first: bool = False
    """Whether normalization comes before each part, and at the end, which needs no warm-up (Xiong et al. 2020)."""
    dropout: float = 0.1
    """Share dropped of the embeddings and of what each part adds, in training."""
    pad: int | None = None
    """The token that only pads, where no segments say so."""

    def setup(self):
        self.tokens = TokenEmbed(self.vocab_size, self.dim, nn.initializers.normal(self.dim**-0.5))
        settings = (self.depth, self.num_heads, self.hidden, self.norm_first, self.dropout)
        self.encoder = Stack(*settings)
        self.decoder = Stack(*settings, is_decoder=True)

    def __call__(
        self,
        inputs: jax.Array,
        target_tokens: jax.Array,
        train: bool = False,
        *,
        segments: jax.Array | None = None,
        target_segments: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [batch, target length, vocab_size] of the token that follows each of `target_tokens`.

        `inputs` [batch, length] is the source; both sequences end in padding, where the segments are 0.
        """
        memory = self.encode(inputs, train, segments)
        return self.decode(target_tokens, memory, train, self._segments(inputs, segments), target_segments)

    def encode(self, inputs: jax.Array, train: bool = False, segments: jax.Array | None = None) -> jax.Array:
        """What the decoder looks at, [batch, length, dim], of `inputs` [batch, length]."""
        check_tokens(inputs, "Seq2Seq", self.max_length)
        segments = self._segments(inputs, segments)
        return self.encoder(self._look_up(inputs), train, segments)

    def decode(
        self,
        target_tokens: jax.Array,
        memory: jax.Array,
        train: bool = False,
        segments: jax.Array | None = None,
        target_segments: jax.Array | None = None,
        cache_size: int | None = None,
    ) -> jax.Array:
        """Logits [batch, target length, vocab_size], given `memory` and the `segments` of the source.

        `cache_size` makes a cache of so many target tokens (collection `cache`), in which later calls go on.
        """
        check_tokens(target_tokens, "Seq2Seq targets", self.max_length)
        target_segments = self._segments(target_tokens, target_segments)
        x = self.decoder(self._look_up(target_tokens), train, target_segments, memory, segments, cache_size)
        return self.tokens.attend(x)

    def _look_up(self, tokens: jax.Array) -> jax.Array:
        return self.tokens(tokens) * np.sqrt(self.dim)

    def _segments(self, tokens: jax.Array, segments: jax.Array | None) -> jax.Array | None:
        return (tokens != self.pad).astype(jnp.int32) if segments is None and self.pad is not None else segments


class Stack(nn.Module):
    """The encoder or the decoder, after the table."""

    depth: int
    """Blocks."""
    num_heads: int
    """Heads of each attention."""
    hidden: int
    """Width inside the feed-forwards."""
    norm_first: bool
    """Whether normalization comes before each part, and at the end."""
    dropout: float
    """Share dropped in training."""
    is_decoder: bool = False
    """Whether a token looks only at those before it, and at `memory`."""

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool,
        segments: jax.Array | None,
        memory: jax.Array | None = None,
        memory_segments: jax.Array | None = None,
        cache_size: int | None = None,
    ) -> jax.Array:
        """Tokens [batch, length, dim], of the same shape."""
        is_token = jnp.ones(x.shape[:2], bool) if segments is None else segments > 0
        decoding = begin_or_continue(self, is_token, cache_size) if self.is_decoder else None
        mask, slots, positions = None if segments is None else same_segment(segments), None, None
        if decoding is not None:
            slots, mask, positions = decoding
        x = Dropout(self.dropout)(x + self._places(x, slots, positions), train)
        context_mask = None if memory_segments is None else (memory_segments > 0)[:, None, None, :]
        for i in range(self.depth):
            x = TransformerBlock(
                self.num_heads,
                self.hidden,
                causal=self.is_decoder,
                cross=self.is_decoder,
                norm_first=self.norm_first,
                epsilon=1e-5,
                activation="relu",
                dropout=self.dropout,
                kernel_init=nn.initializers.xavier_uniform(),
                name=f"block{i}",
            )(x, train, mask, positions, slots, memory, context_mask)
        return Norm("layer", 1e-5, name="norm")(x) if self.norm_first else x

    def _places(self, x: jax.Array, slots: Slots | None, positions: jax.Array | None) -> jax.Array:
        """The sines of each token's position, [1 or batch, length, dim]."""
        if slots is None or positions is None:
            return jnp.asarray(sinusoids(x.shape[1], x.shape[2]), x.dtype)[None]
        return jnp.asarray(sinusoids(slots.size, x.shape[2]), x.dtype)[positions]
