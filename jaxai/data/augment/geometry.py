"""Augmentations that move or cover pixels."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.rng import stream
from jaxai.data.augment.base import (
    Batch,
    check_probability,
    check_range,
    chosen,
    draw_box,
    image_of,
    unit,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Pad each side and cut the image's size out at random (Krizhevsky 2009; He et al. 2015 for CIFAR)."""

    padding: int = 4
    """Pixels on each side."""
    mode: Literal["constant", "reflect"] = "constant"
    """Pad with zeros, or with the image mirrored at its edge pixels."""

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise InputError("RandomCrop.padding", f"{self.padding} pixels", "0 or more")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        height, width, channel = image.shape[1:]
        sides = (self.padding, self.padding)
        if self.mode == "constant":
            padded = _zero_border(image, self.padding)
        else:
            padded = jnp.pad(image, ((0, 0), sides, sides, (0, 0)), mode=self.mode)

        def crop(key: jax.Array, image: jax.Array) -> jax.Array:
            top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
            return jax.lax.dynamic_slice(image, (top, left, 0), (height, width, channel))

        return batch | {"image": jax.vmap(crop)(keys, padded)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomResizedCrop:
    """Cut out a box of random area and aspect ratio and resize it to `size` (Szegedy et al. 2014), as float32 in 0..1.

    The draw is torchvision's, the resizing that of Pillow's and torchvision's area-aware bilinear filter, as two small
    matrices an image, one for each axis. In evaluation the whole image is resized. One core of a server CPU makes some
    25,000 images of 32 x 32 x 3 of such a second, 2,000 of 96 x 96 and 300 of 224 x 224.
    """

    size: int
    """Side of what comes out, in pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width to height."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError("RandomResizedCrop.size", f"{self.size} pixels", "1 or more")
        check_range(self, "scale", 0, 1)
        check_range(self, "ratio", 0)

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        limit = (image.shape[1], image.shape[2])
        if train:
            corner, size = jax.vmap(lambda key: self._box(key, limit))(keys)
        else:
            size = jnp.broadcast_to(jnp.array([limit]), (len(image), 2))
            corner = jnp.zeros_like(size)
        x = unit(image)
        for axis, inputs in ((0, "bhwc"), (1, "bwhc")):
            weights = jax.vmap(resize_weights, in_axes=(0, 0, None, None))(
                corner[:, axis], size[:, axis], limit[axis], self.size
            ).astype(x.dtype)
            x = jnp.einsum(f"boh,{inputs}->{inputs.replace('h', 'o')}", weights, x, precision=jax.lax.Precision.HIGHEST)
        return batch | {"image": x}

    def _box(self, key: jax.Array, limit: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
        """The box of one example; where none was found, the largest in the middle whose ratio is allowed."""
        height, width = limit
        middle = (min(height, round(width / self.ratio[0])), min(width, round(height * self.ratio[1])))
        corner, size, found = draw_box(key, limit, self.scale, self.ratio)
        instead = jnp.array([(height - middle[0]) // 2, (width - middle[1]) // 2])
        return jnp.where(found, corner, instead), jnp.where(found, size, jnp.array(middle))


def resize_weights(start: jax.Array, size: jax.Array, num_inputs: int, num_outputs: int) -> jax.Array:
    """The matrix [num_outputs, num_inputs] that resizes `size` pixels from `start` on by a triangle filter.

    The triangle is as wide as an output pixel is in input pixels, but at least 1 to each side (Pillow's `BILINEAR`).
    """
    scale = size.astype(jnp.float32) / num_outputs
    centre = start + (jnp.arange(num_outputs) + 0.5) * scale
    pixel = jnp.arange(num_inputs)[None, :]
    distance = jnp.abs(pixel + 0.5 - centre[:, None]) / jnp.maximum(scale, 1)
    inside = (pixel >= start) & (pixel < start + size)
    weights = jnp.where(inside, jnp.maximum(1 - distance, 0), 0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Mirror left and right."""

    probability: float = 0.5
    """Share of the images mirrored."""

    def __post_init__(self) -> None:
        check_probability(self)

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        flip = jax.vmap(lambda key: jax.random.bernoulli(key, float(self.probability)))(keys)
        both = jnp.stack([image, image[:, :, ::-1]], axis=1)
        return batch | {"image": jax.vmap(lambda pair, i: pair[i])(both, flip.astype(jnp.int32))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cutout:
    """Set a square to zero (DeVries and Taylor 2017): to black before `Normalize`, to the mean after it.

    The square's centre is any pixel, as in the paper, so that part of it may lie outside the image.
    """

    size: int = 8
    """Side of the square, in pixels."""

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        limit = jnp.array(image.shape[1:3])
        centre = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, limit))(keys)
        corner = centre - self.size // 2
        hole = inside_box(corner, jnp.full_like(corner, self.size), image.shape)
        return batch | {"image": jnp.where(hole, jnp.zeros((), image.dtype), image)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Cover a box of random area and aspect ratio (Zhong et al. 2020); the box is drawn as torchvision's is."""

    probability: float = 0.25
    """Share of the images that are covered in part."""
    scale: tuple[float, float] = (0.02, 0.33)
    """Least and largest share of the image's area."""
    ratio: tuple[float, float] = (0.3, 3.3)
    """Least and largest width to height."""
    fill: Literal["zeros", "noise"] = "zeros"
    """Zeros, or normal noise for every value, for images that `Normalize` has given such a distribution."""

    def __post_init__(self) -> None:
        check_probability(self)
        check_range(self, "scale", 0, 1)
        check_range(self, "ratio", 0)

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if self.fill == "noise" and image.dtype == jnp.uint8:
            raise InputError("RandomErasing.fill", "'noise' in uint8 images", "put it after Normalize")
        if not train:
            return batch
        limit = (image.shape[1], image.shape[2])
        corner, size, found = jax.vmap(lambda key: draw_box(key, limit, self.scale, self.ratio))(keys)
        size = size * (found & chosen(keys, self.probability))[:, None]
        if self.fill == "zeros":
            cover = jnp.zeros((), image.dtype)
        else:
            draw = lambda key: jax.random.normal(stream(key, "noise"), image.shape[1:], image.dtype)  # noqa: E731
            cover = jax.vmap(draw)(keys)
        return batch | {"image": jnp.where(inside_box(corner, size, image.shape), cover, image)}


def inside_box(corner: jax.Array, size: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Which pixels lie in the box at `corner` [batch, 2] of `size` [batch, 2], bool [batch, height, width, 1]."""
    inside = []
    for axis in (0, 1):
        offset = jnp.arange(shape[1 + axis])[None, :] - corner[:, axis, None]
        inside.append((offset >= 0) & (offset < size[:, axis, None]))
    return inside[0][:, :, None, None] & inside[1][:, None, :, None]


def _zero_border(image: jax.Array, padding: int) -> jax.Array:
    """What `jnp.pad` gives in a form that XLA does not fuse into the crop, pixel by pixel."""
    for axis in (1, 2):
        shape = tuple(padding if i == axis else size for i, size in enumerate(image.shape))
        border = jnp.zeros(shape, image.dtype)
        image = jnp.concatenate([border, image, border], axis=axis)
    return image
