"""Segmentation: the class of every pixel, by cross-entropy."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data import augment as augmentation
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Learns to name the class of each pixel: cross-entropy, averaged over the pixels of an image.

    With one logit a pixel there are two classes, and IoU and Dice are those of class 1; with more, IoU and Dice are
    means over the classes. Both are of all pixels of an evaluation together, not means over images.
    """

    model: nn.Module
    """The network: `model(inputs, train) -> logits [batch, height, width, class]`, or one logit for two classes."""
    spatial: tuple[Any, ...] = ()
    """Augmentations that move pixels, such as `RandomFlip` and `RandomCrop`: image and target move alike. They see
    both as one image of more channels, in the image's type, and must not blend pixels; what a crop adds is class 0."""
    augment: tuple[Any, ...] = ()
    """Augmentations of the image alone, such as `ColorJitter` and `Normalize`, after `spatial`."""
    inputs: str = "image"
    """The field of the batch that the model sees."""
    target: str
    """The field of the batch with the class number of each pixel, [batch, height, width, 1]."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        check_augmentations(self.spatial, "task.spatial")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        inputs = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        return self.model.init({"params": key, "dropout": key}, inputs, train=False)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        weights = batch.get("mask", jnp.ones(batch["index"].shape)) * batch.get("weight", 1.0)
        moved = self._move(batch, key, train)
        inputs = prepare(self.augment, moved, key, train, self.inputs)[self.inputs]
        logits, state = apply_model(self.model, variables, inputs, batch["index"], key, train)
        truth = moved[self.target][..., 0].astype(jnp.int32)
        losses = jnp.mean(_cross_entropy(logits, truth), axis=(1, 2))
        total = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
        measured = self._measure(logits, truth, weights, train)
        return Out(total, jnp.sum(weights), state, measured, logits)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Probabilities [batch, height, width, class] of raw inputs; of class 1 alone where the model has one logit."""
        logits = self._evaluate(variables, inputs)
        return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Up to 8 images, each beside its true and its predicted mask."""
        del key
        inputs = batch[self.inputs][:8]
        logits = self._evaluate(variables, inputs)
        shade = 255 // max(logits.shape[-1] - 1, 1)
        masks = [batch[self.target][:8, ..., 0], _predictions(logits)]
        shown = [jnp.repeat((mask * shade).astype(jnp.uint8)[..., None], inputs.shape[-1], axis=-1) for mask in masks]
        if inputs.dtype != jnp.uint8:
            inputs = jnp.round(255 * jnp.clip(inputs, 0, 1)).astype(jnp.uint8)
        return {"masks": jnp.concatenate([inputs, *shown], axis=2)}

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or with pixels of no class of the model."""
        self._require(batch)
        logits = jax.eval_shape(lambda v, x: self._evaluate(v, x), dict(variables), batch[self.inputs])
        target = batch[self.target]
        if logits.shape[:-1] != target.shape[:-1]:
            what = f"gives {list(logits.shape[1:])} for a target {list(target.shape[1:])}"
            raise InputError("task.model", what, "logits [height, width, class]")
        most = max(logits.shape[-1], 2) - 1
        if target.min() < 0 or target.max() > most:
            odd = target.min() if target.min() < 0 else target.max()
            raise InputError(self.target, f"has a pixel of class {odd}", f"classes go from 0 to {most}")

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def _move(self, batch: Batch, key: jax.Array, train: bool) -> dict[str, Any]:
        """`batch` with image and target moved by the spatial augmentations, as one image of more channels."""
        image, target = batch[self.inputs], batch[self.target]
        both = jnp.concatenate([image, target.astype(image.dtype)], axis=-1)
        moved = augmentation.apply(
            self.spatial, {"image": both, "index": batch["index"]}, rng.stream(key, "spatial"), train
        )["image"]
        if moved.dtype != both.dtype:
            raise InputError("task.spatial", f"made {moved.dtype} of {both.dtype}", "only what moves pixels goes here")
        return {**batch, self.inputs: moved[..., :-1], self.target: moved[..., -1:]}

    def _measure(self, logits: jax.Array, truth: jax.Array, weights: jax.Array, train: bool) -> dict[str, Any]:
        predictions = _predictions(logits)
        counted = jnp.broadcast_to((weights != 0)[:, None, None], truth.shape)
        measured: dict[str, Any] = {"pixel_accuracy": metrics.Mean.of(predictions == truth, counted)}
        if not train:
            classes = jnp.arange(logits.shape[-1]) if logits.shape[-1] > 1 else jnp.ones(1, jnp.int32)
            true, predicted = (x[..., None] == classes[None, None, None] for x in (truth, predictions))
            measured["overlap"] = metrics.Overlap.of(true, predicted, weights)
        return measured

    def _evaluate(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Float32 logits of raw inputs."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        prepared = prepare(self.augment, {self.inputs: inputs, "index": index}, key, False, self.inputs)
        return apply_model(self.model, variables, prepared[self.inputs], index, key, False)[0]

    def _require(self, batch: Batch) -> None:
        for field, name in (("task.inputs", self.inputs), ("task.target", self.target)):
            if name not in batch:
                raise InputError(field, f"the data has no field {name!r}", did_you_mean(name, set(batch) - {"index"}))
        shapes = batch[self.inputs].shape, batch[self.target].shape
        if shapes[1] != (*shapes[0][:-1], 1):
            what = f"{self.target!r} is {list(shapes[1][1:])} for images of {list(shapes[0][1:])}"
            raise InputError("task.target", what, "needs [height, width, 1]")


def _cross_entropy(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """[batch, height, width] of logits [..., class] and class numbers; nan for what is no class."""
    known = (truth >= 0) & (truth < max(logits.shape[-1], 2))
    if logits.shape[-1] == 1:
        losses = jax.nn.softplus(logits[..., 0]) - truth * logits[..., 0]
    else:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), truth[..., None], axis=-1, mode="clip")
        losses = -chosen[..., 0]
    return jnp.where(known, losses, jnp.nan)


def _predictions(logits: jax.Array) -> jax.Array:
    """The likeliest class of each pixel, [batch, height, width] int32."""
    likeliest = logits[..., 0] > 0 if logits.shape[-1] == 1 else jnp.argmax(logits, axis=-1)
    return likeliest.astype(jnp.int32)
