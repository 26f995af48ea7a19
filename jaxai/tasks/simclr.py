"""SimCLR: learning to tell two views of one image from the views of all others (Chen et al. 2020)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.models.projector import Projector
from jaxai.parallel import gather, own_rows
from jaxai.tasks import siamese
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimCLR:
    """Contrasts two augmented views of each image with those of the whole batch, over all devices, without labels.

    With `accumulate`, each micro-batch is contrasted by itself. Evaluations draw views too, always the same ones.
    """

    encoder: nn.Module
    """The network that is to learn: `encoder(inputs, train) -> features [batch, feature]`, a model of no classes."""
    projector: nn.Module = Projector(features=(128, 64))  # noqa: RUF009 - a frozen value
    """The head that the loss sees, and nothing else."""
    augment: tuple[Any, ...]
    """Augmentations from `jaxai.data.augment` that make a view: what they change, the encoder learns to ignore."""
    temperature: float = 0.5
    """Divides the cosines: the lower, the more the nearest negatives count."""
    inputs: str = "image"
    """The field of the batch that the encoder sees."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not self.temperature > 0:
            raise InputError("task.temperature", f"must be positive, is {self.temperature:g}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        siamese.require_inputs(batch, self.inputs)
        prepared = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        features, encoder = siamese.init_encoder(self.encoder, prepared, key)
        projector = self.projector.init(rng.stream(key, "projector"), features, train=False)
        return joined(encoder=encoder, projector=projector)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        views = siamese.two_views(self.augment, batch, key, self.inputs)
        index = jnp.concatenate([batch["index"]] * 2)
        features, encoder = apply_model(
            self.encoder, part(variables, "encoder"), jnp.concatenate(views), index, rng.stream(key, "encoder"), train
        )
        projections, projector = apply_model(
            self.projector, part(variables, "projector"), features, index, rng.stream(key, "projector"), train
        )
        weights = batch.get("mask", jnp.ones(batch["index"].shape, jnp.float32))
        first, second = jnp.split(projections, 2)
        losses, hits = nt_xent(first, second, weights, self.temperature)
        measured = {"contrastive_accuracy": metrics.Mean.of(hits, jnp.concatenate([weights] * 2) != 0)}
        state = joined(encoder=encoder, projector=projector)
        total = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
        return Out(total, jnp.sum(weights), state, measured, projections)

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Features of the encoder, [batch, feature], of raw inputs as the source gives them."""
        return siamese.embed(self.encoder, self.augment, variables, inputs, self.inputs)

    def check(self, variables: Variables, batch: Batch) -> None:  # noqa: ARG002
        """Raises InputError for a batch without inputs, or of a single example, which has nothing to differ from."""
        siamese.require_inputs(batch, self.inputs)
        if "mask" not in batch and len(batch["index"]) < 2:
            raise InputError("batch_size", "has one example, and no other to tell it from", "2 or more")

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """Pairs of views of up to 16 examples."""
        return siamese.side_by_side(self.augment, self.augment, batch, key, self.inputs)


def nt_xent(first: jax.Array, second: jax.Array, weights: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """The normalized temperature-scaled cross-entropy of two views, both [batch, feature], of the same examples.

    Gives the loss of each example [batch], the mean over its two views; and whether each view [2 * batch], all of the
    first before all of the second, finds the other one nearest. Views of all devices are candidates; an example of
    weight 0 ([batch]) pads, and is none.
    """
    num = first.shape[0]
    mine = siamese.unit(jnp.concatenate([first, second]))
    candidates = jnp.concatenate([gather(mine[:num]), gather(mine[num:])])
    real = jnp.concatenate([gather(weights)] * 2) > 0
    total = candidates.shape[0] // 2
    rows = own_rows(num)
    number = jnp.arange(2 * total)[None, :]
    itself = number == jnp.concatenate([rows, rows + total])[:, None]
    positive = number == jnp.concatenate([rows + total, rows])[:, None]
    similarities = mine @ candidates.T / temperature
    # The other view of a padding example stays, or its row would have no candidate and be nan.
    allowed = (real[None, :] | positive) & ~itself
    similarities = jnp.where(allowed, similarities, -jnp.inf)
    log_p = jnp.sum(jnp.where(positive, similarities, 0.0), axis=1) - jax.nn.logsumexp(similarities, axis=1)
    hits = jnp.any(positive & (number == jnp.argmax(similarities, axis=1)[:, None]), axis=1)
    return -(log_p[:num] + log_p[num:]) / 2, hits
