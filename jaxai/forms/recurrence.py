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
    kernel: jax.Array,
    bias: jax.Array | None,
    valid: jax.Array | None,
    begin: Held,
) -> jax.Array:
    """Outputs [length, batch, features], token by token, of `given` [length, batch, gate].

    `kernel` [features, gate] and `bias` [gate] make the share of the output before. Where not `valid`, bool
    [length, batch], what is held stays; by default all is valid.
    """
    run = _hoisted if is_fast() else functools.partial(_scan, more=None)
    return run(settings, given, kernel, bias, valid, begin)


def _scan(
    settings: Settings,
    given: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    valid: jax.Array | None,
    begin: Held,
    more: jax.Array | None,
) -> jax.Array:
    def advance(held: Held, now: Any) -> tuple[Held, jax.Array]:
        gates, valid, more = now
        through = held[0] @ kernel
        for share in (None if bias is None else bias[None], more):
            through = through if share is None else through + share
        new = settings.cell(held, gates, through)
        if valid is not None:
            new = tuple(jnp.where(valid[:, None], a, b) for a, b in zip(new, held, strict=True))
        return new, new[0]

    return lax.scan(advance, begin, (given, valid, more), reverse=settings.reverse)[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _hoisted(settings: Settings, given: Any, kernel: Any, bias: Any, valid: Any, begin: Held) -> jax.Array:
    return _scan(settings, given, kernel, bias, valid, begin, None)


def _forward(settings: Settings, given: jax.Array, kernel: Any, bias: Any, valid: Any, begin: Held) -> Any:
    def run(given: jax.Array, more: jax.Array | None, begin: Held) -> jax.Array:
        return _scan(settings, given, kernel, bias, valid, begin, more)

    # Something that is added to each token's share has its gradient, of which the kernel's and bias's are made.
    more = None if settings.adds else jnp.zeros_like(given)
    outputs, pull = jax.vjp(run, given, more, begin)
    return outputs, (pull, outputs, begin, bias is not None)


def _backward(settings: Settings, kept: Any, cotangent: jax.Array) -> Any:
    pull, outputs, begin, has_bias = kept
    given, through, first = pull(cotangent)
    through = given if through is None else through
    before = [outputs[1:], begin[0][None]] if settings.reverse else [begin[0][None], outputs[:-1]]
    rows = jnp.concatenate(before).reshape(-1, outputs.shape[-1])
    gates = through.reshape(-1, through.shape[-1])
    kernel = lax.dot_general(rows, gates, (((0,), (0,)), ((), ())))
    return given, kernel, jnp.sum(gates, axis=0) if has_bias else None, None, first


_hoisted.defvjp(_forward, _backward)
