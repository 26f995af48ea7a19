"""What training starts from: another run's variables, renamed, in part, and with its moving statistics."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import jaxai
from jaxai.adapt import FromRun
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models import ConvNet, Probe
from jaxai.tasks import Classification
from jaxai.training.initial import initialize, load_start
from jaxai.training.setup import set_up

from .conftest import make_arrays

MODEL = ConvNet(features=(4,), dense=(), num_classes=3, norm="batch")


PROBE = Probe(encoder=MODEL.clone(num_classes=0), num_classes=7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run's folder and what came of it."""
    folder = tmp_path_factory.mktemp("initial") / "run"
    experiment = jaxai.Experiment(
        task=Classification(model=MODEL),
        train=jaxai.Pipeline(source=make_arrays(24), batch_size=12),
        optimizer=jaxai.optim.sgd(0.1),
        duration=jaxai.Steps(2),
        parallel=jaxai.PMap(devices=1),
    )
    return folder, experiment, jax.device_get(jaxai.train(experiment, folder, display="none").variables)


def start(experiment, source):
    setup = set_up(experiment)
    arrays, line = load_start(setup.abstract_state, source)
    state = initialize(setup.init(), arrays)
    return tree.flatten(jax.device_get(state.variables())), line


def test_a_run_gives_parameters_and_statistics(run):
    folder, experiment, variables = run
    found, line = start(experiment, str(folder))
    assert line == f"{folder}, step 2: loaded 7, new 0"
    given = tree.flatten(variables)
    assert {"batch_stats/BatchNorm_0/mean", "params/head/kernel"} <= given.keys() == found.keys()
    for path in given:
        np.testing.assert_array_equal(found[path], given[path], err_msg=path)


def test_paths_are_renamed_and_parts_start_anew(run):
    folder, experiment, variables = run
    probe = dataclasses.replace(experiment, task=Classification(model=PROBE))
    source = FromRun(run=str(folder), rename=((r"^(?!head)", "encoder/"),), new=("^head/",), unused=("^head/",))
    found, line = start(probe, source)
    assert line.endswith("loaded 5, new 2")
    given = tree.flatten(variables)
    for path in ("params/encoder/Conv_0/kernel", "batch_stats/encoder/BatchNorm_0/var"):
        np.testing.assert_array_equal(found[path], given[path.replace("encoder/", "")])
    assert found["params/head/kernel"].shape[-1] == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "lacks the parameter encoder/"),
        ({"rename": ((r"^(?!head)", "encoder/"),)}, r"head/bias is [3] in "),
        ({"rename": ((r"^", "encoder/"),), "new": ("^head/",)}, "also has the parameter encoder/head/bias (2 in all)"),
    ],
)
def test_what_does_not_fit_is_named(run, options, says):
    folder, experiment, _ = run
    probe = dataclasses.replace(experiment, task=Classification(model=PROBE))
    with pytest.raises(InputError) as error:
        start(probe, FromRun(run=str(folder), **options))
    assert says in str(error.value)


def test_the_average_starts_with_the_parameters_in_buffers_of_its_own(run):
    folder, experiment, _ = run
    setup = set_up(dataclasses.replace(experiment, ema=0.9))
    arrays, _ = load_start(setup.abstract_state, str(folder))
    state = initialize(setup.init(), arrays)
    assert jax.tree.all(jax.tree.map(np.array_equal, state.ema, state.params))
    setup.compiled_step()(state, setup.example)  # donates its state: fails on shared buffers
