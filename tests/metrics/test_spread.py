"""Spread in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxai.metrics import Spread, merge


def test_spread_is_the_deviation_of_directions():
    vectors = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    spread = Spread.of(vectors, np.ones(20, np.float32))
    assert spread.compute() == pytest.approx(math.sqrt(units.var(axis=0).sum()), rel=1e-5)
    halves = [Spread.of(part, np.ones(10, np.float32)) for part in np.split(vectors, 2)]
    assert merge(*halves).compute() == pytest.approx(spread.compute(), rel=1e-5)


def test_the_ends_of_the_scale_and_padding():
    ones = np.ones(4, np.float32)
    assert Spread.of(np.tile([[3.0, 4.0]], (4, 1)), ones).compute() == pytest.approx(0, abs=1e-3)
    assert Spread.of(np.array([[1.0, 0], [-2, 0], [0, 3], [0, -4]]), ones).compute() == pytest.approx(1)
    padded = Spread.of(np.array([[1.0, 0], [-1, 0], [np.nan, 0], [5, 5]]), np.array([1.0, 1, 0, 0]))
    assert padded.compute() == pytest.approx(1)
    assert math.isnan(Spread.of(np.zeros((2, 2)), np.zeros(2)).compute())
