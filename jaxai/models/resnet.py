"""Residual networks (He et al. 2016a, "Deep Residual Learning for Image Recognition") and what came of them.

`resnet(50)`, `cifar_resnet(20)` and `wide_resnet(28, 10)` make the published ones; all are settings of `ResNet`.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.models.blocks import Remat, remat
from jaxai.models.layers import StochasticDepth, check_image, drop_rates, he_fan_out, overlapping_max_pool

_BLOCKS = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


def resnet(depth: Literal[18, 34, 50, 101, 152], num_classes: int = 1000, **settings: Any) -> ResNet:
    """The networks for ImageNet; `resnet(50, width=2)` is the wide one, with 68,883,240 parameters."""
    if depth not in _BLOCKS:
        raise InputError("depth", f"there is no ResNet-{depth}", f"one of {', '.join(map(str, _BLOCKS))}")
    block, stages = _BLOCKS[depth]
    return ResNet(**{"stages": stages, "block": block, "num_classes": num_classes, **settings})


def cifar_resnet(depth: int, num_classes: int = 10, **settings: Any) -> ResNet:
    """The paper's networks for CIFAR, of 6 n + 2 layers (20 to 110), or 9 n + 2 (164) with `block="bottleneck"`.

    The shortcuts are the paper's option A; `shortcut="projection"` is its option B.
    """
    layers = 9 if settings.get("block") == "bottleneck" else 6
    if depth < layers + 2 or (depth - 2) % layers:
        raise InputError("depth", f"a ResNet for CIFAR cannot have {depth} layers", f"{layers} n + 2")
    shape = {"stages": ((depth - 2) // layers,) * 3, "stem": "small", "features": 16, "shortcut": "zeros"}
    return ResNet(**{**shape, "num_classes": num_classes, **settings})


def wide_resnet(depth: int, width: int, num_classes: int = 10, **settings: Any) -> ResNet:
    """WRN-depth-width for CIFAR, of 6 n + 4 layers (Zagoruyko and Komodakis 2016), without dropout."""
    if depth < 10 or (depth - 4) % 6:
        raise InputError("depth", f"a wide ResNet cannot have {depth} layers", "6 n + 4, such as 28")
    shape = {"stages": ((depth - 4) // 6,) * 3, "stem": "small", "features": 16, "width": width, "preactivation": True}
    return ResNet(**{**shape, "num_classes": num_classes, **settings})


class ResNet(nn.Module):
    """A residual network; ResNet-18 as it stands, 11,689,512 parameters with 1,000 classes.

    | | parameters | | parameters |
    |---|---|---|---|
    | `resnet(18)` | 11,689,512 | `cifar_resnet(20)` | 269,722 |
    | `resnet(34)` | 21,797,672 | `cifar_resnet(110)` | 1,727,962 |
    | `resnet(50)` | 25,557,032 | `wide_resnet(28, 10)` | 36,479,194 |
    | `resnet(101)` | 44,549,160 | `resnet(50, width=2)` | 68,883,240 |

    The 3 x 3 convolution of a bottleneck block has its stride, where the paper's first 1 x 1 has it ("v1.5": better
    by half a percent). Convolutions start He normal by their outputs (He et al. 2015) as torchvision's do, logits LeCun
    normal where PyTorch's are uniform, biases at zero. Batch normalization keeps 0.9 of the old averages (PyTorch
    calls that momentum 0.1); its running variance divides by n, where PyTorch's divides by n - 1.
    """

    stages: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks of each stage; from the second stage on, the image shrinks by half and the channels double."""
    block: Literal["basic", "bottleneck"] = "basic"
    """Two 3 x 3 convolutions; or 1 x 1, 3 x 3 and 1 x 1, the last one to 4 times the channels, `width` aside."""
    num_classes: int = 1000
    """Logits an example; 0 gives the pooled features instead."""
    stem: Literal["large", "small"] = "large"
    """7 x 7 with stride 2 and a pool with stride 2, for large images; or a 3 x 3 convolution, for CIFAR's."""
    features: int = 64
    """Channels of the stem and, times `width`, of the first stage's 3 x 3 convolutions."""
    width: int = 1
    """Multiplies the channels of the blocks' 3 x 3 convolutions (Zagoruyko and Komodakis 2016)."""
    preactivation: bool = False
    """Normalize and activate before each convolution, so that shortcuts pass values unchanged (He et al. 2016b)."""
    shortcut: Literal["projection", "zeros"] = "projection"
    """Where a block changes the shape: a 1 x 1 convolution, or every other pixel and zeros for the new channels."""
    zero_init: bool = False
    """Blocks start as the identity: the last scale, or convolution where there is none, is zero (Goyal et al. 2017)."""
    stochastic_depth: float = 0.0
    """Share of examples that skip the last block in training; earlier blocks linearly less (Huang et al. 2016)."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes], or features, of images [batch, height, width, channel]."""
        check_image(inputs, "ResNet", smallest=1)
        size, stride = (7, 2) if self.stem == "large" else (3, 1)
        x = _conv(self.features, size, stride, name="conv1")(inputs)
        x = nn.relu(_norm(train, name="norm1")(x))
        if self.stem == "large":
            x = overlapping_max_pool(x, size=3, stride=2, padding=(1, 1))
        rates = iter(drop_rates(self.stochastic_depth, sum(self.stages)))
        block = remat(Block, self.remat, static_argnums=(2,))
        for stage, num_blocks in enumerate(self.stages):
            features = self.features * 2**stage
            for i in range(num_blocks):
                x = block(
                    inside=features * self.width,
                    features=4 * features if self.block == "bottleneck" else features * self.width,
                    kind=self.block,
                    stride=2 if stage and not i else 1,
                    preactivation=self.preactivation,
                    activated=not stage and not i,
                    shortcut=self.shortcut,
                    zero_init=self.zero_init,
                    drop=next(rates),
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
        if self.preactivation:
            x = nn.relu(_norm(train, name="norm")(x))
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x


class Block(nn.Module):
    """Convolutions and a shortcut around them."""

    inside: int
    """Channels of the 3 x 3 convolutions."""
    features: int
    """Channels of the result."""
    kind: Literal["basic", "bottleneck"]
    """Which convolutions."""
    stride: int
    """Of the first 3 x 3 convolution."""
    preactivation: bool
    """Normalize before, not after each convolution."""
    activated: bool
    """The input was just normalized and activated: the block does not do so again."""
    shortcut: Literal["projection", "zeros"]
    """How the shape changes."""
    zero_init: bool
    """Start as the identity."""
    drop: float
    """Share of examples that skip the convolutions in training."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to [batch, height / stride, width / stride, features]."""
        windows = [(3, self.inside, self.stride), (3, self.features, 1)]
        if self.kind == "bottleneck":
            windows = [(1, self.inside, 1), (3, self.inside, self.stride), (1, self.features, 1)]
        changes = self.stride > 1 or x.shape[-1] != self.features
        y = x
        if self.preactivation and not self.activated:
            y = nn.relu(_norm(train, name="norm1")(x))
            x = y if changes else x  # a change of shape starts from what is normalized, as in the authors' code
        for i, (size, features, stride) in enumerate(windows, start=1):
            zero = self.zero_init and i == len(windows)
            if self.preactivation:
                y = nn.relu(_norm(train, name=f"norm{i}")(y)) if i > 1 else y
                y = _conv(features, size, stride, zero=zero, name=f"conv{i}")(y)
            else:
                y = _norm(train, zero=zero, name=f"norm{i}")(_conv(features, size, stride, name=f"conv{i}")(y))
                y = nn.relu(y) if i < len(windows) else y
        if changes:
            x = self._change(x, train)
        y = x + StochasticDepth(self.drop)(y, train)
        return y if self.preactivation else nn.relu(y)

    def _change(self, x: jax.Array, train: bool) -> jax.Array:
        """`x` in the shape of the result."""
        if self.shortcut == "zeros":
            more = self.features - x.shape[-1]
            return jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, more)))
        x = _conv(self.features, 1, self.stride, name="shortcut_conv")(x)
        return x if self.preactivation else _norm(train, name="shortcut_norm")(x)


def _conv(features: int, size: int, stride: int, *, zero: bool = False, name: str) -> nn.Conv:
    init = nn.initializers.zeros if zero else he_fan_out
    return nn.Conv(features, (size, size), stride, padding=size // 2, use_bias=False, kernel_init=init, name=name)


def _norm(train: bool, *, zero: bool = False, name: str) -> nn.BatchNorm:
    init = nn.initializers.zeros if zero else nn.initializers.ones
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, scale_init=init, name=name)
