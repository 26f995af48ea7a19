"""What tasks do alike whose models make images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.rng import example_keys, stream
from jaxai.tasks.task import Batch

ROW = 8
"""Pictures in a row of the logs."""


def example_normal(key: jax.Array, name: str, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers [batch, *shape], from stream `name` at each example's `index` [batch]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(example_keys(stream(key, name), index))


def weighted_sum(losses: jax.Array, weights: jax.Array) -> jax.Array:
    """The sum of `losses` times `weights`, both [batch]; a padded example must not turn 0 * nan into nan."""
    return jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))


def weights_of(batch: Batch) -> jax.Array:
    """The weight of each example [batch]: 0 where it only pads, and the batch's own `weight` where it has one."""
    ones = jnp.ones(batch["index"].shape, jnp.float32)
    return ones * batch.get("mask", 1.0) * batch.get("weight", 1.0)


def bytes_of(images: jax.Array) -> jax.Array:
    """uint8 of images [..., height, width, channel] in 0..1; what lies outside is clipped."""
    return jnp.round(jnp.clip(images, 0, 1) * 255).astype(jnp.uint8)


def rows(*images: jax.Array) -> jax.Array:
    """uint8 [num, height, width, channel]: a row of `ROW` of each one, then the next row of each; twice, if so many."""
    num = min(2 * ROW, images[0].shape[0])
    starts = range(0, num, ROW)
    return bytes_of(jnp.concatenate([x[start : start + ROW] for start in starts for x in images]))


def require_images(batch: Batch, inputs: str) -> None:
    """Raises InputError for a batch whose field `inputs` is no [batch, height, width, channel]."""
    if inputs not in batch:
        fix = did_you_mean(inputs, set(batch) - {"index"})
        raise InputError("task.inputs", f"the data has no field {inputs!r}", fix)
    if batch[inputs].ndim != 4:
        what = f"{inputs!r} has shape {list(batch[inputs].shape)}"
        raise InputError("task.inputs", what, "needs images [batch, height, width, channel]")


def class_rows(num_classes: int) -> jax.Array:
    """Labels [num] of a row of each class; four rows of class 0 where there are none."""
    return jnp.repeat(jnp.arange(num_classes), ROW) if num_classes else jnp.zeros(4 * ROW, jnp.int32)


def require_labels(batch: Batch, label: str) -> None:
    """Raises InputError for a batch whose field `label` is not one integer an example."""
    if label not in batch:
        raise InputError("task.label", f"the data has no field {label!r}", did_you_mean(label, set(batch) - {"index"}))
    if batch[label].ndim != 1 or not jnp.issubdtype(batch[label].dtype, jnp.integer):
        what = f"{label!r} must be one integer an example, is {batch[label].dtype}{list(batch[label].shape[1:])}"
        raise InputError("task.label", what)


def check_labels(batch: Batch, label: str, num_classes: int) -> None:
    """Raises InputError for a host batch with labels that are no class."""
    require_labels(batch, label)
    wrong = np.flatnonzero((batch[label] < 0) | (batch[label] >= num_classes))
    if wrong.size:
        what = f"is {batch[label][wrong[0]]} in example {batch['index'][wrong[0]]}, the task has {num_classes} classes"
        raise InputError(label, what, f"labels go from 0 to {num_classes - 1}")


def labels_of(batch: Batch, label: str, num_classes: int) -> jax.Array | None:
    """The class numbers [batch] that a conditional model is told; None where there are no classes."""
    if not num_classes:
        return None
    require_labels(batch, label)
    return batch[label]


def nan_outside(losses: jax.Array, labels: jax.Array | None, num_classes: int) -> jax.Array:
    """`losses` [batch], nan where the label is no class: a wrong label would go unnoticed, the guard finds a nan."""
    return losses if labels is None else jnp.where((labels >= 0) & (labels < num_classes), losses, jnp.nan)
