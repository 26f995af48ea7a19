"""The adapted task: what it freezes, where its base comes from, and what it passes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.adapt import FromRun
from jaxai.adapt.efficient import Adapted, BaseFrom, Lora, Prompt
from jaxai.cli import main
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.experiment.json import decode, encode
from jaxai.tasks import Classification, Ensemble
from jaxai.tasks.language_model import LanguageModel
from jaxai.training.setup import set_up
from tests.adapt.efficient.small import CLASSIFICATION, GPT, IMAGES, KEY, TEXT, VIT, Classifier, adapted, learned

ADAPTED = Adapted(task=CLASSIFICATION, adapters=(Lora(rules=(("conv", 2),)),), own=("^head/",))


def experiment(task, data=IMAGES, **fields):
    source = Arrays({name: np.asarray(values) for name, values in data.items() if name != "index"})
    return jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=source, batch_size=2),
        evals={"test": jaxai.Pipeline(source=source, batch_size=2)},
        optimizer=fields.pop("optimizer", optim.adamw(1e-1)),
        duration=jaxai.Steps(fields.pop("steps", 2)),
        parallel=jaxai.PMap(devices=1),
        **fields,
    )


@pytest.mark.slow
def test_adapters_train_and_the_base_keeps_its_bits(tmp_path):
    plain = jaxai.train(experiment(CLASSIFICATION), tmp_path / "plain", display="none")
    start = BaseFrom(start=FromRun(run=str(tmp_path / "plain"), new=("^head/",)))
    result = jaxai.train(
        experiment(ADAPTED, freeze=("^base/",), start_from=start), tmp_path / "adapted", display="none"
    )
    params = result.variables["params"]
    assert {path.partition("/")[2] for path in tree.flatten(params["base"])} == {"kernel", "bias"}
    np.testing.assert_array_equal(params["base"]["conv"]["kernel"], plain.variables["params"]["conv"]["kernel"])
    assert np.any(params["adapters"]["conv"]["lora"]["b"])
    fresh = CLASSIFICATION.init(jax.random.key(0), IMAGES)["params"]["head"]["kernel"]
    assert not np.array_equal(params["own"]["head"]["kernel"], fresh)


@pytest.mark.slow
def test_a_run_of_its_own_name_is_a_base_too(tmp_path):
    plain = jaxai.train(experiment(CLASSIFICATION), tmp_path / "plain", display="none")
    start = BaseFrom(start=str(tmp_path / "plain"))
    setup = set_up(experiment(ADAPTED, freeze=("^base/",)))
    wanted = tree.flatten(jax.eval_shape(lambda: ADAPTED.init(KEY, setup.example)))
    arrays, line = start.load(wanted)
    assert sorted(arrays) == sorted(path for path in wanted if "lora" not in path)
    expected = plain.variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(arrays["params/own/head/kernel"], expected)
    assert line.endswith("loaded 4, new 0")
    with pytest.raises(InputError, match=r"start_from.start: is no start"):
        BaseFrom(start=3)


@pytest.mark.parametrize(
    ("task", "freeze", "trained"),
    [
        (ADAPTED, ("^base/",), {"adapters/conv/lora/a", "adapters/conv/lora/b", "own/head/bias", "own/head/kernel"}),
        (
            Adapted(task=CLASSIFICATION, own=("bias$", "^head/")),
            ("^base/",),
            {"own/conv/bias", "own/head/bias", "own/head/kernel"},
        ),
        (Adapted(task=CLASSIFICATION, own=("^head/",)), ("^base/",), {"own/head/bias", "own/head/kernel"}),
        (CLASSIFICATION, ("^conv/",), {"head/bias", "head/kernel"}),
    ],
    ids=["lora", "BitFit", "the head alone", "frozen layers"],
)
def test_what_is_trained(task, freeze, trained):
    state = set_up(experiment(task, freeze=freeze)).abstract_state
    assert set(tree.flatten(state.params)) == trained
    # Two moments of each, and two step counters.
    assert tree.size(state.opt_state) == 2 * tree.size(state.params) + 2


@pytest.mark.slow
def test_blocks_of_a_text_model_are_unfrozen_one_by_one(tmp_path):
    """Step by step, by the optimizer alone (Howard and Ruder 2018); frozen are the table and the positions."""
    multipliers = (
        ("block1/", 1.0),
        ("block0/", optim.After(jaxai.Steps(1), multiplier=0.5)),
        ("", optim.After(jaxai.Steps(2), multiplier=0.5)),
    )
    optimizer = optim.sgd(0.1, momentum=0.0, multipliers=multipliers)
    task, freeze = LanguageModel(model=GPT), ("^(tokens|positions)/",)
    setup = set_up(experiment(task, TEXT, optimizer=optimizer, freeze=freeze, steps=3))
    state = setup.init()
    step, moved = setup.compiled_step(), []
    for number in range(3):
        before = jax.device_get(state.params)
        state, _ = step(state, setup.reader.batch(number))
        after = tree.flatten(jax.device_get(state.params))
        changed = {path for path, leaf in tree.flatten(before).items() if not np.array_equal(leaf, after[path])}
        moved.append({path.partition("/")[0] for path in changed})
    assert moved == [{"block1"}, {"block0", "block1"}, {"block0", "block1", "norm"}]


@pytest.mark.experiments
def test_several_devices_and_micro_batches_give_the_numbers_of_one():
    asked = [("one", 1), ("pmap", 2), ("mesh", 1)]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).parent / "layouts.py"), json.dumps(asked)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    one, *others = map(json.loads, done.stdout.splitlines())
    assert {path.partition("/")[0] for path in one["params"]} == {"adapters", "own"}
    for other in others:
        assert other["measured"] == pytest.approx(one["measured"], rel=1e-4, abs=1e-6)
        for name, values in one["params"].items():
            assert other["params"][name] == pytest.approx(values, abs=1e-5), name


def test_predictions_features_and_checks_are_those_of_the_adapted_model():
    task = Adapted(task=Classification(model=VIT), adapters=(Prompt(rules=(("^block0/", 2),), std=1.0),))
    variables = learned(task, IMAGES)
    logits = adapted(task, variables, IMAGES)
    images = IMAGES["image"]
    np.testing.assert_allclose(jax.jit(task.predict)(variables, images), jax.nn.softmax(logits), atol=1e-6)
    features = jax.jit(task.embed)(variables, images)
    head = variables["params"]["base"]["head"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"][None], logits, atol=1e-5)
    with pytest.raises(InputError, match="label: is 7"):
        task.check(variables, IMAGES | {"label": np.full(4, 7)})
    assert task.images(IMAGES).keys() == {"examples"}
    assert not hasattr(task, "pictures")


def test_tasks_of_several_models_are_adapted_by_their_own_paths():
    task = Adapted(task=Ensemble(task=CLASSIFICATION, size=2), adapters=(Lora(rules=(("conv", 2),)),))
    variables = learned(task, IMAGES)
    assert {path.rpartition("/lora/")[0] for path in tree.flatten(variables["params"]["adapters"])} == {
        "member_0/conv",
        "member_1/conv",
    }
    one = Adapted(task=CLASSIFICATION, adapters=task.adapters)
    probabilities = []
    for member in ("member_0", "member_1"):
        params = {name: part[member] for name, part in variables["params"].items()}
        probabilities.append(jax.nn.softmax(adapted(one, {"params": params}, IMAGES)))
    found = jax.jit(task.predict)(variables, IMAGES["image"])
    np.testing.assert_allclose(found, np.mean(probabilities, axis=0), atol=1e-6)


def test_a_rule_of_own_that_matches_nothing_is_refused():
    task = Adapted(task=CLASSIFICATION, own=("^haed/",))
    with pytest.raises(InputError, match=r"task.own: rule '.haed/' matches no parameter .nearest: head/"):
        jax.eval_shape(lambda: task.init(KEY, IMAGES))


MISSPELLED = """
import jaxai
from jaxai import optim
from jaxai.adapt import Adapted, {adapter}
from jaxai.data.tfds import Tfds
from jaxai.models import MLP
from jaxai.tasks import Classification

def get_config():
    return jaxai.Experiment(
        task=Adapted(task=Classification(model=MLP()), adapters=({adapter}(rules=(("haed", 2),)),), own=("{own}",)),
        train=jaxai.Pipeline(source=Tfds("digits", split="train"), batch_size=4),
        optimizer=optim.adam(1e-3),
        duration=jaxai.Steps(1),
        freeze=("^base/",),
    )
"""


@pytest.mark.parametrize("command", ["describe", "train"])
@pytest.mark.parametrize("adapter", ["Lora", "Houlsby"])
def test_a_misspelled_rule_is_one_line_and_exit_code_2(command, adapter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(MISSPELLED.format(adapter=adapter, own="^head/"))
    assert main([command, "wrong.py"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "jaxai: error: task.adapters.0.rules: rule 'haed' matches no parameter (nearest: head/kernel)",
    ]


def test_it_is_written_into_a_run_and_read_back():
    given = experiment(Adapted(task=Classification(model=Classifier(), top_k=(2,)), adapters=ADAPTED.adapters))
    task = Adapted(task=Classification(model=VIT), adapters=ADAPTED.adapters, own=("^head/",))
    assert decode(encode(task)) == task
    assert encode(given)["task"]["adapters"][0]["rules"] == [["conv", 2]]
