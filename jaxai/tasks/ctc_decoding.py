"""From the probabilities of each step to tokens: what connectionist temporal classification is decoded by."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np


def greedy(logits: jax.Array, num_steps: jax.Array, blank: int) -> tuple[jax.Array, jax.Array]:
    """The likeliest token of each step, repeats once and without blanks: tokens [batch, step], how many [batch].

    Of `logits` [batch, step, token] the first `num_steps` [batch] count; what follows the tokens is of no meaning.
    """
    best = jnp.argmax(logits, axis=2).astype(jnp.int32)
    before = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=blank)
    real = jnp.arange(best.shape[1])[None] < num_steps[:, None]
    kept = real & (best != blank) & (best != before)
    order = jnp.argsort(~kept, axis=1, stable=True)
    return jnp.take_along_axis(best, order, axis=1), jnp.sum(kept, axis=1, dtype=jnp.int32)


def beam_search(
    log_p: np.ndarray, blank: int, width: int = 16, language: Callable[[tuple[int, ...], int], float] | None = None
) -> tuple[tuple[int, ...], float]:
    """The likeliest tokens of one recording and their log-probability, summed over all ways to come by them.

    Prefix beam search (Hannun et al. 2014) on the host. `log_p` [step, token] are log-probabilities; `width` prefixes
    are kept after each step, and only tokens among the `width` likeliest of a step lengthen one. `language(prefix,
    token)` is what a model of the language adds to the log-probability when `token` follows `prefix`.
    """
    none = -np.inf
    #: Log-probabilities of a prefix that ends in a blank, and in its last token.
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, none)}
    for step in np.asarray(log_p, np.float64):
        likely = [int(token) for token in np.argsort(-step)[: width + 1] if token != blank]
        after: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(prefix: tuple[int, ...], by_blank: float, by_token: float, after: dict = after) -> None:
            held = after.get(prefix, (none, none))
            after[prefix] = (np.logaddexp(held[0], by_blank), np.logaddexp(held[1], by_token))

        for prefix, (by_blank, by_token) in beam.items():
            total = np.logaddexp(by_blank, by_token)
            add(prefix, total + step[blank], by_token + step[prefix[-1]] if prefix else none)
            for token in likely:
                # The last token again is another one only after a blank.
                repeated = prefix and token == prefix[-1]
                likelihood = step[token] + (language(prefix, token) if language else 0.0)
                add((*prefix, token), none, (by_blank if repeated else total) + likelihood)
        best = sorted(after.items(), key=lambda item: np.logaddexp(*item[1]), reverse=True)
        beam = dict(best[:width])
    prefix, ends = next(iter(beam.items()))
    return prefix, float(np.logaddexp(*ends))


class NGrams:
    """What token follows up to `order - 1` others, a model of the language for `beam_search` (Witten and Bell 1991)."""

    def __init__(self, texts: Iterable[Sequence[int]], order: int = 6):
        self.order = order
        """Tokens that are looked at together."""
        self.counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        """How often each token follows some others."""
        for text in texts:
            row = tuple(int(token) for token in text)
            for i, token in enumerate(row):
                for begin in range(max(0, i - order + 1), i + 1):
                    self.counts[row[begin:i]][token] += 1

    def log_p(self, prefix: tuple[int, ...], token: int) -> float:
        """The log-probability of `token` after `prefix`: after few tokens and after more, mixed."""
        p = 1 / len(self.counts[()])
        for begin in range(len(prefix), max(0, len(prefix) - self.order + 1) - 1, -1):
            seen = self.counts.get(prefix[begin:])
            if seen is None:
                break
            p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
        return math.log(p)
