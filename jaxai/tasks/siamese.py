"""What tasks share that compare two views of an image: the views, and variables in named parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize
from jaxai.tasks.inputs import apply_model, part, prepare
from jaxai.tasks.task import Batch, Variables

NUM_PAIRS = 16


def two_views(augment: Sequence[Any], batch: Batch, key: jax.Array, inputs: str) -> tuple[jax.Array, jax.Array]:
    """Two views of each example, each [batch, ...], by independent keys; random in evaluation too."""
    first, second = (
        prepare(augment, batch, rng.stream(key, name), True, inputs)[inputs] for name in ("first", "second")
    )
    return first, second


def side_by_side(
    first: Sequence[Any], second: Sequence[Any], batch: Batch, key: jax.Array, inputs: str
) -> dict[str, jax.Array]:
    """Up to 16 examples as two augmentations make them, next to each other, if they are pictures.

    What `Normalize` does is left out: its values are no shades.
    """
    shape = batch[inputs].shape
    if len(shape) != 4 or shape[-1] not in (1, 3):
        return {}
    few = {name: x[:NUM_PAIRS] for name, x in batch.items()}
    pair = []
    for name, augment in (("first", first), ("second", second)):
        shown = tuple(a for a in augment if not isinstance(a, Normalize))
        pair.append(prepare(shown, few, rng.stream(key, name), True, inputs)[inputs])
    pictures = jnp.clip(jnp.concatenate(pair, axis=2), 0, 1)
    return {"views": jnp.round(pictures * 255).astype(jnp.uint8)}


def init_encoder(encoder: nn.Module, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Variables]:
    """Features of `inputs` and fresh variables of `encoder`; raises InputError unless features are [batch, feature]."""
    key = rng.stream(key, "encoder")
    features, variables = encoder.init_with_output({"params": key, "dropout": key}, inputs, train=False)
    if getattr(features, "ndim", None) != 2:
        gives = list(features.shape) if hasattr(features, "shape") else f"a {type(features).__name__}"
        what = f"must give features [batch, feature], gives {gives}"
        raise InputError("task.encoder", what, "a model without its head: num_classes=0")
    return features, variables


def embed(encoder: nn.Module, augment: Sequence[Any], variables: Variables, inputs: jax.Array, field: str) -> jax.Array:
    """Features [batch, feature] of raw inputs as the source gives them, which are the field `field` of a batch."""
    index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
    prepared = prepare(augment, {field: inputs, "index": index}, key, False, field)[field]
    return apply_model(encoder, part(variables, "encoder"), prepared, index, key, False)[0]


def require_inputs(batch: Batch, inputs: str) -> None:
    """Raises InputError unless the batch has the field `inputs`."""
    if inputs not in batch:
        what = f"the data has no field {inputs!r}, only {', '.join(sorted(set(batch) - {'index', 'mask'}))}"
        raise InputError("task.inputs", what)


def cosine(first: jax.Array, second: jax.Array) -> jax.Array:
    """[batch], of the angles between two [batch, feature]."""
    return jnp.sum(unit(first) * unit(second), axis=-1)


def unit(x: jax.Array) -> jax.Array:
    """`x` [batch, feature] at length 1; zeros stay zeros, and have a gradient."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))
