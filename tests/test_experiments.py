"""Every file in experiments/ loads, is described, trains two small steps, and is rebuilt from its own JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxai import steps
from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.experiment import load
from jaxai.experiment.json import decode, encode
from jaxai.experiment.load import execute
from jaxai.experiment.override import override
from jaxai.training.describe import describe
from jaxai.training.setup import set_up

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.py"))
#: Published or counted by hand.
PARAMETERS = {
    "cifar10_cnn": 4_275_081,  # with 9 classes; 4,275,594 with 10
    "digits_convnet": 240_074,
    "digits_reproducible": 160 + 4_640 + 32_832 + 650,
    "digits_mlp_plain_jax": 64 * 128 + 128 + 128 * 10 + 10,
    "digits_softmax": 64 * 10 + 10,
    "mnist_cnn": 93_322,
    "mnist_lenet": 61_706,
}
SMALL = [
    "--duration", "2steps", "--evaluate-every", "2steps", "--log-every", "1steps", "--train.batch-size", "8",
    "--evals.test.source.split", "test[:20]", "--evals.test.batch-size", "16",
    "--optimizer.learning-rate.warmup", "1steps",
]  # fmt: skip


def allow(file: Path) -> list[str]:
    """The file itself, where its task is its own class."""
    return [str(file)] if "class " in file.read_text() else []


def validation(file: Path) -> list[str]:
    """What makes the validation data small, where the experiment has any."""
    if "validation" not in load(file).evals:
        return []
    return ["--evals.validation.source.split", "train[-20:]", "--evals.validation.batch-size", "16"]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request) -> Path:
    return request.param


def test_is_documented(file):
    """The docstring gives the command, the hardware, the time and the metric; the table has a row."""
    text = execute(file).__doc__
    assert f"jaxai train experiments/{file.name}" in text
    assert "2-core" in text
    assert "seeds" in text
    assert f"`{file.stem}`" in (FOLDER / "README.md").read_text()
    assert len(file.read_text().splitlines()) <= 90


@pytest.mark.slow
def test_is_described(file):
    description = describe(set_up(load(file)))
    assert description.num_params == PARAMETERS[file.stem]
    assert f"{description.num_params:,}" in (FOLDER / "README.md").read_text()
    assert f"{description.total_steps:,}" in (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_trains_and_is_rebuilt(file, tmp_path, capsys):
    """By the real command line; the run evaluates from its own JSON to what training ended with."""
    folder = tmp_path / "run"
    assert main(["train", str(file), "--run", str(folder), "--display", "none", *SMALL, *validation(file)]) == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    final = [record for record in records if record["split"] == "test" and record["step"] == 2]
    assert len(final) == 1
    assert 0 < final[0]["loss"] < 10
    capsys.readouterr()
    extra = [part for name in allow(file) for part in ("--allow", name)]
    assert main(["evaluate", str(folder), "--step", "2", *extra]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert float(printed["test/loss"]) == pytest.approx(final[0]["loss"], rel=1e-5)


def test_json_round_trip(file):
    experiment = load(file)
    allowed = [execute(Path(name)).__name__ for name in allow(file)]
    written = json.loads(json.dumps(encode(experiment)))
    rebuilt = decode(written, allowed)
    assert encode(rebuilt) == written
    changed = override(rebuilt, ["--seed", "7"])
    assert (changed.seed, encode(override(changed, ["--seed", str(experiment.seed)]))) == (7, written)


def test_a_class_of_the_file_needs_leave(tmp_path):
    file = FOLDER / "digits_mlp_plain_jax.py"
    (tmp_path / "config.json").write_text(json.dumps(encode(load(file))))
    with pytest.raises(InputError, match=r"PlainMlp.*--allow"):
        load(tmp_path / "config.json")
    assert encode(load(tmp_path / "config.json", [str(file)])) == encode(load(file))


@pytest.mark.parametrize(("name", "classes", "dataset"), [("mnist_cnn", 10, "mnist"), ("cifar10_cnn", 10, "cifar10")])
def test_full_variants(name, classes, dataset):
    """The variants on data that only `jaxai prepare` brings are experiments of the full datasets."""
    full = execute(FOLDER / f"{name}.py").full()
    assert full.task.model.num_classes == classes
    assert {pipeline.source.name for pipeline in (full.train, *full.evals.values())} == {dataset}


@pytest.mark.slow
def test_plain_jax_resumes(tmp_path):
    """A run left after three steps and taken up again ends, bit for bit, as one that was never left."""
    file = FOLDER / "digits_mlp_plain_jax.py"
    short = ["--train.batch-size", "8", "--duration", "6steps", "--checkpoint.every", "2steps"]
    command = ["train", str(file), "--display", "none", *short]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for info in steps(override(load(file), short), parts):
        if info.step == 3:
            break
    assert main([*command, "--run", str(parts)]) == 0
    assert main([*command, "--run", str(whole)]) == 0
    left, never_left = (json.loads((folder / "results.json").read_text()) for folder in (parts, whole))
    assert left["step"] == 6
    assert left["metrics"] == never_left["metrics"]
