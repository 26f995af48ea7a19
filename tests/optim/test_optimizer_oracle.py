"""Optimizers and schedules equal PyTorch's for fifty steps, where PyTorch has them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxai import optim
from jaxai.core.duration import Steps

pytestmark = pytest.mark.oracle
NUM_STEPS = 50
SHAPES = {"matrix": (6, 4), "tall": (8, 3), "bias": (4,)}
DECAY_ALL = ((".", 1.0),)


def gradients(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def ours(optimizer: optim.Optimizer, names=tuple(SHAPES)) -> dict[str, np.ndarray]:
    start = gradients(999)
    params = {name: jnp.asarray(start[name]) for name in names}
    chain = optimizer.build(NUM_STEPS, lambda duration: duration.steps(1, 1))
    state = chain.init(params)
    for step in range(NUM_STEPS):
        updates, state = chain.update({name: gradients(step)[name] for name in names}, state, params)
        params = optax.apply_updates(params, updates)
    return jax.device_get(params)


def theirs(make, names=tuple(SHAPES), schedule=None) -> dict[str, np.ndarray]:
    import torch

    start = gradients(999)
    params = {name: torch.nn.Parameter(torch.tensor(start[name])) for name in names}
    optimizer = make(torch.optim, list(params.values()))
    scheduler = schedule(torch.optim.lr_scheduler, optimizer) if schedule else None
    for step in range(NUM_STEPS):
        for name in names:
            params[name].grad = torch.tensor(gradients(step)[name])
        optimizer.step()
        if scheduler:
            scheduler.step()
    return {name: param.detach().numpy() for name, param in params.items()}


CASES = {
    "sgd": (
        lambda: optim.sgd(0.1, momentum=0.9, weight_decay=0.01, decay=DECAY_ALL),
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        lambda: optim.sgd(0.1, momentum=0.9, nesterov=True),
        lambda o, p: o.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (
        lambda: optim.adam(0.01, b2=0.99, weight_decay=0.1, decay=DECAY_ALL),
        lambda o, p: o.Adam(p, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
    ),
    "adamw": (
        lambda: optim.adamw(0.01, weight_decay=0.1, decay=DECAY_ALL),
        lambda o, p: o.AdamW(p, 0.01, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_equal_pytorch(name):
    mine, other = (CASES[name][0](), CASES[name][1])
    expected = theirs(other)
    for path, value in ours(mine).items():
        np.testing.assert_allclose(value, expected[path], rtol=2e-5, atol=2e-6, err_msg=path)


def test_muon_equals_pytorch_on_matrices():
    """PyTorch orthogonalises in bfloat16; the direction agrees to that precision."""
    names = ("matrix", "tall")
    expected = theirs(lambda o, p: o.Muon(p, lr=0.01, weight_decay=0.0, momentum=0.95, nesterov=True), names)
    mine = ours(optim.muon(0.01, weight_decay=0.0), names)
    start = gradients(999)
    for name in names:
        moved, theirs_moved = mine[name] - start[name], expected[name] - start[name]
        cosine = np.sum(moved * theirs_moved) / np.linalg.norm(moved) / np.linalg.norm(theirs_moved)
        assert cosine > 0.99, name


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (
            optim.WarmupCosine(peak=0.1, end=0.01),
            lambda s, o: s.CosineAnnealingLR(o, NUM_STEPS, eta_min=0.01),
        ),
        (optim.WarmupLinear(peak=0.1), lambda s, o: s.LinearLR(o, 1.0, 0.0, NUM_STEPS)),
        (
            optim.WarmupSteps(peak=0.1, boundaries=(Steps(20), Steps(35)), factor=0.5),
            lambda s, o: s.MultiStepLR(o, [20, 35], 0.5),
        ),
        (optim.Constant(peak=0.1, warmup=Steps(10)), lambda s, o: s.LambdaLR(o, lambda step: min(step / 10, 1.0))),
    ],
    ids=["cosine", "linear", "steps", "warmup"],
)
def test_schedules_equal_pytorch(mine, other):
    expected = theirs(lambda o, p: o.SGD(p, 0.1), schedule=other)
    for path, value in ours(optim.sgd(mine, momentum=0.0)).items():
        np.testing.assert_allclose(value, expected[path], rtol=2e-5, atol=2e-6, err_msg=path)
