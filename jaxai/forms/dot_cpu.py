"""Matrix products on CPU, where XLA's own are slower one way around than the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

SMALL = 2**20
"""Multiplications from which on it matters."""


def form(shapes: list[tuple[int, ...]], params: dict[str, Any]) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """A product that sums over the rows of both, as a kernel's gradient does, with the narrower factor first.

    That is up to twice as fast. Autodiff makes the kernel's gradient as (g^T x)^T, from which XLA takes the transposes
    away: x^T g, whose first factor is the wider one in a layer that narrows. None for all other products.
    """
    sums_rows = params["dimension_numbers"] == (((0,), (0,)), ((), ()))
    if not sums_rows or any(len(shape) != 2 for shape in shapes):
        return None
    (rows, first), second = shapes[0], shapes[1][1]
    if first == second or rows * first * second < SMALL:
        return None
    settings = {name: params[name] for name in ("precision", "preferred_element_type")}

    def narrow_first(a: jax.Array, b: jax.Array) -> jax.Array:
        factors = (a, b) if first < second else (b, a)
        # The compiler would turn it around again without a barrier.
        product = lax.optimization_barrier(lax.dot_general(*factors, (((0,), (0,)), ((), ())), **settings))
        return product if first < second else product.T

    return narrow_first
