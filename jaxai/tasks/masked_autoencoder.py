"""The masked autoencoder (He et al. 2022): a Vision Transformer that learns from images with most patches left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.core.rng import example_keys, stream
from jaxai.models.autoencoders import MaskedDecoder
from jaxai.models.vit import ViT
from jaxai.tasks.generative import require_images, rows, weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model, check_augmentations, joined, part, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedAutoencoder:
    """Learns to fill in the patches of an image that its encoder did not see.

    The encoder sees the patches that are left, so it is cheap; the decoder is light and thrown away. The loss is the
    mean squared error over the pixels of the patches left out. To classify with the encoder, without a class token:

    `Experiment(task=Classification(model=ViT(..., pool="mean", num_classes=10)), start_from=FromRun(run="runs/mae",
    rename=(("^encoder/", ""),), new=("^head/",), unused=("^decoder/",)), ...)`
    """

    encoder: ViT
    """Gives its tokens: `pool` and `num_classes` are set to "none" and 0."""
    decoder: MaskedDecoder
    """Gives the pixels of all patches."""
    mask_ratio: float = 0.75
    """Share of the patches left out, drawn for each image and step."""
    normalize: bool = True
    """Learn each patch's pixels less their mean and divided by their standard deviation."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment`."""
    inputs: str = "image"
    """The field of the batch with the images."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not 0 < self.mask_ratio < 1:
            raise InputError("task.mask_ratio", f"must lie between 0 and 1, is {self.mask_ratio}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_images(batch, self.inputs)
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        keys = {name: {"params": stream(key, name)} for name in ("encoder", "decoder")}
        tokens, encoder = self._encoder.init_with_output(keys["encoder"], image, train=False)
        keep, _ = self._masks(tokens.shape[1], batch["index"], key)
        seen = tokens[:, : keep.shape[1]]
        decoder = self._decoder(image).init(keys["decoder"], seen, train=False, keep=keep, num_patches=tokens.shape[1])
        return joined(encoder=encoder, decoder=decoder)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        image = prepare(self.augment, batch, key, train, self.inputs)[self.inputs]
        weights = weights_of(batch)
        given, masked, state = self._fill_in(variables, image, batch["index"], key, train)
        target = patches(image, self.encoder.patch)
        if self.normalize:
            mean, deviation = _moments(target)
            target = (target - mean) / deviation
        errors = jnp.mean(jnp.square(given - target), axis=-1)
        losses = jnp.sum(errors * masked, axis=-1) / jnp.sum(masked, axis=-1)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, {})

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The mean over all tokens of whole images, normalized, [batch, dim]: what a head would see."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        image = prepare(self.augment, {self.inputs: inputs, "index": index}, key, False, self.inputs)[self.inputs]
        encoder = self.encoder.clone(num_classes=0, pool="mean")
        return apply_model(encoder, part(variables, "encoder"), image, index, key, False)[0]

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Images in rows; below them what the encoder sees, grey elsewhere, and that filled in by the model.

        Where the model gives normalized pixels, they are shown with the true mean and deviation of their patch.
        """
        image = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        given, masked, _ = self._fill_in(variables, image, batch["index"], key, False)
        target, hidden = patches(image, self.encoder.patch), masked[:, :, None] > 0
        if self.normalize:
            mean, deviation = _moments(target)
            given = given * deviation + mean
        seen, filled = jnp.where(hidden, 0.5, target), jnp.where(hidden, given, target)
        return {"filled in": rows(image, *(unpatched(x, self.encoder.patch, image.shape) for x in (seen, filled)))}

    @property
    def _encoder(self) -> ViT:
        return self.encoder.clone(num_classes=0, pool="none")

    def _decoder(self, image: jax.Array) -> MaskedDecoder:
        return self.decoder.clone(num_outputs=self.encoder.patch**2 * image.shape[-1])

    def _masks(self, num_patches: int, index: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The numbers of the patches to see, [batch, kept], and 1 for each other one, [batch, patch]."""
        num_kept = round(num_patches * (1 - self.mask_ratio))
        if not 0 < num_kept < num_patches:
            what = f"{self.mask_ratio} leaves {num_kept} of {num_patches} patches"
            raise InputError("task.mask_ratio", what, "some must be left, and some left out")
        keys = example_keys(stream(key, "mask"), index)
        order = jax.vmap(lambda key: jax.random.permutation(key, num_patches))(keys)
        keep = jnp.sort(order[:, :num_kept], axis=-1)
        masked = jax.vmap(lambda keep: jnp.ones(num_patches).at[keep].set(0))(keep)
        return keep, masked

    def _fill_in(
        self, variables: Variables, image: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array, dict[str, Any]]:
        """The decoder's pixels [batch, patch, pixel], which patches were left out, and the state of both."""
        patch = self.encoder.patch
        num_patches = (image.shape[1] // patch) * (image.shape[2] // patch)
        keep, masked = self._masks(num_patches, index, key)
        keys = {name: stream(key, name) for name in ("encoder", "decoder")}
        mine = part(variables, "encoder")
        tokens, encoder = apply_model(self._encoder, mine, image, index, keys["encoder"], train, keep=keep)
        further = {"keep": keep, "num_patches": num_patches}
        mine = part(variables, "decoder")
        given, decoder = apply_model(self._decoder(image), mine, tokens, index, keys["decoder"], train, **further)
        return given, masked, joined(encoder=encoder, decoder=decoder)


def patches(image: jax.Array, patch: int) -> jax.Array:
    """[batch, patch, pixel] of images [batch, height, width, channel]: patches and pixels row by row."""
    batch, height, width, channel = image.shape
    x = image.reshape(batch, height // patch, patch, width // patch, patch, channel)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, patch * patch * channel)


def unpatched(x: jax.Array, patch: int, shape: tuple[int, ...]) -> jax.Array:
    """Images of `shape`; undoes `patches`."""
    batch, height, width, channel = shape
    x = x.reshape(batch, height // patch, width // patch, patch, patch, channel)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def _moments(target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of the pixels of each patch, [batch, patch, 1]."""
    mean, variance = jnp.mean(target, axis=-1, keepdims=True), jnp.var(target, axis=-1, keepdims=True, ddof=1)
    return mean, jnp.sqrt(variance + 1e-6)
