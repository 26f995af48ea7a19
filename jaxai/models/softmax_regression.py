"""Softmax (multinomial logistic) regression: the linear baseline that every deeper model should beat."""

from __future__ import annotations

import flax.linen as nn
import jax

from jaxai.models.layers import flatten


class SoftmaxRegression(nn.Module):
    """One linear layer over all inputs: `inputs * num_classes + num_classes` parameters, 7,850 for MNIST.

    Takes [batch, ...] of any shape and flattens it. Weights and bias start at zero: the loss is convex, so the
    start does not matter, and the first loss is exactly log(num_classes).
    """

    num_classes: int = 10
    """Logits an example; 0 leaves the head out, and gives what it would see."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:  # noqa: ARG002
        """Logits [batch, num_classes] of `inputs` [batch, ...]; training and evaluation are alike."""
        x = flatten(inputs)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x) if self.num_classes else x
