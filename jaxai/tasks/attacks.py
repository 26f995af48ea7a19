"""Attacks: images of 0..1 moved within a ball so that a loss rises. An attack is a value and a pure function.

`attack(losses, images, keys)` gives images of the shape of `images` [batch, ...], each within `epsilon` of its own and
within 0..1. `losses(images) -> [batch]` is what it raises: the loss of each image alone, so that the gradient of their
sum is the gradient of each. `keys` [batch] are random keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields

Losses = Callable[[jax.Array], jax.Array]
Norm = Literal["linf", "l2"]


class Attack(Protocol):
    """A search for the image near to a given one whose loss is highest."""

    def __call__(self, losses: Losses, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Images like `images` [batch, ...] with higher `losses`; `keys` [batch] are random keys."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM:
    """The fast gradient sign method (Goodfellow et al. 2015): one step to the edge of the ball."""

    epsilon: float
    """Radius of the ball; images are in 0..1."""
    norm: Norm = "linf"
    """By which norm it is one: each value moves by at most epsilon (`linf`), or the image by a length of it (`l2`)."""

    def __post_init__(self):
        _check(self)

    def __call__(self, losses: Losses, images: jax.Array, keys: jax.Array) -> jax.Array:
        del keys  # nothing is random
        gradient = jax.grad(lambda x: jnp.sum(losses(x)))(images)
        return jnp.clip(images + self.epsilon * _direction(gradient, self.norm), 0, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient descent (Madry et al. 2018): steps along the gradient's direction, back into the ball."""

    epsilon: float
    """Radius of the ball; images are in 0..1."""
    norm: Norm = "linf"
    """By which norm it is one: each value moves by at most epsilon (`linf`), or the image by a length of it (`l2`)."""
    steps: int = 10
    """Gradients a search takes."""
    step_size: float | None = None
    """Length of a step; by default 2.5 epsilon / steps, which reaches the edge from anywhere and can turn back."""
    restarts: int = 1
    """Searches, made at once, of whose ends each image keeps the one with the highest loss."""
    random_start: bool = True
    """Whether a search begins at a random point of the ball, or at the image itself."""

    def __post_init__(self):
        _check(self)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise InputError(f"PGD.{name}", f"must be at least 1, is {getattr(self, name)}")
        if self.restarts > 1 and not self.random_start:
            raise InputError("PGD.restarts", f"{self.restarts} searches from the same point", "random_start=True")

    def __call__(self, losses: Losses, images: jax.Array, keys: jax.Array) -> jax.Array:
        if self.restarts == 1:
            return self._search(losses, images, keys)
        numbers = jnp.arange(self.restarts)
        fresh = jax.vmap(lambda number: jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number))(numbers)
        found = jax.vmap(lambda each: self._search(losses, images, each))(fresh)
        worst = jnp.argmax(jax.vmap(losses)(found), axis=0)
        return jax.vmap(lambda ends, number: ends[number], in_axes=(1, 0))(found, worst)

    def _search(self, losses: Losses, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Where one search ends."""
        gradient = jax.grad(lambda x: jnp.sum(losses(x)))
        step_size = 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size

        def step(_: Any, x: jax.Array) -> jax.Array:
            moved = x + step_size * _direction(gradient(x), self.norm)
            # A clip to 0..1 moves each value towards its image's: what was in the ball stays in it.
            return jnp.clip(images + _into_ball(moved - images, self.epsilon, self.norm), 0, 1)

        start = images
        if self.random_start:
            noise = jax.vmap(lambda key, x: _in_ball(key, x, self.epsilon, self.norm))(keys, images)
            start = jnp.clip(images + noise, 0, 1)
        # XLA on CPU runs convolutions inside a rolled loop several times slower, the gradients of inputs too.
        unroll = self.steps if jax.default_backend() == "cpu" else 1
        return jax.lax.fori_loop(0, self.steps, step, start, unroll=unroll)


def _check(attack: FGSM | PGD) -> None:
    name = type(attack).__name__
    check_fields(attack, f"{name}.")
    if not attack.epsilon >= 0:
        raise InputError(f"{name}.epsilon", f"must not be negative, is {attack.epsilon}")


def _like(values: jax.Array, images: jax.Array) -> jax.Array:
    """`values` [batch] with the dims of `images` [batch, ...]."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def _length(x: jax.Array) -> jax.Array:
    """The L2 norm of each of `x` [batch, ...], with its dims; never 0, to divide by."""
    return _like(jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x).reshape(x.shape[0], -1), axis=1), 1e-24)), x)


def _direction(gradient: jax.Array, norm: Norm) -> jax.Array:
    """The step of length 1 by `norm` along which the loss rises most; nowhere where the gradient is 0."""
    return jnp.sign(gradient) if norm == "linf" else gradient / _length(gradient)


def _into_ball(offset: jax.Array, epsilon: float, norm: Norm) -> jax.Array:
    """The point of the ball nearest to each `offset` [batch, ...]."""
    if norm == "linf":
        return jnp.clip(offset, -epsilon, epsilon)
    return offset * jnp.minimum(1.0, epsilon / _length(offset))


def _in_ball(key: jax.Array, image: jax.Array, epsilon: float, norm: Norm) -> jax.Array:
    """A point drawn uniformly from the ball, of the shape of one `image`."""
    if norm == "linf":
        return jax.random.uniform(key, image.shape, minval=-epsilon, maxval=epsilon)
    direction, radius = jax.random.split(key)
    point = jax.random.normal(direction, image.shape)
    length = jnp.sqrt(jnp.sum(jnp.square(point)))
    return epsilon * jax.random.uniform(radius) ** (1 / image.size) * point / length
