"""Temperature scaling finds the temperature that the logits were made with."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxai
from jaxai import metrics, optim
from jaxai.data.source import Arrays
from jaxai.models import MLP, ConvNet
from jaxai.tasks import Calibrated, Classification
from jaxai.training.initial import FromRun

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (600, 2, 2, 1)).astype(np.uint8)
KERNEL = RNG.normal(size=(4, 3)).astype(np.float32)
LOGITS = IMAGES.reshape(600, 4) / 255 @ KERNEL
#: Drawn from the answers at temperature 1; a model of logits 2.5 times as large is too sure.
LABELS = (LOGITS + RNG.gumbel(size=LOGITS.shape)).argmax(-1).astype(np.int32)
BATCH = {"image": IMAGES, "label": LABELS, "index": np.arange(600, dtype=np.int32)}
TASK = Calibrated(task=Classification(model=MLP(features=(), num_classes=3)))


def variables(log_temperature=0.0, scale=2.5):
    head = {"kernel": jnp.asarray(scale * KERNEL), "bias": jnp.zeros(3)}
    return {"params": {"model": {"head": head}, "log_temperature": jnp.float32(log_temperature)}}


def nll(log_temperature, scale=2.5):
    z = scale * LOGITS / np.exp(log_temperature)
    return (np.log(np.exp(z).sum(-1)) - z[np.arange(600), LABELS]).mean()


def loss(log_temperature=0.0, train=True, **fields):
    return jax.jit(lambda v, b: TASK.loss(v, b, jax.random.key(0), train))(variables(log_temperature), BATCH | fields)


def test_loss_and_gradient_are_those_of_the_divided_logits():
    out = loss(0.4)
    assert float(out.total) / float(out.weight) == pytest.approx(nll(0.4), rel=1e-5)
    gradient = jax.jit(jax.grad(lambda v: TASK.loss(v, BATCH, jax.random.key(0), True).total))(variables(0.4))
    slope = 600 * (nll(0.401) - nll(0.399)) / 0.002
    assert float(gradient["params"]["log_temperature"]) == pytest.approx(slope, rel=1e-3)
    np.testing.assert_array_equal(gradient["params"]["model"]["head"]["kernel"], 0)


def test_evaluation_reports_both_temperatures_and_the_accuracy_of_the_model():
    mask = np.where(np.arange(600) < 500, 1, 0).astype(np.float32)
    measured = metrics.compute(loss(0.7, train=False, mask=mask).metrics)
    for name, temperature in (("ece", np.exp(0.7)), ("uncalibrated_ece", 1.0)):
        answer = jax.nn.softmax(jnp.asarray(2.5 * LOGITS[:500] / temperature))
        expected = metrics.Calibration.of(answer, jnp.asarray(LABELS[:500]), jnp.ones(500)).compute()
        assert measured[name] == pytest.approx(expected, abs=1e-5)
    assert measured["accuracy"] == pytest.approx((LOGITS.argmax(-1) == LABELS)[:500].mean())
    assert measured["temperature"] == pytest.approx(np.exp(0.7), rel=1e-5)


def test_predicts_with_the_temperature():
    expected = jax.nn.softmax(jnp.asarray(2.5 * LOGITS[:5] / np.exp(0.7)))
    np.testing.assert_allclose(TASK.predict(variables(0.7), IMAGES[:5]), expected, atol=1e-5)
    assert TASK.embed(variables(), IMAGES[:5]).shape == (5, 4)


@pytest.mark.slow
def test_a_run_from_another_finds_the_best_temperature_and_leaves_the_model_alone(tmp_path):
    first = jaxai.Experiment(
        task=Classification(model=ConvNet(features=(4,), dense=(), norm="batch", num_classes=3)),
        train=jaxai.Pipeline(source=Arrays({"image": IMAGES, "label": LABELS}), batch_size=100),
        optimizer=optim.adam(0.05),
        duration=jaxai.Epochs(5),
        parallel=jaxai.PMap(devices=1),
    )
    trained = jaxai.train(first, tmp_path / "first", display="none")
    start = FromRun(run=str(tmp_path / "first"), rename=(("^", "model/"),), new=("^log_temperature",))
    task = Calibrated(task=first.task)
    second = dataclasses.replace(first, task=task, freeze=("^model/",), start_from=start, duration=jaxai.Epochs(40))
    result = jaxai.train(second, display="none")
    jax.tree.map(np.testing.assert_array_equal, result.variables["params"]["model"], trained.variables["params"])
    jax.tree.map(
        np.testing.assert_array_equal, result.variables["batch_stats"]["model"], trained.variables["batch_stats"]
    )
    z = np.log(np.asarray(first.task.predict(trained.variables, IMAGES), np.float64))

    def loss_at(log_temperature):
        scaled = z / np.exp(log_temperature)
        return (np.log(np.exp(scaled).sum(-1)) - scaled[np.arange(600), LABELS]).mean()

    best = scipy.optimize.minimize_scalar(loss_at, bounds=(-2, 2)).x
    assert float(result.variables["params"]["log_temperature"]) == pytest.approx(best, abs=0.03)
