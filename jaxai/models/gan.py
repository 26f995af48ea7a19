"""A generator and a discriminator of small images, of one class each where there are classes."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.autoencoders import ConvDecoder
from jaxai.models.layers import check_image, flatten


class Generator(nn.Module):
    """Latent numbers, and the class, to an image in -1..1: a `ConvDecoder` with tanh (DCGAN, Radford et al. 2016).

    The class enters as a vector beside the latent numbers (Mirza and Osindero 2014).
    """

    shape: tuple[int, int, int]
    """Height, width and channels of the image."""
    features: tuple[int, ...] = (64, 32)
    """Filters before each block that doubles the image's sides."""
    num_classes: int = 0
    """Classes to choose from; 0 for none."""
    norm: bool = True
    """Batch normalization."""

    @nn.compact
    def __call__(self, latents: jax.Array, train: bool = False, label: jax.Array | None = None) -> jax.Array:
        """Images [batch, height, width, channel] of `latents` [batch, feature] and `label` [batch]."""
        x = latents
        if self.num_classes:
            x = jnp.concatenate([x, jax.nn.one_hot(label, self.num_classes, dtype=x.dtype)], axis=-1)
        decoder = ConvDecoder(shape=self.shape, features=self.features, norm=self.norm, name="decoder")
        return jnp.tanh(decoder(x, train))


class Discriminator(nn.Module):
    """An image, and its class, to one score: strided convolutions, each followed by a leaky ReLU of slope 0.2.

    The class enters by the inner product of its vector with the features (projection, Miyato and Koyama 2018). There
    is no batch normalization: a gradient penalty needs scores that depend on one example each.
    """

    features: tuple[int, ...] = (32, 64)
    """Filters of each convolution; each halves the image's sides."""
    dense: int = 128
    """Width of the hidden dense layer."""
    num_classes: int = 0
    """Classes that the images have; 0 for none."""
    dropout: float = 0.0
    """Share of the features dropped in training."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, label: jax.Array | None = None) -> jax.Array:
        """Scores [batch] of `images` [batch, height, width, channel] in -1..1 and of `label` [batch]."""
        check_image(images, "Discriminator", 1)
        he = nn.initializers.he_normal()
        x = images
        for features in self.features:
            x = nn.leaky_relu(nn.Conv(features, (4, 4), strides=(2, 2), kernel_init=he)(x), 0.2)
        x = nn.leaky_relu(nn.Dense(self.dense, kernel_init=he)(flatten(x)), 0.2)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        score = nn.Dense(1, name="head")(x)[:, 0]
        if self.num_classes:
            chosen = jax.nn.one_hot(label, self.num_classes, dtype=x.dtype)
            direction = nn.Dense(self.dense, use_bias=False, name="classes")(chosen)
            score += jnp.sum(direction * x, axis=-1) / self.dense**0.5
        return score
