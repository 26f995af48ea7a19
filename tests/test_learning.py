"""The experiments learn: accuracy on held-out real images, as recorded by a run of the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxai.cli import main

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seed", "num_examples", "least"),
    [("digits_convnet", 0, 360, 0.98), ("mnist_lenet", 0, 1000, 0.965)],
)
def test_accuracy(name, seed, num_examples, least, tmp_path):
    folder = tmp_path / name
    command = ["train", str(EXPERIMENTS / f"{name}.py"), "--run", str(folder), "--display", "none", "--seed", str(seed)]
    assert main(command) == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if record["split"] == "test"][-1]
    assert last["accuracy"] >= least
    # Every example was counted, once: the number of hits is whole.
    hits = last["accuracy"] * num_examples
    assert hits == pytest.approx(round(hits), abs=1e-3)
