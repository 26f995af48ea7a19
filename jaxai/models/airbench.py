"""The network of airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU")."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from jaxai.models.layers import check_image

#: PyTorch's own start, which the paper keeps.
_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Airbench(nn.Module):
    """A small network that learns CIFAR-10 in a few epochs: 1,971,640 numbers on 32 x 32 x 3, as in the paper.

    - A first convolution 2 x 2 whitens the image. Its 288 numbers come from the batch that `init` sees, the first of
      training (the paper takes 5,000 training images), so they want a batch of many images, normalized and not
      augmented. They are a collection of their own, `whitening`, which nothing trains; only its bias is a parameter.
    - Convolutions start with as many identity filters as there are inputs, the others uniform.
    - Batch normalization has no scales and keeps 0.6 of the old averages (PyTorch calls that momentum 0.4); its running
      variance divides by n, where PyTorch's divides by n - 1.
    - Logits are divided by 9.

    What else the paper does belongs to the experiment: 64 times the learning rate for the biases of normalization,
    training the whitening's bias for three epochs only, label smoothing 0.2, alternating flips, an average of weights.
    """

    widths: tuple[int, ...] = (64, 256, 256)
    """Channels of each group of two convolutions, which shrinks the image by half."""
    num_classes: int = 10
    """Logits an example; 0 gives the pooled features instead."""
    tta: bool = False
    """In evaluation, give the mean over the image and its mirror image; the paper also moves them by a pixel."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes], or features, of normalized images [batch, height, width, channel]."""
        check_image(inputs, "Airbench", smallest=1 + 2 ** len(self.widths))
        mirrored = self.tta and not train
        x = jnp.concatenate([inputs, inputs[:, :, ::-1]]) if mirrored else inputs
        x = nn.gelu(Whitening(name="whitening")(x), approximate=False)
        for i, width in enumerate(self.widths, start=1):
            x = nn.max_pool(_conv(width, name=f"group{i}_conv1")(x), (2, 2), (2, 2))
            x = nn.gelu(_norm(train, name=f"group{i}_norm1")(x), approximate=False)
            x = _conv(width, name=f"group{i}_conv2")(x)
            x = nn.gelu(_norm(train, name=f"group{i}_norm2")(x), approximate=False)
        x = jnp.max(x, axis=(1, 2))
        if self.num_classes:
            x = nn.Dense(self.num_classes, use_bias=False, kernel_init=_uniform, name="head")(x) / 9
        return (x[: inputs.shape[0]] + x[inputs.shape[0] :]) / 2 if mirrored else x


class Whitening(nn.Module):
    """The directions of 2 x 2 patches, each divided by its deviation, with either sign; made when initialised."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channel] to [batch, height - 1, width - 1, 8 * channel]."""
        kernel = self.variable("whitening", "kernel", whitening_kernel, x).value
        bias = self.param("bias", nn.initializers.zeros, kernel.shape[-1:])
        x, kernel, bias = promote_dtype(x, kernel.astype(x.dtype), bias)
        numbers = ("NHWC", "HWIO", "NHWC")
        return (
            jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers) + bias[None, None, None]
        )


def whitening_kernel(images: jax.Array) -> jax.Array:
    """[2, 2, channel, 8 * channel]: eigenvectors of the patches' second moments, the largest first, then negated.

    Each is divided by the root of its eigenvalue and 0.0005, so that flat patches' noise is not blown up.
    """
    height, width, channel = images.shape[1:]
    images = images.astype(jnp.float32)
    shifted = [images[:, i : height - 1 + i, j : width - 1 + j] for i in range(2) for j in range(2)]
    patches = jnp.concatenate(shifted, axis=-1).reshape(-1, 4 * channel)
    moments = jnp.matmul(patches.T, patches, precision="highest") / patches.shape[0]
    values, vectors = jnp.linalg.eigh(moments)
    scaled = (vectors / jnp.sqrt(values + 5e-4)[None])[:, ::-1]
    return jnp.concatenate([scaled, -scaled], axis=1).reshape(2, 2, channel, 8 * channel)


def identity_first(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """A kernel [3, 3, in, out] whose first filters, one an input, leave it as it is; the others are uniform."""
    kernel = _uniform(key, shape, dtype)
    num = min(shape[2:])
    return kernel.at[..., :num].set(0).at[1, 1, jnp.arange(num), jnp.arange(num)].set(1)


def _conv(features: int, name: str) -> nn.Conv:
    return nn.Conv(features, (3, 3), use_bias=False, kernel_init=identity_first, name=name)


def _norm(train: bool, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.6, epsilon=1e-12, use_scale=False, name=name)
