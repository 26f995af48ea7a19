"""GoogLeNet, or Inception-v1 (Szegedy et al. 2015, "Going deeper with convolutions")."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.models.blocks import Remat, remat
from jaxai.models.layers import adaptive_average_pool, check_image, flatten, overlapping_max_pool

#: 1 x 1; 3 x 3 reduced and in full; 5 x 5 reduced and in full; pooled: the filters of each block, by name.
BLOCKS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """GoogLeNet as torchvision has it, for 224 x 224 x 3: 6,624,904 parameters, 13,004,888 with the auxiliary heads.

    Nine Inception blocks, each four branches side by side. Against the paper: batch normalization (Ioffe and Szegedy
    2015) in place of local response normalization, and 3 x 3 filters where the branch of 5 x 5 stood, a slip of the
    first port that all published weights share. torchvision's `transform_input`, which turns its normalization of
    images into TensorFlow's, is no part of the model: weights from `IMAGENET1K_V1` want images in -1..1.

    The two auxiliary heads, after 4a and 4d, sow their logits in training, into `auxiliary`: `logits`.

    Convolutions and hidden dense layers start He normal (torchvision: normal of 0.01, cut at two), logits LeCun normal.
    Batch normalization has the constants of torchvision (epsilon 1e-3); the running variance is that of the batch,
    dividing by n, where PyTorch's divides by n - 1.
    """

    num_classes: int = 1000
    """Logits an example; 0 gives the 1,024 pooled features, without any head."""
    aux: bool = True
    """Whether it has the auxiliary heads."""
    dropout: float = 0.2
    """Share of the pooled features dropped in training, before the logits; the paper drops 0.4."""
    aux_dropout: float = 0.7
    """The same in the auxiliary heads."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, channel]."""
        check_image(inputs, "GoogLeNet", smallest=15)
        block = remat(Inception, self.remat, static_argnums=(2,))
        x = ConvNorm(64, (7, 7), stride=2, padding=3, name="conv1")(inputs, train)
        x = overlapping_max_pool(x, ceil=True)
        x = ConvNorm(64, name="conv2")(x, train)
        x = ConvNorm(192, (3, 3), name="conv3")(x, train)
        x = overlapping_max_pool(x, ceil=True)
        heads = {"inception4a": "aux1", "inception4d": "aux2"} if self.aux and self.num_classes else {}
        for name, features in BLOCKS.items():
            x = block(features, name=name)(x, train)
            if name == "inception3b":
                x = overlapping_max_pool(x, ceil=True)
            elif name == "inception4e":
                x = overlapping_max_pool(x, size=2, ceil=True)
            if name in heads and (train or self.is_initializing()):
                logits = AuxiliaryHead(self.num_classes, self.aux_dropout, name=heads[name])(x, train)
                if not self.is_initializing():
                    self.sow("auxiliary", "logits", logits)
        x = jnp.mean(x, axis=(1, 2))
        if not self.num_classes:
            return x
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x)


class Inception(nn.Module):
    """1 x 1, 3 x 3 and "5 x 5" convolutions and a pool, side by side."""

    features: tuple[int, ...]
    """Filters, as in `BLOCKS`."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to the same size."""
        one, reduce3, three, reduce5, five, pooled = self.features
        branch1 = ConvNorm(one, name="branch1")(x, train)
        branch2 = ConvNorm(reduce3, name="branch2_0")(x, train)
        branch2 = ConvNorm(three, (3, 3), name="branch2_1")(branch2, train)
        branch3 = ConvNorm(reduce5, name="branch3_0")(x, train)
        branch3 = ConvNorm(five, (3, 3), name="branch3_1")(branch3, train)
        branch4 = overlapping_max_pool(x, stride=1, padding=(1, 1))
        branch4 = ConvNorm(pooled, name="branch4_1")(branch4, train)
        return jnp.concatenate([branch1, branch2, branch3, branch4], axis=-1)


class AuxiliaryHead(nn.Module):
    """Logits from the middle of the network, whose loss brings gradients there."""

    num_classes: int
    """Logits an example."""
    dropout: float
    """Share of the hidden features dropped in training."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits [batch, num_classes]."""
        x = ConvNorm(128, name="conv")(adaptive_average_pool(x, 4), train)
        x = flatten(x.transpose(0, 3, 1, 2))  # channels first, as the published kernels are
        x = nn.relu(nn.Dense(1024, kernel_init=nn.initializers.he_normal(), name="dense")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(x)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization with epsilon 1e-3, ReLU."""

    features: int
    """Filters."""
    kernel: tuple[int, int] = (1, 1)
    """Height and width of the filters."""
    stride: int = 1
    """Pixels from one output to the next."""
    padding: str | int = "SAME"
    """Zeros around the image."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[batch, height, width, channel] to [batch, height, width, features]."""
        keys = {"use_bias": False, "kernel_init": nn.initializers.he_normal()}
        conv = nn.Conv(self.features, self.kernel, self.stride, self.padding, **keys, name="conv")
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-3, name="bn")
        return nn.relu(norm(conv(x)))
