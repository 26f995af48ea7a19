"""Matrix products on CPU, where XLA's own are slower one way around than the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax

SMALL = 2**20
"""Multiplications from which on it matters."""


def form(shapes: list[tuple[int, ...]], params: dict[str, Any]) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """A product that sums over the rows of both, as a kernel's gradient does, with the narrower factor first.

    That is up to twice as fast. Autodiff makes the kernel's gradient as (g^T x)^T, from which XLA takes the transposes
    away: x^T g, whose first factor is the wider one in a layer that narrows. Where rows are [batch, length], XLA turns
    one factor around, which takes longer than the product: they are made one dim. None for all other products.
    """
    (over, of), batch = params["dimension_numbers"]
    leading = tuple(range(len(over)))
    if any(batch) or not leading or tuple(over) != leading or tuple(of) != leading:
        return None
    if any(len(shape) != len(leading) + 1 for shape in shapes):
        return None
    first, second = (shape[-1] for shape in shapes)
    small = math.prod(shapes[0]) * second < SMALL
    if small or (first == second and len(leading) == 1):
        return None
    settings = {name: params[name] for name in ("precision", "preferred_element_type")}

    def narrow_first(a: jax.Array, b: jax.Array) -> jax.Array:
        a, b = a.reshape(-1, first), b.reshape(-1, second)
        factors = (a, b) if first <= second else (b, a)
        # The compiler would turn it around again without a barrier.
        product = lax.optimization_barrier(lax.dot_general(*factors, (((0,), (0,)), ((), ())), **settings))
        return product if first <= second else product.T

    return narrow_first
