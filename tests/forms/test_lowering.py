"""Fast forms of convolutions and pools are XLA's own, forward and backward, and are taken where they are asked for."""

from __future__ import annotations

import collections
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxai import forms
from jaxai.forms import conv_cpu, lowering

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _without_a_library(monkeypatch):
    monkeypatch.setattr(lowering, "is_ready", lambda: False)


def random(*shape):
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


@pytest.fixture
def taken(monkeypatch):
    """How often each form was taken."""
    counts = collections.Counter()

    def noted(shapes, out, params, parts, choose=lowering._conv):
        form = choose(shapes, out, params, parts)
        name = getattr(form, "__name__", None) or (form.func.__name__ if form is not None else "xla")
        counts[name] += 1
        return form

    monkeypatch.setattr(lowering, "_conv", noted)
    lowering.register.cache_clear()
    yield counts
    monkeypatch.undo()
    lowering.register.cache_clear()
    lowering.register()


def passes(conv, x, kernel):
    """Values and both gradients, compiled as they are asked for at the moment."""

    def run(x, kernel, cotangent):
        y, pull = jax.vjp(conv, x, kernel)
        return y, *pull(cotangent)

    cotangent = random(*jax.eval_shape(conv, x, kernel).shape)
    fast, plain = (
        forms.using(choice, jax.jit(lambda *args: run(*args)))(x, kernel, cotangent) for choice in ("fast", "plain")
    )
    return fast, plain


CASES = {  # image [batch, height, width, channel], kernel, stride, padding, forms of the three passes
    "pixelwise": ((4, 6, 5, 8), (1, 1, 8, 16), 1, "SAME", {"as_product": 3}),
    "pixelwise, strided": ((4, 8, 6, 8), (1, 1, 8, 16), 2, "SAME", {"as_product": 3}),
    "pixelwise, strided, odd": ((4, 7, 5, 8), (1, 1, 8, 16), 2, "VALID", {"as_product": 3}),
    "tiny image": ((4, 2, 2, 8), (3, 3, 8, 16), 1, "SAME", {"as_patches": 2, "xla": 1}),
    "tiny image, strided": ((4, 4, 4, 8), (3, 3, 8, 16), 2, "SAME", {"as_patches": 1, "xla": 2}),
    "many pixels": ((8, 32, 32, 8), (3, 3, 8, 32), 1, "SAME", {"in_parts": 1, "xla": 2}),
    "many pixels, strided": ((8, 32, 32, 8), (3, 3, 8, 32), 2, ((1, 1), (1, 1)), {"in_parts": 1, "xla": 2}),
    "few channels": ((8, 32, 32, 3), (3, 3, 3, 32), 1, "SAME", {"in_turn": 1, "xla": 2}),
    "few channels, strided": ((8, 64, 64, 3), (7, 7, 3, 32), 2, ((3, 3), (3, 3)), {"in_turn": 1, "xla": 2}),
    "few pixels": ((4, 8, 8, 8), (3, 3, 8, 16), 1, "SAME", {"xla": 3}),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, taken):
    image, kernel, stride, padding, expected = CASES[name]

    def conv(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    fast, plain = passes(conv, random(*image), random(*kernel))
    for mine, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-6 * float(jnp.abs(theirs).max()))
    assert taken == expected


def test_other_orders_of_dims():
    """As PyTorch has them: channels before the image."""
    order = ("NCHW", "OIHW", "NCHW")

    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=order)

    for image, kernel in (
        ((4, 8, 6, 5), (16, 8, 1, 1)),
        ((4, 8, 2, 2), (16, 8, 3, 3)),
        ((8, 3, 32, 32), (32, 3, 3, 3)),
    ):
        for mine, theirs in zip(*passes(conv, random(*image), random(*kernel)), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-6 * float(jnp.abs(theirs).max()))


@pytest.mark.parametrize("groups", [2, 8])
def test_grouped_convolutions_stay_as_they_are(groups, taken):
    conv = nn.Conv(8, (3, 3), feature_group_count=groups)
    x = random(2, 6, 6, 8)
    variables = conv.init(jax.random.key(0), x)
    taken.clear()
    fast, plain = passes(
        lambda x, v: conv.apply({"params": {**variables["params"], "kernel": v}}, x), x, variables["params"]["kernel"]
    )
    assert set(taken) == {"xla"}
    for mine, theirs in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_of_what_the_compiler_cuts_every_device_has_its_share_of_each_part():
    """Not one behind the other, of which each would be on one device."""
    params = {"feature_group_count": 1, "batch_group_count": 1, "padding": ((1, 1), (1, 1)), "lhs_dilation": (1, 1)}
    spec = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
    gradient = {**params, "rhs_dilation": (1, 1), "window_strides": (1, 1), "dimension_numbers": spec}
    conv = conv_cpu.Conv((64, 32, 32, 8), (64, 32, 32, 32), (3, 3, 8, 32), gradient)
    assert conv.form(1).args == (16,)  # 4 images of 32 x 32 each
    assert conv.form(8).args == (2,)  # of which each device has 4
    assert conv.form(16) is None


POOLS = [
    ((3, 8, 8, 5), 2, 2, "VALID"),
    ((2, 11, 7, 4), 2, 2, "VALID"),
    ((2, 7, 9, 1), 3, 3, "VALID"),
    ((2, 7, 9, 3), 2, 2, "SAME"),
    ((2, 9, 8, 3), 3, 2, ((1, 1), (1, 1))),
    ((2, 9, 8, 3), 3, 1, "SAME"),
    ((2, 9, 8, 3), 3, 2, "VALID"),
    ((2, 9, 8, 3), 3, 2, ((0, 1), (0, 1))),
]


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), POOLS)
def test_pools_and_their_gradients_with_ties(shape, size, stride, padding):
    # ReLU leaves many zeros, rounding many other equals.
    x = jnp.maximum(random(*shape).round(1), 0)

    def pool(x, _):
        return nn.max_pool(x, (size, size), (stride, stride), padding)

    fast, plain = passes(pool, x, jnp.zeros(()))
    np.testing.assert_array_equal(fast[0], plain[0])
    if size == stride:  # each place takes one window's gradient
        np.testing.assert_array_equal(fast[1], plain[1])
    np.testing.assert_allclose(fast[1], plain[1], atol=2e-6)


@pytest.mark.parametrize("corner", range(4))
def test_a_pool_does_not_hide_a_nan(corner):
    x = jnp.arange(4.0).at[corner].set(jnp.nan).reshape(1, 2, 2, 1)
    pool = forms.using("fast", jax.jit(lambda x: nn.max_pool(x, (2, 2), (2, 2))))
    assert jnp.isnan(pool(x)).all()


@pytest.mark.parametrize(("features", "outputs"), [(256, 64), (64, 256), (64, 64)])
@pytest.mark.parametrize("rows", [(512,), (8, 64)])
def test_the_gradient_of_a_kernel_has_its_narrower_factor_first(features, outputs, rows):
    """As the compiler leaves it: [narrow, wide] comes out of the product."""
    x, kernel, cotangent = random(*rows, features), random(features, outputs), random(*rows, outputs)

    def gradient(x, cotangent):
        return jax.vjp(lambda kernel: x @ kernel, kernel)[1](cotangent)[0]

    with forms.use("fast"):
        compiled = jax.jit(gradient).lower(x, cotangent).compile()
    narrow, wide = sorted((features, outputs))
    assert re.search(rf"f32\[{narrow},{wide}\]\S* (dot|fusion)\(", compiled.as_text())
    expected = x.reshape(512, -1).T @ cotangent.reshape(512, -1)
    np.testing.assert_allclose(compiled(x, cotangent), expected, rtol=1e-4, atol=1e-3)


def test_only_what_is_compiled_with_them_takes_them():
    x = random(2, 8, 8, 4)

    def text(choice):
        with forms.use(choice):
            return jax.jit(lambda x: nn.max_pool(x, (2, 2), (2, 2))).lower(x).as_text()

    assert "reduce_window" in text("plain")
    assert "reduce_window" not in text("fast")
    assert "reduce_window" in jax.jit(lambda x: nn.max_pool(x, (2, 2), (2, 2))).lower(x).as_text()
