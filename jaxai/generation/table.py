"""The likeliest token without all logits: a search in eight bits that proves what it finds, or else looks at all.

Where one token follows another, most of the time goes into reading the output table: 77 MB a token at 50,257 tokens of
384 features. A copy in eight bits is a quarter of that, and the distance between it and the table bounds by how much
its logits are wrong (Cauchy-Schwarz). So only tokens whose bound reaches above the best are read in full.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.generation.sampling import argmax

GROUP = 32
"""Tokens that are kept or left together."""
NUM_GROUPS = 8
"""Groups that are read in full."""


class Table(NamedTuple):
    """An output table with its copy in eight bits; padded with tokens that are never found."""

    exact: jax.Array
    """float32 [vocab, dim]."""
    middle: jax.Array
    """Mean of its rows, [dim]: what all logits have in common decides nothing, and the copy leaves it out."""
    codes: jax.Array
    """int8 [padded vocab, dim]."""
    scale: jax.Array
    """What one of its codes is worth, float32 [padded vocab, 1]."""
    norm: jax.Array
    """Length of each of its rows, [padded vocab, 1]."""
    lack: jax.Array
    """Length of what it lacks of the table, with what rounding may add to a logit, [padded vocab, 1]."""


@jax.jit
def make_table(exact: jax.Array) -> Table:
    """The table [vocab, dim] with its copy."""
    middle = jnp.mean(exact, axis=0)
    codes, scale = _quantize(exact - middle[None])
    near = codes.astype(jnp.float32) * scale
    rounding = exact.shape[1] * np.finfo(np.float32).eps * jnp.linalg.norm(exact, axis=1, keepdims=True)
    lack = jnp.linalg.norm(exact - middle[None] - near, axis=1, keepdims=True) + rounding
    padded = [
        jnp.pad(x, ((0, -len(exact) % GROUP), (0, 0)))
        for x in (codes, scale, jnp.linalg.norm(near, axis=1, keepdims=True), lack)
    ]
    return Table(exact, middle, *padded)


def likeliest(table: Table, x: jax.Array) -> jax.Array:
    """Which token has the largest logit `table.exact @ x`, int32 [batch] of `x` float32 [batch, dim]."""
    found, is_proven = search(table, x)
    return jax.lax.cond(jnp.all(is_proven), lambda: found, lambda: argmax(x @ table.exact.T))


def search(table: Table, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The best of the tokens looked at in full, int32 [batch], and whether none else can be better, bool [batch]."""
    upper, places = _bounds(table, x), jnp.arange(GROUP, dtype=jnp.int32)
    num_groups = min(NUM_GROUPS, len(upper) // GROUP - 1)
    # A group is of tokens that lie `stride` apart, so that a maximum goes over whole rows.
    stride = len(upper) // GROUP
    best, groups = jax.lax.top_k(jnp.max(upper.reshape(GROUP, stride, -1), axis=0).T, num_groups + 1)
    tokens = groups[:, :-1, None] + stride * places[None, None]
    tokens = jnp.sort(jnp.minimum(tokens.reshape(len(x), -1), len(table.exact) - 1), axis=1)
    logits = jnp.einsum("bcd,bd->bc", table.exact[tokens], x)
    found = jnp.take_along_axis(tokens, argmax(logits)[:, None], axis=1)[:, 0]
    return found, jnp.max(logits, axis=1) - x @ table.middle > best[:, -1]


def _bounds(table: Table, x: jax.Array) -> jax.Array:
    """What no logit exceeds, less that of the middle: [padded vocab, batch]."""
    batch = len(x)
    coarse, scale = _quantize(x)
    fine, fine_scale = _quantize(x - coarse.astype(jnp.float32) * scale)
    rest = x - coarse.astype(jnp.float32) * scale - fine.astype(jnp.float32) * fine_scale
    # One product of both, since two rows cost what one costs.
    sums = _product(table.codes, jnp.concatenate([coarse, fine]))
    near = table.scale * (sums[:, :batch] * scale.T + sums[:, batch:] * fine_scale.T)
    length, short = (jnp.linalg.norm(v, axis=1)[None] for v in (x, rest))
    is_token = jnp.arange(len(near))[:, None] < len(table.exact)
    return jnp.where(is_token, near + table.lack * length + table.norm * short, -jnp.inf)


def _quantize(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int8 of the shape of `x` [row, dim], and what one is worth, [row, 1]."""
    scale = jnp.maximum(jnp.max(jnp.abs(x), axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    return jnp.round(x / scale).astype(jnp.int8), scale


@functools.cache
def is_quick() -> bool:
    """Whether this machine multiplies int8 by instructions made for it: on CPUs XLA does where YNNPACK is built in."""
    if jax.default_backend() != "cpu":
        return False
    codes = jax.ShapeDtypeStruct((256, 256), jnp.int8)
    compiled = jax.jit(_product).lower(codes, codes).compile().as_text()
    return compiled is not None and "ynn" in compiled


def _product(codes: jax.Array, others: jax.Array) -> jax.Array:
    """int32 [row, other row] of int8 [row, dim] and [other row, dim]."""
    return jax.lax.dot_general(codes, others, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32)
