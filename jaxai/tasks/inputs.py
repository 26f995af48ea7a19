"""What tasks do alike: inputs augmented within the step, and a model applied with its keys and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors
from flax import linen as nn

from jaxai.core import rng, tree
from jaxai.core.errors import InputError
from jaxai.data import augment as augmentation
from jaxai.tasks.task import Batch, Variables

AUXILIARY = "auxiliary"
"""The collection into which a model sows the logits of auxiliary heads, in training only."""


def check_augmentations(augment: Sequence[Any], field: str = "task.augment") -> None:
    """Raises InputError for what is no augmentation."""
    for i, given in enumerate(augment):
        if not callable(given):
            what = f"{type(given).__name__} is no augmentation"
            raise InputError(f"{field}.{i}", what, "such as jaxai.data.augment.RandomFlip()")


def prepare(augment: Sequence[Any], batch: Batch, key: jax.Array, train: bool, inputs: str = "image") -> dict[str, Any]:
    """`batch` after augmentation, its `inputs` as floating-point numbers: uint8 in 0..255 becomes 0..1."""
    prepared = augmentation.apply(tuple(augment), dict(batch), key, train)
    if prepared[inputs].dtype == jnp.uint8:
        prepared[inputs] = prepared[inputs].astype(jnp.float32) / 255
    return prepared


def apply_model(
    model: nn.Module,
    variables: Variables,
    inputs: jax.Array,
    index: jax.Array,
    key: jax.Array,
    train: bool,
    **further: Any,
) -> tuple[Any, dict[str, Any]]:
    """Float32 outputs of `model`, and its updated state (empty in evaluation).

    `index` [batch] numbers the examples; dropout draws from `key` and the first of them. Auxiliary heads are ignored.
    """
    outputs, state, _ = apply_with_auxiliary(model, variables, inputs, index, key, train, **further)
    return outputs, state


def apply_with_auxiliary(
    model: nn.Module,
    variables: Variables,
    inputs: jax.Array,
    index: jax.Array,
    key: jax.Array,
    train: bool,
    **further: Any,
) -> tuple[Any, dict[str, Any], list[jax.Array]]:
    """As `apply_model`, with the float32 logits of the model's auxiliary heads."""
    if jnp.issubdtype(inputs.dtype, jnp.floating):  # numbers of tokens stay what they are
        inputs = inputs.astype(tree.floating_dtype(variables["params"]))
    try:
        if not train:
            return tree.cast(model.apply(variables, inputs, train=False, **further), jnp.float32), {}, []
        dropout = rng.batch_key(rng.stream(key, "dropout"), index)
        mutable = [*(name for name in variables if name != "params"), AUXILIARY]
        outputs, state = model.apply(
            variables, inputs, train=True, rngs={"dropout": dropout}, mutable=mutable, **further
        )
    except errors.ScopeParamShapeError as error:
        raise _does_not_fit(model, inputs, error) from error
    state = dict(state)
    auxiliary = jax.tree.leaves(state.pop(AUXILIARY, {}))
    return tree.cast(outputs, jnp.float32), state, tree.cast(auxiliary, jnp.float32)


def examples(batch: dict[str, np.ndarray], inputs: str, num: int = 16) -> dict[str, np.ndarray]:
    """Up to `num` examples of a host batch, if they are pictures."""
    found = batch[inputs][:num]
    is_picture = found.dtype == np.uint8 and found.ndim == 4 and found.shape[-1] in (1, 3)
    return {"examples": found} if is_picture else {}


def part(variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The variables of the sub-module called `name`, of all collections that hold any."""
    return {collection: values[name] for collection, values in variables.items() if name in values}


def joined(**parts: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of several sub-modules, or their states, as those of one: undoes `part`."""
    collections = sorted({name for variables in parts.values() for name in variables})
    return {
        name: {part: variables[name] for part, variables in parts.items() if name in variables} for name in collections
    }


def _does_not_fit(model: nn.Module, inputs: jax.Array, error: Exception) -> InputError:
    what = f"{list(inputs.shape[1:])} do not fit the parameters of {type(model).__name__}"
    return InputError("inputs", what, str(error).split(" (https")[0])
