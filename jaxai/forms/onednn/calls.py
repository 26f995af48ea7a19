"""Which convolutions and products oneDNN computes, and how what XLA has is told to it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxai.forms.onednn.library import has_bfloat16

Form = Callable[[jax.Array, jax.Array], jax.Array]
_Factor = tuple[tuple[int, int], tuple[int, int]]
"""Size and stride of what is kept of a factor, and of what is summed over."""
_FORWARD, _IMAGE_GRADIENT, _KERNEL_GRADIENT = range(3)
SMALL = {"float32": 2**24, "bfloat16": 2**20}
"""Multiplications of a product from which on a call is worth what it costs, some 10 us; a convolution, a quarter."""


def convolution(shapes: Sequence[tuple[int, ...]], dtype: Any, out: Any, params: dict[str, Any]) -> Form | None:
    """A convolution of `lax.conv_general_dilated_p` by oneDNN, or None where that has none."""
    spec = params["dimension_numbers"]
    if len(out.shape) != 4 or params["batch_group_count"] != 1 or params["feature_group_count"] != 1:
        return None
    if not _is_known(dtype) or out.dtype != dtype or not all(math.prod(shape) for shape in shapes):
        return None
    lhs, rhs = shapes
    x, kernel, y = _Lying(lhs, spec.lhs_spec), _Lying(rhs, spec.rhs_spec), _Lying(out.shape, spec.out_spec)
    if 4 * y.size * x.sizes[1] * math.prod(kernel.sizes[2:]) < SMALL[dtype.name]:
        return None
    low = [before for before, _ in params["padding"]]
    steps, stretch, spread = (tuple(params[name]) for name in ("window_strides", "lhs_dilation", "rhs_dilation"))
    if not x.is_usual:
        # An image slides over another one: the gradient of a kernel, in which batch and features trade places.
        image, values, result = x.swapped(), kernel.swapped(), y.swapped()
        window = _window(image.sizes[2:], result.sizes[2:], values.sizes[2:], spread, steps, low)
        if window is None or stretch != (1, 1) or not (image.is_usual and values.is_usual):
            return None
        return _call(_KERNEL_GRADIENT, image, result, values, window, out)
    if not y.is_usual:
        return None
    if stretch != (1, 1):
        # An image with zeros between its pixels: the gradient of an image of which a kernel saw every second place.
        before = [spread * (size - 1) - low for spread, size, low in zip(spread, kernel.sizes[2:], low, strict=True)]
        window = _window(y.sizes[2:], kernel.sizes[2:], x.sizes[2:], stretch, spread, before)
        if window is None or steps != (1, 1):
            return None
        form = _call(_IMAGE_GRADIENT, y, kernel.swapped(), x, window, out)
        return lambda lhs, rhs: form(lhs, lax.rev(rhs, spec.rhs_spec[2:]))
    window = _window(x.sizes[2:], kernel.sizes[2:], y.sizes[2:], steps, spread, low)
    return None if window is None else _call(_FORWARD, x, kernel, y, window, out)


def product(shapes: Sequence[tuple[int, ...]], dtype: Any, out: Any, params: dict[str, Any]) -> Form | None:
    """A product of `lax.dot_general_p` by oneDNN, or None where its factors do not lie as that wants them."""
    over, batch = params["dimension_numbers"]
    free = [[dim for dim in range(len(s)) if dim not in (*o, *b)] for s, o, b in zip(shapes, over, batch, strict=True)]
    leading = [tuple(range(len(each))) == tuple(each) for each in batch]
    if not _is_known(dtype) or not _is_known(out.dtype) or not all(leading):
        return None
    if math.prod(out.shape) * math.prod(shapes[0][dim] for dim in over[0]) < SMALL[dtype.name]:
        return None
    factors = []
    for shape, summed, kept in zip(shapes, over, free, strict=True):
        rows, columns = _joined(shape, kept), _joined(shape, summed)
        if rows is None or columns is None or 1 not in (rows[1], columns[1]):
            return None
        factors.append((rows, columns))
    first, second = factors
    if not batch[0] and all(rows[1] == 1 < columns[0] for rows, columns in factors):
        # Autodiff makes a kernel's gradient turned around, and turns it back: to be told so the compiler need not copy.
        left, right = ([shape[dim] for dim in kept] for shape, kept in zip(shapes, free, strict=True))
        form = _product([], second, first, jax.ShapeDtypeStruct((*right, *left), out.dtype))
        order = (*range(len(right), len(out.shape)), *range(len(right)))
        return lambda a, b: lax.transpose(form(b, a), order)
    sizes = [(shapes[0][dim], *(_strides(shape)[dim] for shape in shapes)) for dim in batch[0]]
    return _product(sizes, first, second, out)


class _Lying:
    """A tensor in two dims of pixels: its sizes and strides in oneDNN's order, [batch, feature, height, width]."""

    def __init__(self, shape: Sequence[int], spec: Sequence[int]):
        strides = _strides(shape)
        self.sizes, self.strides = [shape[dim] for dim in spec], [strides[dim] for dim in spec]

    @property
    def size(self) -> int:
        return math.prod(self.sizes)

    @property
    def is_usual(self) -> bool:
        """Whether examples lie one by one, and in each its pixels or its features: oneDNN is slow for all else."""
        batch, feature, height, width = self.strides
        return batch >= height >= width >= feature or batch >= feature >= height >= width

    def swapped(self) -> _Lying:
        """The same, with the first two dims in each other's roles."""
        other = object.__new__(_Lying)
        other.sizes = [self.sizes[dim] for dim in (1, 0, 2, 3)]
        other.strides = [self.strides[dim] for dim in (1, 0, 2, 3)]
        return other


def _window(
    image: Sequence[int],
    kernel: Sequence[int],
    values: Sequence[int],
    steps: Sequence[int],
    spread: Sequence[int],
    before: Sequence[int],
) -> np.ndarray | None:
    """Steps, dilations less 1, and paddings, of a forward pass from `image` to `values`; None if there is none such."""
    after = []
    for size, width, num, step, each, low in zip(image, kernel, values, steps, spread, before, strict=True):
        reach = each * (width - 1) + 1
        high = max((num - 1) * step + reach - size - low, 0)
        if low < 0 or (size + low + high - reach) // step + 1 != num:
            return None
        after.append(high)
    return np.array([*steps, *(each - 1 for each in spread), *before, *after], np.int64)


def _call(which: int, image: _Lying, kernel: _Lying, values: _Lying, window: Any, out: Any) -> Form:
    lying = {"image": image, "kernel": kernel, "values": values}
    attributes = {name: _attribute(each.sizes, each.strides) for name, each in lying.items()}
    attributes |= {"pass": np.int64(which), "window": window}
    return functools.partial(_bind, "jaxai_convolution", out, attributes)


def _bind(name: str, out: Any, attributes: dict[str, Any], a: jax.Array, b: jax.Array) -> Any:
    return jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(out.shape, out.dtype))(a, b, **attributes)


def _product(batch: Sequence[tuple[int, ...]], first: _Factor, second: _Factor, out: Any) -> Form:
    """Of factors [batch..., row, column] and [batch..., column, row]: sizes and strides of dims, of batch in both."""
    (rows, summed), (columns, other) = first, second
    sizes = [size for size, _, _ in batch]
    shape = [*sizes, rows[0], columns[0]]
    attributes = {
        "left": _attribute([*sizes, rows[0], summed[0]], [*(stride for _, stride, _ in batch), rows[1], summed[1]]),
        "right": _attribute(
            [*sizes, other[0], columns[0]], [*(stride for _, _, stride in batch), other[1], columns[1]]
        ),
        "out": _attribute(shape, _strides(shape)),
    }
    return functools.partial(_bind, "jaxai_product", out, attributes)


def _is_known(dtype: Any) -> bool:
    return dtype == jnp.float32 or (dtype == jnp.bfloat16 and has_bfloat16())


def _attribute(sizes: Sequence[int], strides: Sequence[int]) -> np.ndarray:
    return np.array([*sizes, *strides], np.int64)


def _strides(shape: Sequence[int]) -> list[int]:
    """Of a tensor whose last dim lies close."""
    return [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]


def _joined(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, int] | None:
    """Size and stride of `dims` as one dim, if they lie one within the other."""
    strides = _strides(shape)
    for dim, following in itertools.pairwise(dims):
        if strides[dim] != shape[following] * strides[following]:
            return None
    return math.prod(shape[dim] for dim in dims), strides[dims[-1]] if dims else 1
