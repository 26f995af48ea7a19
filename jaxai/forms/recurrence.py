"""Recurrent layers whose kernel's gradient is one product after the backward loop, not a sum of one a token in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxai.forms.choice import is_fast

Cell = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def recur(
    cell: Cell,
    given: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    valid: jax.Array,
    begin: jax.Array,
    *,
    reverse: bool,
) -> jax.Array:
    """Outputs [length, batch, features] of `cell`, token by token.

    `cell(held, given, through)` gives what is held next, [parts, batch, features], of which the first part is the
    output; `given` [length, batch, gate] is the inputs' share of its gates, `through` the output's before, by `kernel`
    [features, gate] and `bias` [gate]. Where not `valid`, bool [length, batch], what is held stays.
    """
    bias = jnp.zeros(kernel.shape[1], kernel.dtype) if bias is None else bias
    run = _hoisted if is_fast() else functools.partial(_scan, more=None)
    return run(cell, reverse, given, kernel, bias, valid, begin)


def _scan(
    cell: Cell,
    reverse: bool,
    given: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    valid: jax.Array,
    begin: jax.Array,
    more: jax.Array | None,
) -> jax.Array:
    def advance(held: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        gates, valid, more = now
        through = held[0] @ kernel + bias[None]
        new = cell(held, gates, through if more is None else through + more)
        new = jnp.where(valid[None, :, None], new, held)
        return new, new[0]

    return lax.scan(advance, begin, (given, valid, more), reverse=reverse)[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _hoisted(
    cell: Cell,
    reverse: bool,
    given: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    valid: jax.Array,
    begin: jax.Array,
) -> jax.Array:
    return _scan(cell, reverse, given, kernel, bias, valid, begin, None)


def _forward(cell: Cell, reverse: bool, given: jax.Array, kernel: Any, bias: Any, valid: Any, begin: Any) -> Any:
    def run(given: jax.Array, more: jax.Array, begin: jax.Array) -> jax.Array:
        return _scan(cell, reverse, given, kernel, bias, valid, begin, more)

    # Something that is added to each token's `through` has its gradient, of which the kernel's and bias's are made.
    outputs, pull = jax.vjp(run, given, jnp.zeros_like(given), begin)
    return outputs, (pull, outputs, begin)


def _backward(cell: Cell, reverse: bool, kept: Any, cotangent: jax.Array) -> Any:
    del cell
    pull, outputs, begin = kept
    given, through, first = pull(cotangent)
    before = [outputs[1:], begin[:1]] if reverse else [begin[:1], outputs[:-1]]
    rows = jnp.concatenate(before).reshape(-1, outputs.shape[-1])
    gates = through.reshape(-1, through.shape[-1])
    return given, lax.dot_general(rows, gates, (((0,), (0,)), ((), ()))), jnp.sum(gates, axis=0), None, first


_hoisted.defvjp(_forward, _backward)
