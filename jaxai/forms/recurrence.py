"""Recurrent layers whose kernel's gradient is one product after the backward loop, not a sum of one a token in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxai.forms.choice import is_fast

Held = tuple[jax.Array, ...]
Cell = Callable[[Held, jax.Array, jax.Array], Held]


class Settings(NamedTuple):
    """What a recurrence is, beside its arrays."""

    cell: Cell
    """`cell(held, given, through)` gives what is held next, arrays [batch, features], the output first: `given` is the
    inputs' share of its gates, `through` that of the output before."""
    adds: bool
    """Whether the cell only sees the sum of both shares, whose gradients then are one."""
    reverse: bool
    """Whether it begins at the end."""


def recur(
    settings: Settings,
    given: jax.Array,
    through: Callable[[jax.Array], jax.Array],
    valid: jax.Array | None,
    begin: Held,
) -> jax.Array:
    """Outputs [length, batch, features], token by token, of `given` [length, batch, gate].

    `through` makes the share [batch, gate] of the output before, of [batch, features]. Where not `valid`, bool
    [length, batch], what is held stays; by default all is valid.
    """
    if not is_fast():
        return _scan(settings, through, given, valid, begin, None)
    # What it closes over, such as a kernel or an adapter's, has gradients.
    through, closed = jax.closure_convert(through, begin[0])
    return _hoisted(settings, through, given, closed, valid, begin)


def _scan(
    settings: Settings,
    through: Callable[[jax.Array], jax.Array],
    given: jax.Array,
    valid: jax.Array | None,
    begin: Held,
    more: jax.Array | None,
) -> jax.Array:
    def advance(held: Held, now: Any) -> tuple[Held, jax.Array]:
        gates, valid, more = now
        share = through(held[0])
        new = settings.cell(held, gates, share if more is None else share + more)
        if valid is not None:
            new = tuple(jnp.where(valid[:, None], a, b) for a, b in zip(new, held, strict=True))
        return new, new[0]

    return lax.scan(advance, begin, (given, valid, more), reverse=settings.reverse)[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _hoisted(settings: Settings, through: Any, given: Any, closed: Any, valid: Any, begin: Held) -> jax.Array:
    return _scan(settings, lambda output: through(output, *closed), given, valid, begin, None)


def _forward(settings: Settings, through: Any, given: jax.Array, closed: Any, valid: Any, begin: Held) -> Any:
    def run(given: jax.Array, more: jax.Array | None, begin: Held) -> jax.Array:
        return _scan(settings, lambda output: through(output, *closed), given, valid, begin, more)

    # Something that is added to each token's share has its gradient, of which that of what made it follows.
    more = None if settings.adds else jnp.zeros_like(given)
    outputs, pull = jax.vjp(run, given, more, begin)
    return outputs, (pull, outputs, closed, begin)


def _backward(settings: Settings, through: Any, kept: Any, cotangent: jax.Array) -> Any:
    pull, outputs, closed, begin = kept
    given, shares, first = pull(cotangent)
    shares = given if shares is None else shares
    before = [outputs[1:], begin[0][None]] if settings.reverse else [begin[0][None], outputs[:-1]]
    # Of all tokens at once.
    of_all = jax.vmap(lambda closed, output: through(output, *closed), in_axes=(None, 0))
    _, back = jax.vjp(lambda closed: of_all(closed, jnp.concatenate(before)), closed)
    return given, back(shares)[0], None, first


_hoisted.defvjp(_forward, _backward)
