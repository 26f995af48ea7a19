"""A tiny experiment in memory that trains in a second."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.data.source import Arrays
from jaxai.models import MLP
from jaxai.tasks import Classification


def make_arrays(num: int, seed: int = 0) -> Arrays:
    """Three classes of noisy 4 x 4 x 1 pictures."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    centres = np.random.default_rng(7).integers(0, 255, (3, 4, 4, 1))
    images = np.clip(centres[labels] + rng.normal(0, 60, (num, 4, 4, 1)), 0, 255).astype(np.uint8)
    return Arrays({"image": images, "label": labels})


@pytest.fixture
def tiny():
    """Builds the experiment, with any fields replaced."""

    def build(**fields) -> jaxai.Experiment:
        base = jaxai.Experiment(
            task=Classification(model=MLP(features=(8,), num_classes=3)),
            train=jaxai.Pipeline(source=make_arrays(50), batch_size=12),
            evals={"test": jaxai.Pipeline(source=make_arrays(29, seed=1), batch_size=12)},
            optimizer=optim.adam(1e-2),
            duration=jaxai.Steps(6),
            evaluate_every=jaxai.Steps(3),
            log_every=jaxai.Steps(2),
            parallel=jaxai.PMap(devices=1),
        )
        return dataclasses.replace(base, **fields)

    return build
