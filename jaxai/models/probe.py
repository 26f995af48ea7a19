"""A linear head on an encoder: what an encoder's features are worth."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax


class Probe(nn.Module):
    """One linear layer on the features of `encoder`, which runs as in evaluation even while the head is trained.

    With `freeze=("^encoder/",)` it is a linear probe (Alain & Bengio 2017): nothing of the encoder changes, its moving
    statistics neither.
    """

    encoder: Any
    """A model without a head: `model.clone(num_classes=0)`."""
    num_classes: int = 10
    """Logits an example; 0 leaves the head out."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:  # noqa: ARG002
        """Logits [batch, num_classes] of whatever the encoder takes."""
        x = self.encoder(inputs, train=False)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
