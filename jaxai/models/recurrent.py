"""Recurrent encoders of text: LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.forms.recurrence import Held, Settings, recur
from jaxai.models.attention import Dropout, dense
from jaxai.models.layers import truncated_normal
from jaxai.models.text import TokenEmbed, check_tokens

Cell = Literal["lstm", "gru"]
NUM_GATES = {"lstm": 4, "gru": 3}
NUM_HELD = {"lstm": 2, "gru": 1}
"""What goes from token to token: the output, and an LSTM's memory."""


class RecurrentEncoder(nn.Module):
    """Reads a text token by token, in one direction or both, in one layer or several.

    As it stands, with the bytes as vocabulary, it has 330,242 parameters. Padding, wherever it stands, is passed over.
    """

    vocab_size: int = 262
    """Tokens there are."""
    dim: int = 128
    """Features of a token in the table."""
    features: int = 128
    """Of the state, in each direction."""
    depth: int = 1
    """Layers."""
    cell: Cell = "lstm"
    """What remembers."""
    bidirectional: bool = True
    """Whether a layer also reads from the end; the outputs of both stand side by side."""
    pool: Literal["attention", "mean", "max", "last", "none"] = "attention"
    """What the head sees: a mean with learned weights (Yang et al. 2016), the plain one, the maximum, where each
    direction ended, or each token."""
    num_classes: int = 2
    """Logits a text, or a token; 0 gives what the head would see."""
    dropout: float = 0.0
    """Share dropped between layers, and of what the head sees, in training."""
    pad: int | None = 256
    """The token that only pads, where no `segments` say so."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, *, segments: jax.Array | None = None) -> jax.Array:
        """Logits [batch, num_classes] of token numbers [batch, length]; with `pool="none"` of each token."""
        check_tokens(inputs, "RecurrentEncoder")
        is_token = None if segments is None else segments > 0  # None where all are
        if segments is None and self.pad is not None:
            is_token = inputs != self.pad
        x = TokenEmbed(self.vocab_size, self.dim, nn.initializers.normal(0.1), name="tokens")(inputs)
        for i in range(self.depth):
            x = Dropout(self.dropout)(x, train and i > 0)
            outputs = [Recurrent(self.features, self.cell, name=f"forward{i}")(x, is_token)]
            if self.bidirectional:
                outputs.append(Recurrent(self.features, self.cell, True, name=f"backward{i}")(x, is_token))
            x = jnp.concatenate(outputs, axis=-1)
        x = Dropout(self.dropout)(self._pooled(x, is_token), train)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x

    def _pooled(self, x: jax.Array, is_token: jax.Array | None) -> jax.Array:
        if self.pool == "none":
            return x
        valid = jnp.ones((*x.shape[:2], 1), bool) if is_token is None else is_token[:, :, None]
        if self.pool == "last":  # padding has left the state as it was, and reading backwards ends at the first token
            return jnp.concatenate([x[:, -1, : self.features], x[:, 0, self.features :]], axis=-1)
        if self.pool == "max":
            return jnp.max(jnp.where(valid, x, jnp.finfo(x.dtype).min), axis=1)
        scores = jnp.zeros((*x.shape[:2], 1), x.dtype)
        if self.pool == "attention":
            hidden = jnp.tanh(nn.Dense(x.shape[-1] // 2, name="attention")(x))
            scores = nn.Dense(1, use_bias=False, kernel_init=truncated_normal, name="score")(hidden)
        weights = jax.nn.softmax(jnp.where(valid, scores, jnp.finfo(x.dtype).min), axis=1)
        return jnp.sum(weights * x, axis=1)


class Recurrent(nn.Module):
    """One layer in one direction. The inputs' share of the gates is one product for all tokens, outside the loop.

    Parameters are `inputs/kernel` [feature, gate x features], `inputs/bias`, `state/kernel` [features, gate x features]
    and, of a GRU, `state/bias`; gates in PyTorch's order: input, forget, cell, output; or reset, update, new. Kernels
    start uniform within 1 / sqrt(features), as in PyTorch; biases at zero.
    """

    features: int
    """Of the state."""
    cell: Cell = "lstm"
    """What remembers."""
    reverse: bool = False
    """Reads from the end."""

    @nn.compact
    def __call__(self, x: jax.Array, is_token: jax.Array | None) -> jax.Array:
        """Outputs [batch, length, features] of `x` [batch, length, feature]; padding leaves the state as it is."""
        width, init = NUM_GATES[self.cell] * self.features, _uniform(self.features)
        # Tokens first, as the loop reads them: the gates' shares are several times as large.
        given: Any = dense(width, "inputs", kernel_init=init)
        given = given(x.swapaxes(0, 1))
        through: Any = nn.Dense(width, self.cell == "gru", kernel_init=init, name="state")
        begin = tuple(jnp.zeros((x.shape[0], self.features), given.dtype) for _ in range(NUM_HELD[self.cell]))
        through(begin[0])  # makes the parameters, which a loop cannot
        through, variables = through.unbind()
        outputs = recur(
            Settings(_lstm if self.cell == "lstm" else _gru, self.cell == "lstm", self.reverse),
            given,
            lambda output: through.apply(variables, output),
            None if is_token is None else is_token.swapaxes(0, 1),
            begin,
        )
        return outputs.swapaxes(0, 1)


def _lstm(held: Held, given: jax.Array, through: jax.Array) -> Held:
    """The next output and memory, of those before and of the gates' two shares."""
    enter, forget, new, leave = jnp.split(given + through, 4, axis=-1)
    memory = jax.nn.sigmoid(forget) * held[1] + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(memory), memory


def _gru(held: Held, given: jax.Array, through: jax.Array) -> Held:
    """The next output."""
    (reset, update, new), (reset_too, update_too, old) = (jnp.split(part, 3, axis=-1) for part in (given, through))
    new = jnp.tanh(new + jax.nn.sigmoid(reset + reset_too) * old)
    update = jax.nn.sigmoid(update + update_too)
    return ((1 - update) * new + update * held[0],)


def _uniform(features: int) -> Callable[..., jax.Array]:
    bound = features**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
