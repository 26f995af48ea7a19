"""The variational autoencoder (Kingma and Welling 2014): a bound on the likelihood of images, in nats an image."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.core.rng import example_keys, stream
from jaxai.tasks.generative import (
    ROW,
    bytes_of,
    example_normal,
    require_images,
    rows,
    weighted_sum,
    weights_of,
)
from jaxai.tasks.inputs import apply_model, check_augmentations, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables

PROGRESS = "progress"
"""The collection that counts the training batches seen, which the warm-up of the KL divergence goes by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAE:
    """Learns codes of images and images of codes: the evidence lower bound, with a standard normal prior.

    `log p(x) >= ELBO = E_q(z|x) log p(x|z) - KL(q(z|x) || N(0, 1))`, with one sample of `q`, a diagonal normal
    distribution, for each image and step. The loss is its negative.
    """

    encoder: nn.Module
    """A model of images; its head is made to give the mean and log-variance of each latent number."""
    decoder: nn.Module
    """`decoder(latents [batch, latent], train) -> [batch, height, width, channel]`: logits, or means of pixels."""
    num_latents: int = 20
    """Latent numbers of an image."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """Of a pixel. Bernoulli takes an image's grey values as probabilities and draws each pixel as black or white, anew
    at each step (Salakhutdinov and Murray 2008), so that the bound is one on a probability; gaussian takes 0..1."""
    std: float = 0.1
    """Standard deviation of a pixel under the gaussian likelihood."""
    kl_warmup_steps: int = 0
    """The divergence's weight in the training loss rises from 0 to 1 over so many batches (Bowman et al. 2016), and
    over micro-batches where a step has several. Evaluations always report the bound itself."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment` that leave pixels in 0..1."""
    inputs: str = "image"
    """The field of the batch with the images."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not hasattr(self.encoder, "num_classes"):
            what = f"{type(self.encoder).__name__} has no num_classes, to which the width of its head is set"
            raise InputError("task.encoder", what, "such as MLP() or ConvNet()")
        if self.num_latents < 1:
            raise InputError("task.num_latents", f"must be at least 1, is {self.num_latents}")
        if self.std <= 0:
            raise InputError("task.std", f"must be above 0, is {self.std}")
        if self.kl_warmup_steps < 0:
            raise InputError("task.kl_warmup_steps", f"must not be negative, is {self.kl_warmup_steps}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_images(batch, self.inputs)
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        keys = {name: stream(key, name) for name in ("encoder", "decoder")}
        encoder = self._encoder.init({"params": keys["encoder"]}, image, train=False)
        latents = jnp.zeros((image.shape[0], self.num_latents))
        decoded, decoder = self.decoder.init_with_output({"params": keys["decoder"]}, latents, train=False)
        if decoded.shape != image.shape:
            what = f"gives images {list(decoded.shape[1:])}, the data has {list(image.shape[1:])}"
            raise InputError("task.decoder", what)
        counter = {PROGRESS: {"step": jnp.float32(0)}} if self.kl_warmup_steps else {}
        return joined(encoder=encoder, decoder=decoder) | counter

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        image = prepare(self.augment, batch, key, train, self.inputs)[self.inputs]
        index, weights = batch["index"], weights_of(batch)
        if self.likelihood == "bernoulli":
            keys = example_keys(stream(key, "pixels"), index)
            image = jax.vmap(jax.random.bernoulli)(keys, image).astype(jnp.float32)
        mean, log_variance, encoder_state = self._encode(variables, image, index, key, train)
        noise = example_normal(key, "latents", index, (self.num_latents,))
        latents = mean + jnp.exp(0.5 * log_variance) * noise
        decoded, decoder_state = self._decode(variables, latents, index, key, train)
        reconstruction = self._log_likelihood(image, decoded)
        divergence = kl_divergence(mean, log_variance)
        elbo = reconstruction - divergence
        state, losses = joined(encoder=encoder_state, decoder=decoder_state), -elbo
        if train and self.kl_warmup_steps:
            step = variables[PROGRESS]["step"]
            losses = jnp.minimum(step / self.kl_warmup_steps, 1.0) * divergence - reconstruction
            state |= {PROGRESS: {"step": step + 1}}
        measured: dict[str, metrics.Metric] = {
            "elbo": metrics.Mean.of(elbo, weights),
            "reconstruction": metrics.Mean.of(reconstruction, weights),
            "kl": metrics.Mean.of(divergence, weights),
        }
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Reconstructions in 0..1, from the mean of the code, of raw images as the source gives them."""
        mean = self.embed(variables, inputs)
        return self._pixels(self._decode(variables, mean, jnp.arange(len(mean)), jax.random.key(0), False)[0])

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The mean of the code, [batch, latent], of raw images as the source gives them."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        image = prepare(self.augment, {self.inputs: inputs, "index": index}, key, False, self.inputs)[self.inputs]
        return self._encode(variables, image, index, key, False)[0]

    def sample(self, variables: Variables, key: jax.Array, num: int) -> jax.Array:
        """New images [num, height, width, channel], as the probabilities or means of their pixels, in 0..1."""
        latents = jax.random.normal(key, (num, self.num_latents))
        return self._pixels(self._decode(variables, latents, jnp.arange(num), key, False)[0])

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Images in rows, with their reconstructions below; and samples."""
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        decoded = self.predict(variables, batch[self.inputs])
        samples = self.sample(variables, stream(key, "samples"), 4 * ROW)
        return {"reconstructions": rows(image, decoded), "samples": bytes_of(samples)}

    @property
    def _encoder(self) -> nn.Module:
        return self.encoder.clone(num_classes=2 * self.num_latents)

    def _encode(
        self, variables: Variables, image: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array, dict[str, Any]]:
        """Mean and log-variance [batch, latent] of the codes, and the encoder's state."""
        mine, key = part(variables, "encoder"), stream(key, "encoder")
        outputs, state = apply_model(self._encoder, mine, image, index, key, train)
        mean, log_variance = jnp.split(outputs, 2, axis=-1)
        return mean, log_variance, state

    def _decode(
        self, variables: Variables, latents: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Logits or means [batch, height, width, channel] of pixels, and the decoder's state."""
        return apply_model(self.decoder, part(variables, "decoder"), latents, index, stream(key, "decoder"), train)

    def _pixels(self, decoded: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(decoded) if self.likelihood == "bernoulli" else decoded

    def _log_likelihood(self, image: jax.Array, decoded: jax.Array) -> jax.Array:
        """Log p(image | code) in nats, [batch]."""
        if self.likelihood == "bernoulli":
            pixels = image * decoded - jax.nn.softplus(decoded)
        else:
            constant = math.log(self.std) + 0.5 * math.log(2 * math.pi)
            pixels = -0.5 * jnp.square((image - decoded) / self.std) - constant
        return jnp.sum(pixels, axis=(1, 2, 3))


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)) in nats, [batch], of diagonal normal distributions [batch, latent]."""
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance, axis=-1)
