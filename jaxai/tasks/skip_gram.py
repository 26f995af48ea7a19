"""Vectors of words from the words around them: skip-gram with negative sampling (Mikolov et al. 2013)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_vocabulary, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class SkipGram:
    """Learns to tell the words around a word from words drawn at random; the loss is in nats a pair of words.

    Batches have `center` [batch] and `context` [batch, 2 window], the words around it from the first to the last, -1
    where there is none. In training, frequent words are left out and the window is narrowed at random, which lets
    nearer words count more; in evaluation nothing is. `ranked` is how often a word that was there scores above one
    that was drawn.
    """

    model: nn.Module
    """The network: `model(words, contexts, train) -> scores [batch, num]`, such as `Word2Vec`."""
    vocabulary: Any
    """Where the words come from: a declaration whose `open()` has `counts` [word], such as `Vocabulary`."""
    num_negatives: int = 5
    """Words drawn for each pair."""
    power: float = 0.75
    """Words are drawn by their count to this power."""
    subsample: float = 1e-3
    """A word of a larger share `s` of the text is kept with a probability of sqrt(subsample / s)."""

    def __post_init__(self):
        check_fields(self, "task.")
        if self.num_negatives < 1:
            raise InputError("task.num_negatives", f"must be at least 1, is {self.num_negatives}")
        if not self.subsample > 0:
            raise InputError("task.subsample", f"must be positive, is {self.subsample:g}", "1 leaves no word out")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        return self.model.init({"params": key}, batch["center"], jnp.maximum(batch["context"], 0))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        center, context = batch["center"], batch["context"]
        num, places = context.shape
        weights = weights_of(batch)[:, None] * (context >= 0)
        if train:
            weights = weights * self._kept(batch, key)
        negatives = self._draw(rng.stream(key, "negatives"), batch["index"], (places, self.num_negatives))
        words = jnp.concatenate([jnp.maximum(context, 0), negatives.reshape(num, -1)], axis=1)
        scores, state = apply_model(self.model, variables, center, batch["index"], key, train, contexts=words)
        near, far = scores[:, :places], scores[:, places:].reshape(num, places, -1)
        drawn = (negatives != context[..., None]).astype(jnp.float32)  # what was there is no negative
        losses = -jax.nn.log_sigmoid(near) - jnp.sum(drawn * jax.nn.log_sigmoid(-far), axis=2)
        ranked = metrics.Mean.of(near[..., None] > far, (weights[..., None] * drawn) > 0)
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, {"ranked": ranked}, scores)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for words beyond the model's tables, or a vocabulary of another size."""
        del variables
        self._require(batch)
        size, num_words = getattr(self.model, "vocab_size", None), len(self._counts)
        if size not in (None, num_words):
            what = f"has {num_words:,} words, the model {size:,}"
            raise InputError("task.vocabulary", what, f"vocab_size={num_words}")
        around = np.asarray(batch["context"])
        words = np.concatenate([np.asarray(batch["center"])[:, None], np.where(around == -1, 0, around)], axis=1)
        check_vocabulary(self.model, {"words": words, "index": batch["index"]}, "words")

    def _kept(self, batch: Batch, key: jax.Array) -> jax.Array:
        """Which pairs count in training, bool [batch, 2 window]: of kept words, within the window that was drawn."""
        center, context = batch["center"], batch["context"]
        places = context.shape[1]
        share = jnp.asarray(self._counts / self._counts.sum(), jnp.float32)
        keep = jnp.sqrt(self.subsample / share)
        words = jnp.concatenate([center[:, None], jnp.maximum(context, 0)], axis=1)
        uniform = self._uniform(rng.stream(key, "kept"), batch["index"], (places + 2,))
        kept = uniform[:, :-1] < jnp.take(keep, words, mode="clip")
        window = 1 + jnp.floor(uniform[:, -1:] * (places // 2))
        before = np.arange(places // 2, 0, -1)
        distance = np.concatenate([before, before[::-1]])[None]
        return kept[:, :1] & kept[:, 1:] & (distance <= window)

    def _draw(self, key: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Words [batch, *shape] drawn by their count to `power`."""
        heap = np.cumsum(np.asarray(self._counts, np.float64) ** self.power)
        ends = jnp.asarray(heap / heap[-1], jnp.float32)
        uniform = self._uniform(key, index, shape)
        return jnp.minimum(jnp.searchsorted(ends, uniform, side="right"), len(heap) - 1)

    @staticmethod
    def _uniform(key: jax.Array, index: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Numbers in 0..1, [batch, *shape], of each example's own key."""
        return jax.vmap(lambda key: jax.random.uniform(key, shape))(rng.example_keys(key, index))

    @functools.cached_property
    def _counts(self) -> np.ndarray:
        return np.asarray(self.vocabulary.open().counts)

    def _require(self, batch: Batch) -> None:
        require(batch, center="center", context="context")
        if batch["context"].ndim != 2 or batch["context"].shape[1] % 2:
            shape = list(batch["context"].shape)
            raise InputError("task.context", f"'context' has shape {shape}", "needs [batch, 2 window]")


def nearest(table: np.ndarray, number: int, num: int = 10) -> list[tuple[int, float]]:
    """The `num` rows of `table` [word, feature] most alike row `number`, and their cosines, nearest first."""
    units = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    cosines = units @ units[number]
    cosines[number] = -np.inf
    return [(int(row), float(cosines[row])) for row in np.argsort(-cosines)[:num]]
