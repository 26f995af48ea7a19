"""`Call`: checked when written, printed as it is written, made when asked."""

from __future__ import annotations

import optax
import pytest

from jaxai.core.call import Call, public_name
from jaxai.core.errors import InputError


def scale(value: float, *, by: float = 2.0) -> float:
    return value * by


def anything(**kwargs):
    return kwargs


def test_a_call_is_made_later():
    assert Call(scale, value=3.0)() == 6.0
    assert Call(scale, value=3.0, by=3.0)() == 9.0
    assert Call(anything, a=1)() == {"a": 1}


def test_it_prints_as_it_is_written():
    assert repr(Call(optax.scale_by_adam, b1=0.8)) == "Call(optax.scale_by_adam, b1=0.8)"
    assert repr(Call(optax.identity)) == "Call(optax.identity)"


def test_it_is_a_value():
    assert Call(scale, value=1.0) == Call(scale, value=1.0)
    assert hash(Call(scale, value=1.0)) == hash(Call(scale, value=1.0))
    assert Call(scale, value=1.0) != Call(scale, value=2.0)
    assert Call(scale, value=1.0) != Call(anything, value=1.0)


def test_an_unknown_argument_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"scale_by_adam: has no argument 'epsilon' \(did you mean 'eps'\?\)"):
        Call(optax.scale_by_adam, epsilon=1e-8)


def test_an_argument_that_is_missing_is_named():
    with pytest.raises(InputError, match="adam: needs the argument 'learning_rate'"):
        Call(optax.adam, b1=0.9)


@pytest.mark.parametrize("fn", ["adam", 3, None])
def test_what_is_no_function(fn):
    with pytest.raises(InputError, match="is not a function"):
        Call(fn)


def test_functions_are_named_where_users_find_them():
    assert optax.adam.__module__ != "optax"
    assert public_name(optax.adam) == "optax:adam"
    assert public_name(Call) == "jaxai:Call"
    assert public_name(scale) == f"{__name__}:scale"
