"""Rules over parameter paths: the first match wins, and a rule that matches nothing is an error."""

from __future__ import annotations

import re

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxai.core import rules, tree
from jaxai.core.errors import InputError

PARAMS = {
    "encoder": {"Dense_0": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}},
    "head": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)},
}


def test_the_first_match_wins():
    chosen = rules.assign((("^head/", 1), ("kernel", 2), ("", 3)), PARAMS, 0, "field")
    assert tree.flatten(chosen) == {
        "encoder/Dense_0/bias": 3,
        "encoder/Dense_0/kernel": 2,
        "head/bias": 1,
        "head/kernel": 1,
    }


def test_without_a_match_the_default_holds():
    assert tree.flatten(rules.assign((("bias$", 2.0),), PARAMS, 0.5, "field"))["head/kernel"] == 0.5
    assert set(tree.flatten(rules.assign((), PARAMS, None, "field") or {}).values()) <= {None}


def test_a_rule_hidden_by_an_earlier_one_is_no_error():
    rules.assign((("kernel", 1), ("head/kernel", 2)), PARAMS, 0, "field")
    assert rules.hits((("kernel", 1), ("head/kernel", 2)), PARAMS)[1] == ("head/kernel", 2, [])


def test_a_rule_that_matches_nothing_names_the_nearest_paths():
    with pytest.raises(InputError) as caught:
        rules.assign((("kernel", 1), ("haed/kernel", 2)), PARAMS, 0, "optimizer.decay")
    assert caught.value.field == "optimizer.decay"
    assert caught.value.what == "rule 'haed/kernel' matches no parameter"
    assert caught.value.fix.startswith("nearest: head/kernel")


def test_a_rule_that_is_like_nothing_lists_some_paths():
    with pytest.raises(InputError, match="nearest: encoder/Dense_0/bias, encoder/Dense_0/kernel, head/bias"):
        rules.assign((("zzz", 1),), PARAMS, 0, "freeze")
    with pytest.raises(InputError, match="there are no parameters"):
        rules.assign((("zzz", 1),), {}, 0, "freeze")


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "a{2,1}"])
def test_no_regular_expression(pattern):
    with pytest.raises(InputError, match=f"freeze: rule {re.escape(repr(pattern))} is not a regular expression"):
        rules.assign(((pattern, True),), PARAMS, False, "freeze")


@given(st.lists(st.sampled_from(["head", "kernel", "bias", "Dense_0", "encoder", "^e", "l$", "."]), unique=True))
def test_hits_part_the_parameters_as_assign_does(patterns):
    numbered = tuple((pattern, i) for i, pattern in enumerate(patterns))
    assigned = tree.flatten(rules.assign(numbered, PARAMS, -1, "field"))
    for pattern, i, paths in rules.hits(numbered, PARAMS):
        assert paths == [path for path, value in assigned.items() if value == i]
        assert all(re.search(pattern, path) for path in paths)
