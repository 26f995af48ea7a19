"""The U-Net (Ronneberger et al. 2015), for segmentation and, told the time, for diffusion (Ho et al. 2020)."""

from __future__ import annotations

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from jaxai.core.errors import InputError
from jaxai.models.blocks import Remat, remat
from jaxai.models.layers import check_image

Norm = Literal["batch", "group"]

#: Of diffusion, as Ho et al. count them; times in 0..1 are shares of them.
STEPS = 1000


class UNet(nn.Module):
    """Images to numbers a pixel: down by halves, up again, and across at each size; 466,593 parameters by default.

    Each size has a block of two convolutions on the way down and one on the way up, which also sees what the way down
    had there. Against the paper: padding keeps the size, so that outputs cover the image; each convolution is
    normalized, in place of its bias; and the widths are `features`. The paper's are (64, 128, 256, 512, 1024):
    31,037,698 parameters for 3 channels and 2 classes.

    `UNet(time=True, norm="group")` is the denoiser of diffusion, `model(images, train, time=t, label=label)`. Its
    blocks are residual, with SiLU in place of ReLU, and scale and shift their features by what a small network makes
    of the time, a sinusoidal embedding, and of the class; it starts at an output of zero. Against Ho et al.: one block
    a size, scale and shift (Dhariwal and Nichol 2021) in place of a sum, and pooling and 2 x 2 transposed convolutions
    to change the size.

    Sides of images must be multiples of 2 to the power of the number of halvings, which is one fewer than `features`.
    Convolutions start He normal, the output LeCun normal. Batch normalization has the constants of `ConvNet`.
    """

    features: tuple[int, ...] = (32, 64, 128)
    """Filters at each size, from the full one."""
    out_channels: int = 1
    """Numbers a pixel: logits, or the image's channels."""
    norm: Norm = "batch"
    """Normalization after each convolution; "group" is alike in training and evaluation."""
    groups: int = 8
    """Groups of channels of group normalization (Wu and He 2018)."""
    dropout: float = 0.0
    """Share of the features dropped in training, between the two convolutions of a block."""
    time: bool = False
    """Takes the time: diffusion."""
    num_classes: int = 0
    """Takes a class too, if not 0; the class `num_classes` is none, for guidance without a classifier."""
    attention_heads: int = 0
    """Heads of self-attention (Vaswani et al. 2017) over the pixels at the lowest size; 0 for none."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        train: bool = False,
        *,
        time: jax.Array | None = None,
        label: jax.Array | None = None,
    ) -> jax.Array:
        """[batch, height, width, out_channels] of images [batch, height, width, channel].

        `time` [batch] is floats in 0..1 or whole numbers of steps out of 1,000; `label` [batch] is class numbers,
        without which there is none.
        """
        self._check(inputs, time, label)
        condition = None if time is None else self._condition(time, label, inputs.dtype)
        kind = remat(Block, self.remat, static_argnums=(2,))
        norms = {"norm": self.norm, "groups": self.groups}

        def block(features: int, name: str, x: jax.Array) -> jax.Array:
            return kind(features, dropout=self.dropout, **norms, name=name)(x, train, condition)

        x, across = inputs, []
        for i, features in enumerate(self.features[:-1], 1):
            across.append(block(features, f"down{i}", x))
            x = nn.max_pool(across[-1], (2, 2), (2, 2))
        x = block(self.features[-1], "middle", x)
        if self.attention_heads:
            x = Attention(self.attention_heads, **norms, name="attention")(x, train)
        for i, features in reversed(list(enumerate(self.features[:-1], 1))):
            x = jnp.concatenate([across.pop(), Double(features, name=f"double{i}")(x)], axis=-1)
            x = block(features, f"up{i}", x)
        init = nn.initializers.zeros if self.time else nn.initializers.lecun_normal()
        return nn.Conv(self.out_channels, (1, 1), kernel_init=init, name="head")(x)

    def _condition(self, time: jax.Array, label: jax.Array | None, dtype: jnp.dtype) -> jax.Array:
        """[batch, 4 features] of the time and the class."""
        width = 4 * self.features[0]
        x = time_embedding(time, self.features[0]).astype(dtype)
        x = nn.Dense(width, name="time1")(x)
        x = nn.Dense(width, name="time2")(nn.silu(x))
        if self.num_classes:
            label = jnp.full(time.shape, self.num_classes) if label is None else label
            x += nn.Embed(self.num_classes + 1, width, name="label")(label).astype(dtype)
        return nn.silu(x)

    def _check(self, inputs: jax.Array, time: jax.Array | None, label: jax.Array | None) -> None:
        check_image(inputs, "UNet", smallest=1)
        halvings = len(self.features) - 1
        if any(side % 2**halvings for side in inputs.shape[1:3]):
            what = f"images of {inputs.shape[1]} x {inputs.shape[2]}"
            raise InputError("UNet inputs", what, f"needs sides that are multiples of {2**halvings}, or fewer features")
        if self.num_classes and not self.time:
            raise InputError("UNet num_classes", "goes with time=True only")
        if (time is not None) != self.time:
            what, fix = ("is missing", "time=t") if self.time else ("is given to a model without", "UNet(time=True)")
            raise InputError("UNet time", what, fix)
        if time is not None and time.shape != inputs.shape[:1]:
            raise InputError("UNet time", f"shape {time.shape}", "needs [batch]")
        if label is not None and not self.num_classes:
            raise InputError("UNet label", "is given to a model without classes", "num_classes=...")
        for i, features in enumerate(self.features):
            if self.norm == "group" and features % self.groups:
                raise InputError(f"UNet features.{i}", f"{features} do not make {self.groups} groups")


class Block(nn.Module):
    """Twice a 3 x 3 convolution, normalization and ReLU; with a condition, residual and with SiLU."""

    features: int
    """Filters."""
    norm: Norm
    """Normalization."""
    groups: int
    """Of group normalization."""
    dropout: float
    """Share dropped in between."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, condition: jax.Array | None) -> jax.Array:
        """[batch, height, width, channel] to [batch, height, width, features]; `condition` is [batch, width]."""
        y = x
        for i in (1, 2):
            if i == 2:
                y = nn.Dropout(self.dropout, deterministic=not train)(y)
            he = nn.initializers.he_normal()
            y = nn.Conv(self.features, (3, 3), use_bias=False, kernel_init=he, name=f"conv{i}")(y)
            y = _normalize(self.norm, self.groups, f"norm{i}", y, train)
            if condition is not None and i == 1:
                both = nn.Dense(2 * self.features, name="condition")(condition)[:, None, None]
                scale, shift = jnp.split(both, 2, axis=-1)
                y = y * (1 + scale) + shift
            y = nn.relu(y) if condition is None else nn.silu(y)
        if condition is None:
            return y
        return y + (x if x.shape == y.shape else nn.Conv(self.features, (1, 1), name="across")(x))


class Attention(nn.Module):
    """Adds to each pixel what it attends to among all of them."""

    heads: int
    """Into which the channels are split."""
    norm: Norm
    """Normalization."""
    groups: int
    """Of group normalization."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to the same."""
        y = _normalize(self.norm, self.groups, "norm", x, train).reshape(x.shape[0], -1, x.shape[-1])
        y = nn.MultiHeadDotProductAttention(self.heads, name="attention")(y, y)
        return x + y.reshape(x.shape)


class Double(nn.Module):
    """A 2 x 2 transposed convolution every 2 pixels: each pixel makes a square of its own, as a dense layer can.

    On CPU its gradient is 20 times faster than that of `nn.ConvTranspose`, at [16, 14, 14, 128].
    """

    features: int
    """Filters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channel] to [batch, 2 height, 2 width, features]."""
        batch, height, width, channel = x.shape
        he = nn.initializers.he_normal(in_axis=0, out_axis=-1, batch_axis=(1, 2))
        kernel = self.param("kernel", he, (channel, 2, 2, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias)
        squares = jnp.einsum("bhwc,cijf->bhiwjf", x, kernel)
        return squares.reshape(batch, 2 * height, 2 * width, self.features) + bias[None, None, None]


def time_embedding(time: jax.Array, features: int) -> jax.Array:
    """Sines and cosines [batch, features] of time [batch] in steps, with periods from 2 pi to 20,000 pi steps.

    Floats in 0..1 are taken as that share of 1,000 steps.
    """
    steps = time.astype(jnp.float32) * (STEPS if jnp.issubdtype(time.dtype, jnp.floating) else 1)
    rates = jnp.exp(-math.log(10_000) * jnp.linspace(0.0, 1.0, features // 2))
    angles = steps[:, None] * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _normalize(norm: Norm, groups: int, name: str, x: jax.Array, train: bool) -> jax.Array:
    if norm == "group":
        return nn.GroupNorm(groups, epsilon=1e-5, name=name)(x)
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)(x)
