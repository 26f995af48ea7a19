"""The benchmarks run, and their harness compares what it says it compares. No figure is asserted: machines differ."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_harness", FOLDER / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_contenders_take_turns_and_warm_up_is_left_out(harness):
    calls = []

    def contender(name):
        def run():
            calls.append(name)
            return float(len(calls))

        return run

    measured = harness.alternate({"a": contender("a"), "b": contender("b")}, rounds=3, warm_up=1)
    assert calls == ["a", "b"] * 4
    assert measured == {"a": [3.0, 5.0, 7.0], "b": [4.0, 6.0, 8.0]}


def test_ratios_pair_rounds_before_the_median_is_taken(harness):
    measured = {"a": [9.0, 4.0, 1.0], "b": [3.0, 2.0, 5.0]}
    figure = harness.Figure(name="a to b", unit="x", values=harness.ratios(measured, "a", "b"))
    assert figure.values == [3.0, 2.0, 0.2]
    assert figure.median == 2.0  # the ratio of the medians would be 4 / 3
    assert figure.quartiles == (1.1, 2.5)
    assert harness.differences(measured, "a", "b") == [6.0, 2.0, -4.0]


@pytest.mark.parametrize(("sign", "value", "reached"), [("<=", 2.0, True), ("<=", 2.1, False), (">=", 1.9, False)])
def test_targets(harness, sign, value, reached):
    assert harness.Target(sign=sign, bound=2.0).reached(value) is reached


def test_too_few_rounds_are_refused():
    command = [sys.executable, str(FOLDER / "input.py"), "--rounds", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--rounds must be at least 7" in done.stderr


THEIRS = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "accelerate"))
"""Whether PyTorch's side of the benchmarks of text can run."""
FIGURES = {
    "overhead": {"perceptron, added a step": "<= 25", "convnet, share of bare throughput": ">= 0.97"},
    "input": {"jaxai to grain": ">= 15"},
    "startup": {
        "jaxai --help": "<= 0.2",
        "modules of jax that help imports": "<= 0",
        "import jaxai to import jax": "<= 1.05",
        "perceptron, second to first": "<= 0.4",
    },
    "checkpoint": {"stall of training": "<= 30", "until written, to raw": "<= 1.4", "the seal, a GB": "<= 1"},
    "reproducible": {},
    "models": {},
    "decode": {f"batch {n}, jaxai to transformers": f">= {bound}" for n, bound in ((1, 3), (8, 2.3)) if THEIRS},
    "finetune": {
        f"dropout {rate}, batch 16, jaxai to Trainer": f">= {bound}" for rate, bound in ((0.1, 1.3), (0, 1.5)) if THEIRS
    },
    "versus_torch": {
        name: f">= {bound:g}"
        for name, bound in (
            ("cifar_cnn, jaxai to channels_last", 1.3),
            ("cifar_cnn, jaxai to channels_last, warm", 1.08),
            ("bert, jaxai to eager", 2.5),
            ("bert, jaxai, bfloat16 to eager", 3),
            ("mlp, jaxai, 32 steps a call to eager", 12),
        )
        if THEIRS
    },
    "versus_frameworks": {"convnet, jaxai to compiled steps": ">= 0.98"},
    "time_to_accuracy": {"digits, 90 %, share of seeds": ">= 0.9"},
    "scaling": {"Mesh(data) and PMap, apart": "<= 0.02"},
    "text": {f"{name}, batches a step": ">= 20" for name in ("bytes", "GPT-2's BPE", "BERT's WordPiece")},
}


@pytest.mark.benchmarks
@pytest.mark.parametrize("name", FIGURES)
def test_smoke(name, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["smoke"] is True
    assert {f["name"]: f["target"] for f in result["figures"] if f["target"]} == FIGURES[name]
    for figure in result["figures"]:
        low, high = figure["quartiles"]
        assert low <= figure["median"] <= high
        assert figure["name"] in done.stdout
    assert {"cpu", "pinned_cores", "versions", "devices", "git_revision"} <= result["machine"].keys()
    assert not {"folder", "command"} & result["machine"].keys()


def test_results_are_of_full_runs():
    for path in (FOLDER / "results").glob("*.json"):
        result = json.loads(path.read_text())
        assert result["benchmark"] == path.stem
        assert result["smoke"] is False
        assert result["rounds"] >= 7
