"""Errors: one line, an exit code, and the nearest name."""

from __future__ import annotations

import pickle

import pytest

from jaxai.core.errors import DivergedError, InputError, JaxaiError, StorageError, did_you_mean, nearest, need_extra


@pytest.mark.parametrize(("kind", "code"), [(InputError, 2), (StorageError, 3), (DivergedError, 4)])
def test_exit_codes(kind, code):
    error = kind("seed", "must not be negative", "0 or more")
    assert isinstance(error, JaxaiError)
    assert error.exit_code == code
    assert str(error) == "seed: must not be negative (0 or more)"
    assert str(kind("seed", "is missing")) == "seed: is missing"


def test_errors_of_worker_processes_arrive_whole():
    error = pickle.loads(pickle.dumps(InputError("train", "example 3: is torn", "delete it")))
    assert (type(error), error.field, error.what, error.fix) == (InputError, "train", "example 3: is torn", "delete it")


def test_names():
    assert did_you_mean("acuracy", ["loss", "accuracy"]) == "did you mean 'accuracy'?"
    assert did_you_mean("zzz", ["loss", "accuracy"]) == "known: accuracy, loss"
    assert did_you_mean("zzz", []) == ""
    assert nearest("kernl", ["bias", "kernel"], limit=3) == ["kernel"]
    assert str(need_extra("wandb", "wandb")) == "wandb: is not installed (pip install 'jaxai-research[wandb]')"
