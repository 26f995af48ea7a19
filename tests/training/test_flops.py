"""FLOPs in closed form and beside XLA's own count, and what a rate of steps comes to."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import pytest

import jaxai
from jaxai.log import read_jsonl
from jaxai.training.flops import Utilization, model_flops, peak
from jaxai.training.setup import set_up
from tests.parallel.meshes import experiment

X, W = jnp.ones((8, 16)), jnp.ones((16, 32))
ONE = 2 * 8 * 16 * 32


def test_products_by_hand():
    assert model_flops(lambda x, w: jnp.sin(x @ w), X, W) == ONE
    # Forward, and of the two gradients the kernel's.
    assert model_flops(jax.grad(lambda w: jnp.sum((X @ w) ** 2)), W) == 2 * ONE
    assert model_flops(jax.vmap(lambda x: x @ W), jnp.ones((3, 8, 16))) == 3 * ONE


def test_what_nothing_needs_is_left_out():
    def loss(w):
        return jnp.sum(X @ w), jnp.tanh(X @ (w + 1))

    def gradient(w):
        return jax.grad(lambda w: (loss(w)[0], None), has_aux=True)(w)[0]

    assert model_flops(gradient, W) == ONE  # of a sum the gradient needs no forward pass


def test_loops_count_as_often_as_they_run():
    square = jnp.ones((8, 8))
    once = 2 * 8 * 8 * 8

    def repeated(x):
        return jax.lax.scan(lambda c, _: (c @ square, None), x, None, length=5)[0]

    assert model_flops(repeated, square) == 5 * once
    assert model_flops(jax.jit(repeated), square) == 5 * once
    assert model_flops(lambda x: jax.lax.cond(x[0, 0] > 0, lambda: x @ x @ x, lambda: x @ x), square) == 2 * once


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_and_its_gradients_cost_the_same(stride):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def conv(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=names)

    once = 2 * 2 * (8 // stride) ** 2 * 9 * 3 * 5
    assert model_flops(conv, x, kernel) == once
    y = conv(x, kernel)
    assert model_flops(lambda x, k, y: jax.vjp(conv, x, k)[1](y), x, kernel, y) == 2 * once


def test_a_step_of_a_transformer_is_six_a_parameter_and_token():
    """And attention's products: Chowdhery et al. 2022, appendix B."""
    setup = set_up(experiment(jaxai.PMap(devices=1)))
    found = model_flops(setup.train_step(), setup.abstract_state, setup.example)
    tokens, dim, depth, length = 16 * 31, 64, 1, 31
    kernels = depth * 12 * dim * dim + 64 * dim
    assert found == 6 * tokens * kernels + 3 * depth * 4 * tokens * length * dim
    lowered = jax.jit(setup.train_step()).lower(setup.abstract_state, setup.example)
    assert found == pytest.approx(lowered.cost_analysis()["flops"], rel=0.15)


class Device:
    def __init__(self, kind):
        self.device_kind = kind


@pytest.mark.parametrize(("kind", "expected"), [
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA A100-SXM4-40GB", 312e12),
    ("NVIDIA L4", 121e12),
    ("NVIDIA L40S", 362e12),
    ("Tesla T4", 65e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5", 459e12),
    ("cpu", None),
])  # fmt: skip
def test_peaks(kind, expected):
    assert peak([Device(kind)]) == expected
    assert peak([Device(kind)] * 2) == (expected and 2 * expected)


def test_rates():
    known = Utilization(lambda: 989e12 / 4, [Device("NVIDIA H200")], 2048)
    assert known.rates(2.0) == {"tokens_per_second": 4096.0}  # not counted yet
    known.start()
    for _ in range(500):
        if len(known.rates(2.0)) == 2:
            break
        time.sleep(0.01)
    assert known.rates(2.0) == {"tokens_per_second": 4096.0, "mfu": 0.5}
    assert Utilization(lambda: 1.0, [Device("cpu")], None).rates(2.0) == {}


def test_records_of_text_count_tokens(tmp_path):
    value = experiment(jaxai.PMap(devices=1), duration=jaxai.Steps(4), log_every=jaxai.Steps(2))
    jaxai.train(value, tmp_path / "run", display="none")
    records = [r for r in read_jsonl(tmp_path / "run" / "metrics.jsonl") if r["split"] == "train"]
    assert records
    for record in records:
        assert record["tokens_per_second"] == pytest.approx(32 * record["examples_per_second"])
