"""Augmentations that change the values of pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.rng import stream
from jaxai.data.augment.base import Batch, check_probability, check_range, chosen, grey, image_of, unit, where


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalize:
    """Subtract a mean and divide by a standard deviation, in training and evaluation; uint8 is divided by 255 first."""

    mean: tuple[float, ...] = (0.5,)
    """Of each channel, or one for all, on the scale 0..1."""
    std: tuple[float, ...] = (0.5,)
    """Of each channel, or one for all, on the scale 0..1."""

    def __post_init__(self) -> None:
        if min(self.std, default=1.0) <= 0:
            raise InputError("Normalize.std", f"{self.std}", "more than 0")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:  # noqa: ARG002
        image = image_of(self, batch)
        for name, values in [("mean", self.mean), ("std", self.std)]:
            if len(values) not in (1, image.shape[-1]):
                what = f"{len(values)} values for images {image.shape}"
                raise InputError(f"Normalize.{name}", what, f"needs 1 or {image.shape[-1]}")
        mean, std = (np.array(x, np.float32).reshape(1, 1, 1, -1) for x in (self.mean, self.std))
        return batch | {"image": (unit(image) - mean) / std}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grey:
    """Turn pictures to grey, in training and evaluation: three channels, all alike, also where there was but one."""

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:  # noqa: ARG002
        image = image_of(self, batch, channels=(1, 3))
        return batch | {"image": jnp.broadcast_to(_grey_like(image), (*image.shape[:3], 3))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grayscale:
    """Turn some colour pictures to grey in training (SimCLR: Chen et al. 2020); the channels stay three, all alike."""

    probability: float = 0.2
    """Share of the images turned to grey."""

    def __post_init__(self) -> None:
        check_probability(self)

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch, channels=(1, 3))
        if not train:
            return batch
        return batch | {"image": where(chosen(keys, self.probability), _grey_like(image), image)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solarize:
    """Invert the values from `threshold` on, of some images (BYOL: Grill et al. 2020)."""

    threshold: float = 128 / 255
    """On the scale 0..1; the default is half of the 8-bit values."""
    probability: float = 0.2
    """Share of the images changed."""

    def __post_init__(self) -> None:
        check_probability(self)

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        top = 255 if image.dtype == jnp.uint8 else 1
        # In float32 for either: 0.2 * 255 is 51 and not a little more.
        inverted = jnp.where(image >= jnp.float32(self.threshold * top), top - image, image)
        return batch | {"image": where(chosen(keys, self.probability), inverted, image)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianBlur:
    """Blur some images by a Gaussian whose width is drawn for each, as float32 in 0..1 (SimCLR: Chen et al. 2020)."""

    size: int = 3
    """Side of the filter in pixels, odd; SimCLR takes a tenth of the image's. The image is mirrored at its edge."""
    sigma: tuple[float, float] = (0.1, 2.0)
    """Least and largest standard deviation, in pixels."""
    probability: float = 0.5
    """Share of the images blurred."""

    def __post_init__(self) -> None:
        check_probability(self)
        check_range(self, "sigma", 0)
        if self.size < 1 or self.size % 2 == 0:
            raise InputError("GaussianBlur.size", f"{self.size} pixels", "an odd number")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        half = self.size // 2
        if min(image.shape[1:3]) <= half:
            raise InputError("GaussianBlur.size", f"{self.size} pixels for images {image.shape}", "a smaller one")
        if not train:
            return batch
        low, high = self.sigma
        sigma = jax.vmap(lambda key: jax.random.uniform(key, minval=low, maxval=high))(keys)
        taps = jnp.exp(-0.5 * (jnp.arange(-half, half + 1)[None, :] / sigma[:, None]) ** 2)
        # A filter of one pixel is the identity.
        taps = jnp.where(chosen(keys, self.probability)[:, None], taps, jnp.arange(-half, half + 1)[None, :] == 0)
        taps = taps / jnp.sum(taps, axis=1, keepdims=True)
        x = unit(image)
        for axis in (1, 2):
            sides = [(half, half) if i == axis else (0, 0) for i in range(4)]
            # The barrier keeps XLA from computing the first axis again for every tap of the second.
            padded = jax.lax.optimization_barrier(jnp.pad(x, sides, mode="reflect"))
            x = self._filter(padded, taps.astype(x.dtype), axis, x.shape[axis])
        return batch | {"image": x}

    def _filter(self, padded: jax.Array, taps: jax.Array, axis: int, length: int) -> jax.Array:
        """The sum of the shifted images, each by its tap [batch, size]."""
        total = jnp.zeros((), padded.dtype)
        for i in range(self.size):
            shifted = jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
            total = total + taps[:, i, None, None, None] * shifted
        return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Scale brightness, then contrast, then saturation, each by a factor uniform in 1 - x .. 1 + x but not below 0.

    Last the hue is turned. Each result is clipped to 0..1, so this comes before `Normalize`. The definitions are
    torchvision's: contrast blends with the image's mean grey, saturation with each pixel's grey (ITU-R 601), the hue is
    that of HSV; torchvision shuffles the order.
    """

    brightness: float = 0.4
    """Largest relative change; 0 leaves it alone."""
    contrast: float = 0.4
    """Largest relative change; 0 leaves it alone."""
    saturation: float = 0.4
    """Largest relative change; 0 leaves it alone, as do images of one channel."""
    hue: float = 0.0
    """Largest turn either way, as a share of the circle: up to 0.5; 0 leaves it alone, as do images of one channel."""
    probability: float = 1.0
    """Share of the images changed."""

    def __post_init__(self) -> None:
        check_probability(self)
        if not 0 <= self.hue <= 0.5:
            raise InputError("ColorJitter.hue", f"{self.hue}", "0 to 0.5")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch, channels=(1, 3))
        if not train:
            return batch
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (3,), minval=-1.0))(keys)
        others: list[Callable[[jax.Array], jax.Array]] = [
            jnp.zeros_like,
            lambda x: grey(jnp.mean(x, axis=(1, 2), keepdims=True)),
            grey,
        ]
        x = original = unit(image)
        for i, strength in enumerate((self.brightness, self.contrast, self.saturation)):
            if strength:
                factor = jnp.maximum(1 + strength * uniform[:, i], 0)[:, None, None, None]
                x = jnp.clip(factor * x + (1 - factor) * others[i](x), 0, 1)
        if self.hue and image.shape[-1] == 3:
            draw = lambda key: jax.random.uniform(stream(key, "hue"), minval=-self.hue, maxval=self.hue)  # noqa: E731
            x = turn_hue(x, jax.vmap(draw)(keys))
        if self.probability < 1:
            x = where(chosen(keys, self.probability), x, original)
        return batch | {"image": x}


def turn_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
    """Floats [batch, height, width, 3] in 0..1 with the hue of HSV turned by `turn` [batch], a share of the circle.

    With the value v and the chroma c, a channel is v - c * clip(min(k, 4 - k), 0, 1), where k is n + 6 * hue modulo 6
    and n is 5, 3, 1 for red, green, blue.
    """
    value = jnp.max(image, axis=-1)
    chroma = value - jnp.min(image, axis=-1)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    safe = jnp.where(chroma > 0, chroma, 1)
    sixths = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # The barrier keeps XLA from computing these again for every channel.
    value, chroma, sixths = jax.lax.optimization_barrier((value, chroma, sixths + 6 * turn[:, None, None]))
    channels = []
    for n in (5, 3, 1):
        k = jnp.mod(n + sixths, 6)
        channels.append(value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))
    return jnp.stack(channels, axis=-1)


def _grey_like(image: jax.Array) -> jax.Array:
    """The grey of each pixel [batch, height, width, 1] in the type of the image; uint8 is rounded."""
    if image.dtype != jnp.uint8:
        return grey(image)
    return jnp.round(grey(image.astype(jnp.float32))).astype(jnp.uint8)
