"""The training step against closed forms: accumulation, averages, precision, the guard, weights, freezing."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxai
from jaxai import optim
from jaxai.core import rng, tree
from jaxai.data.augment import Mixup
from jaxai.data.source import Arrays
from jaxai.models import MLP
from jaxai.tasks import Classification, Out
from jaxai.training.setup import set_up

from .conftest import make_arrays


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """Weighted squares of `w - x`: every number of its training is known in closed form. Plain JAX."""

    def init(self, key, batch):
        return {"params": {"w": jnp.full(batch["x"].shape[1:], 2.0), "held": jnp.ones(2)}}

    def loss(self, variables, batch, key, train):
        errors = jnp.sum(jnp.square(variables["params"]["w"][None] - batch["x"]), axis=-1)
        return Out(jnp.sum(errors * batch["weight"]), jnp.sum(batch["weight"]), {}, {})


def quadratic(x, weight, **fields) -> jaxai.Experiment:
    source = Arrays({"x": np.asarray(x, np.float32), "weight": np.asarray(weight, np.float32)})
    base = jaxai.Experiment(
        task=Quadratic(),
        train=jaxai.Pipeline(source=source, batch_size=len(x), shuffle=False),
        optimizer=optim.sgd(0.1, momentum=0.0),
        duration=jaxai.Steps(3),
        parallel=jaxai.PMap(devices=1),
    )
    return dataclasses.replace(base, **fields)


def one_step(experiment, steps: int = 1):
    setup = set_up(experiment)
    state, packed = jax.jit(setup.create)(setup.example), None
    step = jax.jit(setup.train_step())
    for number in range(steps):
        state, packed = step(state, setup.reader.batch(number))
    return state, packed.unpack()


X, WEIGHT = [[1.0, 0.0], [3.0, 4.0], [5.0, -2.0]], [1.0, 2.0, 0.0]


def test_the_sum_is_divided_once_by_the_global_weight():
    state, measured = one_step(quadratic(X, WEIGHT))
    mean = (np.array([1.0, 0.0]) + 2 * np.array([3.0, 4.0])) / 3
    np.testing.assert_allclose(state.params["w"], 2 - 0.1 * 2 * (2 - mean), rtol=1e-6)
    losses = [1 + 4, 1 + 4]
    assert measured["loss"].compute() == pytest.approx((losses[0] + 2 * losses[1]) / 3)
    assert measured["gradient_norm"].compute() == pytest.approx(np.linalg.norm(2 * (2 - mean)))
    assert int(state.step) == 1
    assert state.step.dtype == jnp.int32


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_accumulation_equals_the_large_batch_with_uneven_weights(parts):
    rng_ = np.random.default_rng(0)
    x, weight = rng_.normal(size=(6, 2)), rng_.uniform(size=6)
    whole, measured = one_step(quadratic(x, weight))
    state, measured_too = one_step(quadratic(x, weight, accumulate=parts))
    np.testing.assert_allclose(state.params["w"], whole.params["w"], rtol=1e-6)
    assert measured_too["loss"].compute() == pytest.approx(measured["loss"].compute(), rel=1e-6)


def test_accumulation_of_a_network_equals_the_large_batch(tiny):
    whole, _ = one_step(tiny(), steps=3)
    state, _ = one_step(tiny(accumulate=4), steps=3)
    chex.assert_trees_all_close(state.params, whole.params, atol=1e-6)


def test_moving_average_in_closed_form():
    state, _ = one_step(quadratic(X, WEIGHT, ema=0.99), steps=2)
    mean, w, average = np.array([7 / 3, 8 / 3]), np.full(2, 2.0), np.full(2, 2.0)
    for step in range(2):
        w = w - 0.1 * 2 * (w - mean)
        keep = min(0.99, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * w
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-6)
    np.testing.assert_allclose(state.variables()["params"]["w"], average, rtol=1e-6)


def test_frozen_parameters_have_no_gradient_and_no_optimizer_memory():
    free, _ = one_step(quadratic(X, WEIGHT, optimizer=optim.adam(0.1)))
    state, _ = one_step(quadratic(X, WEIGHT, optimizer=optim.adam(0.1), freeze=("held",)))
    assert set(state.params) == {"w"}
    np.testing.assert_array_equal(state.frozen["held"], 1.0)
    assert tree.size(free.opt_state) - tree.size(state.opt_state) == 2 * 2
    np.testing.assert_array_equal(state.params["w"], free.params["w"])
    assert set(state.variables()["params"]) == {"w", "held"}


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(tiny):
    seen = []

    class Spy(MLP):
        def __call__(self, inputs, train=False):
            logits = super().__call__(inputs, train)
            seen.append((inputs.dtype, logits.dtype))
            return logits

    task = Classification(model=Spy(features=(8,), num_classes=3))
    exact, _ = one_step(tiny())
    state, _ = one_step(tiny(task=task, precision="bfloat16"))
    assert set(map(str, seen[-1])) == {"bfloat16"}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.params)} == {"float32"}
    chex.assert_trees_all_close(state.params, exact.params, atol=0.03)


def test_a_step_that_is_not_finite_is_skipped_whole(tiny):
    bad = np.array(X, np.float32)
    bad[0] = np.inf
    experiment = quadratic(X, WEIGHT, on_nonfinite="skip", ema=0.9, optimizer=optim.adam(0.1))
    setup = set_up(experiment)
    step = jax.jit(setup.train_step())
    start = jax.jit(setup.create)(setup.example)
    first, _ = step(start, setup.example)
    skipped, packed = step(first, {**setup.example, "x": bad})
    chex.assert_trees_all_equal(skipped.replace(step=first.step), first)
    assert int(skipped.step) == 2
    measured = packed.unpack()
    assert float(measured["nonfinite_steps"].total) == 1
    assert float(measured["loss"].weight) == 0
    second, _ = step(skipped, setup.example)
    assert np.isfinite(second.params["w"]).all()


def test_clipping_scales_the_global_norm():
    state, measured = one_step(quadratic(X, WEIGHT, optimizer=optim.sgd(0.1, momentum=0.0, clip_norm=0.5)))
    moved = np.linalg.norm(np.asarray(state.params["w"]) - 2.0)
    assert moved == pytest.approx(0.1 * 0.5, rel=1e-5)
    assert measured["gradient_norm"].compute() > 0.5


def test_a_foreign_optax_chain_is_used_as_it_is():
    call = jaxai.Call(optax.sgd, learning_rate=0.1)
    state, measured = one_step(quadratic(X, WEIGHT, optimizer=call))
    ours, _ = one_step(quadratic(X, WEIGHT))
    np.testing.assert_array_equal(state.params["w"], ours.params["w"])
    assert "learning_rate" not in measured


def test_one_compilation_a_run(tiny):
    setup = set_up(tiny())
    step = jax.jit(chex.assert_max_traces(setup.train_step(), n=1))
    state = jax.jit(setup.create)(setup.example)
    for number in range(9):
        state, _ = step(state, setup.reader.batch(number))
    assert int(state.step) == 9


def test_dropout_differs_between_shares_of_a_batch_and_repeats_for_the_same_examples():
    key = rng.step_key(0, "train", 3)
    first, second = (rng.batch_key(key, jnp.array([i, 5])) for i in (1, 2))
    assert not (jax.random.key_data(first) == jax.random.key_data(second)).all()
    again = rng.batch_key(rng.step_key(0, "train", 3), jnp.array([1, 8]))
    np.testing.assert_array_equal(jax.random.key_data(first), jax.random.key_data(again))


def test_label_smoothing_and_class_weights_in_closed_form():
    task = Classification(model=MLP(features=(), num_classes=3), label_smoothing=0.3, class_weights=(1.0, 2.0, 0.5))
    source = make_arrays(10)
    batch = {**source.batch(np.arange(10)), "index": np.arange(10, dtype=np.int32)}
    variables = task.init(jax.random.key(0), batch)
    out = task.loss(variables, batch, jax.random.key(1), train=True)
    log_p = np.log(np.asarray(task.predict(variables, batch["image"])))
    target = np.eye(3)[batch["label"]] * 0.7 + 0.1
    weight = np.array([1.0, 2.0, 0.5])[batch["label"]]
    assert float(out.total) == pytest.approx(-(target * log_p).sum(-1) @ weight, rel=1e-5)
    assert float(out.weight) == pytest.approx(weight.sum())


@pytest.mark.slow
def test_mixup_trains_and_predicts_with_the_classification_task(tiny):
    task = Classification(model=MLP(features=(8,), num_classes=3), augment=(Mixup(alpha=1.0),))
    result = jaxai.train(tiny(task=task, duration=jaxai.Steps(60)), display="none")
    assert result.metrics["test/accuracy"] > 0.7
    whole, plain = (set_up(tiny(task=t)) for t in (task, tiny().task))
    mixed, unmixed = (
        jax.jit(s.train_step())(jax.jit(s.create)(s.example), s.example)[1].unpack() for s in (whole, plain)
    )
    assert mixed["loss"].compute() != unmixed["loss"].compute()
