"""Augmentations that mix examples of a batch, images and targets alike."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.rng import stream
from jaxai.data.augment.base import Batch, check_probability, chosen, image_of, target_of, unit
from jaxai.data.augment.geometry import inside_box


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixup:
    """Blend each example and its target with another's (Zhang et al. 2018), by a share drawn for each example.

    Needs `batch["target"]` [batch, num_classes], float. The partner comes from the batch reversed: on several devices,
    from each device's own share of the batch, so results depend on how the batch is split.
    """

    alpha: float = 0.2
    """The share is drawn from Beta(alpha, alpha): small is nearly no mixing, 1 uniform."""
    probability: float = 1.0
    """Share of the examples that are blended."""

    def __post_init__(self) -> None:
        check_probability(self)
        if self.alpha <= 0:
            raise InputError("Mixup.alpha", f"{self.alpha}", "more than 0")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        target = target_of(self, batch)
        share = jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys)
        if self.probability < 1:
            share = jnp.where(chosen(keys, self.probability), share, 1)
        return batch | {"image": _blend(unit(image), share), "target": _blend(target, share)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutMix:
    """Put a box of another image into each (Yun et al. 2019); the target is mixed by the share of pixels that changed.

    Needs `batch["target"]` [batch, num_classes], float; the partner is chosen as by `Mixup`. The box has the image's
    proportions and is centred on any pixel, so that part of it may lie outside. Images keep their type.
    """

    alpha: float = 1.0
    """The area that stays is drawn from Beta(alpha, alpha): 1 is uniform."""
    probability: float = 1.0
    """Share of the examples that receive a box."""

    def __post_init__(self) -> None:
        check_probability(self)
        if self.alpha <= 0:
            raise InputError("CutMix.alpha", f"{self.alpha}", "more than 0")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        image = image_of(self, batch)
        if not train:
            return batch
        target = target_of(self, batch)
        limit = jnp.array(image.shape[1:3])

        def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            side = jnp.sqrt(1 - jax.random.beta(key, self.alpha, self.alpha))
            half = (side * limit).astype(jnp.int32) // 2
            return jax.random.randint(stream(key, "centre"), (2,), 0, limit) - half, 2 * half

        corner, size = jax.vmap(draw)(keys)
        size = size * chosen(keys, self.probability)[:, None]
        box = inside_box(corner, size, image.shape)
        stays = 1 - jnp.mean(box, axis=(1, 2, 3), dtype=jnp.float32)
        return batch | {"image": jnp.where(box, image[::-1], image), "target": _blend(target, stays)}


def _blend(x: jax.Array, share: jax.Array) -> jax.Array:
    """`share` [batch] of each example and the rest of its partner."""
    own = share.astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    return own * x + (1 - own) * x[::-1]
