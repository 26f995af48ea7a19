"""A loss that jumps is a spike; ordinary noise, a falling loss and a slow rise are none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxai import RollBack
from jaxai.training.spikes import Spikes

STEADY = [1.0, 1.1, 0.9, 1.05, 0.95] * 4


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_spike_from_the_first_on_and_never_compared_with(loss):
    spikes = Spikes(RollBack())
    assert spikes.seen(loss)
    assert not spikes.seen(1.0)
    assert spikes.seen(loss)
    assert list(spikes.losses) == [1.0]


def test_the_limit_is_the_median_and_six_deviations():
    """The median is 1, the median of deviations 0.05, which a normal distribution of sigma 0.07413 has."""
    limit = 1.0 + 6.0 * 1.4826 * 0.05
    assert not Spikes(RollBack(), STEADY).seen(limit - 1e-6)
    assert Spikes(RollBack(), STEADY).seen(limit + 1e-6)
    assert not Spikes(RollBack(deviations=10.0), STEADY).seen(limit + 1e-6)


def test_no_spike_is_seen_before_a_quarter_of_the_window():
    spikes = Spikes(RollBack(window=20))
    assert [spikes.seen(loss) for loss in (1.0, 1.0, 1.0, 1.0, 1e9)] == [False] * 5
    spikes = Spikes(RollBack(window=20), [1.0] * 5)
    assert spikes.seen(1e9)
    assert len(spikes.losses) == 5


def test_a_loss_that_hardly_varies_may_still_rise_a_little():
    assert not Spikes(RollBack(), [1.0] * 20).seen(1.0 + 6 * 0.05 - 1e-6)
    assert Spikes(RollBack(), [1.0] * 20).seen(1.0 + 6 * 0.05 + 1e-6)


def test_what_is_not_twice_as_far_as_the_farthest_is_no_spike():
    losses = [1.0] * 19 + [3.0]
    assert not Spikes(RollBack(), losses).seen(5.0 - 1e-6)
    assert Spikes(RollBack(), losses).seen(5.0 + 1e-6)


def test_a_spike_is_not_compared_with_later_ones():
    spikes = Spikes(RollBack(), STEADY)
    assert all(spikes.seen(100.0) for _ in range(50))
    assert list(spikes.losses) == STEADY


def test_a_loss_that_falls_is_no_spike_however_fast():
    spikes = Spikes(RollBack())
    assert not any(spikes.seen(10.0 * 0.5**i) for i in range(200))
    assert not Spikes(RollBack(), STEADY).seen(-1e9)


def test_only_the_window_counts():
    spikes = Spikes(RollBack(window=4), [100.0] * 9 + [1.0] * 4)
    assert len(spikes.losses) == 4
    assert spikes.seen(2.0)


def test_what_a_checkpoint_holds_makes_the_same_judge():
    before = Spikes(RollBack(), num_rolled_back=2)
    for loss in STEADY:
        before.seen(loss)
    after = Spikes(RollBack(), list(before.losses), before.num_rolled_back)
    assert after.num_rolled_back == 2
    for loss in np.random.default_rng(0).normal(1.0, 0.2, 100):
        assert before.seen(float(loss)) == after.seen(float(loss))


def test_negative_losses_have_spikes_too():
    spikes = Spikes(RollBack(), [-loss for loss in STEADY])
    assert not spikes.seen(-0.8)
    assert spikes.seen(0.0)
