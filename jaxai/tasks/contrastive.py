"""Retrieval: learning to tell the candidate that belongs to a query from those of all others (CLIP, InfoNCE)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.metrics.ranking import rank_of, recall_at, reciprocal_rank
from jaxai.parallel import gather, own_rows
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, prepare
from jaxai.tasks.siamese import unit
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_vocabulary, require

MAX_SCALE = 100.0
"""What cosines are scaled by at most (Radford et al. 2021)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrastive:
    """Contrasts pairs of query and candidate with all others of the batch, over all devices (Radford et al. 2021).

    The loss is the cross-entropy of finding the candidate of each query and the query of each candidate, half of each
    (InfoNCE, van den Oord et al. 2018), by cosines with a learned scale. With `accumulate`, each micro-batch is
    contrasted by itself. Evaluations rank within their batches: one that holds all examples ranks among all. They
    report `mrr` and `recall@K` of candidates, and of queries with `reverse_` before.
    """

    model: nn.Module
    """The network: `model(queries, candidates, train) -> ([batch, dim], [batch, dim], log scale)`, such as
    `DualEncoder`."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment`, of the queries as they are applied to images."""
    query: str = "image"
    """The field of the batch with the queries."""
    candidate: str = "tokens"
    """The field of the batch with the candidates."""
    recall: tuple[int, ...] = (1, 5, 10)
    """Values of k for which evaluations report recall@k."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if min(self.recall, default=1) < 1:
            raise InputError("task.recall", f"recall at {min(self.recall)}", "1 or more")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require(batch, query=self.query, candidate=self.candidate)
        prepared = prepare(self.augment, batch, key, False, self.query)
        return self.model.init({"params": key, "dropout": key}, prepared[self.query], prepared[self.candidate])

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        prepared = prepare(self.augment, batch, key, train, self.query)
        (queries, candidates, log_scale), state = apply_model(
            self.model, variables, prepared[self.query], batch["index"], key, train,
            candidates=prepared[self.candidate],
        )  # fmt: skip
        weights, scale = weights_of(batch), jnp.exp(jnp.minimum(log_scale, np.log(MAX_SCALE)))
        losses, ranks, reverse = info_nce(queries, candidates, weights, scale)
        measured: dict[str, metrics.Metric] = {"accuracy": recall_at(ranks, weights, 1)}
        if train:
            measured["scale"] = metrics.Mean(scale, jnp.float32(1))
        else:
            for prefix, each in (("", ranks), ("reverse_", reverse)):
                measured[f"{prefix}mrr"] = reciprocal_rank(each, weights)
                measured |= {f"{prefix}recall@{k}": recall_at(each, weights, k) for k in self.recall}
        return Out(weighted_sum(losses, weights), jnp.sum(weights), state, measured, (queries, candidates))

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Unit vectors [batch, dim] of raw queries as the source gives them."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        prepared = prepare(self.augment, {self.query: inputs, "index": index}, key, False, self.query)[self.query]
        return unit(apply_model(self.model, variables, prepared, index, key, False, method="encode_query")[0])

    def embed_candidates(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """Unit vectors [batch, dim] of raw candidates; their products with those of queries are the cosines."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        return unit(apply_model(self.model, variables, inputs, index, key, False, method="encode_candidate")[0])

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields or of one example, or with tokens beyond the vocabulary."""
        del variables
        require(batch, query=self.query, candidate=self.candidate)
        if "mask" not in batch and len(batch["index"]) < 2:
            raise InputError("batch_size", "has one example, and no other to tell it from", "2 or more")
        query = getattr(self.model, "query", self.model)
        check_vocabulary(query, batch, self.query)
        check_vocabulary(getattr(self.model, "candidate", None) or query, batch, self.candidate)

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 queries, if they are pictures."""
        return examples(batch, self.query)


def info_nce(
    queries: jax.Array, candidates: jax.Array, weights: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The loss of each pair, the rank of its candidate among all and that of its query among all; each [batch].

    Of `queries` and `candidates` [batch, dim], over all devices; an example of weight 0 ([batch]) pads, and is no
    candidate. Cosines are multiplied by `scale`.
    """
    rows, real = own_rows(len(queries)), gather(weights) > 0

    def one_way(mine: jax.Array, others: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = scale * (unit(mine) @ gather(unit(others)).T)
        own = jnp.arange(scores.shape[1])[None] == rows[:, None]
        # What belongs to a padding example stays, or its row would have no candidate and be nan.
        scores = jnp.where(real[None] | own, scores, -jnp.inf)
        log_p = jnp.sum(jnp.where(own, scores, 0.0), axis=1) - jax.nn.logsumexp(scores, axis=1)
        return -log_p, rank_of(scores, rows)

    (forth, ranks), (back, reverse) = one_way(queries, candidates), one_way(candidates, queries)
    return (forth + back) / 2, ranks, reverse
