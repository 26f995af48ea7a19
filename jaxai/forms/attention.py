"""Attention in the form that is fast on the backend: explicit products on CPU, cuDNN's fused kernel on GPU."""

from __future__ import annotations

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxai import compat
from jaxai.forms.choice import is_fast

_log = logging.getLogger("jaxai")
_MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)
"""A score of what may not be looked at; JAX's own, so that a token that may look at nothing does the same here."""


def attention(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None, causal: bool = False
) -> jax.Array:
    """What queries [batch, length, head, feature] gather from keys and values [batch, key, kv head, feature].

    `mask`, bool [batch or 1, head or 1, length, key], says which may be looked at. Vaswani et al. 2017.
    """
    known = query.dtype == jnp.float32 or (query.dtype == jnp.bfloat16 and compat.multiplies_bfloat16())
    if is_fast() and jax.default_backend() == "cpu" and known:
        return _on_cpu(query, key, value, mask, causal)
    implementation = None
    if is_fast() and jax.default_backend() == "gpu" and _has_cudnn(query.dtype.name, query.shape[-1], mask is not None):
        implementation = "cudnn"
    return jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=causal, implementation=implementation)


@functools.cache
def _has_cudnn(dtype: str, features: int, masked: bool) -> bool:
    """Whether cuDNN's attention works here for such heads, forward and backward; says so if it does not."""

    def run(x: jax.Array, mask: jax.Array) -> jax.Array:
        given = mask if masked else None
        return jnp.sum(jax.nn.dot_product_attention(x, x, x, mask=given, is_causal=True, implementation="cudnn"))

    x, mask = jnp.zeros((1, 64, 1, features), dtype), jnp.ones((1, 1, 64, 64), bool)
    try:
        jax.jit(jax.grad(run)).lower(x, mask).compile()
    except Exception as error:  # whatever JAX or cuDNN says that it does not support
        _log.info("jaxai: attention is XLA's, not cuDNN's: %s", str(error).strip().splitlines()[0][:200])
        return False
    return True


def _on_cpu(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, causal: bool) -> jax.Array:
    """One product for each batch and head of keys, and a backward pass that keeps the weights alone."""
    batch, length, num_heads, feature = query.shape
    num, kv_heads = key.shape[1:3]
    groups = num_heads // kv_heads
    # Queries that share a head of keys are further rows of the same product. Batch and head stay dims of their own, as
    # a mesh may cut both.
    q = jnp.moveaxis(query, 1, 2).reshape(batch, kv_heads, groups * length, feature) * feature**-0.5
    k, v = (jnp.moveaxis(x, 1, 2) for x in (key, value))
    seen = jnp.tri(length, num, dtype=bool)[None, None] if causal else None
    if mask is not None:
        seen = mask if seen is None else mask & seen
    if seen is not None:  # [batch or 1, kv head or 1, group or 1, length, key]
        heads = (kv_heads, groups) if seen.shape[1] > 1 else (1, 1)
        seen = jnp.broadcast_to(seen, (*seen.shape[:2], length, num)).reshape(seen.shape[0], *heads, length, num)
    y: Any = _gather(q, k, v, seen, groups)
    return jnp.moveaxis(y.reshape(batch, num_heads, length, feature), 2, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _gather(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None, groups: int) -> jax.Array:
    """Of scaled queries [batch, kv head, group x length, feature]; keys, values [batch, kv head, key, feature]."""
    return _forward(q, k, v, seen, groups)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array | None, groups: int) -> tuple[jax.Array, Any]:
    scores = _where(seen, _product(q, k, 3, 3, jnp.float32), _MASKED, groups)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    weights = (weights / jnp.sum(weights, axis=-1, keepdims=True)).astype(v.dtype)
    y = _product(weights, v, 3, 2)
    return y, (q, k, v, seen, weights, y)


def _backward(groups: int, kept: Any, cotangent: jax.Array) -> tuple[jax.Array | None, ...]:
    q, k, v, seen, weights, y = kept
    through = _product(cotangent, v, 3, 3, jnp.float32)
    # Of the softmax: what a weight adds to the sum, less the mean over the row, which is that of the outputs.
    mean = jnp.sum(cotangent * y, axis=-1, keepdims=True, dtype=jnp.float32)
    scores = _where(seen, weights * (through - mean), 0.0, groups).astype(q.dtype)
    return _product(scores, k, 3, 2), _product(scores, q, 2, 2), _product(weights, cotangent, 2, 2), None


_gather.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, over: int, of: int, dtype: Any = None) -> jax.Array:
    return lax.dot_general(a, b, (((over,), (of,)), ((0, 1), (0, 1))), preferred_element_type=dtype)


def _where(seen: jax.Array | None, scores: jax.Array, other: float, groups: int) -> jax.Array:
    if seen is None:
        return scores
    batch, heads, rows, num = scores.shape
    return jnp.where(seen, scores.reshape(batch, heads, groups, rows // groups, num), other).reshape(scores.shape)
