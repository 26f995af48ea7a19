"""How operations of JAX become others where XLA's own are slow: rules of lowering, so that no model has to know.

A rule takes effect in what is compiled under `use("fast")`, for CPUs, in float32, where it knows the operation; else
the operation stays as it is. Where oneDNN is at hand, it comes first, in bfloat16 too, but not in programs that the
compiler cuts for several devices, as it cannot look into a call. Gradients are operations too, so they need nothing of
their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxai import compat
from jaxai.forms import dot_cpu
from jaxai.forms.choice import is_fast
from jaxai.forms.conv_cpu import Conv
from jaxai.forms.onednn import calls as onednn
from jaxai.forms.onednn.library import is_ready
from jaxai.forms.pool_cpu import Pool

Form = Callable[..., jax.Array]


@functools.cache
def register() -> None:
    """Has JAX ask here how to lower convolutions, products and max-pools for CPUs."""
    for primitive, choose, call in (
        (lax.conv_general_dilated_p, _conv, onednn.convolution),
        (lax.dot_general_p, _dot, onednn.product),
        (lax.reduce_window_max_p, _pool, None),
        (lax.select_and_scatter_add_p, _pool_gradient, None),
    ):
        compat.replace_lowering(primitive, "cpu", functools.partial(_chosen, choose, call))


def _chosen(
    choose: Callable[..., Form | None],
    call: Callable[..., Form | None] | None,
    avals: Any,
    out: Any,
    params: dict[str, Any],
    parts: int,
) -> Form | None:
    """The form to take instead of XLA's own."""
    if not is_fast():
        return None
    shapes, dtypes = [aval.shape for aval in avals], {aval.dtype for aval in avals}
    if call is not None and parts == 1 and len(dtypes) == 1 and is_ready():
        form = call(shapes, dtypes.pop(), out, params)
        if form is not None:
            return form
    if any(aval.dtype != jnp.float32 for aval in (*avals, out)):
        return None
    return choose(shapes, out.shape, params, parts)


def _conv(shapes: list[tuple[int, ...]], out: tuple[int, ...], params: dict[str, Any], parts: int) -> Form | None:
    return Conv(shapes[0], shapes[1], out, params).form(parts)


def _dot(shapes: list[tuple[int, ...]], out: tuple[int, ...], params: dict[str, Any], parts: int) -> Form | None:
    del out, parts
    return dot_cpu.form(shapes, params)


def _pool(shapes: Any, out: Any, params: dict[str, Any], parts: int) -> Form | None:
    del shapes, out, parts
    pool = Pool.of(params)
    return pool.forward if pool is not None else None


def _pool_gradient(shapes: Any, out: Any, params: dict[str, Any], parts: int) -> Form | None:
    del shapes, out, parts
    pool = Pool.of(params) if params["select_prim"] is lax.ge_p else None
    return pool.backward if pool is not None else None
