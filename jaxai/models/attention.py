"""Attention, with what it needs: who looks at whom, positions, the cache of keys and values, dropout."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from jaxai.compat import multiplies_bfloat16
from jaxai.core.errors import InputError
from jaxai.forms.attention import attention


class Slots(NamedTuple):
    """Where the tokens of a call go in the cache of keys and values."""

    first: jax.Array
    """The first one's place, int32 scalar; the others follow."""
    size: int
    """Places there are."""


class Decoding(NamedTuple):
    """What a decoder knows of a call that has a cache."""

    slots: Slots
    """Where its tokens go."""
    mask: jax.Array
    """Which places each token looks at, bool [batch, 1, length, size]."""
    positions: jax.Array
    """Of its tokens, int32 [batch, length], from 0 at the first that is none of the padding."""


def begin_or_continue(module: nn.Module, is_token: jax.Array, cache_size: int | None) -> Decoding | None:
    """Makes room for the tokens of this call in `module`'s collection `cache`; None where there is no cache.

    Prompts of several lengths are padded at their *beginning*, where `is_token` [batch, length] is false, so that they
    end together. `cache_size` makes a cache, and a later call with that cache among the variables goes on in it.
    """
    if cache_size is None and not module.has_variable("cache", "is_token"):
        return None
    batch, length = is_token.shape
    held = module.variable("cache", "is_token", jnp.zeros, (batch, cache_size or 0), bool)
    filled = module.variable("cache", "filled", jnp.zeros, (), jnp.int32)
    size, first = held.value.shape[1], filled.value
    if length > size:
        raise InputError("prompt", f"is {length} tokens long, the cache {size}", "a shorter prompt or a larger cache")
    held.value = jax.lax.dynamic_update_slice(held.value, is_token, (0, first))
    filled.value = first + length
    counted = jnp.maximum(jnp.cumsum(held.value, axis=1, dtype=jnp.int32) - 1, 0)
    positions = jax.lax.dynamic_slice_in_dim(counted, first, length, axis=1)
    is_past = jnp.arange(size)[None, :] <= first + jnp.arange(length)[:, None]
    return Decoding(Slots(first, size), held.value[:, None, None, :] & is_past[None, None], positions)


def same_segment(segments: jax.Array, others: jax.Array | None = None) -> jax.Array:
    """Which tokens may look at which: those of one segment; of segment 0, padding, none looks or is looked at.

    bool [batch, 1, query, key] of segment numbers [batch, query] and, by default the same, [batch, key].
    """
    others = segments if others is None else others
    return (segments[:, None, :, None] == others[:, None, None, :]) & (others > 0)[:, None, None, :]


def sinusoids(length: int, dim: int) -> np.ndarray:
    """Positions as sines and cosines of falling frequencies (Vaswani et al. 2017), float32 [length, dim]."""
    angles = np.arange(length)[:, None] / 10_000 ** (np.arange(0, dim, 2) / dim)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)[:, :dim].astype(np.float32)


def rotate(x: jax.Array, positions: jax.Array, base: float) -> jax.Array:
    """Rotary positions (Su et al. 2021): turns pairs of features by an angle that grows with the position.

    `x` [batch, length, head, feature]; `positions` [batch or 1, length]. Feature i goes with i + half, as in Llama.
    """
    half = x.shape[-1] // 2
    frequencies = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[:, :, None, None].astype(jnp.float32) * frequencies[None, None, None]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rows_times(x: jax.Array, kernel: jax.Array, dimensions: Any, **settings: Any) -> jax.Array:
    """A dense layer's product, of `x` [..., feature] as rows of one matrix, with `kernel` [feature, ...].

    Of [batch, length, feature] XLA makes the kernel's gradient by turning one factor around first, which takes longer
    than the product itself on CPUs.
    """
    del dimensions  # always the last of `x` with the first of `kernel`
    product = jax.lax.dot_general(x.reshape(-1, x.shape[-1]), kernel, (((1,), (0,)), ((), ())), **settings)
    return product.reshape(*x.shape[:-1], *kernel.shape[1:])


def dense(features: int | tuple[int, int], name: str, **settings: Any) -> nn.Module:
    """A dense layer; its kernel is [feature, features], or of a pair [feature, parts, features of each]."""
    make: Any = nn.Dense if isinstance(features, int) else nn.DenseGeneral
    return make(features, dot_general=rows_times, name=name, **settings)


class Dropout(nn.Module):
    """Zeros numbers with a probability of `rate` in training, and divides the others by one minus that.

    Srivastava et al. 2014. Draws eight bits a number with XLA's own generator, a fraction of what `nn.Dropout` draws,
    so the rate is rounded to 1/256; what is divided by is the rounded one.
    """

    rate: float
    """Share that is zeroed."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`x`, with zeros."""
        num_kept = 256 - round(256 * self.rate)
        if not train or num_kept == 256:
            return x
        if num_kept == 0:
            return jnp.zeros_like(x)
        return jnp.where(random_bytes(self.make_rng("dropout"), x.shape) < num_kept, x * (256 / num_kept), 0)


def random_bytes(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint8 of `shape`, by XLA's own generator from a key of JAX's."""
    num = math.prod(shape)

    # For one key after the other where keys are mapped: JAX would draw for all of them from the first.
    @jax.custom_batching.sequential_vmap
    def draw(data: jax.Array) -> jax.Array:
        return jax.random.bits(jax.random.wrap_key_data(data, impl="rbg"), (-(-num // 4),), jnp.uint32)

    # Four of each word: asked for bytes, the generator makes a word for every one of them, and its bytes in their order
    # are several times slower to take apart on CPUs than the four of all words one after the other.
    words = draw(jnp.resize(jax.random.key_data(key).reshape(-1), (4,)))
    return jnp.concatenate([(words >> shift).astype(jnp.uint8) for shift in (0, 8, 16, 24)])[:num].reshape(shape)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017): each token gathers from those that it may look at.

    With fewer heads of keys and values than of queries, several queries share one (Ainslie et al. 2023). Parameters are
    `qkv` (queries, keys, values, in this order) where a sequence looks at itself with as many heads of each, else
    `query` and `kv`; and `out`. The kernel of `qkv` is [feature, 3, feature], that of `kv` [feature, 2, feature of a kv
    head x kv heads]: so whole heads of all three lie on one device where a mesh cuts the last dim.
    """

    num_heads: int
    """Heads; they share the features of a token equally."""
    num_kv_heads: int | None = None
    """Heads of keys and values; by default as many."""
    causal: bool = False
    """Whether a token looks only at itself and those before it."""
    rotary: float | None = None
    """Base of rotary positions."""
    use_bias: bool = True
    """Whether the dense layers add a bias."""
    dropout: float = 0.0
    """Share of the weights that is zeroed in training."""
    kernel_init: Initializer = nn.initializers.lecun_normal()
    """How kernels start."""
    out_init: Initializer | None = None
    """How the kernel of `out` starts; by default like the others."""

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        *,
        mask: jax.Array | None = None,
        positions: jax.Array | None = None,
        context: jax.Array | None = None,
        slots: Slots | None = None,
    ) -> jax.Array:
        """Tokens [batch, length, feature], mixed.

        Args:
            x: The tokens that look, [batch, length, feature].
            train: Whether dropout applies.
            mask: Which may be looked at, bool [batch, 1 or head, length, key]; with `slots`, all that may.
            positions: For rotary positions, [batch or 1, length].
            context: The tokens that are looked at, [batch, key, feature]; by default `x`.
            slots: Where the keys and values go in the collection `cache`, which then holds all that is looked at.
        """
        query, key, value = self._project(x, context)
        if self.rotary is not None:
            positions = jnp.arange(x.shape[1])[None] if positions is None else positions
            query, key = (rotate(each, positions, self.rotary) for each in (query, key))
        causal = self.causal and slots is None
        if slots is not None:
            key, value = self._remember("key", key, slots), self._remember("value", value, slots)
        gathered = self.attend(query, key, value, mask, causal, train)
        return self._dense(x.shape[-1], "out", self.out_init)(gathered.reshape(x.shape))

    def attend(
        self, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, causal: bool, train: bool
    ) -> jax.Array:
        """What queries [batch, length, head, feature] gather from keys and values [batch, key, kv head, feature].

        Apart from the rest so that adapters can put learned keys and values before those of the tokens.
        """
        dtype = query.dtype
        if dtype == jnp.bfloat16 and not multiplies_bfloat16():
            query, key, value = (each.astype(jnp.float32) for each in (query, key, value))
        if not (train and self.dropout):
            return attention(query, key, value, mask, causal).astype(dtype)
        groups = self.num_heads // key.shape[2]
        key, value = jnp.repeat(key, groups, axis=2), jnp.repeat(value, groups, axis=2)
        scores = jnp.einsum("bqhf,bkhf->bhqk", query, key).astype(jnp.float32) / np.sqrt(query.shape[-1])
        if causal:
            scores = jnp.where(jnp.tri(*scores.shape[-2:], dtype=bool), scores, jnp.finfo(jnp.float32).min)
        if mask is not None:
            scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
        weights = Dropout(self.dropout, name="dropout")(jax.nn.softmax(scores).astype(query.dtype), True)
        return jnp.einsum("bhqk,bkhf->bqhf", weights, value).astype(dtype)

    def _project(self, x: jax.Array, context: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [batch, length, head, feature], keys and values [batch, key, kv head, feature]."""
        feature, num_kv = x.shape[-1], self.num_kv_heads or self.num_heads
        if feature % self.num_heads:
            what = f"{self.num_heads} heads cannot share {feature} features"
            raise InputError("num_heads", what, f"a divisor of {feature}")
        if self.num_heads % num_kv:
            what = f"{num_kv} cannot be shared by {self.num_heads} heads of queries"
            raise InputError("num_kv_heads", what, f"a divisor of {self.num_heads}")
        each = feature // self.num_heads
        if context is None and num_kv == self.num_heads:
            # One kernel is one multiplication, and how many published weights have it.
            qkv = self._dense((3, feature), "qkv")(x).reshape(*x.shape[:2], 3, self.num_heads, each)
            return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        seen = x if context is None else context
        query = self._dense(feature, "query")(x).reshape(*x.shape[:2], self.num_heads, each)
        kv = self._dense((2, num_kv * each), "kv")(seen).reshape(*seen.shape[:2], 2, num_kv, each)
        return query, kv[:, :, 0], kv[:, :, 1]

    def _dense(self, features: int | tuple[int, int], name: str, init: Initializer | None = None) -> nn.Module:
        return dense(features, name, use_bias=self.use_bias, kernel_init=init or self.kernel_init)

    def _remember(self, name: str, new: jax.Array, slots: Slots) -> jax.Array:
        """All keys, or values, so far: [batch, size, kv head, feature]."""
        batch, _, num, each = new.shape
        # Heads first, as the products of attention read them: else XLA would turn the cache around at each token.
        held = self.variable("cache", name, jnp.zeros, (batch, num, slots.size, each), new.dtype)
        held.value = jax.lax.dynamic_update_slice(held.value, new.swapaxes(1, 2), (0, 0, slots.first, 0))
        return held.value.swapaxes(1, 2)
