"""A plain convolutional network: blocks of convolution and pooling, then dense layers."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax

from jaxai.models.layers import check_image, flatten


class ConvNet(nn.Module):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 maximum pooling; then dense layers. The tutorials' networks are:

    - MNIST, 93,322 parameters on 28 x 28 x 1 (TensorFlow's "Convolutional neural network" tutorial):
      `ConvNet(features=(32, 64, 64), dense=(64,), padding="VALID", pool_last=False)`
    - CIFAR-10, 4,275,594 parameters on 32 x 32 x 3: `ConvNet(features=(64, 128), dense=(512,))`
    - medical images (X-rays, scans, slides), 16,870,850 parameters on 256 x 256 x 3:
      `ConvNet(features=(32, 64, 128), dense=(128,), dropout=0.5, num_classes=2)`

    The default has 53,002 on the 8 x 8 x 1 digits. Layers before ReLU start He normal (He et al. 2015), the logits
    LeCun normal, biases at zero.

    Batch normalization (Ioffe and Szegedy 2015) goes between convolution and ReLU, in place of the bias. It keeps
    running averages, with the share 0.9 of the old value (PyTorch calls that momentum 0.1), in the collection
    `batch_stats`; the variance is that of the batch, dividing by n, where PyTorch's running one divides by n - 1.
    """

    features: tuple[int, ...] = (32, 64)
    """Filters of each block."""
    dense: tuple[int, ...] = (128,)
    """Width of each hidden dense layer; may be none."""
    num_classes: int = 10
    """Logits an example; 0 leaves the head out, and gives what it would see."""
    padding: Literal["SAME", "VALID"] = "SAME"
    """SAME keeps a convolution's size with zeros around it; VALID loses a pixel on each side."""
    pool_last: bool = True
    """Pool after the last block too."""
    norm: Literal["none", "batch"] = "none"
    """Normalization in each block."""
    dropout: float = 0.0
    """Share of each hidden dense layer's outputs dropped in training."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, channel]."""
        he = nn.initializers.he_normal()
        pools = [self.pool_last or i < len(self.features) - 1 for i in range(len(self.features))]
        smallest = 1
        for pool in reversed(pools):
            smallest = smallest * (2 if pool else 1) + (2 if self.padding == "VALID" else 0)
        check_image(inputs, "ConvNet", smallest)
        x = inputs
        for features, pool in zip(self.features, pools, strict=True):
            use_bias = self.norm == "none"
            x = nn.Conv(features, (3, 3), padding=self.padding, use_bias=use_bias, kernel_init=he)(x)
            if self.norm == "batch":
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)
            x = nn.relu(x)
            x = nn.max_pool(x, (2, 2), (2, 2)) if pool else x
        x = flatten(x)
        for width in self.dense:
            x = nn.relu(nn.Dense(width, kernel_init=he)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
