"""Denoising diffusion (Ho et al. 2020): a model that tells noise from image, and samples made by asking it often."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

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
from jaxai.tasks.inputs import apply_model, check_augmentations, prepare
from jaxai.tasks.task import Batch, Out, Variables

NUM_TIMES = 1000
"""Noise levels, from 1 to this; at 0 there is no noise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Learns the noise in `sqrt(a) image + sqrt(1 - a) noise`, where `a` falls from 1 to 0 over 1,000 times.

    The time is uniform and drawn for each image and step; the loss is the mean squared error over an image's pixels,
    which are scaled to -1..1. Samples are made without further noise (DDIM, Song et al. 2021), in few steps. An
    average of the parameters (`Experiment.ema`) makes better ones.
    """

    model: nn.Module
    """`model(images, train, time=[batch] in 1..1000) -> [batch, height, width, channel]`, such as
    `UNet(time=True, norm="group")`; with classes also `label=[batch]`, where `num_classes` means none."""
    shape: tuple[int, int, int]
    """Height, width and channels of the images."""
    target: Literal["noise", "velocity"] = "noise"
    """What the model gives: the noise, or `sqrt(a) noise - sqrt(1 - a) image` (Salimans and Ho 2022)."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How `a` falls: as a squared cosine (Nichol and Dhariwal 2021), or by variances that rise in proportion to time
    from 0.0001 to 0.02 (Ho et al. 2020)."""
    num_classes: int = 0
    """Classes that images are made of, to which the model's `num_classes` is set; 0 for none."""
    label_dropout: float = 0.1
    """Share of the training examples whose class is hidden, which guidance needs."""
    guidance: float = 1.0
    """Samples go so many times as far as the class says, from what the model makes without it (Ho and Salimans 2022);
    1 is the class alone, and half the work."""
    sampling_steps: int = 50
    """Calls of the model, for each of guidance's two, that make a sample."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment` that leave pixels in 0..1; samples have them too."""
    inputs: str = "image"
    """The field of the batch with the images."""
    label: str = "label"
    """The field of the batch with the class number, [batch]; only with classes."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if self.num_classes < 0:
            raise InputError("task.num_classes", f"must not be negative, is {self.num_classes}")
        if not 0 <= self.label_dropout < 1:
            raise InputError("task.label_dropout", f"must be at least 0 and below 1, is {self.label_dropout}")
        if not 1 <= self.sampling_steps <= NUM_TIMES:
            raise InputError("task.sampling_steps", f"is {self.sampling_steps}", f"1 to {NUM_TIMES}")
        if self.guidance != 1 and not self.num_classes:
            raise InputError("task.guidance", "needs classes", "num_classes=... or guidance=1.0")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_images(batch, self.inputs)
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        if image.shape[1:] != self.shape:
            raise InputError("task.shape", f"is {list(self.shape)}, that of the data is {list(image.shape[1:])}")
        further: dict[str, Any] = {"label": labels_of(batch, self.label, self.num_classes)} if self.num_classes else {}
        time = jnp.ones(image.shape[:1], jnp.int32)
        given, variables = self._model.init_with_output({"params": key}, image, train=False, time=time, **further)
        if given.shape != image.shape:
            what = f"gives {list(given.shape[1:])} for images {list(image.shape[1:])}"
            raise InputError("task.model", what, f"out_channels={image.shape[-1]}")
        return variables

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        clean = 2 * prepare(self.augment, batch, key, train, self.inputs)[self.inputs] - 1
        index, label, weights = batch["index"], labels_of(batch, self.label, self.num_classes), weights_of(batch)
        keys = example_keys(stream(key, "time"), index)
        time = jax.vmap(lambda key: jax.random.randint(key, (), 1, NUM_TIMES + 1))(keys)
        noise = example_normal(key, "noise", index, clean.shape[1:])
        signal, spread = self._scales(time)
        shown = label
        if label is not None and train:
            hidden = jax.vmap(jax.random.uniform)(example_keys(stream(key, "label"), index)) < self.label_dropout
            shown = jnp.where(hidden, self.num_classes, label)
        noisy = signal * clean + spread * noise
        given, state = self._apply(variables, noisy, time, shown, index, stream(key, "model"), train)
        target = noise if self.target == "noise" else signal * noise - spread * clean
        losses = nan_outside(jnp.mean(jnp.square(given - target), axis=(1, 2, 3)), label, self.num_classes)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, {}, noisy)

    def sample(self, variables: Variables, key: jax.Array, labels: jax.Array) -> jax.Array:
        """Images [num, height, width, channel] in 0..1 of the classes `labels` [num]; without classes any numbers."""
        index = jnp.arange(labels.shape[0])
        label = labels if self.num_classes else None

        def clean(x: jax.Array, time: jax.Array) -> jax.Array:
            times = jnp.full(index.shape, time)
            given = self._apply(variables, x, times, label, index, key, False)[0]
            if self.guidance != 1:
                nothing = jnp.full(index.shape, self.num_classes)
                free = self._apply(variables, x, times, nothing, index, key, False)[0]
                given = free + self.guidance * (given - free)
            signal, spread = self._scales(times)
            image = signal * x - spread * given if self.target == "velocity" else (x - spread * given) / signal
            # No image lies outside; where nearly all is noise, the division makes much of a small error.
            return jnp.clip(image, -1, 1)

        noise = example_normal(key, "noise", index, self.shape)
        return jnp.clip((ddim(clean, noise, alpha_bars(self.schedule), self.sampling_steps) + 1) / 2, 0, 1)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """Samples, a row of each class."""
        return {"samples": bytes_of(self.sample(variables, key, class_rows(self.num_classes)))}

    def check(self, variables: Variables, batch: dict[str, np.ndarray]) -> None:  # noqa: ARG002
        """Raises InputError for a batch without the fields, or with labels that are no class."""
        require_images(batch, self.inputs)
        if self.num_classes:
            check_labels(batch, self.label, self.num_classes)

    @property
    def _model(self) -> nn.Module:
        return self.model.clone(num_classes=self.num_classes) if self.num_classes else self.model

    def _apply(
        self,
        variables: Variables,
        images: jax.Array,
        time: jax.Array,
        label: jax.Array | None,
        index: jax.Array,
        key: jax.Array,
        train: bool,
    ) -> tuple[jax.Array, dict[str, Any]]:
        further = {} if label is None else {"label": label}
        return apply_model(self._model, variables, images, index, key, train, time=time, **further)

    def _scales(self, time: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The factors of image and noise at `time` [batch], each [batch, 1, 1, 1]."""
        share = jnp.asarray(alpha_bars(self.schedule))[time][:, None, None, None]
        return jnp.sqrt(share), jnp.sqrt(1 - share)


def alpha_bars(schedule: Literal["cosine", "linear"]) -> np.ndarray:
    """The image's share of the variance at the times 0 to 1,000, float32 [1001], from 1 to nearly 0."""
    if schedule == "linear":
        betas = np.linspace(1e-4, 0.02, NUM_TIMES)
    else:
        share = np.cos((np.arange(NUM_TIMES + 1) / NUM_TIMES + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - share[1:] / share[:-1], 0.999)
    return np.concatenate([[1.0], np.cumprod(1 - betas)]).astype(np.float32)


def ddim(
    clean: Callable[[jax.Array, jax.Array], jax.Array], noise: jax.Array, alpha_bars: np.ndarray, steps: int
) -> jax.Array:
    """Images of `noise`, by `steps` steps without further noise: eq. 12 of Song et al. 2021 with sigma = 0.

    `clean(x, time)` is the image expected behind `x` [batch, ...] at `time`, a scalar; `alpha_bars` [time] from 1 down.
    """
    times = np.round(np.linspace(len(alpha_bars) - 1, 0, steps + 1)).astype(np.int32)
    signals, spreads = jnp.sqrt(alpha_bars), jnp.sqrt(1 - alpha_bars)

    def step(x: jax.Array, pair: jax.Array) -> tuple[jax.Array, None]:
        now, then = pair
        image = clean(x, now)
        noise = (x - signals[now] * image) / spreads[now]
        return signals[then] * image + spreads[then] * noise, None

    return jax.lax.scan(step, noise, jnp.stack([times[:-1], times[1:]], axis=1))[0]
