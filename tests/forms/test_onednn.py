"""oneDNN's convolutions and products are XLA's, forward and backward, and are taken where they are there."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxai import InputError, forms
from jaxai.forms import lowering
from jaxai.forms.onednn import library

RNG = np.random.default_rng(0)
NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
CASES = {  # image [batch, height, width, channel], kernel, step, padding, dilation
    "plain": ((8, 16, 15, 16), (3, 3, 16, 32), 1, "SAME", 1),
    "one channel": ((32, 28, 28, 1), (3, 3, 1, 32), 1, "VALID", 1),
    "as large as what it makes": ((64, 5, 5, 32), (3, 3, 32, 32), 1, "VALID", 1),
    "strided": ((32, 16, 16, 16), (3, 3, 16, 32), 2, "SAME", 1),
    "strided, odd": ((32, 15, 17, 16), (3, 3, 16, 32), 2, ((1, 1), (1, 1)), 1),
    "strided, with a rest": ((64, 16, 16, 16), (3, 3, 16, 32), 3, "VALID", 1),
    "stem": ((4, 64, 64, 3), (7, 7, 3, 16), 2, ((3, 3), (3, 3)), 1),
    "pixelwise": ((8, 16, 16, 32), (1, 1, 32, 64), 1, "VALID", 1),
    "pixelwise, strided": ((64, 16, 16, 32), (1, 1, 32, 64), 2, "VALID", 1),
    "dilated": ((8, 16, 16, 16), (3, 3, 16, 32), 1, "SAME", 2),
    "uneven": ((8, 16, 12, 16), (5, 2, 16, 32), 1, ((2, 1), (0, 1)), 1),
}


@pytest.fixture(autouse=True)
def _there(request):
    if request.node.get_closest_marker("oracle"):
        assert library._file("onednn-devel", "dnnl.hpp") is not None, "the extra onednn is not installed"
        library._built()  # raises where it cannot be compiled: a processor without kernels is all that may be skipped
        if not library.is_ready() or ("bfloat16" in request.node.name and not library.has_bfloat16()):
            pytest.skip("oneDNN has no such kernels for this processor")


def random(shape, dtype=jnp.float32):
    return jnp.asarray(RNG.standard_normal(shape), dtype)


def passes(function, *arguments):
    """Values and gradients by oneDNN, and by XLA in float32, and how often the compiled program calls the first."""

    def run(cotangent, *arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, *pull(cotangent)

    shape = jax.eval_shape(function, *arguments)
    given, found = (random(shape.shape, shape.dtype), *arguments), []
    for choice in ("fast", "plain"):
        args = given if choice == "fast" else [array.astype(jnp.float32) for array in given]
        with forms.use(choice):
            compiled = jax.jit(lambda *args: run(*args)).lower(*args).compile()
        found.append((compiled(*args), compiled.as_text().count('custom_call_target="jaxai_')))
    (mine, calls), (theirs, none) = found
    assert none == 0
    return zip(mine, theirs, strict=True), calls


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "order"),
    [*itertools.product(CASES, (NHWC, NCHW))],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_convolutions(name, order):
    image, kernel, step, padding, dilation = CASES[name]
    if order == NCHW:
        image, kernel = (image[0], image[3], *image[1:3]), (kernel[3], kernel[2], *kernel[:2])

    def conv(x, kernel):
        spread = (dilation, dilation)
        return lax.conv_general_dilated(x, kernel, (step, step), padding, rhs_dilation=spread, dimension_numbers=order)

    pairs, calls = passes(conv, random(image), random(kernel))
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=3e-6 * float(jnp.abs(theirs).max()))
    assert calls == 3


@pytest.mark.oracle
@pytest.mark.parametrize("step", [1, 2])
def test_convolutions_in_bfloat16(step):
    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (step, step), "SAME", dimension_numbers=NHWC)

    pairs, calls = passes(conv, random((8, 16, 16, 16), jnp.bfloat16), random((3, 3, 16, 32), jnp.bfloat16))
    for mine, theirs in pairs:
        assert mine.dtype == jnp.bfloat16
        np.testing.assert_allclose(mine.astype(jnp.float32), theirs, atol=5e-3 * float(jnp.abs(theirs).max()))
    assert calls == 3


PRODUCTS = {  # factors, numbers of dims, calls of the three passes
    "dense": ((512, 256), (256, 512), (((1,), (0,)), ((), ())), 3),
    "of batch and length": ((16, 128, 256), (256, 128), (((2,), (0,)), ((), ())), 3),
    "to parts": ((8, 128, 256), (256, 3, 128), (((2,), (0,)), ((), ())), 3),
    "turned around": ((256, 512), (256, 512), (((0,), (0,)), ((), ())), 3),
    "by heads": ((4, 8, 256, 64), (4, 8, 256, 64), (((3,), (3,)), ((0, 1), (0, 1))), 3),
    "small": ((64, 64), (64, 32), (((1,), (0,)), ((), ())), 0),
}


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "dtype"), [*itertools.product(PRODUCTS, (jnp.float32, jnp.bfloat16))])
def test_products(name, dtype):
    first, second, numbers, expected = PRODUCTS[name]
    pairs, calls = passes(lambda a, b: lax.dot_general(a, b, numbers), random(first, dtype), random(second, dtype))
    error = 3e-6 if dtype == jnp.float32 else 5e-3
    for mine, theirs in pairs:
        assert mine.dtype == dtype
        np.testing.assert_allclose(mine.astype(jnp.float32), theirs, atol=error * float(jnp.abs(theirs).max()))
    assert calls == expected


@pytest.mark.oracle
def test_bfloat16_may_give_float32():
    a, b = random((512, 256), jnp.bfloat16), random((256, 512), jnp.bfloat16)

    def product(a, b):
        return lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)

    with forms.use("fast"):
        compiled = jax.jit(product).lower(a, b).compile()
    assert "jaxai_product" in compiled.as_text()
    exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    np.testing.assert_allclose(compiled(a, b), exact, atol=1e-5 * np.abs(exact).max())


@pytest.mark.oracle
def test_programs_for_several_devices_go_without():
    image, kernel, step, padding, _ = CASES["plain"]
    closed = jax.make_jaxpr(lambda x, w: lax.conv_general_dilated(x, w, (step, step), padding, dimension_numbers=NHWC))(
        jnp.zeros(image), jnp.zeros(kernel)
    )
    (equation,) = closed.jaxpr.eqns
    avals, out = [each.aval for each in equation.invars], equation.outvars[0].aval
    with forms.use("fast"):
        one, two = (
            lowering._chosen(lambda *_: None, lowering.onednn.convolution, avals, out, equation.params, parts)
            for parts in (1, 2)
        )
    assert one is not None
    assert two is None


PARALLEL = """
import json, jax, jax.numpy as jnp, numpy as np
from jaxai import forms
def conv(x, w):
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.sum(y * y, axis=(1, 2))
random = np.random.default_rng(0)
x, w = random.normal(size=(4, 8, 16, 16, 16)).astype("float32"), random.normal(size=(3, 3, 16, 32)).astype("float32")
run = forms.using("fast", jax.pmap(conv, in_axes=(0, None)))
first, *others = [np.asarray(run(x, w)) for _ in range(20)]
alone = np.stack([np.asarray(forms.using("fast", jax.jit(conv))(each, w)) for each in x])
print(json.dumps([all((each == first).all() for each in others), bool(np.allclose(first, alone, rtol=1e-6))]))
"""


@pytest.mark.oracle
def test_devices_call_it_at_once():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PARALLEL], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [True, True]


@pytest.fixture
def unknown(monkeypatch):
    """As if nobody had asked yet whether it is there."""
    library.is_ready.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    library.is_ready.cache_clear()


def test_the_switch(unknown):
    unknown.setenv("JAXAI_ONEDNN", "off")
    assert not library.is_ready()
    library.is_ready.cache_clear()
    unknown.setenv("JAXAI_ONEDNN", "of")
    with pytest.raises(InputError, match=r"JAXAI_ONEDNN: is 'of' \(did you mean 'off'\?\)"):
        library.is_ready()


def test_without_the_wheel_xla_does_it_all(unknown):
    unknown.setattr(library, "_file", lambda distribution, name: None)
    assert not library.is_ready()


@pytest.mark.oracle
@pytest.mark.parametrize(("compiler", "text"), [
    ("no-such-compiler", "there is no C++ compiler (install g++, or set CXX)"),
    ("false", "false fails: no output"),
])  # fmt: skip
def test_what_stands_in_its_way_is_said(compiler, text, unknown, tmp_path, caplog):
    unknown.setenv("CXX", compiler)
    unknown.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level("INFO", "jaxai"):
        assert not library.is_ready()
    assert "convolutions and products are XLA's, not oneDNN's: " in caplog.text
    assert text in caplog.text
    assert not list(tmp_path.rglob("*.so"))
