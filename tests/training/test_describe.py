"""What `describe` says, in closed form, and that it computes nothing of the model's size."""

from __future__ import annotations

import jax
import pytest

import jaxai
from jaxai import optim
from jaxai.models import MLP
from jaxai.tasks import Classification
from jaxai.training.describe import describe, render
from jaxai.training.setup import set_up
from tests.training.conftest import make_arrays


def test_counts_bytes_and_steps_in_closed_form(tiny):
    experiment = tiny(
        task=Classification(model=MLP(features=(8,), num_classes=3)),
        optimizer=optim.adamw(1e-2, decay=(("kernel", 1.0),)),
        duration=jaxai.Epochs(3),
        freeze=("Dense_0/bias",),
        ema=0.9,
    )
    found = describe(set_up(experiment))
    trained = 16 * 8 + 8 * 3 + 3
    assert (found.num_params, found.num_trained) == (trained + 8, trained)
    assert found.bytes_params == 4 * (trained + 8)
    # Two Adam moments and the average, and two step counters.
    assert found.bytes_optimizer == 4 * (3 * trained + 2)
    assert found.total_steps == -(-3 * 50 // 12)
    assert found.num_examples == {"train": 50, "test": 29}
    assert ("freeze", "Dense_0/bias", 1) in found.rules
    assert ("optimizer.decay", "kernel", 2) in found.rules
    rows = {path: (shape, is_trained, decayed) for path, shape, _, is_trained, decayed in found.params}
    assert rows["Dense_0/bias"] == ((8,), False, False)
    assert rows["Dense_0/kernel"] == ((16, 8), True, True)
    assert {"loss", "accuracy", "confusion"} <= set(found.metrics["test"])
    assert "139 " not in render(found)
    assert f"parameters   {trained + 8:,}" in render(found)


def test_flops_are_those_of_the_matrix_products(tiny):
    wide = tiny(task=Classification(model=MLP(features=(512, 512), num_classes=3)))
    # Forward, gradient of the inputs (not of the first layer's) and of the weights: 2 FLOPs a multiply-add.
    products = 12 * (16 * 512 * 2 + 512 * 512 * 3 + 512 * 3 * 3)
    assert describe(set_up(wide)).flops == pytest.approx(2 * products, rel=0.25)


def test_what_is_temporary_shrinks_with_accumulation(tiny):
    wide = {
        "task": Classification(model=MLP(features=(64, 64), num_classes=3)),
        "train": jaxai.Pipeline(source=make_arrays(512), batch_size=512),
    }
    whole, parts = (describe(set_up(tiny(accumulate=k, **wide))).bytes_temporary for k in (1, 4))
    assert parts < 0.5 * whole


def test_nothing_of_the_model_is_computed(tiny):
    others = {id(array) for array in jax.live_arrays()}
    huge = tiny(task=Classification(model=MLP(features=(100_000, 100_000), num_classes=3)))
    found = describe(set_up(huge))
    assert found.num_params > 10**10
    made = [array.nbytes for array in jax.live_arrays() if id(array) not in others]
    assert max(made, default=0) < 2**20


def test_freezing_costs_neither_gradients_nor_optimizer_memory(tiny):
    """What `describe` says of a frozen layer, and what XLA asks for in fact."""
    model = MLP(features=(512, 512), num_classes=3)
    frozen_bytes = 4 * (16 * 512 + 512 + 512 * 512 + 512)
    described, compiled = [], []
    for freeze in ((), ("Dense_",)):
        setup = set_up(tiny(task=Classification(model=model), freeze=freeze))
        described.append(describe(setup))
        step = jax.jit(setup.train_step(), donate_argnums=0).lower(setup.abstract_state, setup.example).compile()
        memory = step.memory_analysis()
        compiled.append(memory.argument_size_in_bytes + memory.temp_size_in_bytes)
    whole, frozen = described
    assert whole.bytes_optimizer - frozen.bytes_optimizer == 2 * frozen_bytes  # Adam's moments
    assert whole.bytes_memory - frozen.bytes_memory >= 3 * frozen_bytes  # and the gradients
    assert compiled[0] - compiled[1] >= 2.9 * frozen_bytes
    assert frozen.flops < 0.75 * whole.flops
