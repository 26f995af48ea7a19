"""Several steps in a dispatch are the steps one by one, and come between no two events of the loop."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import jaxai
from jaxai.core import tree
from jaxai.training.calls import has_convolutions
from jaxai.training.setup import set_up
from tests.training.runner import experiment


def several(num, **spec):
    return experiment({"steps": 12, "fields": {"steps_per_call": num, "evals": {}}, **spec})


def run(value):
    """(steps after each dispatch, the records' losses, the final parameters)."""
    taken, losses = [], []
    for info in jaxai.steps(value):
        taken.append(info.step)
        losses.append(info.metrics()["loss"])
    return taken, losses, tree.flatten(jax.device_get(info.state.params))


@pytest.mark.parametrize("resident", [False, True])
def test_a_loop_on_the_device_has_the_bits_of_single_steps(resident):
    """Events at every second step (log), third (evaluation, save) and the twelfth bound what a dispatch may take."""
    each, losses, one = run(several(1))
    assert each == list(range(1, 13))
    taken, sums, many = run(several(5, resident=resident))
    assert taken == [2, 3, 4, 6, 8, 9, 10, 12]
    for name, value in one.items():
        np.testing.assert_array_equal(many[name], value)
    # Batches are equally large, so the loss of a dispatch is the mean of its steps'.
    means = [np.mean(losses[a:b]) for a, b in itertools.pairwise([0, *taken])]
    np.testing.assert_allclose(sums, means, rtol=1e-6)


def test_convolutions_on_cpu_stand_behind_each_other():
    long = {"log_every": jaxai.Steps(50), "evaluate_every": None, "checkpoint": jaxai.Checkpoints(), "evals": {}}
    values = [experiment({"model": "conv", "steps": 7, "fields": {**long, "steps_per_call": k}}) for k in (1, 3)]
    (_, _, one), (taken, _, many) = (run(value) for value in values)
    assert taken == [3, 6, 7]
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, rtol=2e-4, atol=2e-6)
    calls = set_up(values[1]).calls()
    assert num_convolutions(calls, 3) == 3 * num_convolutions(calls, 1) > 0


def num_convolutions(calls, room):
    """Those in the program of a dispatch with room for so many steps."""
    setup = set_up(experiment({"model": "conv"}))
    fed = calls._feed.take(1, room)
    fn = calls._one if room == 1 else calls._several
    return jax.jit(fn).lower(setup.abstract_state, (np.int32(1), fed.shared), fed.cut).as_text().count("convolution")


@pytest.mark.parametrize(("model", "expected"), [("mlp", False), ("conv", True)])
def test_which_steps_convolve(model, expected):
    setup = set_up(several(1, model=model))
    assert has_convolutions(setup.train_step(), setup.abstract_state, setup.example) is expected


@pytest.mark.slow
def test_a_run_that_is_cut_goes_on_with_the_same_bits(run_apart, tmp_path):
    spec = {"steps": 6, "fields": {"steps_per_call": 4}}
    (whole,) = run_apart(spec)
    run_apart({**spec, "folder": str(tmp_path / "run"), "kill_at": 4}, exit_code=-9)
    (rest,) = run_apart({**spec, "folder": str(tmp_path / "run")})
    assert rest["state"] == whole["state"]


def test_batches_of_several_lengths_go_one_by_one():
    from jaxai.data.text import Buckets
    from tests.data.text.test_text_buckets import texts

    source = Buckets(texts([3, 9, 4]), lengths=(4, 16))
    value = dataclasses.replace(several(2), train=jaxai.Pipeline(source=source, batch_size=2))
    with pytest.raises(jaxai.InputError, match=r"steps_per_call: train.source gives batches of several lengths"):
        set_up(value)
