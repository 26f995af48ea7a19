"""Cross-entropy over a large vocabulary, some tokens at a time: their logits are never all there at once.

The gradient is made along with the loss, of the same logits, so nothing is computed twice (Hsu et al. 2024, "Liger
Kernel"). At 50,257 tokens the logits of 8 texts of 1,024 tokens would be 1.6 GB in float32, and their gradient as much.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxai.forms.choice import is_fast

LARGE = 4096
"""Tokens of a vocabulary from which on logits are worth avoiding."""
_AT_ONCE = {"cpu": 2**22}
_AT_ONCE_ELSEWHERE = 2**25
"""Logits at a time: enough for a processor to be busy with."""
_LANES = 128
"""What the sides of a product on an accelerator should divide by."""


def suits(vocab_size: int) -> bool:
    """Whether what is traced at the moment is to take this form."""
    return is_fast() and vocab_size >= LARGE


def linear_cross_entropy(
    x: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of `x` [batch, length, dim] whose logits are `x @ table.T`, `table` [vocab, dim], for `targets` [batch, length]:

    the sum of the losses times `weights` [batch, length], whose gradient is known; for metrics each token's loss, in
    nats [batch, length], nan for what is no token; and whether the target is the likeliest, bool [batch, length].
    """
    vocab = table.shape[0]
    if jax.default_backend() != "cpu":
        table = jnp.pad(table, ((0, -vocab % _LANES), (0, 0)))
    found: Any = _summed(vocab, x, table, targets, weights)
    total, losses, likeliest = found
    return total, jax.lax.stop_gradient(losses), likeliest


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _summed(vocab: int, x: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array) -> Any:
    def part(_: None, now: Any) -> tuple[None, Any]:
        return None, _losses(vocab, table, *now)[:3]

    _, found = jax.lax.scan(part, None, _cut(table, x, targets, weights))
    return _joined(found, x.shape[1])


def _forward(vocab: int, x: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array) -> Any:
    def part(gradient: jax.Array, now: Any) -> tuple[jax.Array, Any]:
        x, targets, weights = now
        *found, log_p = _losses(vocab, table, *now)
        # Of what is no token the loss is nan, and so is the gradient.
        weight = jnp.where(weights > 0, weights + 0 * found[1], 0)[..., None]
        is_target = jnp.arange(table.shape[0])[None, None] == targets[..., None]
        of_logits = ((jnp.exp(log_p) - is_target) * weight).astype(x.dtype)
        gradient += jnp.einsum("blv,bld->vd", of_logits, x, preferred_element_type=jnp.float32)
        return gradient, (*found, jnp.einsum("blv,vd->bld", of_logits, table))

    begin = jnp.zeros(table.shape, jnp.float32)
    of_table, (*found, of_x) = jax.lax.scan(part, begin, _cut(table, x, targets, weights))
    found = _joined(found, x.shape[1])
    return found, (_join(of_x, x.shape[1]), of_table.astype(table.dtype), found[1])


def _backward(vocab: int, kept: Any, cotangents: Any) -> tuple[Any, ...]:
    del vocab
    (of_x, of_table, losses), scale = kept, cotangents[0]
    return of_x * scale.astype(of_x.dtype), of_table * scale.astype(of_table.dtype), None, losses * scale


_summed.defvjp(_forward, _backward)


def _losses(vocab: int, table: jax.Array, x: jax.Array, targets: jax.Array, weights: jax.Array) -> tuple[Any, ...]:
    """The weighted sum, each token's loss, whether its target is the likeliest, and all log probabilities."""
    logits = jnp.einsum("bld,vd->blv", x, table, preferred_element_type=jnp.float32)
    if table.shape[0] > vocab:
        logits = jnp.where(jnp.arange(table.shape[0])[None, None] < vocab, logits, -jnp.inf)
    log_p = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    # Not by its place, which would gather the logits of a vocabulary that lies on several devices.
    is_target = jnp.arange(table.shape[0])[None, None] == targets[..., None]
    losses = -jnp.sum(jnp.where(is_target, log_p, 0), axis=-1)
    losses = jnp.where((targets >= 0) & (targets < vocab), losses, jnp.nan)
    total = jnp.sum(jnp.where(weights > 0, losses * weights, 0))
    return total, losses, jnp.argmax(logits, axis=-1) == targets, log_p


def _cut(table: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """[batch, length, ...] as [part, batch, length of a part, ...]; not along the batch, which devices may share."""
    batch, length = arrays[0].shape[:2]
    at_once = _AT_ONCE.get(jax.default_backend(), _AT_ONCE_ELSEWHERE)
    size = min(length, max(1, at_once // (batch * table.shape[0])))
    num = math.ceil(length / size)

    def cut(x: jax.Array) -> jax.Array:
        widths = [(0, 0), (0, num * size - length), *[(0, 0)] * (x.ndim - 2)]
        return jnp.pad(x, widths).reshape(batch, num, size, *x.shape[2:]).swapaxes(0, 1)

    return tuple(cut(x) for x in arrays)


def _joined(found: Any, length: int) -> tuple[jax.Array, ...]:
    total, *others = found
    return jnp.sum(total), *(_join(each, length) for each in others)


def _join(x: jax.Array, length: int) -> jax.Array:
    """Undoes `_cut`."""
    x = x.swapaxes(0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]
