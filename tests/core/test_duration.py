"""Durations: units, rounding, reading and writing."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxai.core.duration import UNITS, Duration, Epochs, Examples, Minutes, Steps, parse
from jaxai.core.errors import InputError


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (Steps(7), 7),
        (Steps(6.5), 7),
        (Epochs(1), 3),  # 100 examples in batches of 40: two and a half
        (Epochs(2), 5),
        (Epochs(0.1), 1),
        (Examples(40), 1),
        (Examples(41), 2),
    ],
)
def test_steps_are_rounded_up(duration, steps):
    assert duration.steps(batch_size=40, num_examples=100) == steps


@given(st.integers(1, 1000), st.integers(1, 10_000), st.integers(1, 100))
def test_whole_epochs_see_every_example(batch_size, num_examples, count):
    steps = Epochs(count).steps(batch_size, num_examples)
    assert (steps - 1) * batch_size < count * num_examples <= steps * batch_size
    assert steps == math.ceil(Fraction(count * num_examples, batch_size))


def test_minutes_are_no_steps():
    with pytest.raises(InputError, match="10minutes: does not come to a number of steps"):
        Minutes(10).steps(1, 1)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500steps", Steps(500)),
        ("1step", Steps(1)),
        (" 12 epochs ", Epochs(12)),
        ("0.5epoch", Epochs(0.5)),
        ("1e6examples", Examples(1_000_000)),
        ("1_000_000Examples", Examples(1_000_000)),
        ("10Minutes", Minutes(10)),
    ],
)
def test_parse(text, duration):
    assert parse(text) == duration


@pytest.mark.parametrize(
    "text", ["", "5", "steps", "5 parsecs", "five steps", "-5steps", "1.2.3steps", "5stepss", "nan"]
)
def test_what_is_no_duration(text):
    with pytest.raises(InputError, match="is not a duration") as caught:
        parse(text)
    assert caught.value.field == repr(text)
    assert "500steps, 12epochs, 1e6examples, 10minutes" in caught.value.fix


@pytest.mark.parametrize("count", [0, -1, math.nan, math.inf, "5", None, 1j])
def test_counts_are_above_zero(count):
    with pytest.raises(InputError, match="Steps: must be a number above 0"):
        Steps(count)


def test_zero_is_refused_in_text_as_well():
    with pytest.raises(InputError, match="Epochs: must be a number above 0, not 0"):
        parse("0epochs")


@given(st.sampled_from(list(UNITS.values())), st.integers(1, 10**15) | st.floats(1e-9, 1e15))
def test_what_is_written_reads_back(unit: type[Duration], count):
    assert parse(str(unit(count))) == unit(count)


def test_units_differ():
    assert Steps(1) != Epochs(1)
