"""The denoising autoencoder (Vincent et al. 2008): a code from which a spoilt image is made whole."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.core.rng import example_keys, stream
from jaxai.tasks.generative import require_images, rows, weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model, check_augmentations, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenoisingAutoencoder:
    """Learns to give back an image whose pixels were spoilt; the code in between says what is in it.

    With `strength=0` it is a plain autoencoder. Losses and metrics are means over an image's pixels.
    """

    encoder: nn.Module
    """A model of images: `encoder(images, train) -> code [batch, feature]`."""
    decoder: nn.Module
    """`decoder(code [batch, feature], train) -> [batch, height, width, channel]`: logits, or the pixels themselves."""
    noise: Literal["mask", "gaussian"] = "mask"
    """Set pixels to zero, all channels alike, or add normal noise to all."""
    strength: float = 0.5
    """The share of pixels set to zero, or the standard deviation of the noise on the scale 0..1."""
    error: Literal["cross_entropy", "squared"] = "cross_entropy"
    """Cross-entropy of pixels in 0..1 and the decoder's logits, or squared difference."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment`, before the noise; cross-entropy needs them to leave pixels in 0..1."""
    inputs: str = "image"
    """The field of the batch with the images."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if self.strength < 0 or (self.noise == "mask" and self.strength >= 1):
            fix = "at least 0 and below 1" if self.noise == "mask" else "at least 0"
            raise InputError("task.strength", f"is {self.strength}", fix)

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_images(batch, self.inputs)
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        keys = {name: {"params": stream(key, name)} for name in ("encoder", "decoder")}
        code, encoder = self.encoder.init_with_output(keys["encoder"], image, train=False)
        decoded, decoder = self.decoder.init_with_output(keys["decoder"], code, train=False)
        if decoded.shape != image.shape:
            what = f"gives images {list(decoded.shape[1:])}, the data has {list(image.shape[1:])}"
            raise InputError("task.decoder", what)
        return joined(encoder=encoder, decoder=decoder)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        image = prepare(self.augment, batch, key, train, self.inputs)[self.inputs]
        weights = weights_of(batch)
        spoilt = self._spoil(image, batch["index"], key)
        decoded, state = self._reconstruct(variables, spoilt, batch["index"], key, train)
        if self.error == "cross_entropy":
            losses = _pixel_mean(jax.nn.softplus(decoded) - image * decoded)
        else:
            losses = _pixel_mean(jnp.square(decoded - image))
        measured: dict[str, metrics.Metric] = {
            "squared_error": metrics.Mean.of(_pixel_mean(jnp.square(self._pixels(decoded) - image)), weights),
            "squared_error_before": metrics.Mean.of(_pixel_mean(jnp.square(spoilt - image)), weights),
        }
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The denoised images, on the scale of the prepared ones, of raw noisy images as the source gives them."""
        image, index, key = self._prepared(inputs)
        return self._pixels(self._reconstruct(variables, image, index, key, False)[0])

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The code, [batch, feature], of raw images as the source gives them."""
        image, index, key = self._prepared(inputs)
        return apply_model(self.encoder, part(variables, "encoder"), image, index, key, False)[0]

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Images in rows; below them what the noise made of them, and what the model makes of that."""
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        spoilt = self._spoil(image, batch["index"], key)
        decoded = self._pixels(self._reconstruct(variables, spoilt, batch["index"], key, False)[0])
        return {"denoised": rows(image, spoilt, decoded)}

    def _prepared(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        batch = {self.inputs: inputs, "index": index}
        return prepare(self.augment, batch, key, False, self.inputs)[self.inputs], index, key

    def _spoil(self, image: jax.Array, index: jax.Array, key: jax.Array) -> jax.Array:
        """`image` with noise that depends on the key and each example's index."""
        keys = example_keys(stream(key, "noise"), index)
        if self.noise == "gaussian":
            return image + self.strength * jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
        shape = (*image.shape[1:3], 1)
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.strength, shape))(keys)
        return jnp.where(kept, image, 0.0)

    def _reconstruct(
        self, variables: Variables, image: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """The decoder's outputs, and the state of both models."""
        keys = {name: stream(key, name) for name in ("encoder", "decoder")}
        code, encoder = apply_model(self.encoder, part(variables, "encoder"), image, index, keys["encoder"], train)
        decoded, decoder = apply_model(self.decoder, part(variables, "decoder"), code, index, keys["decoder"], train)
        return decoded, joined(encoder=encoder, decoder=decoder)

    def _pixels(self, decoded: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(decoded) if self.error == "cross_entropy" else decoded


def _pixel_mean(x: jax.Array) -> jax.Array:
    """[batch], of [batch, height, width, channel]."""
    return jnp.mean(x, axis=(1, 2, 3))
