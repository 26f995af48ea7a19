"""The multi-layer perceptron (Rumelhart, Hinton and Williams 1986), with dropout (Srivastava et al. 2014)."""

from __future__ import annotations

import flax.linen as nn
import jax

from jaxai.models.layers import Activation, activate, flatten, kernel_init


class MLP(nn.Module):
    """Fully connected layers over all inputs; 535,818 parameters with the default widths on 28 x 28 x 1.

    Takes [batch, ...] of any shape and flattens it. Hidden layers start He normal (LeCun normal before tanh),
    the logits LeCun normal, biases at zero.
    """

    features: tuple[int, ...] = (512, 256)
    """Width of each hidden layer; none makes it a linear model."""
    num_classes: int = 10
    """Logits an example; 0 leaves the head out, and gives what it would see."""
    activation: Activation = "relu"
    """After each hidden layer."""
    dropout: float = 0.0
    """Share of each hidden layer's outputs dropped in training."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes] of `inputs` [batch, ...]."""
        x = flatten(inputs)
        for width in self.features:
            x = activate(nn.Dense(width, kernel_init=kernel_init(self.activation))(x), self.activation)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
