"""Texts continued token by token: the whole in one dispatch, or a stream of small chunks, by the same program."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError
from jaxai.generation.reader import Decoder, Reader, Texts, Tokens, reader
from jaxai.generation.sampling import Rules, Sampling, argmax, draw, penalize
from jaxai.generation.table import Table, is_quick, likeliest, make_table
from jaxai.models.blocks import unrolled

ROOM = 64
"""New tokens are made room for in multiples of this, so that few programs serve all."""
LARGE_VOCABULARY = 4096
"""Tokens from which on the likeliest is searched for in a table of eight bits."""

_log = logging.getLogger("jaxai")


class State(NamedTuple):
    """Texts under way."""

    held: Any
    """What the model holds of what it has read: keys, values, an encoder's outputs."""
    token: jax.Array
    """The newest of each text, which has not been read yet, int32 [batch]."""
    seen: jax.Array | None
    """Which tokens are in the text, bool [batch, vocab]; only where repetition is penalized."""
    out: jax.Array
    """New tokens, -1 where there is none (yet), int32 [batch, room]."""
    count: jax.Array
    """How many there are, int32 scalar."""
    ended: jax.Array
    """Which texts have ended, bool [batch]."""


@dataclasses.dataclass(frozen=True)
class Generator:
    """A language model with what generation prepares of it once; `Generator.of(model, variables)` makes one.

    A program is compiled for each number of prompts, power of two that holds the longest, multiple of 64 that holds
    the new tokens, and set of filters; what is compiled is logged. Other values of the filters need no new one, except
    of `top_k`.
    """

    reader: Reader
    variables: Any
    table: Table | None
    """For the likeliest token, where the machine and the model suit it."""

    @classmethod
    def of(cls, model: nn.Module, variables: Any, *, bos: int | None = None) -> Generator:
        """`bos` is the token that the targets of an encoder-decoder begin with."""
        model, variables = unrolled(model, variables)
        of, params = reader(model, bos), variables["params"]
        # A table of its own (`head`), or numbers of which sixteen bits are kept, are not searched.
        table = None if "head" in params or not isinstance(of, Decoder) else params["tokens"]["embedding"]
        suits = table is not None and table.dtype == jnp.float32 and len(table) >= LARGE_VOCABULARY and is_quick()
        return cls(of, variables, make_table(table) if suits else None)

    def generate(
        self, prompts: Sequence[Tokens], sampling: Sampling, *, seed: int = 0, rows: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        """The new tokens of each prompt, up to and with one that stops it, int32 [at most `max_new_tokens`].

        What is drawn for a text depends on `seed` and its number alone: `rows`, by default 0, 1, ...
        """
        state, go_on = self._begin(prompts, sampling, seed, rows)
        out = np.asarray(go_on(state, sampling.max_new_tokens).out)
        return [row[row >= 0] for row in out]

    def stream(
        self,
        prompts: Sequence[Tokens],
        sampling: Sampling,
        *,
        seed: int = 0,
        rows: Sequence[int] | None = None,
        chunk: int = 8,
    ) -> Iterator[np.ndarray]:
        """The same tokens as they come: int32 [batch, up to `chunk`], -1 after the end of a text."""
        state, go_on = self._begin(prompts, sampling, seed, rows)
        for start in range(0, sampling.max_new_tokens, chunk):
            until = min(start + chunk, sampling.max_new_tokens)
            state = go_on(state, until)
            yield np.asarray(state.out)[:, start : int(state.count)]
            if np.asarray(state.ended).all():
                return

    def _begin(self, prompts: Sequence[Tokens], sampling: Sampling, seed: int, rows: Sequence[int] | None) -> Any:
        """The state once the prompts are read, and `(state, until) -> state`."""
        texts = self.reader.arrange(prompts, sampling.max_new_tokens)
        if rows is not None and len(rows) != len(prompts):
            raise InputError("rows", f"{len(rows)} for {len(prompts)} prompts", "one each")
        rules = Rules.of(sampling, seed, np.arange(len(prompts)) if rows is None else np.asarray(rows))
        room = -(-sampling.max_new_tokens // ROOM) * ROOM
        state = begin(self.reader, room, self.variables, texts, rules)
        top_k = None if sampling.is_greedy else sampling.top_k
        of, table = self.reader, None
        if self.table is not None and sampling.is_greedy and rules.penalty is None:
            of, table = Decoder(of.model.clone(head=False)), self.table

        def go_on(state: State, until: int) -> State:
            return decode(of, top_k, self.variables, table, rules, state, jnp.int32(until))

        return state, go_on


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(of: Reader, room: int, variables: Any, texts: Texts, rules: Rules) -> State:
    """The state of `texts` that have been read, with room for so many new tokens."""
    batch, length = texts.read.shape
    _log.info("jaxai: compiling the reading of %d prompts of up to %d tokens", batch, length)
    held = of.begin(variables, texts, room)
    seen = None
    if rules.penalty is not None:
        rows = jnp.arange(batch)
        seen = jnp.zeros((batch, of.model.vocab_size), bool)
        seen = seen.at[rows[:, None], texts.read].max(jnp.asarray(texts.segments) > 0).at[rows, texts.token].set(True)
    return State(
        held=held,
        token=jnp.asarray(texts.token),
        seen=seen,
        out=jnp.full((batch, room), -1, jnp.int32),
        count=jnp.int32(0),
        ended=jnp.zeros(batch, bool),
    )


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=5)
def decode(
    of: Reader,
    top_k: int | None,
    variables: Any,
    table: Table | None,
    rules: Rules,
    state: State,
    until: jax.Array,
) -> State:
    """Goes on until there are `until` new tokens, or all texts have ended."""
    _log.info("jaxai: compiling the decoding of %d texts, %d new tokens each at most", *state.out.shape)

    def step(state: State) -> State:
        out, held = of.step(variables, state.token, state.held)
        token = _choose(out, table, rules, top_k, state)
        row = jnp.arange(len(token))
        written = jnp.where(state.ended, -1, token)
        return State(
            held=held,
            token=token,
            seen=None if state.seen is None else state.seen.at[row, token].set(True),
            out=jax.lax.dynamic_update_slice(state.out, written[:, None], (0, state.count)),
            count=state.count + 1,
            ended=state.ended | jnp.any(token[:, None] == rules.stop[None], axis=1),
        )

    def is_under_way(state: State) -> jax.Array:
        return (state.count < until) & ~jnp.all(state.ended)

    return jax.lax.while_loop(is_under_way, step, state)


def _choose(out: jax.Array, table: Table | None, rules: Rules, top_k: int | None, state: State) -> jax.Array:
    """The next token of each text, int32 [batch], of logits or, with a `table`, what they are made of."""
    if table is not None:
        return likeliest(table, out)
    if rules.penalty is not None and state.seen is not None:
        out = penalize(out, state.seen, rules.penalty)
    if rules.temperature is None:
        return argmax(out)
    return draw(out / rules.temperature, rules, top_k, state.count)


def generate(
    model: nn.Module,
    variables: Any,
    prompts: Sequence[Tokens],
    sampling: Sampling,
    *,
    seed: int = 0,
    bos: int | None = None,
) -> list[np.ndarray]:
    """The new tokens of each prompt, as `Generator.generate`, which prepares the model once for many calls."""
    return Generator.of(model, variables, bos=bos).generate(prompts, sampling, seed=seed)
