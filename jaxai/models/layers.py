"""Layers that several architectures share."""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from jaxai.core.errors import InputError

Activation = Literal["relu", "gelu", "silu", "tanh"]

#: What Transformers and ConvNeXts start from, by custom.
truncated_normal = nn.initializers.truncated_normal(0.02)
#: He normal by the outputs rather than the inputs (He et al. 2015): gradients, not values, keep their size.
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def activate(x: jax.Array, name: Activation) -> jax.Array:
    """The activation called `name`, which is also its name in `jax.nn`."""
    return getattr(jax.nn, name)(x)


def kernel_init(activation: Activation) -> Initializer:
    """He normal (He et al. 2015) before ReLU and its kin, LeCun normal (LeCun et al. 1998) before tanh."""
    return nn.initializers.lecun_normal() if activation == "tanh" else nn.initializers.he_normal()


def check_image(inputs: jax.Array, model: str, smallest: int) -> None:
    """Refuse what is not [batch, height, width, channel] with sides of at least `smallest` pixels.

    Flax reads [batch, height, width] as a single image, and pools a small one away to nothing.
    """
    if inputs.ndim != 4:
        raise InputError(f"{model} inputs", f"shape {inputs.shape}", "needs [batch, height, width, channel]")
    if min(inputs.shape[1:3]) < smallest:
        size = f"{inputs.shape[1]} x {inputs.shape[2]}"
        raise InputError(f"{model} inputs", f"images of {size}", f"needs at least {smallest} x {smallest}")


def flatten(x: jax.Array) -> jax.Array:
    """[batch, ...] to [batch, features], the last axis running fastest: rows, columns, channels for an image."""
    return x.reshape(x.shape[0], -1)


class StochasticDepth(nn.Module):
    """Zeros all of an example's residual with a probability of `rate` in training, else divides it by 1 - rate.

    Huang et al. 2016, "Deep Networks with Stochastic Depth", who multiply by 1 - rate in evaluation instead.
    """

    rate: float
    """Share of examples whose residual is dropped."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, rate: jax.Array | None = None) -> jax.Array:
        """`x` [batch, ...], dropped or not; a `rate` that only the step knows takes the place of the field."""
        if rate is not None and train:
            rate = rate.astype(x.dtype)
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, (len(x), *(1,) * (x.ndim - 1)))
            return jnp.where(kept, x / (1 - rate), 0)
        return nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim)), deterministic=not train)(x)


def drop_rates(last: float, num_blocks: int) -> tuple[float, ...]:
    """The rate of each block's `StochasticDepth`, growing linearly from last / num_blocks to `last`."""
    return tuple(last * block / num_blocks for block in range(1, num_blocks + 1))


class DepthwiseConv(nn.Module):
    """One `size` x `size` filter a channel, over zeros of half a window around the image.

    Parameters, values and gradients are those of `nn.Conv(channel, ..., feature_group_count=channel)`. On CPU, where
    XLA is slow at that, it is a sum of shifted products: at [32, 24, 24, 144] on one core of a 2-core Intel Xeon at
    2.5 GHz 3 ms instead of 61 ms, with gradients 54 ms instead of 360 ms; a step of MobileNetV2 on 32 images of
    96 x 96 0.87 s instead of 2.9 s.
    """

    size: int = 3
    """Side of the window; odd."""
    stride: int = 1
    """Pixels from one window to the next, 1 or 2."""
    use_bias: bool = True
    """Adds a number a channel, which starts at zero."""
    kernel_init: Initializer = nn.initializers.lecun_normal()
    """How the kernel [size, size, 1, channel] starts."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channel] to [batch, height / stride, width / stride, channel], rounded up."""
        channel = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, 1, channel))
        bias = self.param("bias", nn.initializers.zeros, (channel,)) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias)
        y = depthwise_sum(x, kernel, self.stride) if jax.default_backend() == "cpu" else self._conv(x, kernel)
        return y if bias is None else y + bias[None, None, None]

    def _conv(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        pad = (self.size // 2, self.size // 2)
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.stride, self.stride),
            padding=(pad, pad),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )


def depthwise_sum(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """What `DepthwiseConv` computes on CPU, for a kernel [size, size, 1, channel]: a sum of shifted products."""
    size = kernel.shape[0]
    batch, height, width, channel = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    # Every `stride`-th pixel lies along an axis of its own: a slice with steps is slow, and so is its gradient.
    reach = (size - 1) // stride
    ends = ((rows + reach) * stride - height - size // 2, (columns + reach) * stride - width - size // 2)
    x = jnp.pad(x, ((0, 0), (size // 2, ends[0]), (size // 2, ends[1]), (0, 0)))
    x = x.reshape(batch, rows + reach, stride, columns + reach, stride, channel)
    total = jnp.zeros((), x.dtype)
    for i in range(size):
        for j in range(size):
            (top, row), (left, column) = divmod(i, stride), divmod(j, stride)
            total += x[:, top : top + rows, row, left : left + columns, column] * kernel[i, j, 0][None, None, None]
    return total


def overlapping_max_pool(
    x: jax.Array, size: int = 3, stride: int = 2, padding: tuple[int, int] = (0, 0), ceil: bool = False
) -> jax.Array:
    """The maximum of `size` x `size` windows, every `stride` pixels of [batch, height, width, channel].

    `padding` is (before, after) on both axes; `ceil` adds a window at the end where pixels are left over.
    """
    after = [padding[1] + (-(n + sum(padding) - size) % stride if ceil else 0) for n in x.shape[1:3]]
    pads: Any = [(padding[0], after[0]), (padding[0], after[1])]
    return nn.max_pool(x, (size, size), (stride, stride), pads)


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """[batch, height, width, channel] to [batch, size, size, channel], whatever the image: PyTorch's way.

    Output i is the mean of the pixels from floor(i n / size) to ceil((i + 1) n / size), which may overlap.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n != size:
            spans = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
            x = jnp.stack([jnp.mean(jax.lax.slice_in_dim(x, *span, axis=axis), axis) for span in spans], axis)
    return x
