"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition")."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax

from jaxai.models.layers import Activation, activate, check_image, flatten, kernel_init


class LeNet(nn.Module):
    """LeNet-5 in its usual modern form: 61,706 parameters on 28 x 28 x 1.

    Layers: 6 filters of 5 x 5 over 2 pixels of padding (the paper pads its digits to 32 x 32), pool, 16 filters of
    5 x 5 without padding, pool, dense 120, dense 84, logits. The paper differs, with 60,000 parameters: its second
    convolution sees only some of the first one's maps, its pooling has trainable coefficients, its tanh is scaled,
    and its output is a radial basis function. Tanh and average pooling are the paper's; ReLU and maximum pooling
    are the form most tutorials train.

    Layers before tanh start LeCun normal, before ReLU He normal; the logits LeCun normal, biases at zero.
    """

    num_classes: int = 10
    """Logits an example; 0 leaves the head out, and gives what it would see."""
    activation: Activation = "tanh"
    """After each convolution and each hidden dense layer."""
    pool: Literal["average", "max"] = "average"
    """Of 2 x 2 windows."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:  # noqa: ARG002
        """Logits [batch, num_classes] of images [batch, height, width, channel]; train and evaluation are alike."""
        check_image(inputs, "LeNet", smallest=12)
        init = kernel_init(self.activation)
        x = inputs
        for features, padding in [(6, "SAME"), (16, "VALID")]:
            x = nn.Conv(features, (5, 5), padding=padding, kernel_init=init)(x)
            x = activate(x, self.activation)
            x = nn.max_pool(x, (2, 2), (2, 2)) if self.pool == "max" else nn.avg_pool(x, (2, 2), (2, 2))
        x = flatten(x)
        for features in (120, 84):
            x = activate(nn.Dense(features, kernel_init=init)(x), self.activation)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
