"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s")."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.blocks import Remat, remat
from jaxai.models.layers import DepthwiseConv, StochasticDepth, check_image, drop_rates, truncated_normal
from jaxai.models.transformer import FeedForward


class ConvNeXt(nn.Module):
    """ConvNeXt-T: 28,589,128 parameters with 1,000 classes, made for 224 x 224 x 3.

    A residual network in the manner of Transformers: 7 x 7 filters a channel mix pixels, an MLP mixes channels, with
    layer normalization between them. ConvNeXt-S is `ConvNeXt(stages=(3, 3, 27, 3))`, 50,223,688 parameters. Kernels
    start truncated normal with deviation 0.02, biases at zero, as in the paper's code. That trains ConvNeXt-T with
    stochastic depth 0.1 and never drops the first block, which here has an 18th of it.
    """

    stages: tuple[int, ...] = (3, 3, 9, 3)
    """Blocks of each stage; from the second stage on, the image shrinks by half."""
    features: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage."""
    num_classes: int = 1000
    """Logits an example; 0 gives the pooled and normalized features instead."""
    patch: int = 4
    """Pixels a side of the first convolution's windows, which do not overlap."""
    layer_scale: float = 1e-6
    """What the factors of each residual start at, one a channel."""
    stochastic_depth: float = 0.0
    """Share of examples that skip the last block in training; earlier blocks linearly less."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes], or features, of images [batch, height, width, channel]."""
        check_image(inputs, "ConvNeXt", smallest=self.patch * 2 ** (len(self.stages) - 1))
        x = _patches(self.features[0], self.patch, name="stem_conv")(inputs)
        x = nn.LayerNorm(epsilon=1e-6, name="stem_norm")(x)
        rates = iter(drop_rates(self.stochastic_depth, sum(self.stages)))
        block = remat(Block, self.remat, static_argnums=(2,))
        for stage, (num_blocks, features) in enumerate(zip(self.stages, self.features, strict=True)):
            if stage:
                x = nn.LayerNorm(epsilon=1e-6, name=f"stage{stage}_norm")(x)
                x = _patches(features, 2, name=f"stage{stage}_conv")(x)
            for i in range(num_blocks):
                x = block(self.layer_scale, next(rates), name=f"stage{stage}_block{i}")(x, train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(jnp.mean(x, axis=(1, 2)))
        return nn.Dense(self.num_classes, kernel_init=truncated_normal, name="head")(x) if self.num_classes else x


class Block(nn.Module):
    """A 7 x 7 filter a channel and an MLP, scaled, with a shortcut around them."""

    layer_scale: float
    """What the scale starts at."""
    drop: float
    """Share of examples that skip it in training."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel], of the same shape."""
        y = DepthwiseConv(7, kernel_init=truncated_normal, name="conv")(x)
        y = nn.LayerNorm(epsilon=1e-6, name="norm")(y)
        y = FeedForward(4 * x.shape[-1], kernel_init=truncated_normal, name="mlp")(y, train)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (x.shape[-1],))
        return x + StochasticDepth(self.drop)(y * scale.astype(y.dtype)[None, None, None], train)


def _patches(features: int, size: int, name: str) -> nn.Conv:
    """A convolution whose windows do not overlap; a remainder of the image is cut off."""
    window = (size, size)
    return nn.Conv(features, window, window, padding="VALID", kernel_init=truncated_normal, name=name)
