"""The Vision Transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words")."""

from __future__ import annotations

import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError, did_you_mean
from jaxai.models.attention import Dropout
from jaxai.models.blocks import Remat, through
from jaxai.models.layers import check_image, drop_rates, truncated_normal
from jaxai.models.transformer import TransformerBlock

#: Features of a token, blocks, heads.
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


def vit(size: Literal["tiny", "small", "base", "large"], num_classes: int = 1000, **settings: Any) -> ViT:
    """The published sizes; "tiny" and "small" are those of DeiT (Touvron et al. 2021)."""
    if size not in _SIZES:
        raise InputError("size", f"there is no ViT of size {size!r}", did_you_mean(size, _SIZES))
    dim, depth, num_heads = _SIZES[size]
    return ViT(**{"dim": dim, "depth": depth, "num_heads": num_heads, "num_classes": num_classes, **settings})


class ViT(nn.Module):
    """A Transformer over the patches of an image; ViT-Ti/16 as it stands.

    On 224 x 224 x 3 with 1,000 classes and patches of 16 x 16, `vit("tiny")` has 5,717,416 parameters, `vit("small")`
    22,050,664 and `vit("base")` 86,567,656. Positions are learned, one a patch, so the image's size is settled when
    the model is initialised.

    Kernels, positions and the class token start truncated normal with deviation 0.02, biases at zero, as timm's do
    (its patches' kernel is uniform); the paper starts most kernels Xavier uniform and the logits at zero.
    """

    patch: int = 16
    """Pixels a side of a patch."""
    dim: int = 192
    """Features of a token."""
    depth: int = 12
    """Blocks."""
    num_heads: int = 3
    """Heads of each block's attention."""
    num_classes: int = 1000
    """Logits an example; 0 gives what the head would see."""
    pool: Literal["token", "mean", "none"] = "token"
    """What the head sees: a class token; the mean over the patches, normalized after that; or each patch by itself."""
    dropout: float = 0.0
    """Share dropped after each dense layer, except within the attention, and of the embedded patches in training."""
    stochastic_depth: float = 0.0
    """Share of examples that skip the halves of the last block in training; earlier blocks linearly less."""
    remat: Remat = "none"
    """What each block computes again in the backward pass, for less memory: nothing, all, or all but its products."""
    scan: bool = False
    """One block compiled for all: a program that depth does not enlarge; parameters are [depth, ...] under `blocks`."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False, keep: jax.Array | None = None) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, channel].

        With `pool="none"` they are [batch, patch, num_classes]. `keep` [batch, kept] are the numbers, row by row, of
        the patches to look at; all others are left out before the first block, as a masked autoencoder does.
        """
        x = PatchEmbed(self.patch, self.dim, name="patch_embed")(inputs)
        has_token = self.pool == "token"
        positions = self._positions(x.shape[1] + has_token)
        x = x + positions[:, has_token:]
        if keep is not None:
            x = jnp.take_along_axis(x, keep[:, :, None], axis=1)
        if has_token:
            token = self.param("class_token", truncated_normal, (1, 1, self.dim)) + positions[:, :1]
            x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.dim)).astype(x.dtype), x], axis=1)
        x = Dropout(self.dropout)(x, train)
        make = functools.partial(
            TransformerBlock,
            self.num_heads,
            4 * self.dim,
            dropout=self.dropout,
            hidden_dropout=self.dropout,
            kernel_init=truncated_normal,
            remat=self.remat,
        )
        drops = drop_rates(self.stochastic_depth, self.depth)
        x = through(make, self.depth, self.scan, x, train, drops=drops)
        if self.pool != "none":
            x = x[:, 0] if has_token else jnp.mean(x, axis=1)
        x = nn.LayerNorm(epsilon=1e-6, name="norm")(x)
        return nn.Dense(self.num_classes, kernel_init=truncated_normal, name="head")(x) if self.num_classes else x

    def _positions(self, num_tokens: int) -> jax.Array:
        """The learned positions [1, token, dim]; InputError where they were made for another number."""
        if self.has_variable("params", "positions"):
            made = self.get_variable("params", "positions").shape[1]
            if made != num_tokens:
                what = f"images of {num_tokens} tokens, but its positions were made for {made}"
                raise InputError("ViT inputs", what, "images of the size that the model was initialised with")
        return self.param("positions", truncated_normal, (1, num_tokens, self.dim))


class PatchEmbed(nn.Module):
    """One dense layer for each patch of an image."""

    patch: int
    """Pixels a side of a patch."""
    dim: int
    """Features of a token."""

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Tokens [batch, patch, dim], row by row, of images [batch, height, width, channel]."""
        check_image(inputs, "ViT", smallest=self.patch)
        height, width = inputs.shape[1:3]
        if height % self.patch or width % self.patch:
            what = f"images of {height} x {width} are not whole patches of {self.patch} x {self.patch}"
            raise InputError("ViT inputs", what, "another image size, or patch")
        window = (self.patch, self.patch)
        x = nn.Conv(self.dim, window, window, padding="VALID", kernel_init=truncated_normal, name="proj")(inputs)
        return x.reshape(x.shape[0], -1, self.dim)
