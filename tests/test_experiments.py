"""Every file in experiments/ loads, is described, trains two small steps, and is rebuilt from its own JSON."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from jaxai import steps
from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.experiment import load
from jaxai.experiment.json import decode, encode
from jaxai.experiment.load import execute
from jaxai.experiment.override import flags, override
from jaxai.training.describe import describe
from jaxai.training.setup import set_up

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.py"))
#: Published or counted by hand.
PARAMETERS = {
    "bert_pretrain": 512_000 + 256 + 256 + 2 * 198_272 + 16_768 + 4_000 + 16_512 + 258,
    "bert_sentiment": 512_000 + 256 + 256 + 2 * 198_272 + 258,
    "cifar10_airbench": 1_971_640 - 288 - 256,  # without the whitening; with 9 classes
    "cifar10_cnn": 4_275_081,  # with 9 classes; 4,275,594 with 10
    "cifar10_resnet18": 11_173_962 - 513,  # with 9 classes
    "digits_convnet": 240_074,
    "digits_ddpm": 160_641,
    "digits_ensemble": 5 * (160 + 4_640 + 8_256 + 650),
    "digits_gan": 184_898,
    "digits_multitask": 160 + 4_640 + 8_256 + 650 + 130 + 65 + 3,
    "digits_reproducible": 160 + 4_640 + 32_832 + 650,
    "digits_mlp_plain_jax": 64 * 128 + 128 + 128 * 10 + 10,
    "digits_softmax": 64 * 10 + 10,
    "faces_mobilenet": 3_504_872 - 1_281_000 + 1_281 * 2,
    "histology_cnn": 896 + 18_496 + 73_856 + 1_048_704 + 258,
    "histology_unet": 29_625,
    "icons_clip": 22_565_376 + 384 * 256 + (3_504_872 - 1_281_000) + 1_280 * 256 + 1,
    "icons_mobilenet": 3_504_872 - 1_281_000 + 1_281 * 9,
    "icons_resnet20": 269_722 - 65,  # with 9 classes
    "imagenet_alexnet": 61_100_840 - 4_097 * 988,
    "imagenet_resnet50": 25_557_032 - 2_049 * 988,
    "imagenet_vit_s16": 21_600_396,
    "kjv_translation": 256_000 + 2 * 198_272 + 2 * (198_272 + 66_304) + 2 * 256,
    "minilm_distill": 30_522 * 128 + 8_192 + 256 + 256 + 2 * 198_272 + 258,
    "minilm_sentiment": 22_565_376 + 385 * 2,
    "mnist_active": 160 + 4_640 + 100_416 + 650,
    "mnist_byol": 180_336,
    "mnist_calibration": 200_960 + 32_896 + 1_290,
    "mnist_cnn": 93_322,
    "mnist_denoising": 230_345,
    "mnist_fixmatch": 29_178,
    "mnist_lenet": 61_706,
    "mnist_mae": 262_800,
    "mnist_pgd": 160 + 4_640 + 200_832 + 1_290,
    "mnist_simclr": 118_032,
    "mnist_trades": 160 + 4_640 + 200_832 + 1_290,
    "mnist_vae": 815_824,
    "movielens_two_tower": 236_128,
    "prompts_ctc": 426_598,
    "shakespeare_gpt": 33_536 + 16_384 + 5 * 198_272 + 256,
    "spam_lstm": 8_384 + 2 * (8_192 + 16_384 + 256) + 8_256 + 64 + 258,
    "spam_textcnn": 8_384 + 32 * (3 + 5 + 7) * 64 + 3 * 64 + 386,
    "support_retrieval": 22_565_376 + 1,
    "word2vec_plays": 2 * 8_451 * 100,
}
#: Small and quick: part of the default suite. The others compile for long, and have a marker of their own.
QUICK = {
    "cifar10_cnn", "digits_convnet", "digits_mlp_plain_jax", "digits_reproducible", "digits_softmax", "mnist_cnn",
    "mnist_lenet",
}  # fmt: skip

#: What else a file has, where `get_config` goes on from another experiment's run.
ALONE = {"bert_sentiment": "scratch", "minilm_distill": "alone"}


def named(file: Path) -> str:
    """The file, or its variant that needs no other run."""
    return f"{file}:{ALONE[file.stem]}" if file.stem in ALONE else str(file)


def allow(file: Path) -> list[str]:
    """The file itself, where its task is its own class."""
    return [str(file)] if "\nclass " in file.read_text() else []


def small(experiment) -> list[str]:
    """Options for two steps on little data."""
    known = flags(experiment)
    chosen = {"duration": "2steps", "evaluate-every": "2steps", "log-every": "1steps", "train.batch-size": "8"}
    for name, pipeline in experiment.evals.items():
        source = pipeline.source
        while hasattr(source, "source"):
            source = source.source
        split = getattr(source, "split", "")
        if split == "train":  # of which the evaluation takes a part, and not by its first examples
            continue
        chosen[f"evals.{name}.batch-size"] = "16"
        for flag in known:
            if re.fullmatch(rf"--evals\.{name}\.source(\.source)*\.split", flag):
                chosen[flag[2:]] = f"{split.partition('[')[0]}[:20]"
    chosen |= {flag[2:]: "1steps" for flag in known if re.search(r"learning-rate\.warmup$", flag)}
    return [part for flag, value in chosen.items() for part in (f"--{flag}", value)]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request) -> Path:
    return request.param


heavy = pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.slow if file.stem in QUICK else pytest.mark.experiments, id=file.stem)
        for file in FILES
    ],
)


def test_is_documented(file):
    """The docstring gives the command, the hardware, the time and the metric; and a row does."""
    text = execute(file).__doc__
    assert re.search(rf"jaxai (train|active) experiments/{file.name}", text)
    assert "2-core" in text
    assert "seed" in text
    assert f"`{file.stem}`" in (FOLDER / "README.md").read_text()
    assert len(file.read_text().splitlines()) <= 100


@heavy
def test_is_described(file):
    description = describe(set_up(load(named(file))))
    assert description.num_params == PARAMETERS[file.stem]
    assert f"{description.num_params:,}" in (FOLDER / "README.md").read_text()
    assert f"{description.total_steps:,}" in (FOLDER / "README.md").read_text()


@heavy
def test_trains_and_is_rebuilt(file, tmp_path, capsys):
    """By the real command line; the run evaluates from its own JSON to what training ended with."""
    folder, experiment = tmp_path / "run", load(named(file))
    assert main(["train", named(file), "--run", str(folder), "--display", "none", *small(experiment)]) == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    split = "test" if "test" in experiment.evals else "validation"
    final = [record for record in records if record["split"] == split and record["step"] == 2]
    assert len(final) == 1
    assert math.isfinite(final[0]["loss"])
    capsys.readouterr()
    extra = [part for name in allow(file) for part in ("--allow", name)]
    assert main(["evaluate", str(folder), "--step", "2", *extra]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert float(printed[f"{split}/loss"]) == pytest.approx(final[0]["loss"], rel=1e-5)


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
