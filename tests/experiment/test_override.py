"""Overrides: every field of the experiment at hand is a typed flag, listed by `--help`."""

from __future__ import annotations

import dataclasses

import numpy as np
import optax
import pytest

from jaxai import Best, Call, EarlyStopping, Epochs, Experiment, Mesh, Minutes, Pipeline, PMap, Steps, optim
from jaxai.core.duration import Examples
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.source import Arrays
from jaxai.data.tfds import Tfds
from jaxai.experiment.override import flags, override
from jaxai.models import ConvNet
from jaxai.tasks import Classification


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return Experiment(
        task=Classification(model=ConvNet(), augment=(RandomCrop(padding=1), Normalize())),
        train=Pipeline(source=Tfds("digits"), batch_size=64),
        evals={"test": Pipeline(source=Tfds("digits", split="test"), batch_size=64)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Steps(50)), b1=0.8),
        duration=Epochs(3),
        best=Best(metric="test/accuracy"),
    )


def at(value, path: str):
    """The value at a dotted path of fields, items and arguments."""
    for name in path.split("."):
        if isinstance(value, Call):
            value = value.kwargs[name]
        elif isinstance(value, dict):
            value = value[name]
        else:
            value = value[int(name)] if name.isdigit() else getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ("--seed 3", "seed", 3),
        ("--seed=3", "seed", 3),
        ("--ema 0.5", "ema", 0.5),
        ("--ema None", "ema", None),
        ("--precision bfloat16", "precision", "bfloat16"),
        ("--duration 12steps", "duration", Steps(12)),
        ("--duration 1e6examples", "duration", Examples(1_000_000)),
        ("--duration 0.5epochs", "duration", Epochs(0.5)),
        ("--evaluate-every None", "evaluate_every", None),
        ("--evaluate_every 2epochs", "evaluate_every", Epochs(2)),
        ("--checkpoint.every 5minutes", "checkpoint.every", Minutes(5)),
        ("--checkpoint.keep-last 3", "checkpoint.keep_last", 3),
        ("--freeze Conv_0 head", "freeze", ("Conv_0", "head")),
        ("--best.mode min", "best.mode", "min"),
        ("--start-from runs/a", "start_from", "runs/a"),
        ("--parallel.devices 1", "parallel.devices", 1),
        ("--train.batch-size 8", "train.batch_size", 8),
        ("--train.cache", "train.cache", True),
        ("--train.no-shuffle", "train.shuffle", False),
        ("--train.source.split train[:10%]", "train.source.split", "train[:10%]"),
        ("--evals.test.batch-size 8", "evals.test.batch_size", 8),
        ("--evals.test.source.data-dir /data", "evals.test.source.data_dir", "/data"),
        ("--task.label-smoothing 0.1", "task.label_smoothing", 0.1),
        ("--task.class-weights 1 2.5", "task.class_weights", (1.0, 2.5)),
        ("--task.top-k 3 5", "task.top_k", (3, 5)),
        ("--task.model.features 8 16 32", "task.model.features", (8, 16, 32)),
        ("--task.model.norm batch", "task.model.norm", "batch"),
        ("--task.augment.0.padding 4", "task.augment.0.padding", 4),
        ("--task.augment.1.mean 0.1 0.2 0.3", "task.augment.1.mean", (0.1, 0.2, 0.3)),
        ("--optimizer.update.b1 0.7", "optimizer.update.b1", 0.7),
        ("--optimizer.learning-rate.peak 0.1", "optimizer.learning_rate.peak", 0.1),
        ("--optimizer.learning-rate.warmup 2epochs", "optimizer.learning_rate.warmup", Epochs(2)),
        ("--optimizer.learning-rate.warmup None", "optimizer.learning_rate.warmup", None),
        ("--optimizer.clip-norm 1", "optimizer.clip_norm", 1.0),
    ],
)
def test_one_field_changes_and_nothing_else(experiment, arguments, path, value):
    changed = override(experiment, arguments.split())
    assert at(changed, path) == value
    assert type(at(changed, path)) is type(value)
    head, _, inner = path.partition(".")
    for field in dataclasses.fields(Experiment):
        if field.name != head:
            assert getattr(changed, field.name) == getattr(experiment, field.name)
    parent = inner.rpartition(".")[0]
    if parent and not isinstance(at(experiment, f"{head}.{parent}"), (Call, dict, tuple)):
        old, new = (at(e, f"{head}.{parent}") for e in (experiment, changed))
        assert dataclasses.replace(old, **{path.rpartition(".")[2]: value}) == new


def test_without_arguments_nothing_changes(experiment):
    assert override(experiment, []) == experiment


def test_several_at_once(experiment):
    changed = override(experiment, ["--seed", "1", "--train.batch-size", "8", "--task.model.dense", "16"])
    assert (changed.seed, changed.train.batch_size, changed.task.model.dense) == (1, 8, (16,))


def test_a_library_optimizer_has_its_arguments_as_flags(experiment):
    library = dataclasses.replace(experiment, optimizer=Call(optax.adam, learning_rate=0.1, nesterov=False))
    changed = override(library, ["--optimizer.learning-rate", "0.2", "--optimizer.nesterov"])
    assert changed.optimizer == Call(optax.adam, learning_rate=0.2, nesterov=True)


def test_the_flags_are_those_of_the_values_at_hand(experiment):
    mesh = dataclasses.replace(experiment, parallel=Mesh(), early_stopping=EarlyStopping())
    assert {"--parallel.fsdp", "--early-stopping.patience"} <= set(flags(mesh))
    assert not {"--parallel.fsdp", "--early-stopping.patience"} & set(flags(experiment))
    assert override(mesh, ["--parallel.fsdp", "2", "--early-stopping.patience", "9"]).early_stopping.patience == 9


def test_data_in_memory_has_no_flags_and_stays(experiment):
    source = Arrays({"image": [[1.0]], "label": [1]})
    changed = override(dataclasses.replace(experiment, train=Pipeline(source=source)), ["--train.batch-size", "2"])
    assert np.shares_memory(changed.train.source.arrays["image"], source.arrays["image"])
    assert changed.train.batch_size == 2


def test_help_lists_every_field_with_its_meaning_and_default(experiment, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "79")
    with pytest.raises(SystemExit) as left:
        override(experiment, ["--help"])
    assert left.value.code == 0
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in dataclasses.fields(Experiment):
        flag = f"--{field.name.replace('_', '-')}"
        assert flag in printed or getattr(experiment, field.name) is None, flag
    for said in (
        "--seed INT Decides initial values, order of the data, augmentation and dropout. (default: 0)",
        "--duration 500steps|12epochs|1e6examples How long to train. (default: 3epochs)",
        "--train.batch-size INT Examples in a batch, over all devices and processes. (default: 64)",
        "--task.model.num-classes INT Logits an example; 0 leaves the head out, and gives what it would see.",
        "--task.augment.0.padding INT Pixels on each side. (default: 1)",
        "--optimizer.update.b1 FLOAT Argument of scale_by_adam. (default: 0.8)",
    ):
        assert said in printed, said
    assert all(flag in printed for flag in flags(experiment))


@pytest.mark.parametrize(
    ("arguments", "field", "says"),
    [
        ("--sede 1", "--sede", "did you mean --seed?"),
        ("--task.model.fetures 1", "--task.model.fetures", "did you mean --task.model.features?"),
        ("--task.augment.0.pading 1", "--task.augment.0.pading", "did you mean --task.augment.0.padding?"),
        ("--optimizer.update.beta1 1", "--optimizer.update.beta1", "did you mean --optimizer.update.b1?"),
        ("--early-stopping.patience 1", "--early-stopping.patience", "set early_stopping in its file first"),
        ("--xyzzy 1", "--xyzzy", "--help lists all fields"),
        ("--task.model.features wide", "--task.model.features", "'wide'"),
        ("--best.mode most", "--best.mode", "invalid choice"),
        ("--evaluate-every never", "--evaluate-every", "'never' is not a duration (such as 500steps"),
        ("--optimizer.learning-rate.warmup 0steps", "--optimizer.learning-rate.warmup", "must be a number above 0"),
    ],
)
def test_mistakes_name_the_flag(experiment, arguments, field, says):
    with pytest.raises(InputError) as caught:
        override(experiment, arguments.split())
    assert caught.value.field == field
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checks_of_the_classes_hold_for_overrides(experiment):
    with pytest.raises(InputError, match="ema: must lie between 0 and 1"):
        override(experiment, ["--ema", "3"])
    with pytest.raises(InputError, match=r"parallel\.devices: must be {None}\|INT, is '1.5'"):
        override(dataclasses.replace(experiment, parallel=PMap(devices=1)), ["--parallel.devices", "1.5"])
