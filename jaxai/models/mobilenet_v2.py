"""MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks")."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.layers import DepthwiseConv, check_image, he_fan_out

#: Expansion, channels, number of blocks and stride of the first, of each stage; the paper's table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def channels(count: float) -> int:
    """The multiple of 8 nearest to `count`, but not below 90 % of it: widths as the authors' code rounds them."""
    rounded = max(8, int(count + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * count else rounded


class MobileNetV2(nn.Module):
    """MobileNetV2: 3,504,872 parameters with 1,000 classes, made for 224 x 224 x 3; it takes images of any size.

    Blocks widen 1 x 1, filter each channel 3 x 3, and narrow 1 x 1 without an activation; the image shrinks 32 times.
    It is torchvision's network and starts as that does: convolutions He normal by their outputs (He et al. 2015), where
    a filter a channel counts as if it fed all of them; logits normal with deviation 0.01, biases at zero. Batch
    normalization keeps 0.9 of the old averages (PyTorch calls that momentum 0.1); its running variance divides by n,
    where PyTorch's divides by n - 1.
    """

    num_classes: int = 1000
    """Logits an example; 0 gives the pooled features instead."""
    width: float = 1.0
    """Multiplies the channels of each layer, which are then rounded to multiples of 8; the last one's never shrink."""
    dropout: float = 0.2
    """Share of the pooled features dropped in training before the logits."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes], or features [batch, 1280], of images [batch, height, width, channel]."""
        check_image(inputs, "MobileNetV2", smallest=1)
        x = ConvNorm(channels(32 * self.width), size=3, stride=2, name="stem")(inputs, train)
        num_blocks = 0
        for expansion, features, repeats, first_stride in STAGES:
            for i in range(repeats):
                num_blocks += 1
                stride = first_stride if i == 0 else 1
                block = InvertedResidual(channels(features * self.width), expansion, stride, name=f"block{num_blocks}")
                x = block(x, train)
        x = ConvNorm(channels(1280 * max(1.0, self.width)), name="last")(x, train)
        x = jnp.mean(x, axis=(1, 2))
        if not self.num_classes:
            return x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="head")(x)


class ConvNorm(nn.Module):
    """Convolution, batch normalization and, unless `linear`, ReLU6."""

    features: int
    """Output channels."""
    size: int = 1
    """Side of the window."""
    stride: int = 1
    """Pixels from one window to the next."""
    depthwise: bool = False
    """One filter a channel."""
    linear: bool = False
    """No activation."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to [batch, height / stride, width / stride, features]."""
        if self.depthwise:
            conv = DepthwiseConv(self.size, self.stride, use_bias=False, kernel_init=he_fan_out, name="conv")
        else:
            conv = nn.Conv(
                self.features,
                (self.size, self.size),
                self.stride,
                padding=self.size // 2,
                use_bias=False,
                kernel_init=he_fan_out,
                name="conv",
            )
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="norm")(conv(x))
        return x if self.linear else nn.relu6(x)


class InvertedResidual(nn.Module):
    """Widens, filters each channel, narrows; with a shortcut from narrow to narrow where the sizes agree."""

    features: int
    """Output channels."""
    expansion: int
    """How much wider the inside is than the input; 1 leaves the widening out."""
    stride: int
    """Of the filters."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to [batch, height / stride, width / stride, features]."""
        inside = x.shape[-1] * self.expansion
        y = ConvNorm(inside, name="expand")(x, train) if self.expansion > 1 else x
        y = ConvNorm(inside, size=3, stride=self.stride, depthwise=True, name="depthwise")(y, train)
        y = ConvNorm(self.features, linear=True, name="project")(y, train)
        return x + y if x.shape == y.shape else y
