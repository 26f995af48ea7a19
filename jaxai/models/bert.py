"""BERT (Devlin et al. 2019) and, by its settings, ALBERT (Lan et al. 2020): Transformers that read both ways."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError, did_you_mean
from jaxai.models.attention import Dropout, same_segment
from jaxai.models.blocks import Remat, through
from jaxai.models.layers import truncated_normal
from jaxai.models.text import TokenEmbed, check_tokens
from jaxai.models.transformer import Act, TransformerBlock

#: Features of a token, blocks, heads.
_SIZES = {"mini": (256, 4, 4), "small": (512, 4, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}


def bert(size: Literal["mini", "small", "base", "large"], **settings: Any) -> Bert:
    """The published sizes; the two small ones are those of Turc et al. (2019)."""
    if size not in _SIZES:
        raise InputError("size", f"there is no BERT of size {size!r}", did_you_mean(size, _SIZES))
    dim, depth, num_heads = _SIZES[size]
    return Bert(**{"dim": dim, "depth": depth, "num_heads": num_heads, **settings})


def albert(**settings: Any) -> Bert:
    """ALBERT base: one block for all layers, and a table of 128 features a token; 11,683,584 parameters."""
    base = {"vocab_size": 30_000, "embedding_dim": 128, "shared": True, "activation": "gelu_tanh"}
    return Bert(**{**base, **settings})


def minilm(**settings: Any) -> Bert:
    """MiniLM-L6 (Wang et al. 2020), whose mean over the tokens stands for a sentence (Reimers and Gurevych 2019)."""
    return Bert(**{"dim": 384, "depth": 6, "num_heads": 12, "pool": "mean", **settings})


class Bert(nn.Module):
    """An encoder of Transformer blocks that normalize after each part; BERT base, uncased, as it stands.

    Without a head `bert("base")` has 109,482,240 parameters. Kernels and tables start truncated normal with deviation
    0.02, biases at zero.
    """

    vocab_size: int = 30_522
    """Tokens there are."""
    dim: int = 768
    """Features of a token."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 12
    """Heads of each block's attention."""
    hidden: int | None = None
    """Width inside the feed-forwards; by default four times `dim`."""
    max_length: int = 512
    """Positions there are."""
    num_types: int = 2
    """Kinds of sentences: the first, the second."""
    embedding_dim: int | None = None
    """Features in the table of tokens, from which a dense layer makes `dim`; by default those."""
    rotary: float | None = None
    """Base of rotary positions (Su et al. 2021), instead of a table of them; masked language modelling learns from a
    small corpus sooner by them."""
    shared: bool = False
    """Whether all blocks are one."""
    activation: Act = "gelu"
    """In the feed-forwards."""
    pool: Literal["token", "mean", "none"] = "token"
    """What the head sees: the first token, through a dense layer and tanh; the mean of the tokens; or each token."""
    num_classes: int = 0
    """Logits a text, or a token; 0 gives what the head would see."""
    dropout: float = 0.0
    """Share dropped of the embeddings, the attention's weights, what each part adds and what the head sees, in training
    (paper: 0.1)."""
    pad: int | None = 0
    """The token that only pads, where no `segments` say so."""
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
        types: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [batch, num_classes] of texts, or features [batch, dim]; with `pool="none"` of each token.

        Args:
            inputs: Token numbers, int [batch, length].
            train: Whether dropout applies.
            segments: Number of the text that a token belongs to, from 1, and 0 for padding; tokens look only at their
                own text. By default all that is not `pad` is one.
            positions: Of each token in its text, int [batch, length]; by default 0, 1, ...
            types: Of each token, 0 in a first sentence and 1 in a second, int [batch, length]; by default 0.
        """
        check_tokens(inputs, "Bert", self.max_length)
        if self.shared and self.scan:
            raise InputError("scan", "is for blocks with parameters of their own, and all share one", "scan=False")
        if segments is None and self.pad is not None:
            segments = (inputs != self.pad).astype(jnp.int32)
        positions = jnp.arange(inputs.shape[1])[None] if positions is None else positions
        x = self._embed(inputs, train, positions, types)
        mask = None if segments is None else same_segment(segments)
        settings: dict[str, Any] = {
            "norm_first": False,
            "rotary": self.rotary,
            "epsilon": 1e-12,
            "activation": self.activation,
            "dropout": self.dropout,
            "attention_dropout": self.dropout,
            "kernel_init": truncated_normal,
            "remat": self.remat,
        }
        hidden = self.hidden or 4 * self.dim
        make = functools.partial(TransformerBlock, self.num_heads, hidden, **settings)
        if not self.shared:
            x = through(make, self.depth, self.scan, x, train, mask, positions)
        else:
            block = make(name="block")
            for _ in range(self.depth):
                x = block(x, train, mask, positions)
        x = self._pooled(x, segments)
        if not self.num_classes:
            return x
        return nn.Dense(self.num_classes, kernel_init=truncated_normal, name="head")(Dropout(self.dropout)(x, train))

    def _embed(self, inputs: jax.Array, train: bool, positions: jax.Array, types: jax.Array | None) -> jax.Array:
        dim = self.embedding_dim or self.dim
        types = jnp.zeros((1, 1), jnp.int32) if types is None else types
        x = TokenEmbed(self.vocab_size, dim, truncated_normal, name="tokens")(inputs)
        if self.rotary is None:
            x += TokenEmbed(self.max_length, dim, truncated_normal, name="positions")(positions)
        x += TokenEmbed(self.num_types, dim, truncated_normal, name="types")(types)
        x = Dropout(self.dropout)(nn.LayerNorm(epsilon=1e-12, name="norm")(x), train)
        return nn.Dense(self.dim, kernel_init=truncated_normal, name="project")(x) if self.embedding_dim else x

    def _pooled(self, x: jax.Array, segments: jax.Array | None) -> jax.Array:
        if self.pool == "token":
            return jnp.tanh(nn.Dense(self.dim, kernel_init=truncated_normal, name="pooler")(x[:, 0]))
        if self.pool == "mean":
            weights = jnp.ones(x.shape[:2]) if segments is None else segments > 0
            weights = weights.astype(x.dtype)[:, :, None]
            return jnp.sum(x * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1)
        return x
