"""RandAugment: for every example a few of fourteen changes, drawn for it alone."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.data.augment.base import Batch, image_of

LEVELS = 30
"""The magnitude that means the strongest change."""

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Apply `num_ops` of fourteen operations, drawn alike and with replacement for each example (Cubuk et al. 2020).

    Operations and strengths are torchvision's; the arithmetic is Pillow's, on 8-bit values (floats are rounded to
    those and come back as floats). Geometry takes the nearest pixel and fills with black. Comes before `Normalize`.

    On one core of a server CPU it makes 32,000 to 58,000 images of 32 x 32 x 3 a second, or 660 to 1,100 of 224 x 224:
    there one image is worked on after the other, each by its own operation alone. All operations for all images at once
    and a choice among the results, the form for accelerators, is 24 times slower on a CPU.
    """

    num_ops: int = 2
    """Operations in sequence."""
    magnitude: int = 9
    """Strength of all, 0 to 30; where a change has two directions, the direction is drawn."""

    def __post_init__(self) -> None:
        if self.num_ops < 1:
            raise InputError("RandAugment.num_ops", f"{self.num_ops}", "1 or more")
        if not 0 <= self.magnitude <= LEVELS:
            raise InputError("RandAugment.magnitude", f"{self.magnitude}", f"0 to {LEVELS}")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch, channels=(1, 3))
        if not train:
            return batch
        is_float = image.dtype != jnp.uint8
        x = jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8) if is_float else image
        # One number for an operation and its direction.
        drawn = jax.vmap(lambda key: jax.random.randint(key, (self.num_ops,), 0, 2 * len(OPERATIONS)))(keys)
        strengths = self.magnitude / LEVELS * jnp.where(drawn < len(OPERATIONS), 1.0, -1.0)
        for i in range(self.num_ops):
            x = operate(x, drawn[:, i] % len(OPERATIONS), strengths[:, i])
        return batch | {"image": x.astype(image.dtype) / 255 if is_float else x}


def operate(images: jax.Array, operations: jax.Array, strengths: jax.Array) -> jax.Array:
    """To each of uint8 [batch, height, width, channel] its operation [batch] at its strength [batch] in -1..1."""
    if jax.default_backend() == "cpu":
        # One image after the other computes its operation alone; together, all operations of all images.
        return jax.lax.map(lambda args: _operate(*args), (images, operations, strengths))
    return jax.vmap(_operate)(images, operations, strengths)


def _operate(image: jax.Array, operation: jax.Array, strength: jax.Array) -> jax.Array:
    """One operation on uint8 [height, width, channel]."""
    geometry = operation - OPERATIONS.index("shear_x")
    branches: list[Callable[[jax.Array, jax.Array], jax.Array]] = [
        lambda image, _: image,
        lambda image, strength: _move(image, _matrix(geometry, strength, image.shape)),
        lambda image, strength: _mix(jnp.zeros_like(image), image, 1 + 0.9 * strength),
        lambda image, strength: _mix(_luma(image), image, 1 + 0.9 * strength),
        lambda image, strength: _mix(_mean_luma(image), image, 1 + 0.9 * strength),
        lambda image, strength: _mix(_smooth(image), image, 1 + 0.9 * strength),
        posterize,
        solarize,
        lambda image, _: autocontrast(image),
        lambda image, _: equalize(image),
    ]
    # The five geometric ones are one branch, as they differ in their matrix alone.
    branch = jnp.where(operation == 0, 0, jnp.maximum(operation - 4, 1))
    return jax.lax.switch(branch, branches, image, strength)


def _matrix(kind: jax.Array, strength: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The affine map [2, 3] from a place (x, y) in the new image to one in the old; `kind` counts from `shear_x`."""
    height, width = shape[:2]
    one, zero = jnp.ones(()), jnp.zeros(())
    angle = -strength * math.radians(30)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    centre = (width / 2, height / 2)
    matrices = [
        (one, 0.3 * strength, zero, zero, one, zero),
        (one, zero, zero, 0.3 * strength, one, zero),
        (one, zero, jnp.trunc(150 / 331 * width * strength), zero, one, zero),
        (one, zero, zero, zero, one, jnp.trunc(150 / 331 * height * strength)),
        (
            *(cosine, sine, centre[0] - cosine * centre[0] - sine * centre[1]),
            *(-sine, cosine, centre[1] + sine * centre[0] - cosine * centre[1]),
        ),
    ]
    return jnp.stack([jnp.stack(list(matrix)) for matrix in matrices])[kind].reshape(2, 3)


def _move(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """The nearest pixels of where an affine map comes from, and zeros from outside."""
    height, width, channel = image.shape
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    old_x = jnp.floor(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]).astype(jnp.int32)
    old_y = jnp.floor(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]).astype(jnp.int32)
    inside = (old_x >= 0) & (old_x < width) & (old_y >= 0) & (old_y < height)
    found = image.reshape(-1, channel)[jnp.where(inside, old_y * width + old_x, 0)]
    return jnp.where(inside[..., None], found, 0)


def _mix(other: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """`other` at a factor of 0, the image at 1 and what lies beyond it above; truncated, as Pillow does."""
    start, end = other.astype(jnp.float32), image.astype(jnp.float32)
    return jnp.clip(start + factor * (end - start), 0, 255).astype(jnp.uint8)


def _luma(image: jax.Array) -> jax.Array:
    """Grey by ITU-R 601 in Pillow's fixed-point numbers, uint8 with the channels of the image."""
    if image.shape[-1] == 1:
        return image
    weighted = image.astype(jnp.int32) * jnp.array([[[19595, 38470, 7471]]])
    return jnp.broadcast_to((jnp.sum(weighted, axis=-1, keepdims=True) + 0x8000) >> 16, image.shape).astype(jnp.uint8)


def _mean_luma(image: jax.Array) -> jax.Array:
    """The rounded mean of the grey of all pixels, everywhere."""
    mean = jnp.mean(_luma(image)[..., :1], axis=(0, 1), keepdims=True, dtype=jnp.float32)
    return jnp.broadcast_to(jnp.floor(mean + 0.5), image.shape)


def _smooth(image: jax.Array) -> jax.Array:
    """Mean of 3 x 3 pixels with the middle one counted five times; the border stays."""
    height, width = image.shape[:2]
    if min(height, width) < 3:
        return image
    x = image.astype(jnp.int32)
    total = 4 * x[1:-1, 1:-1] + sum(x[i : height - 2 + i, j : width - 2 + j] for i in range(3) for j in range(3))
    return x.at[1:-1, 1:-1].set((2 * total + 13) // 26)


def posterize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Keep the upper bits: 8 of them at a strength of 0, 4 at 1."""
    dropped = jnp.round(4 * jnp.abs(strength)).astype(jnp.uint8)
    return (image >> dropped) << dropped


def solarize(image: jax.Array, strength: jax.Array) -> jax.Array:
    """Invert the values from a threshold on, which is 255 at a strength of 0 and 0 at 1."""
    return jnp.where(image >= 255 * (1 - jnp.abs(strength)), 255 - image, image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel to 0..255; a channel of one value stays."""
    low, high = (f(image.astype(jnp.int32), axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    stretched = (image - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, image).astype(jnp.uint8)


def equalize(image: jax.Array) -> jax.Array:
    """Spread each channel's values so that all are about as frequent, by Pillow's rule; one of a single value stays."""
    counts = jax.vmap(functools.partial(jnp.bincount, length=256), in_axes=-1)(image.reshape(-1, image.shape[-1]))
    last = jnp.max(jnp.where(counts > 0, jnp.arange(256)[None, :], 0), axis=1)
    step = (image.shape[0] * image.shape[1] - jnp.take_along_axis(counts, last[:, None], axis=1)) // 255
    before = jnp.cumsum(counts, axis=1) - counts
    table = jnp.clip((step // 2 + before) // jnp.maximum(step, 1), 0, 255)
    table = jnp.where(step > 0, table, jnp.arange(256)[None, :]).astype(jnp.uint8)
    return jnp.stack([table[i][image[..., i]] for i in range(image.shape[-1])], axis=-1)
