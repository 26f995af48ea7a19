"""Generative adversarial networks (Goodfellow et al. 2014) as one loss: no second trainer, and no turns to take."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.core.rng import example_keys, stream
from jaxai.tasks.generative import (
    bytes_of,
    check_labels,
    class_rows,
    example_normal,
    labels_of,
    nan_outside,
    require_images,
    weighted_sum,
    weights_of,
)
from jaxai.tasks.inputs import apply_model, check_augmentations, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class GAN:
    """A generator that learns to deceive a discriminator, which learns to tell made images from real ones.

    The loss is the sum of both losses. The discriminator's sees the generator's images as constants, the generator's
    sees the discriminator's parameters as constants, so each part gets the gradient of its own loss alone; both move
    in the same step. Parameters lie under `generator/` and `discriminator/`: give each its optimizer with
    `optim.Grouped`. Several steps of the critic for one of the generator become a higher learning rate of the critic
    (two time scales, Heusel et al. 2017).
    """

    generator: nn.Module
    """`generator(latents [batch, latent], train, label=[batch]) -> images` in -1..1; has `num_classes`."""
    discriminator: nn.Module
    """`discriminator(images in -1..1, train, label=[batch]) -> scores [batch]`, without state; has `num_classes`."""
    num_latents: int = 64
    """Latent numbers of an image, standard normal."""
    num_classes: int = 0
    """Classes that images are made of, which both models are told; 0 for none."""
    objective: Literal["non_saturating", "wgan_gp"] = "non_saturating"
    """The original one with the generator's loss that does not saturate, or the Wasserstein distance with a gradient
    penalty (Gulrajani et al. 2017)."""
    penalty: float = 10.0
    """Weight of the gradient penalty. WGAN-GP: (norm - 1)^2, between real and made images. Non-saturating: half the
    squared norm, at real images (R1, Mescheder et al. 2018)."""
    augment: tuple[Any, ...] = ()
    """Augmentations of real images from `jaxai.data.augment` that leave pixels in 0..1; the generator learns them."""
    inputs: str = "image"
    """The field of the batch with the images."""
    label: str = "label"
    """The field of the batch with the class number, [batch]; only with classes."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        for name, least in (("num_latents", 1), ("num_classes", 0), ("penalty", 0)):
            if getattr(self, name) < least:
                raise InputError(f"task.{name}", f"must be at least {least}, is {getattr(self, name)}")
        for name in ("generator", "discriminator"):
            if not hasattr(getattr(self, name), "num_classes"):
                what = f"{type(getattr(self, name)).__name__} has no num_classes"
                raise InputError(f"task.{name}", what, f"such as jaxai.models.{name.capitalize()}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_images(batch, self.inputs)
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        label = labels_of(batch, self.label, self.num_classes)
        latents = jnp.zeros((image.shape[0], self.num_latents))
        keys = {name: {"params": stream(key, name)} for name in ("generator", "discriminator")}
        made, generator = self._generator.init_with_output(keys["generator"], latents, train=False, label=label)
        if made.shape != image.shape:
            what = f"makes images {list(made.shape[1:])}, the data has {list(image.shape[1:])}"
            raise InputError("task.generator", what)
        discriminator = self._discriminator.init(keys["discriminator"], image, train=False, label=label)
        if set(discriminator) != {"params"}:
            what = f"keeps state: {', '.join(sorted(set(discriminator) - {'params'}))}"
            raise InputError("task.discriminator", what, "it must score each image alone, as without BatchNorm")
        return joined(generator=generator, discriminator=discriminator)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        real = 2 * prepare(self.augment, batch, key, train, self.inputs)[self.inputs] - 1
        index, label, weights = batch["index"], labels_of(batch, self.label, self.num_classes), weights_of(batch)
        latents = example_normal(key, "latents", index, (self.num_latents,))
        made, state = self._generate(variables, latents, label, index, key, train)
        constant = jax.lax.stop_gradient(made)

        def score(images: jax.Array, variables: Variables = variables) -> jax.Array:
            mine, key_ = part(variables, "discriminator"), stream(key, "discriminator")
            return apply_model(self._discriminator, mine, images, index, key_, train, label=label)[0]

        scores = {"real": score(real), "made": score(constant)}
        deceived = score(made, jax.lax.stop_gradient(dict(variables)))
        if self.objective == "wgan_gp":
            of_discriminator, of_generator = scores["made"] - scores["real"], -deceived
        else:
            of_discriminator = jax.nn.softplus(-scores["real"]) + jax.nn.softplus(scores["made"])
            of_generator = jax.nn.softplus(-deceived)
        penalties = self._penalties(score, real, constant, index, key)
        losses = nan_outside(of_discriminator + of_generator + self.penalty * penalties, label, self.num_classes)
        measured: dict[str, metrics.Metric] = {
            "generator_loss": metrics.Mean.of(of_generator, weights),
            "discriminator_loss": metrics.Mean.of(of_discriminator, weights),
            "gradient_penalty": metrics.Mean.of(penalties, weights),
            "score_real": metrics.Mean.of(scores["real"], weights),
            "score_made": metrics.Mean.of(scores["made"], weights),
        }
        return Out(weighted_sum(losses, weights), jnp.sum(weights), joined(generator=state), measured, made)

    def sample(self, variables: Variables, key: jax.Array, labels: jax.Array) -> jax.Array:
        """Images [num, height, width, channel] in 0..1 of the classes `labels` [num]; without classes any numbers."""
        index = jnp.arange(labels.shape[0])
        latents = example_normal(key, "latents", index, (self.num_latents,))
        label = labels if self.num_classes else None
        return (self._generate(variables, latents, label, index, key, False)[0] + 1) / 2

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """Samples, a row of each class."""
        return {"samples": bytes_of(self.sample(variables, key, class_rows(self.num_classes)))}

    def check(self, variables: Variables, batch: dict[str, np.ndarray]) -> None:  # noqa: ARG002
        """Raises InputError for a batch without the fields, or with labels that are no class."""
        require_images(batch, self.inputs)
        if self.num_classes:
            check_labels(batch, self.label, self.num_classes)

    @property
    def _generator(self) -> nn.Module:
        return self.generator.clone(num_classes=self.num_classes)

    @property
    def _discriminator(self) -> nn.Module:
        return self.discriminator.clone(num_classes=self.num_classes)

    def _generate(
        self,
        variables: Variables,
        latents: jax.Array,
        label: jax.Array | None,
        index: jax.Array,
        key: jax.Array,
        train: bool,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Images in -1..1, and the generator's state."""
        mine, key = part(variables, "generator"), stream(key, "generator")
        return apply_model(self._generator, mine, latents, index, key, train, label=label)

    def _penalties(self, score: Any, real: jax.Array, made: jax.Array, index: jax.Array, key: jax.Array) -> jax.Array:
        """[batch], before its weight: of the gradient of each image's score with respect to its pixels."""
        at = real
        if self.objective == "wgan_gp":
            keys = example_keys(stream(key, "between"), index)
            share = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
            at = share * real + (1 - share) * made
        # No score depends on another image, so the gradient of the sum is that of each.
        squares = jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(score(x)))(at)), axis=(1, 2, 3))
        if self.objective == "non_saturating":
            return squares / 2
        # The root's gradient at zero is infinite.
        return jnp.square(jnp.sqrt(jnp.maximum(squares, 1e-12)) - 1)
