"""What all augmentations share: the protocol, their application in order, and the forms that images come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.rng import example_keys, stream

Batch = dict[str, jax.Array]

ATTEMPTS = 10
"""How often a box is drawn until one fits, as torchvision does."""


class Augmentation(Protocol):
    """A pure change of a batch, random in `keys` [batch] alone."""

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        """A new batch; `train` is false in evaluation, where only what is not random applies."""
        ...


def apply(augment: Sequence[Augmentation], batch: Batch, key: jax.Array, train: bool) -> Batch:
    """Apply each in order; the i-th one's keys are those of stream `augment/i` at `batch["index"]` [batch]."""
    for i, augmentation in enumerate(augment):
        if "index" not in batch:
            raise InputError(f"augment.{i}", "the batch has no 'index'", "it names the examples of the batch")
        batch = augmentation(batch, example_keys(stream(key, f"augment/{i}"), batch["index"]), train)
    return batch


def image_of(augmentation: Augmentation, batch: Batch, channels: tuple[int, ...] = ()) -> jax.Array:
    """The batch's images, refused where they are not images or have another number of channels."""
    name = type(augmentation).__name__
    if "image" not in batch:
        raise InputError(name, f"the batch has no 'image', only {sorted(batch)}")
    image = batch["image"]
    if image.ndim != 4:
        raise InputError(name, f"'image' has shape {image.shape}", "needs [batch, height, width, channel]")
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(name, f"'image' is {image.dtype}", "needs uint8 in 0..255 or float32 in 0..1")
    if channels and image.shape[-1] not in channels:
        raise InputError(name, f"images {image.shape}", f"needs {' or '.join(map(str, channels))} channels")
    return image


def target_of(augmentation: Augmentation, batch: Batch) -> jax.Array:
    """The batch's targets [batch, num_classes], refused where they are not shares of classes."""
    target = batch.get("target")
    if target is None or target.ndim != 2 or not jnp.issubdtype(target.dtype, jnp.floating):
        found = f"'target' {target.dtype} {target.shape}" if target is not None else "no 'target'"
        raise InputError(type(augmentation).__name__, f"the batch has {found}", "needs float [batch, num_classes]")
    return target


def check_probability(augmentation: Any) -> None:
    """Refuses a `probability` that is none."""
    if not 0 <= augmentation.probability <= 1:
        raise InputError(f"{type(augmentation).__name__}.probability", f"{augmentation.probability}", "0 to 1")


def check_range(augmentation: Any, name: str, low: float, high: float = float("inf")) -> None:
    """Refuses a field that is not a range (from, to) within `low` to `high`."""
    value = getattr(augmentation, name)
    if not (len(value) == 2 and low < value[0] <= value[1] <= high):
        fix = f"(from, to), above {low:g}" + (f" and at most {high:g}" if high < float("inf") else "")
        raise InputError(f"{type(augmentation).__name__}.{name}", f"{value}", fix)


def chosen(keys: jax.Array, probability: float) -> jax.Array:
    """Which examples are changed, bool [batch]; on a stream of its own, so that it says nothing of how."""
    return jax.vmap(lambda key: jax.random.bernoulli(stream(key, "chosen"), float(probability)))(keys)


def where(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`new` for the examples of `mask` [batch], else `old`."""
    return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def unit(image: jax.Array) -> jax.Array:
    """uint8 in 0..255 as float32 in 0..1; floats as they are."""
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def grey(image: jax.Array) -> jax.Array:
    """The luma of ITU-R 601, [batch, height, width, 1], of floats."""
    if image.shape[-1] == 1:
        return image
    return 0.299 * image[..., 0:1] + 0.587 * image[..., 1:2] + 0.114 * image[..., 2:3]


def draw_box(
    key: jax.Array, limit: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A box within `limit` (height, width): its corner [2] and size [2], int32, and whether one was found.

    As torchvision draws it: the area uniform in `scale`, a share of the whole, the logarithm of width to height uniform
    in `ratio`, again until the box fits, and the place uniform.
    """
    # One draw for all attempts and, last, for the place: few large draws compile and run faster than many small ones.
    uniform = jax.random.uniform(key, (ATTEMPTS + 1, 2))
    area = limit[0] * limit[1] * (scale[0] + (scale[1] - scale[0]) * uniform[:-1, 0])
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** uniform[:-1, 1]
    sizes = jnp.round(jnp.sqrt(jnp.stack([area / aspect, area * aspect], axis=1))).astype(jnp.int32)
    fits = jnp.all((sizes > 0) & (sizes <= jnp.array([limit], jnp.int32)), axis=1)
    size = sizes[jnp.argmax(fits)]
    corner = jnp.floor(uniform[-1] * (jnp.array(limit) - size + 1)).astype(jnp.int32)
    return corner, size, jnp.any(fits)
