"""An encoder of speech: a Transformer over spectra that convolutions have made shorter, for CTC."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.models.attention import Dropout, same_segment
from jaxai.models.layers import truncated_normal
from jaxai.models.transformer import TransformerBlock


class SpeechEncoder(nn.Module):
    """Convolutions over time that skip frames, then Transformer blocks with rotary positions (Su et al. 2021).

    Every frame that is padding is zeroed before each convolution, and no step looks at one, so what comes out does not
    depend on how far a recording is padded.
    """

    vocab_size: int = 262
    """Logits a step, one of them for the blank; 0 gives what they are made of."""
    dim: int = 144
    """Features of a step."""
    depth: int = 4
    """Blocks."""
    num_heads: int = 4
    """Heads of each block's attention."""
    strides: tuple[int, ...] = (2, 2)
    """Frames from one window of each convolution to the next."""
    kernel: int = 5
    """Frames of such a window; odd."""
    dropout: float = 0.0
    """Share dropped after the convolutions and of what each part of a block adds, in training."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, *, num_frames: jax.Array | None = None) -> jax.Array:
        """Logits [batch, step, vocab_size] of spectra [batch, frame, mel]; there are `num_steps(frame)` steps.

        `num_frames` [batch] are those that are no padding; by default all.
        """
        if inputs.ndim != 3:
            raise InputError("SpeechEncoder inputs", f"shape {inputs.shape}", "needs spectra [batch, frame, mel]")
        x, length = inputs, jnp.full((len(inputs),), inputs.shape[1]) if num_frames is None else num_frames
        for i, stride in enumerate(self.strides):
            x = jnp.where(_is_real(x, length)[..., None], x, 0)
            sides = (self.kernel // 2, self.kernel // 2)
            x = nn.gelu(nn.Conv(self.dim, (self.kernel,), (stride,), padding=(sides,), name=f"conv{i}")(x))
            length = -(-length // stride)
        x = Dropout(self.dropout)(x, train)
        mask = same_segment(_is_real(x, length).astype(jnp.int32))
        for i in range(self.depth):
            x = TransformerBlock(
                self.num_heads,
                4 * self.dim,
                rotary=10_000.0,
                dropout=self.dropout,
                hidden_dropout=self.dropout,
                name=f"block{i}",
            )(x, train, mask)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.vocab_size, kernel_init=truncated_normal, name="head")(x) if self.vocab_size else x

    def num_steps(self, num_frames: jax.Array) -> jax.Array:
        """How many steps so many frames become."""
        for stride in self.strides:
            num_frames = -(-num_frames // stride)
        return num_frames


def _is_real(x: jax.Array, length: jax.Array) -> jax.Array:
    """Which steps of `x` [batch, step, ...] lie before `length` [batch]: bool [batch, step]."""
    return jnp.arange(x.shape[1])[None] < length[:, None]
