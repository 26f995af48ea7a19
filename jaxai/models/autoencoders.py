"""Decoders from codes to images. Encoders are the other models: their logits, or features, are the code."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.layers import Activation, activate, kernel_init, truncated_normal
from jaxai.models.transformer import TransformerBlock


class DenseDecoder(nn.Module):
    """Fully connected layers from a code to an image: the mirror of `MLP`.

    403,284 parameters from 20 numbers to 28 x 28 x 1 with the default width, which is that of Kingma and Welling 2014
    for MNIST; they used tanh.
    """

    shape: tuple[int, int, int]
    """Height, width and channels of the image."""
    features: tuple[int, ...] = (500,)
    """Width of each hidden layer."""
    activation: Activation = "relu"
    """After each hidden layer."""

    @nn.compact
    def __call__(self, code: jax.Array, train: bool = False) -> jax.Array:  # noqa: ARG002
        """Images [batch, height, width, channel], without a last activation, of codes [batch, feature]."""
        x = code
        for width in self.features:
            x = activate(nn.Dense(width, kernel_init=kernel_init(self.activation))(x), self.activation)
        return nn.Dense(math.prod(self.shape), name="head")(x).reshape(-1, *self.shape)


class ConvDecoder(nn.Module):
    """A dense layer to a small image, then blocks of 3 x 3 convolution that each double its sides.

    A block computes four pixels at each place and puts them side by side (sub-pixel convolution, Shi et al. 2016): a
    transposed convolution's gradient takes seven times as long on a CPU. What is too large in the end is cut off.
    """

    shape: tuple[int, int, int]
    """Height, width and channels of the image."""
    features: tuple[int, ...] = (64, 32)
    """Filters before each block; after the last one come half as many as before it."""
    activation: Activation = "relu"
    """After the dense layer and each block."""
    norm: bool = False
    """Batch normalization before each activation (share 0.9 of old averages, epsilon 1e-5, as in `ConvNet`)."""

    @nn.compact
    def __call__(self, code: jax.Array, train: bool = False) -> jax.Array:
        """Images [batch, height, width, channel], without a last activation, of codes [batch, feature]."""
        init = kernel_init(self.activation)

        def finish(x: jax.Array) -> jax.Array:
            if self.norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)
            return activate(x, self.activation)

        height, width, channel = self.shape
        rows, columns = (-(-side // 2 ** len(self.features)) for side in (height, width))
        x = nn.Dense(rows * columns * self.features[0], use_bias=not self.norm, kernel_init=init)(code)
        x = finish(x.reshape(-1, rows, columns, self.features[0]))
        for features in (*self.features[1:], self.features[-1] // 2):
            x = nn.Conv(4 * features, (3, 3), use_bias=not self.norm, kernel_init=init)(x)
            x = finish(depth_to_space(x))
        return nn.Conv(channel, (3, 3), name="head")(x)[:, :height, :width]


def depth_to_space(x: jax.Array) -> jax.Array:
    """[batch, height, width, 4 * channel] to [batch, 2 * height, 2 * width, channel]: rows, then columns, of 2 x 2."""
    batch, height, width, channel = x.shape
    x = x.reshape(batch, height, width, 2, 2, channel // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channel // 4)


class MaskedDecoder(nn.Module):
    """A light Transformer that fills in the patches that were left out (masked autoencoder, He et al. 2022).

    Positions are learned, as in `ViT`; the paper's are fixed sines.
    """

    num_outputs: int = 0
    """Numbers to give for each patch; `MaskedAutoencoder` sets it to those of a patch's pixels."""
    dim: int = 32
    """Features of a token."""
    depth: int = 1
    """Blocks."""
    num_heads: int = 2
    """Heads of each block's attention."""

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False, *, keep: jax.Array, num_patches: int) -> jax.Array:
        """[batch, patch, num_outputs] of the `tokens` [batch, kept, feature] of the patches numbered `keep`."""
        tokens = nn.Dense(self.dim, kernel_init=truncated_normal, name="embed")(tokens)
        blank = self.param("mask_token", truncated_normal, (1, 1, self.dim)).astype(tokens.dtype)
        x = jnp.broadcast_to(blank, (tokens.shape[0], num_patches, self.dim))
        x = jax.vmap(lambda x, keep, tokens: x.at[keep].set(tokens))(x, keep, tokens)
        x = x + self.param("positions", truncated_normal, (1, num_patches, self.dim))
        for i in range(self.depth):
            block = TransformerBlock(self.num_heads, 4 * self.dim, kernel_init=truncated_normal, name=f"block{i}")
            x = block(x, train)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.num_outputs, kernel_init=truncated_normal, name="head")(x)
