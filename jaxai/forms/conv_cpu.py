"""Convolutions on CPU, where XLA's own are slow: as matrix products, or as sums of smaller convolutions.

XLA's convolution runs at 100 to 150 GFLOP/s on a core with AVX-512 where its contraction is short, at 25 to 35 where it
is long, as in the gradient of a kernel, which sums over all pixels of all images, and at one where an image has only a
few pixels. Below, a convolution is spoken of as it stands in the compiled program: a gradient is one with its
dimensions in other roles.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

LONG = 4096
"""Terms of a sum from which on XLA's convolution slows down; a quarter of that where the kernel is stretched by 2."""
NARROW = 16
"""Outputs up to which it bears sums four times as long."""
FEW_CHANNELS = 4
"""Channels so few that a kernel's gradient is better a product of what each of its places sees."""
SMALL_WINDOW = 16
"""Pixels of a window that is a kernel, not an image as in the gradient of one."""

Form = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution in two dims: shapes, and the parameters of `lax.conv_general_dilated_p`."""

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    out: tuple[int, ...]
    params: dict[str, Any]

    def form(self, num_devices: int = 1) -> Form | None:
        """The form that is faster than XLA's own, if one is, for a program that the compiler cuts for `num_devices`."""
        if not self._is_known:
            return None
        if self.window == (1, 1) or self._is_laid_once:
            return self.as_product
        size, image = math.prod(self.window), _take(self.lhs, self._spec.lhs_spec[2:])
        if size < SMALL_WINDOW:
            # An image smaller than the window, of which XLA makes one product and sum after the other.
            return self.as_patches if image[0] < self.window[0] or image[1] < self.window[1] else None
        if self.features * size <= num_devices * self._longest:
            return None
        if self.batch <= FEW_CHANNELS and num_devices == 1:
            return self.in_turn
        num = self._num_parts(num_devices)
        return functools.partial(self.in_parts, num) if num > 1 else None

    @property
    def batch(self) -> int:
        return self.lhs[self._spec.lhs_spec[0]]

    @property
    def features(self) -> int:
        """What each pixel of the window sums over."""
        return self.lhs[self._spec.lhs_spec[1]]

    @property
    def window(self) -> tuple[int, int]:
        return _take(self.rhs, self._spec.rhs_spec[2:])

    @property
    def pixels(self) -> tuple[int, int]:
        return _take(self.out, self._spec.out_spec[2:])

    @property
    def _spec(self) -> Any:
        return self.params["dimension_numbers"]

    @property
    def _is_known(self) -> bool:
        groups = self.params["feature_group_count"] == 1 and self.params["batch_group_count"] == 1
        return groups and len(self.lhs) == 4 and all(math.prod(shape) for shape in (self.lhs, self.rhs, self.out))

    @property
    def _is_laid_once(self) -> bool:
        """Whether the window lies at one place only, inside the image."""
        inside = all(high <= 0 and low <= 0 for low, high in self.params["padding"])
        return self.pixels == (1, 1) and inside and tuple(self.params["lhs_dilation"]) == (1, 1)

    @property
    def _longest(self) -> int:
        wide = self.rhs[self._spec.rhs_spec[0]] > NARROW
        return LONG * (1 if wide else 4) // math.prod(self.params["rhs_dilation"])

    def _num_parts(self, num_devices: int) -> int:
        """Into how many parts the features go: as few as make each short, with some of each device's in every part."""
        length = self.features * math.prod(self.window) // num_devices
        each, odd = divmod(self.features, num_devices)
        if odd:
            return 1
        divisors = [n for n in range(1, each + 1) if each % n == 0]
        return next((n for n in divisors if length <= n * self._longest), each)

    def as_product(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """One matrix product: the window is a pixel, or lies at one place only."""
        spec, places = self._spec, self._spec.lhs_spec[2:]
        if self.window != (1, 1):
            start = [-low for low, _ in self.params["padding"]]
            x = _stepped(lhs, places, start, self.params["rhs_dilation"], self.window)
            y = self._dot(x, rhs, (*places, spec.lhs_spec[1]), (*spec.rhs_spec[2:], spec.rhs_spec[1]))
            return _arrange(y[:, :, None, None], (0, 1, 2, 3), spec)
        stretched = tuple(self.params["lhs_dilation"]) != (1, 1)
        if not stretched:
            lhs = _stepped(self._padded(lhs, places), places, (0, 0), self.params["window_strides"], self.pixels)
        summed, kept = spec.lhs_spec[1], [dim for dim in range(4) if dim != spec.lhs_spec[1]]
        y = self._dot(lhs, rhs, (summed,), (spec.rhs_spec[1],))
        # The kernel's other dims, two of which are 1, come behind those of the image.
        y = y.reshape(*y.shape[:3], -1)
        height, width = (kept.index(dim) for dim in places)
        y = self._padded(y, (height, width)) if stretched else y
        y = _stepped(y, (height, width), (0, 0), self.params["window_strides"], self.pixels) if stretched else y
        return _arrange(y, (kept.index(spec.lhs_spec[0]), 3, height, width), spec)

    def as_patches(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """One matrix product, of what each place of the window sees written out ("im2col")."""
        spec, (height, width) = self._spec, self.window
        x = lax.transpose(
            self._padded(lhs, spec.lhs_spec[2:]), (spec.lhs_spec[0], *spec.lhs_spec[2:], spec.lhs_spec[1])
        )
        down, right = self.params["rhs_dilation"]
        starts = [(i * down, j * right) for i in range(height) for j in range(width)]
        seen = [_stepped(x, (1, 2), start, self.params["window_strides"], self.pixels) for start in starts]
        rows = jnp.concatenate(seen, axis=-1).reshape(-1, len(starts) * self.features)
        kernel = lax.transpose(rhs, (*spec.rhs_spec[2:], spec.rhs_spec[1], spec.rhs_spec[0]))
        y = self._dot(rows, kernel.reshape(rows.shape[1], -1), (1,), (0,))
        return _arrange(y.reshape(self.batch, *self.pixels, -1), (0, 3, 1, 2), spec)

    def in_parts(self, num: int, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """The sum of `num` convolutions over fewer features each."""
        # Every num-th feature, not one after the other: so each device has its share of every part.
        x = _every(lhs, self._spec.lhs_spec[1], num)
        kernel = _every(rhs, self._spec.rhs_spec[1], num)
        products = [lax.conv_general_dilated_p.bind(a, b, **self.params) for a, b in zip(x, kernel, strict=True)]
        return functools.reduce(jnp.add, products)

    def in_turn(self, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
        """The sum over the features of matrix products of what the window sees at each place, for few of `batch`."""
        spec, (height, width) = self._spec, self.pixels
        x = lax.transpose(
            self._padded(lhs, spec.lhs_spec[2:]), (spec.lhs_spec[1], spec.lhs_spec[0], *spec.lhs_spec[2:])
        )
        kernel = lax.transpose(rhs, (spec.rhs_spec[1], *spec.rhs_spec[2:], spec.rhs_spec[0]))
        down, right = self.params["window_strides"]
        starts = [(i * down, j * right) for i in range(height) for j in range(width)]

        def add(i: Any, total: jax.Array) -> jax.Array:
            image, other = (lax.dynamic_index_in_dim(each, i, keepdims=False) for each in (x, kernel))
            # Whole images lie one behind the other: of single pixels it would be many small copies.
            seen = [_stepped(image, (1, 2), start, self.params["rhs_dilation"], self.window) for start in starts]
            rows = jnp.concatenate(seen, axis=0).reshape(len(starts) * self.batch, -1)
            return total + self._dot(rows, other.reshape(rows.shape[1], -1), (1,), (0,))

        begin = jnp.zeros((len(starts) * self.batch, kernel.shape[-1]), lhs.dtype)
        y = lax.fori_loop(0, self.features, add, begin)
        return _arrange(y.reshape(height, width, self.batch, -1), (2, 3, 0, 1), spec)

    def _padded(self, x: jax.Array, places: Sequence[int]) -> jax.Array:
        """`x`, whose image lies in dims `places`, stretched and padded."""
        widths = [(0, 0, 0)] * x.ndim
        for dim, (low, high), step in zip(places, self.params["padding"], self.params["lhs_dilation"], strict=True):
            widths[dim] = (low, high, step - 1)
        return lax.pad(x, jnp.zeros((), x.dtype), widths) if any(map(any, widths)) else x

    def _dot(self, a: jax.Array, b: jax.Array, over: Sequence[int], of: Sequence[int]) -> jax.Array:
        precision, dtype = self.params["precision"], self.params["preferred_element_type"]
        return lax.dot_general(a, b, ((over, of), ((), ())), precision=precision, preferred_element_type=dtype)


def _take(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, int]:
    return shape[dims[0]], shape[dims[1]]


def _every(x: jax.Array, dim: int, num: int) -> list[jax.Array]:
    """`x` in `num` parts along `dim`, each of every `num`-th place."""
    folded = x.reshape(*x.shape[:dim], -1, num, *x.shape[dim + 1 :])
    return [lax.index_in_dim(folded, i, dim + 1, keepdims=False) for i in range(num)]


def _stepped(
    x: jax.Array, dims: Sequence[int], start: Sequence[int], step: Sequence[int], count: Sequence[int]
) -> jax.Array:
    """`count` places of `dims`, every `step`-th from `start` on."""
    begin, end, stride = [0] * x.ndim, list(x.shape), [1] * x.ndim
    for dim, first, each, num in zip(dims, start, step, count, strict=True):
        begin[dim], end[dim], stride[dim] = first, first + (num - 1) * each + 1, each
    return lax.slice(x, begin, end, stride)


def _arrange(x: jax.Array, order: Sequence[int], spec: Any) -> jax.Array:
    """`x`, whose dims `order` are batch, feature and the two of the image, as the convolution's output lies."""
    places = [0] * 4
    for role, dim in zip(spec.out_spec, order, strict=True):
        places[role] = dim
    return lax.transpose(x, places)
