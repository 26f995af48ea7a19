"""The head that contrastive learning puts on an encoder, and throws away (SimCLR: Chen et al. 2020)."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax

from jaxai.models.layers import kernel_init


class Projector(nn.Module):
    """Dense layers with batch normalization and ReLU between them; the last is linear.

    With two widths it is the projector and the predictor of BYOL (Grill et al. 2020: 4096 and 256). Batch normalization
    is as in `ConvNet`.
    """

    features: tuple[int, ...] = (128, 64)
    """Width of each layer."""
    norm: Literal["none", "batch"] = "batch"
    """Normalization after each hidden layer, in place of its bias."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Projections [batch, features[-1]] of features [batch, feature]."""
        x = inputs
        for width in self.features[:-1]:
            x = nn.Dense(width, use_bias=self.norm == "none", kernel_init=kernel_init("relu"))(x)
            if self.norm == "batch":
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)
            x = nn.relu(x)
        return nn.Dense(self.features[-1], name="head")(x)
