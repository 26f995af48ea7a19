"""The convolutional network for sentences of Kim (2014)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.layers import he_fan_out
from jaxai.models.text import TokenEmbed, check_tokens


class TextCNN(nn.Module):
    """Convolutions over windows of several lengths, the maximum of each over the text, and a linear layer.

    439,502 parameters as it stands, with the bytes as vocabulary. In the paper the table starts from word2vec; here it
    starts normal with deviation 0.1.
    """

    vocab_size: int = 262
    """Tokens there are."""
    dim: int = 300
    """Features of a token."""
    windows: tuple[int, ...] = (3, 4, 5)
    """Tokens that each filter sees."""
    features: int = 100
    """Filters of each window."""
    num_classes: int = 2
    """Logits a text; 0 gives what the head would see."""
    dropout: float = 0.5
    """Share dropped of what the head sees in training."""
    pad: int | None = 256
    """The token that only pads, where no `segments` say so; its features are zeros."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, *, segments: jax.Array | None = None) -> jax.Array:
        """Logits [batch, num_classes] of token numbers [batch, length]."""
        check_tokens(inputs, "TextCNN")
        x = TokenEmbed(self.vocab_size, self.dim, nn.initializers.normal(0.1), name="tokens")(inputs)
        is_token = jnp.ones(inputs.shape, bool) if segments is None else segments > 0
        if segments is None and self.pad is not None:
            is_token = inputs != self.pad
        valid = is_token[:, :, None]
        x = jnp.where(valid, x, 0)
        found = []
        for window in self.windows:
            # The last windows reach beyond the text, so that one shorter than a window has some too.
            y = nn.Conv(
                self.features, (window,), padding=((0, window - 1),), kernel_init=he_fan_out, name=f"conv{window}"
            )
            found.append(jnp.max(jnp.where(valid, jax.nn.relu(y(x)), 0), axis=1))
        x = jnp.concatenate(found, axis=-1)
        if not self.num_classes:
            return x
        return nn.Dense(self.num_classes, name="head")(nn.Dropout(self.dropout, deterministic=not train)(x))
