"""Optimizers by group, unfreezing on a schedule, and the layerwise rates of LARS and LAMB."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxai import Epochs, InputError, Steps, optim

RNG = np.random.default_rng(0)
PARAMS = {
    "head": {"kernel": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32), "bias": jnp.ones(3)},
    "trunk": {"kernel": jnp.asarray(RNG.normal(size=(5, 4)), jnp.float32)},
}
GRADIENTS = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=p.shape), jnp.float32), PARAMS)


def to_steps(duration):
    return duration.steps(10, 100)


def run(optimizer, num_steps=4, params=PARAMS, gradients=GRADIENTS):
    """Parameters after each step."""
    chain = optimizer.build(100, to_steps) if hasattr(optimizer, "build") else optimizer
    state, found = chain.init(params), []
    step = jax.jit(lambda params, state: chain.update(gradients, state, params))
    for _ in range(num_steps):
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


def assert_close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), ours, theirs)


def test_each_group_is_trained_as_if_alone():
    head = optim.adamw(optim.WarmupCosine(peak=0.1), weight_decay=0.1, decay=(("kernel", 1.0),), clip_norm=0.5)
    trunk = optim.sgd(0.01, momentum=0.9, weight_decay=0.2)
    grouped = run(optim.Grouped(groups=(("^head/", head), ("", trunk))))
    for name, optimizer in (("head", head), ("trunk", trunk)):
        alone = run(optimizer, params={name: PARAMS[name]}, gradients={name: GRADIENTS[name]})
        assert_close([p[name] for p in grouped], [p[name] for p in alone])


def test_groups_are_described_and_each_parameter_has_one():
    grouped = optim.Grouped(groups=(("^head/", optim.adamw(0.1)), ("trunk", optim.sgd(0.1))))
    assert grouped.decays(PARAMS) == {"head/bias": 0.0, "head/kernel": 1.0}
    assert grouped.rules(PARAMS)[0][:2] == ("optimizer.groups", grouped.groups)
    with pytest.raises(InputError, match=r"optimizer.groups: no group has the parameter trunk/kernel \(end with"):
        run(optim.Grouped(groups=(("^head/", optim.adamw(0.1)),)))
    with pytest.raises(InputError, match=r"optimizer.groups: rule 'hat' matches no parameter"):
        run(optim.Grouped(groups=(("hat", optim.adamw(0.1)), ("", optim.sgd(0.1)))))
    with pytest.raises(InputError, match=r"optimizer.groups: is empty"):
        optim.Grouped(groups=())


def test_parameters_unfreeze_on_a_schedule():
    after = optim.After(Steps(2), multiplier=0.5)
    moved = run(optim.sgd(0.1, momentum=0.0, multipliers=(("trunk", after), ("bias", 0.1))))
    trunk = [PARAMS["trunk"]["kernel"], *(p["trunk"]["kernel"] for p in moved)]
    np.testing.assert_array_equal(trunk[1], trunk[0])
    np.testing.assert_array_equal(trunk[2], trunk[0])
    np.testing.assert_allclose(trunk[3], trunk[2] - 0.05 * GRADIENTS["trunk"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(moved[0]["head"]["bias"], 1 - 0.01 * GRADIENTS["head"]["bias"], rtol=1e-6)


def test_unfreezing_counts_in_any_duration():
    build = optim.After(Epochs(1)).build(100, to_steps)  # ten steps
    assert [float(build(step)) for step in (0, 9, 10, 50)] == [0, 0, 1, 1]
    with pytest.raises(InputError, match=r"After.at: 3 has no unit"):
        optim.After(3)


def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def test_lars_is_optaxs_at_a_constant_rate():
    theirs = optax.lars(
        0.1, weight_decay=0.05, weight_decay_mask=matrices, trust_ratio_mask=matrices, trust_coefficient=0.02
    )
    assert_close(run(optim.lars(0.1, weight_decay=0.05, trust_coefficient=0.02)), run(theirs))


def test_lamb_is_optaxs():
    theirs = optax.lamb(0.1, weight_decay=0.05, mask=matrices)
    assert_close(run(optim.lamb(0.1, weight_decay=0.05)), run(theirs))


def test_lamb_moves_each_tensor_by_its_own_norm():
    moved = run(optim.lamb(0.1, weight_decay=0.0), num_steps=1)[0]
    for path in ("head", "trunk"):
        old, new = PARAMS[path]["kernel"], moved[path]["kernel"]
        np.testing.assert_allclose(np.linalg.norm(new - old), 0.1 * np.linalg.norm(old), rtol=1e-5)
