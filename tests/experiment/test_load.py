"""Experiment files are read as they are."""

from __future__ import annotations

import os
import sys

import pytest

import jaxai
from jaxai import Call, Epochs, Experiment, Pipeline
from jaxai.data.tfds import Tfds

FILE = """
import optax
from jaxai import Call, Epochs, Experiment, Pipeline
from jaxai.data.tfds import Tfds
from jaxai.models import SoftmaxRegression
from jaxai.tasks import Classification


def get_config():
    return Experiment(
        task=Classification(model=SoftmaxRegression()),
        train=Pipeline(source=Tfds("digits")),
        optimizer=Call(optax.sgd, learning_rate=0.1),
        duration=Epochs(1),
        seed={seed},
    )
"""


@pytest.fixture
def _writing_bytecode(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("_writing_bytecode")
def test_a_file_changed_within_the_second_is_read_anew_and_nothing_is_left_beside_it(tmp_path):
    """Of the same size and time, which is all that Python's own cache of bytecode looks at."""
    file = tmp_path / "mine.py"
    for seed in (1, 2, 3):
        file.write_text(FILE.format(seed=seed))
        os.utime(file, (1_700_000_000, 1_700_000_000))
        assert jaxai.load(file).seed == seed
    assert list(tmp_path.iterdir()) == [file]


def test_the_value_is_what_the_file_says(tmp_path):
    import optax

    from jaxai.models import SoftmaxRegression
    from jaxai.tasks import Classification

    file = tmp_path / "mine.py"
    file.write_text(FILE.format(seed=7))
    assert jaxai.load(file) == Experiment(
        task=Classification(model=SoftmaxRegression()),
        train=Pipeline(source=Tfds("digits")),
        optimizer=Call(optax.sgd, learning_rate=0.1),
        duration=Epochs(1),
        seed=7,
    )


LONGER = """

def longer():
    import dataclasses

    return dataclasses.replace(get_config(), duration=Epochs(9))
"""


def test_a_function_of_the_file_is_a_variant(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(seed=7) + LONGER)
    assert jaxai.load(f"{file}:longer").duration == Epochs(9)
    assert jaxai.load(f"{file}:get_config") == jaxai.load(file)
    with pytest.raises(jaxai.InputError, match=r"mine.py: has no function longest\(\) \(did you mean 'longer'"):
        jaxai.load(f"{file}:longest")


def test_a_variant_has_a_folder_of_its_own(tmp_path, monkeypatch):
    from jaxai.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.format(seed=7) + LONGER)
    assert main(["train", "mine.py:longer", "--display", "none", "--duration", "1steps"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine_longer"]
