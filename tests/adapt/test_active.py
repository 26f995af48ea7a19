"""Strategies in closed form, and a small comparison: what it trains, that it resumes, what it refuses."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.adapt import active
from jaxai.adapt.active import active_learning, coreset, entropy, margin
from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.log import read_jsonl
from jaxai.models import MLP
from jaxai.tasks import Classification

from .small import FILE


def test_entropy_and_margin_in_closed_form():
    probabilities = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3], [1 / 3] * 3])
    np.testing.assert_allclose(
        entropy(probabilities),
        [0, math.log(2), -(0.4 * math.log(0.4) + 0.6 * math.log(0.3)), math.log(3)],
        atol=1e-12,
    )
    np.testing.assert_allclose(margin(probabilities), [0, 1, 0.9, 1], atol=1e-12)


def radius(x, centres):
    """The largest distance of any row to its nearest centre."""
    return max(min(np.linalg.norm(row - x[c]) for c in centres) for row in x)


def test_the_core_set_is_the_greedy_choice_and_within_twice_the_best():
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=(12, 2))
        labelled, chosen = np.array([3, 7]), []
        for _ in range(3):
            nearest = [min(np.linalg.norm(row - x[c]) for c in (*labelled, *chosen)) for row in x]
            chosen.append(int(np.argmax(nearest)))
        found = coreset(x, labelled, 3)
        assert found.tolist() == chosen
        best = min(radius(x, (*labelled, *three)) for three in itertools.combinations(range(12), 3))
        assert radius(x, (*labelled, *found)) <= 2 * best + 1e-9


def test_the_core_set_chooses_no_row_twice():
    x = np.zeros((5, 3))
    assert sorted(coreset(x, np.array([1]), 4).tolist()) == [0, 2, 3, 4]
    line = np.array([[0.0], [1.0], [9.0], [10.0]])
    assert coreset(line, np.array([0]), 2).tolist() == [3, 1]  # then 9 lies 1 from 10, and 1 lies 1 from 0


def make_arrays(num: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    x = np.eye(3)[labels] * 2 + rng.normal(0, 0.7, (num, 3))
    return Arrays({"image": x.astype(np.float32), "label": labels})


def experiment(**fields) -> jaxai.Experiment:
    base = jaxai.Experiment(
        task=Classification(model=MLP(features=(4,), num_classes=3)),
        train=jaxai.Pipeline(source=make_arrays(40, 0), batch_size=8),
        evals={"test": jaxai.Pipeline(source=make_arrays(30, 1), batch_size=30)},
        optimizer=optim.adam(2e-2),
        duration=jaxai.Steps(20),
        evaluate_every=None,
        parallel=jaxai.PMap(devices=1),
    )
    return dataclasses.replace(base, **fields)


def rows(folder, strategy):
    return json.loads((folder / strategy / "chosen.json").read_text())["rows"]


@pytest.fixture
def trained(monkeypatch):
    """The folders in which something is trained, as it happens."""
    seen, train = [], active.train

    def spy(experiment, folder, **options):
        seen.append(f"{folder.parent.name}/{folder.name}")
        return train(experiment, folder, **options)

    monkeypatch.setattr(active, "train", spy)
    return seen


@pytest.mark.slow
def test_rounds_are_queried_trained_reported_and_resumed(tmp_path, trained):
    folder, said = tmp_path / "compared", []
    options = {"start": 6, "add": 3, "say": said.append}
    curves = active_learning(experiment(), folder, rounds=2, strategies=("margin", "random"), **options)
    assert trained == ["margin/6", "margin/9", "random/6", "random/9"]
    assert len(said) == 4
    assert said[0].startswith("margin         6 labels  test/loss")
    assert [record["step"] for record in curves.records["margin"]] == [6, 9]
    assert curves.records["margin"][0] == {**curves.records["random"][0]}  # the same labels, the same training
    first = {strategy: rows(folder, strategy) for strategy in curves.records}
    assert first["margin"][:6] == first["random"][:6]
    assert all(len(set(of)) == 9 for of in first.values())
    assert read_jsonl(folder / "margin" / "curve.jsonl") == curves.records["margin"]
    page = (folder / "report.html").read_text()
    assert ">labels</text>" in page
    assert ">step</text>" not in page

    # What the model trained on 6 labels is least sure of, by hand.
    source = make_arrays(40, 0)
    subset = dataclasses.replace(experiment().train, source=active.Subset(source, tuple(sorted(first["margin"][:6]))))
    result = jaxai.train(experiment(train=subset), display="none")
    undecided = margin(np.asarray(experiment().task.predict(result.variables, source.arrays["image"])))
    undecided[first["margin"][:6]] = -1
    assert first["margin"][6:] == np.argsort(-undecided, kind="stable")[:3].tolist()

    # Again, for a round more and another strategy: nothing finished is trained again, nothing chosen chosen anew.
    trained.clear()
    longer = active_learning(experiment(), folder, rounds=3, strategies=("margin", "random", "coreset"), **options)
    assert trained == ["margin/12", "random/12", "coreset/6", "coreset/9", "coreset/12"]
    assert list(longer.records["margin"][:2]) == list(curves.records["margin"])
    assert rows(folder, "margin")[:9] == first["margin"]

    # From scratch it comes to the same.
    again = tmp_path / "again"
    active_learning(experiment(), again, rounds=3, strategies=("margin",), **options)
    assert rows(again, "margin") == rows(folder, "margin")
    assert read_jsonl(again / "margin" / "curve.jsonl") == longer.records["margin"]

    with pytest.raises(InputError, match=r"another comparison: experiment\.seed 0 -> 1, add 3 -> 4"):
        active_learning(experiment(seed=1), folder, start=6, add=4)


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(FILE)
    command = ["active", "small.py", "--strategies", "entropy", "--start", "20", "--add", "10", "--rounds", "2"]
    assert main([*command, "--duration", "20steps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:2]] == [["entropy", "20", "labels"], ["entropy", "30", "labels"]]
    assert lines[2] == "wrote runs/small_active/report.html"
    # Each round is a run like any other.
    assert main(["evaluate", "runs/small_active/entropy/30"]) == 0
    values = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    recorded = read_jsonl(tmp_path / "runs/small_active/entropy/curve.jsonl")[-1]["accuracy"]
    assert float(values["test/accuracy"]) == pytest.approx(recorded, abs=1e-6)


def test_what_cannot_be_compared_is_named(tmp_path):
    cases = [
        ({"strategies": ("entropi",)}, "strategies: 'entropi' is unknown .did you mean 'entropy'"),
        ({"strategies": ("margin", "margin")}, "strategies: must be some, each once"),
        ({"start": 0}, "start: must be at least 1, is 0"),
        ({"start": 20, "add": 10, "rounds": 4}, "rounds: end with 50 labels, the training data have 40"),
    ]
    for options, match in cases:
        with pytest.raises(InputError, match=match):
            active_learning(experiment(), tmp_path / "none", **{"start": 5, "add": 5, "rounds": 2, **options})
    with pytest.raises(InputError, match="evals: are none"):
        active_learning(experiment(evals={}), tmp_path / "none", start=5, add=5)
    assert not (tmp_path / "none").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty and holds no comparison"):
        active_learning(experiment(), tmp_path, start=5, add=5)
