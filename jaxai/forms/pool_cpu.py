"""Max-pooling on CPU, where XLA's own is a scalar loop, and so is its gradient: as maxima of slices, which fuse.

Values and gradients are XLA's bit for bit; of equals the first in reading order takes the gradient.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@dataclasses.dataclass(frozen=True)
class Pool:
    """A maximum over windows [one size a dim], every `strides` places, of what is padded by (before, after) a dim."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, params: dict[str, Any]) -> Pool | None:
        """The pool that `lax.reduce_window_max_p` or the gradient of one has as parameters, if it is one known here."""
        dilations = (*params.get("base_dilation", ()), *params.get("window_dilation", ()))
        if any(each != 1 for each in dilations) or len([size for size in params["window_dimensions"] if size > 1]) > 2:
            return None
        return cls(*(tuple(params[name]) for name in ("window_dimensions", "window_strides", "padding")))

    @property
    def _dims(self) -> list[int]:
        return [dim for dim, size in enumerate(self.window) if size > 1]

    def forward(self, x: jax.Array) -> jax.Array:
        """The maxima."""
        unpooled = all(self.strides[d] == 1 and self.padding[d] == (0, 0) for d in range(x.ndim) if d not in self._dims)
        assert unpooled, "a dim of windows of one place is left as it is"
        tiles = all(self.strides[d] == self.window[d] and self.padding[d] == (0, 0) for d in self._dims)
        return self._tiles(x) if tiles else self._windows(x)

    def backward(self, source: jax.Array, x: jax.Array) -> jax.Array:
        """The gradient of `x` from that of the maxima, `source`."""
        return jax.vjp(self.forward, x)[1](source)[0]

    def _tiles(self, x: jax.Array) -> jax.Array:
        """Where each place lies in one window at most."""
        shape, cut = list[int](), list(x.shape)
        for dim, size in enumerate(x.shape):
            window = self.window[dim]
            cut[dim] = size // window * window
            shape += [size // window, window] if window > 1 else [size]
        x = lax.slice(x, [0] * x.ndim, cut).reshape(shape)
        corners = [x]
        for i, dim in enumerate(self._dims):  # `i` dims of windows stood before, and are gone from what is left
            del i
            at = dim + 1
            corners = [lax.index_in_dim(c, k, at, keepdims=False) for c in corners for k in range(self.window[dim])]
        return functools.reduce(_first, corners)

    def _windows(self, x: jax.Array) -> jax.Array:
        """Where windows overlap: along one dim, then the other."""
        widths = [(low, high, 0) for low, high in self.padding]
        x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), widths) if any(map(any, widths)) else x
        for dim in reversed(self._dims):  # in this order the first of equals is the first in reading order
            size, stride = self.window[dim], self.strides[dim]
            last = (x.shape[dim] - size) // stride * stride
            x = functools.reduce(_first, [lax.slice_in_dim(x, i, i + last + 1, stride, dim) for i in range(size)])
        return x


def _first(a: jax.Array, b: jax.Array) -> jax.Array:
    """The larger; of equals the first. The second test lets a NaN through, which no comparison would."""
    return jnp.where((a >= b) | (a != a), a, b)
