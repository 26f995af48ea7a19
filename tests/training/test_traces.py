"""A compiled function is known to be traced again, and why."""

from __future__ import annotations

import jax
import numpy as np

from jaxai.training.traces import Traced


def test_a_recompilation_names_the_argument_that_changed():
    begun = []
    traced = Traced(lambda state, shared, batch: (state, batch["x"].sum() + shared), lambda: begun.append(len(begun)))
    step = jax.jit(traced)
    step({"w": np.zeros(2)}, 1, {"x": np.zeros((4, 2), np.float32)})
    step({"w": np.zeros(2)}, 1, {"x": np.zeros((4, 2), np.float32)})
    assert len(traced.signatures) == 1
    step({"w": np.zeros(2)}, 1, {"x": np.zeros((3, 2), np.float32)})
    assert begun == [0, 1]
    assert traced.last_change() == "batch/x was float32[4, 2], is float32[3, 2]"
