"""Recommendation: the item that a user took next, among all there are."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import open_source, read
from jaxai.metrics.ranking import ndcg_at, rank_of, recall_at, reciprocal_rank
from jaxai.parallel import gather, own_rows
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import require


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """Learns which item a user takes, by a softmax over the items of the batch, over all devices (Yi et al. 2019).

    An item comes into a batch as often as it is taken; what that adds to its score as a negative is subtracted ("logQ
    correction"), so that scores come to be those of a softmax over all items. With `accumulate`, each micro-batch is
    contrasted by itself.

    Evaluations rank all items but those the user took before, `seen` [batch, num], -1 where none, by a softmax over
    them; they report the hit rate `hr@K`, `ndcg@K` and `mrr`, and with `popular-` before what ranking by counts gives.
    Batches have `user` [batch], `history` [batch, length] and `item` [batch].
    """

    model: nn.Module
    """The network: `model(users, history, items, texts, train) -> two of [batch, dim]`, such as `TwoTower`."""
    catalogue: Any
    """All items, in the order of their numbers: a declaration or source of `tokens`, the text of each, and `count`, how
    often each was taken in training."""
    at: tuple[int, ...] = (10,)
    """Values of K."""

    def __post_init__(self):
        check_fields(self, "task.")
        if min(self.at, default=1) < 1:
            raise InputError("task.at", f"the first {min(self.at)}", "1 or more")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        users, items = batch["user"], batch["item"]
        keys = {"params": key, "dropout": key}
        return self.model.init(keys, users, batch["history"], items, self._texts(items))

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        return self._contrast(variables, batch, key) if train else self._rank(variables, batch)

    def predict(self, variables: Variables, inputs: dict[str, jax.Array]) -> jax.Array:
        """Scores [batch, item] of all items for `user`, `history` and `seen`; -inf for what was seen."""
        users, key = inputs["user"], jax.random.key(0)
        index = jnp.arange(len(users))
        queries, _ = apply_model(
            self.model, variables, users, index, key, False, history=inputs["history"], method="encode_query"
        )
        items = jnp.arange(self._num_items)
        candidates, _ = apply_model(
            self.model, variables, items, items, key, False, texts=self._texts(items), method="encode_candidate"
        )
        return self._unseen(queries @ candidates.T, inputs["seen"])

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for numbers beyond the model's tables, or a catalogue that does not fit them."""
        del variables
        self._require(batch)
        num_items = getattr(self.model, "num_items", self._num_items)
        if num_items != self._num_items:
            raise InputError("task.catalogue", f"has {self._num_items} items, the model {num_items}", "as many")
        num_users = getattr(self.model, "num_users", np.iinfo(np.int32).max)
        for name, least, size in (("user", 0, num_users), ("item", 0, num_items), ("history", -1, num_items)):
            numbers = np.asarray(batch[name])
            wrong = np.argwhere((numbers < least) | (numbers >= size))
            if len(wrong):
                row = tuple(wrong[0])
                what = f"is {numbers[row]} in example {batch['index'][row[0]]}, the model has {size:,}"
                raise InputError(name, what, f"numbers go from 0 to {size - 1}")

    def _contrast(self, variables: Variables, batch: Batch, key: jax.Array) -> Out:
        """The loss among the items of the batch."""
        items, weights = batch["item"], weights_of(batch)
        (queries, candidates), state = apply_model(
            self.model, variables, batch["user"], batch["index"], key, True,
            history=batch["history"], items=items, texts=self._texts(items),
        )  # fmt: skip
        losses, ranks = sampled_softmax(queries, candidates, items, self._log_share, weights)
        measured = {"accuracy": recall_at(ranks, weights, 1)}
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured, (queries, candidates))

    def _rank(self, variables: Variables, batch: Batch) -> Out:
        """The loss among all items, and where among them the right one comes."""
        items, weights, scores = batch["item"], weights_of(batch), self.predict(variables, dict(batch))
        log_p = jax.nn.log_softmax(scores)
        losses = -jnp.take_along_axis(log_p, items[:, None], axis=1)[:, 0]
        popular = self._unseen(jnp.broadcast_to(self._log_share[None], scores.shape), batch["seen"])
        measured: dict[str, metrics.Metric] = {}
        for prefix, each in (("", scores), ("popular-", popular)):
            ranks = rank_of(each, items)
            measured[f"{prefix}mrr"] = reciprocal_rank(ranks, weights)
            measured |= {f"{prefix}hr@{k}": recall_at(ranks, weights, k) for k in self.at}
            measured |= {f"{prefix}ndcg@{k}": ndcg_at(ranks, weights, k) for k in self.at}
        return Out(weighted_sum(losses, weights), jnp.sum(weights), {}, measured, scores)

    def _unseen(self, scores: jax.Array, seen: jax.Array) -> jax.Array:
        """`scores` [batch, item], -inf for the items of `seen` [batch, num]."""
        rows = jnp.arange(len(scores))[:, None]
        return scores.at[rows, jnp.where(seen < 0, self._num_items, seen)].set(-jnp.inf, mode="drop")

    def _texts(self, items: jax.Array) -> jax.Array:
        return jnp.take(self._items["tokens"], items, axis=0, mode="clip")

    @functools.cached_property
    def _items(self) -> dict[str, np.ndarray]:
        """The catalogue, read."""
        source = open_source(self.catalogue, "task.catalogue")
        found = read(source, range(len(source)), "task.catalogue")
        for name in ("tokens", "count"):
            if name not in found:
                raise InputError("task.catalogue", f"has no field {name!r}, only {', '.join(sorted(found))}")
        return found

    @property
    def _num_items(self) -> int:
        return len(self._items["count"])

    @property
    def _log_share(self) -> jax.Array:
        """The logarithm of the share that each item has of what was taken; one that never was counts as once."""
        counts = np.maximum(self._items["count"], 1)
        return jnp.asarray(np.log(counts / counts.sum()), jnp.float32)

    def _require(self, batch: Batch) -> None:
        require(batch, **{name: name for name in ("user", "history", "item")})


def sampled_softmax(
    queries: jax.Array, candidates: jax.Array, items: jax.Array, log_share: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The loss of each query [batch] among the candidates of all devices, and the rank of its own among them [batch].

    `queries`, `candidates` [batch, dim], whose items are `items` [batch]. From the score of another item is subtracted
    the logarithm of how often it is expected among the negatives, by its `log_share` [item]: so the sum over them
    estimates that over all items (Bengio and Senecal 2008). Other examples of the same item, and what pads (`weights`
    [batch] of 0), are no candidates.
    """
    rows, every, real = own_rows(len(items)), gather(items), gather(weights) > 0
    scores = queries @ gather(candidates).T
    own = jnp.arange(scores.shape[1])[None] == rows[:, None]
    others = (every[None] != items[:, None]) & real[None]
    scores = jnp.where(own | others, scores, -jnp.inf)
    num_negatives = jnp.maximum(jnp.sum(real) - 1, 1)
    expected = jnp.take(log_share, every, mode="clip") + jnp.log(num_negatives)
    corrected = jnp.where(own, scores, scores - expected[None])
    log_p = jnp.sum(jnp.where(own, scores, 0.0), axis=1) - jax.nn.logsumexp(corrected, axis=1)
    return -log_p, rank_of(scores, rows)
