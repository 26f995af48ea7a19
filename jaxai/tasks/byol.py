"""BYOL: learning to predict what a slower copy of the network makes of another view (Grill et al. 2020)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng, tree
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.models.projector import Projector
from jaxai.tasks import siamese
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables

TEACHER = "teacher"
"""The collection with the averaged encoder and projector: their parameters, and their BatchNorm statistics if any."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BYOL:
    """Predicts a teacher's projection of one view from another view; the teacher averages the network over time.

    No negatives are needed. Nothing in the loss forbids that all images become the same point: `spread` tells whether
    they do, being 0 then. With `accumulate`, the teacher moves with every micro-batch. Evaluations draw views too,
    always the same ones.
    """

    encoder: nn.Module
    """The network that is to learn: `encoder(inputs, train) -> features [batch, feature]`, a model of no classes."""
    projector: nn.Module = Projector(features=(256, 64))  # noqa: RUF009 - a frozen value
    """The head whose outputs are compared."""
    predictor: nn.Module = Projector(features=(256, 64))  # noqa: RUF009 - a frozen value
    """What the teacher lacks: from the projection of one view to that of the other, of the same width."""
    augment: tuple[Any, ...]
    """Augmentations from `jaxai.data.augment` that make a view: what they change, the encoder learns to ignore."""
    decay: float = 0.99
    """Share of the teacher that stays in a step; the paper raises it from 0.996 to 1."""
    inputs: str = "image"
    """The field of the batch that the encoder sees."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not 0 <= self.decay <= 1:
            raise InputError("task.decay", f"must be 0 to 1, is {self.decay:g}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        siamese.require_inputs(batch, self.inputs)
        prepared = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        features, encoder = siamese.init_encoder(self.encoder, prepared, key)
        projection, projector = self.projector.init_with_output(rng.stream(key, "projector"), features, train=False)
        prediction, predictor = self.predictor.init_with_output(rng.stream(key, "predictor"), projection, train=False)
        if prediction.shape != projection.shape:
            what = f"predicts {prediction.shape[-1]} of {projection.shape[-1]} features of a projection"
            raise InputError("task.predictor", what, "its last width must be the projector's")
        online = {"encoder": encoder, "projector": projector}
        # A copy, because the step donates its buffers and one buffer cannot be donated twice.
        teacher = jax.tree.map(jnp.copy, joined(**online))
        return joined(**online, predictor=predictor) | {TEACHER: teacher}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        teacher = variables[TEACHER]
        if train:
            # Before the loss rather than after the update, which a task does not see: the same sequence of teachers.
            teacher = {**teacher, "params": self._move(teacher["params"], variables["params"])}
        views = jnp.concatenate(siamese.two_views(self.augment, batch, key, self.inputs))
        index = jnp.concatenate([batch["index"]] * 2)
        features, projections, online = self._project(variables, views, index, rng.stream(key, "online"), train)
        predictions, predictor = apply_model(
            self.predictor, part(variables, "predictor"), projections, index, rng.stream(key, "predictor"), train
        )
        held = {**teacher, "params": tree.cast(teacher["params"], tree.floating_dtype(variables["params"]))}
        _, targets, moved = self._project(held, views, index, rng.stream(key, "teacher"), train)
        first, second = jnp.split(jax.lax.stop_gradient(targets), 2)
        # Each view's prediction is held to the target of the other.
        losses = 2 - 2 * siamese.cosine(predictions, jnp.concatenate([second, first]))
        losses = jnp.sum(losses.reshape(2, -1), axis=0)
        weights = batch.get("mask", jnp.ones(batch["index"].shape, jnp.float32))
        both = jnp.concatenate([weights] * 2)
        measured = {"spread": metrics.Spread.of(jax.lax.stop_gradient(features), both)}
        state = {}
        if train:
            state = joined(**online, predictor=predictor)
            state[TEACHER] = jax.lax.stop_gradient({**teacher, **joined(**moved)})
        total = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
        return Out(total, jnp.sum(weights), state, measured, predictions)

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Features of the encoder, [batch, feature], of raw inputs as the source gives them."""
        return siamese.embed(self.encoder, self.augment, variables, inputs, self.inputs)

    def check(self, variables: Variables, batch: Batch) -> None:  # noqa: ARG002
        """Raises InputError for a batch without inputs."""
        siamese.require_inputs(batch, self.inputs)

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """Pairs of views of up to 16 examples."""
        return siamese.side_by_side(self.augment, self.augment, batch, key, self.inputs)

    def _project(
        self, variables: Variables, views: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array, dict[str, Any]]:
        """Features, projections and the updated state of encoder and projector."""
        features, encoder = apply_model(
            self.encoder, part(variables, "encoder"), views, index, rng.stream(key, "encoder"), train
        )
        projections, projector = apply_model(
            self.projector, part(variables, "projector"), features, index, rng.stream(key, "projector"), train
        )
        return features, projections, {"encoder": encoder, "projector": projector}

    def _move(self, teacher: Any, params: Any) -> Any:
        """The teacher's parameters after a step towards those of encoder and projector."""
        return {
            name: jax.tree.map(
                lambda old, new: old + (1 - self.decay) * (jax.lax.stop_gradient(new).astype(old.dtype) - old),
                teacher[name],
                params[name],
            )
            for name in teacher
        }
