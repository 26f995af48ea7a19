"""Beam search: the continuations of each prompt that are likeliest as a whole, in one dispatch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError
from jaxai.generation.reader import Reader, Texts, Tokens, reader
from jaxai.models.blocks import unrolled

OUT = -1e9
"""The score of what is none; a text has more than half of it. Finite, so that it orders."""

EarlyStopping = Literal["first", "hopeful", "exhaustive"]


class Beams(NamedTuple):
    """The best continuations of each prompt, best first."""

    tokens: list[list[np.ndarray]]
    """Those of [prompt][beam], up to and with a token that stops them, int32."""
    scores: np.ndarray
    """Sum of the log-probabilities of a continuation's tokens / (their number ** length penalty), [prompt, beam]."""


class Kept(NamedTuple):
    """Texts with their scores."""

    tokens: jax.Array
    """New tokens, -1 where there is none (yet), int32 [batch, beam, room]."""
    scores: jax.Array
    """float32 [batch, beam], `OUT` where there is no text."""


class Search(NamedTuple):
    """A search under way."""

    held: Any
    """What the model holds of the open texts, [batch * beam, ...]."""
    token: jax.Array
    """The newest of each, which has not been read yet, int32 [batch * beam]."""
    open: Kept
    """Texts that go on, by the sum of their log-probabilities."""
    done: Kept
    """Texts that have ended, by their scores."""
    count: jax.Array
    """New tokens so far, int32 scalar."""
    is_settled: jax.Array
    """Whether no open text can still come among the best, bool [batch]."""


def beam_search(
    model: nn.Module,
    variables: Any,
    prompts: Sequence[Tokens],
    *,
    num_beams: int = 4,
    max_new_tokens: int = 128,
    stop: tuple[int, ...] = (),
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = "hopeful",
    bos: int | None = None,
) -> Beams:
    """The `num_beams` best continuations of each prompt, or translations of each source, by beam search.

    A text's score is its log-probability / (its new tokens ** `length_penalty`), stop token included, as in
    `transformers`; Wu et al. 2016 divide by ((5 + tokens) / 6) ** penalty instead. 0 compares log-probabilities.

    Args:
        model: A decoder, or an encoder-decoder (`encode`, `decode`).
        variables: Its variables.
        prompts: Token numbers of each; of an encoder-decoder the sources.
        num_beams: Texts that are followed at a time.
        max_new_tokens: Where a text ends at the latest.
        stop: Tokens that end a text.
        length_penalty: Above 0 favours longer texts.
        early_stopping: When a prompt's search ends: "first", once `num_beams` texts have ended (`early_stopping=True`
            of `transformers`); "hopeful", once the best open text, if it ended now, would not be among the best
            (False, its default); "exhaustive", once it could not at any length ("never").
        bos: The token that the targets of an encoder-decoder begin with.
    """
    if num_beams < 1 or max_new_tokens < 1:
        name, value = ("num_beams", num_beams) if num_beams < 1 else ("max_new_tokens", max_new_tokens)
        raise InputError(name, f"must be at least 1, is {value}")
    model, variables = unrolled(model, variables)
    of = reader(model, bos)
    texts = of.arrange(prompts, max_new_tokens)
    stops, penalty = jnp.asarray(stop, jnp.int32), jnp.float32(length_penalty)
    done = _search(of, num_beams, max_new_tokens, early_stopping, variables, texts, stops, penalty)
    tokens = np.asarray(done.tokens)
    return Beams([[text[text >= 0] for text in beams] for beams in tokens], np.asarray(done.scores))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search(
    of: Reader,
    num_beams: int,
    room: int,
    early_stopping: EarlyStopping,
    variables: Any,
    texts: Texts,
    stop: jax.Array,
    penalty: jax.Array,
) -> Kept:
    """The best texts, best first."""
    batch = len(texts.token)
    held = _rows(of.begin(variables, texts, room), jnp.repeat(jnp.arange(batch), num_beams))
    empty = jnp.full((batch, num_beams, room), -1, jnp.int32)
    none = jnp.full((batch, num_beams), OUT)
    start = Search(
        held=held,
        token=jnp.repeat(jnp.asarray(texts.token), num_beams),
        # All beams are alike at first: only one counts, lest all follow one text.
        open=Kept(empty, none.at[:, 0].set(0.0)),
        done=Kept(empty, none),
        count=jnp.int32(0),
        is_settled=jnp.zeros(batch, bool),
    )

    def step(search: Search) -> Search:
        logits, held = of.step(variables, search.token, search.held)
        best, parents = _extend(search, logits, max(2, 1 + len(stop)) * num_beams)
        newest, count = best.tokens[:, :, search.count], search.count + 1
        has_ended = jnp.any(newest[..., None] == stop[None, None], axis=-1) | (count == room)
        done = _end(search, best, has_ended, count.astype(jnp.float32) ** penalty, early_stopping)
        going_on = Kept(best.tokens, jnp.where(has_ended, OUT, best.scores))
        chosen, (parents, newest) = _best(going_on, num_beams, parents, newest)
        rows = (jnp.arange(batch)[:, None] * num_beams + parents).reshape(-1)
        return Search(
            held=_rows(held, rows),
            token=newest.reshape(-1),
            open=chosen,
            done=done,
            count=count,
            is_settled=search.is_settled | _settled(chosen, done, count, room, penalty, early_stopping),
        )

    def is_under_way(search: Search) -> jax.Array:
        return (search.count < room) & ~jnp.all(search.is_settled)

    return jax.lax.while_loop(is_under_way, step, start).done


def _rows(held: Any, rows: jax.Array) -> Any:
    """Of what is held, that of these rows; numbers that all rows share stay."""
    return jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, held)


def _extend(search: Search, logits: jax.Array, number: int) -> tuple[Kept, jax.Array]:
    """The `number` likeliest texts of one token more, and which open one each goes on with, [batch, number].

    As many as leave enough to go on with when each of the likeliest ends.
    """
    batch, num_beams, _ = search.open.tokens.shape
    vocab = logits.shape[-1]
    sums = jax.nn.log_softmax(logits).reshape(batch, num_beams, vocab) + search.open.scores[..., None]
    scores, places = jax.lax.top_k(sums.reshape(batch, -1), min(number, num_beams * vocab))
    parents = places // vocab
    tokens = jnp.take_along_axis(search.open.tokens, parents[..., None], axis=1)
    return Kept(tokens.at[:, :, search.count].set(places % vocab), scores), parents


def _end(search: Search, best: Kept, has_ended: jax.Array, divisor: jax.Array, early_stopping: EarlyStopping) -> Kept:
    """The best texts that have ended, those included that do now and are among the first `num_beams` of `best`."""
    num_beams = search.done.scores.shape[1]
    is_full = search.done.scores[:, -1] > OUT / 2 if early_stopping == "first" else False
    counts = has_ended & (best.scores > OUT / 2) & (jnp.arange(has_ended.shape[1]) < num_beams)[None]
    counts &= ~(search.is_settled | is_full)[:, None]
    scores = jnp.where(counts, best.scores / divisor, OUT)
    together = (jnp.concatenate(pair, axis=1) for pair in zip(search.done, Kept(best.tokens, scores), strict=True))
    return _best(Kept(*together), num_beams)[0]


def _best(kept: Kept, number: int, *further: jax.Array) -> tuple[Kept, tuple[jax.Array, ...]]:
    """The `number` of best scores, in order, and their share of `further` [batch, text]."""
    scores, places = jax.lax.top_k(kept.scores, number)
    tokens = jnp.take_along_axis(kept.tokens, places[..., None], axis=1)
    return Kept(tokens, scores), tuple(jnp.take_along_axis(x, places, axis=1) for x in further)


def _settled(
    open: Kept, done: Kept, count: jax.Array, room: int, penalty: jax.Array, early_stopping: EarlyStopping
) -> jax.Array:
    """Whether the best texts are found, bool [batch]."""
    is_full = done.scores[:, -1] > OUT / 2
    if early_stopping == "first":
        return is_full
    longest = jnp.where(penalty > 0, room, count) if early_stopping == "exhaustive" else count
    hope = open.scores[:, 0] / longest.astype(jnp.float32) ** penalty
    return is_full & (hope <= done.scores[:, -1])
