"""Inception-v3 (Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision")."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.models.blocks import Remat, remat
from jaxai.models.googlenet import ConvNorm
from jaxai.models.layers import check_image, overlapping_max_pool


class InceptionV3(nn.Module):
    """Inception-v3 as torchvision has it, for 299 x 299 x 3: 23,834,568 parameters, 27,161,264 with the auxiliary head.

    Blocks keep the names that TensorFlow gave them. Large filters are factored: 5 x 5 into two of 3 x 3, 7 x 7 into
    1 x 7 and 7 x 1. torchvision's `transform_input`, which turns its normalization of images into TensorFlow's, is no
    part of the model: weights from `IMAGENET1K_V1` want images in -1..1.

    The auxiliary head, after `Mixed_6e`, sows its logits in training, into `auxiliary`: `logits`. It needs images of at
    least 299 x 299 in training and at `init`; elsewhere 75 x 75 suffice.

    Convolutions start He normal (TensorFlow and torchvision: normal of 0.1, cut at two), logits LeCun normal. Batch
    normalization has the constants of torchvision (epsilon 1e-3); the running variance is that of the batch, dividing
    by n, where PyTorch's divides by n - 1.
    """

    num_classes: int = 1000
    """Logits an example; 0 gives the 2,048 pooled features, without any head."""
    aux: bool = True
    """Whether it has the auxiliary head."""
    dropout: float = 0.5
    """Share of the pooled features dropped in training, before the logits; the paper drops 0.2."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, channel]."""
        check_image(inputs, "InceptionV3", smallest=75)
        head = self.aux and self.num_classes > 0 and (train or self.is_initializing())
        if head and min(inputs.shape[1:3]) < 299:
            what = f"images of {inputs.shape[1]} x {inputs.shape[2]}, its auxiliary head needs 299 x 299"
            raise InputError("InceptionV3 inputs", what, "InceptionV3(aux=False) takes 75 x 75")
        x = ConvNorm(32, (3, 3), stride=2, padding="VALID", name="Conv2d_1a_3x3")(inputs, train)
        x = ConvNorm(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(x, train)
        x = ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x, train)
        x = overlapping_max_pool(x)
        x = ConvNorm(80, name="Conv2d_3b_1x1")(x, train)
        x = ConvNorm(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(x, train)
        x = overlapping_max_pool(x)
        for name, kind, features in BLOCKS:
            block = remat(kind, self.remat, static_argnums=(2,))
            x = block(features, name=name)(x, train)
            if name == "Mixed_6e" and head:
                logits = AuxiliaryHead(self.num_classes, name="AuxLogits")(x, train)
                if not self.is_initializing():
                    self.sow("auxiliary", "logits", logits)
        x = jnp.mean(x, axis=(1, 2))
        if not self.num_classes:
            return x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x)


def _average(x: jax.Array) -> jax.Array:
    """The mean of 3 x 3 windows around each pixel; zeros around the image count."""
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME")


class BlockA(nn.Module):
    """For the 35 x 35 grid: 1 x 1, 5 x 5, two of 3 x 3, and a pool."""

    features: int
    """Filters of the pool's branch."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to the same size."""
        branch1 = ConvNorm(64, name="branch1x1")(x, train)
        branch5 = ConvNorm(48, name="branch5x5_1")(x, train)
        branch5 = ConvNorm(64, (5, 5), name="branch5x5_2")(branch5, train)
        branch3 = ConvNorm(64, name="branch3x3dbl_1")(x, train)
        branch3 = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(branch3, train)
        branch3 = ConvNorm(96, (3, 3), name="branch3x3dbl_3")(branch3, train)
        pooled = ConvNorm(self.features, name="branch_pool")(_average(x), train)
        return jnp.concatenate([branch1, branch5, branch3, pooled], axis=-1)


class BlockB(nn.Module):
    """From the 35 x 35 grid to 17 x 17: one and two convolutions of 3 x 3, and a pool."""

    features: int
    """Filters of the single convolution."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to half the size."""
        branch = ConvNorm(self.features, (3, 3), stride=2, padding="VALID", name="branch3x3")(x, train)
        double = ConvNorm(64, name="branch3x3dbl_1")(x, train)
        double = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(double, train)
        double = ConvNorm(96, (3, 3), stride=2, padding="VALID", name="branch3x3dbl_3")(double, train)
        return jnp.concatenate([branch, double, overlapping_max_pool(x)], axis=-1)


class BlockC(nn.Module):
    """For the 17 x 17 grid: 1 x 1, one and two of 7 x 7 in factors, and a pool."""

    features: int
    """Filters between the factors of 7 x 7."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to the same size."""
        one = ConvNorm(192, name="branch1x1")(x, train)
        seven = ConvNorm(self.features, name="branch7x7_1")(x, train)
        seven = ConvNorm(self.features, (1, 7), name="branch7x7_2")(seven, train)
        seven = ConvNorm(192, (7, 1), name="branch7x7_3")(seven, train)
        double = ConvNorm(self.features, name="branch7x7dbl_1")(x, train)
        for i, kernel in enumerate([(7, 1), (1, 7), (7, 1)], 2):
            double = ConvNorm(self.features, kernel, name=f"branch7x7dbl_{i}")(double, train)
        double = ConvNorm(192, (1, 7), name="branch7x7dbl_5")(double, train)
        pooled = ConvNorm(192, name="branch_pool")(_average(x), train)
        return jnp.concatenate([one, seven, double, pooled], axis=-1)


class BlockD(nn.Module):
    """From the 17 x 17 grid to 8 x 8: 3 x 3, 7 x 7 in factors then 3 x 3, and a pool."""

    features: int
    """Filters before the last convolution of each branch."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to half the size."""
        three = ConvNorm(self.features, name="branch3x3_1")(x, train)
        three = ConvNorm(320, (3, 3), stride=2, padding="VALID", name="branch3x3_2")(three, train)
        seven = ConvNorm(self.features, name="branch7x7x3_1")(x, train)
        seven = ConvNorm(self.features, (1, 7), name="branch7x7x3_2")(seven, train)
        seven = ConvNorm(self.features, (7, 1), name="branch7x7x3_3")(seven, train)
        seven = ConvNorm(192, (3, 3), stride=2, padding="VALID", name="branch7x7x3_4")(seven, train)
        return jnp.concatenate([three, seven, overlapping_max_pool(x)], axis=-1)


class BlockE(nn.Module):
    """For the 8 x 8 grid: branches that end in 1 x 3 and 3 x 1 side by side."""

    features: int
    """Filters of each of these ends."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to the same size."""
        one = ConvNorm(320, name="branch1x1")(x, train)
        three = ConvNorm(self.features, name="branch3x3_1")(x, train)
        three = [
            ConvNorm(self.features, (1, 3), name="branch3x3_2a")(three, train),
            ConvNorm(self.features, (3, 1), name="branch3x3_2b")(three, train),
        ]
        double = ConvNorm(448, name="branch3x3dbl_1")(x, train)
        double = ConvNorm(self.features, (3, 3), name="branch3x3dbl_2")(double, train)
        double = [
            ConvNorm(self.features, (1, 3), name="branch3x3dbl_3a")(double, train),
            ConvNorm(self.features, (3, 1), name="branch3x3dbl_3b")(double, train),
        ]
        pooled = ConvNorm(192, name="branch_pool")(_average(x), train)
        return jnp.concatenate([one, *three, *double, pooled], axis=-1)


#: Name, kind and setting of each block.
BLOCKS = (
    ("Mixed_5b", BlockA, 32),
    ("Mixed_5c", BlockA, 64),
    ("Mixed_5d", BlockA, 64),
    ("Mixed_6a", BlockB, 384),
    ("Mixed_6b", BlockC, 128),
    ("Mixed_6c", BlockC, 160),
    ("Mixed_6d", BlockC, 160),
    ("Mixed_6e", BlockC, 192),
    ("Mixed_7a", BlockD, 192),
    ("Mixed_7b", BlockE, 384),
    ("Mixed_7c", BlockE, 384),
)


class AuxiliaryHead(nn.Module):
    """Logits from the middle of the network, whose loss acts as a regularizer there."""

    num_classes: int
    """Logits an example."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits [batch, num_classes] of a grid of at least 17 x 17."""
        x = nn.avg_pool(x, (5, 5), (3, 3))
        x = ConvNorm(128, name="conv0")(x, train)
        x = ConvNorm(768, (5, 5), padding="VALID", name="conv1")(x, train)
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2)))
