"""Trees of parameters by path."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import struct
from hypothesis import given
from hypothesis import strategies as st

from jaxai.core import tree

NAMES = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(
    st.dictionaries(NAMES, st.integers(0, 9), min_size=1, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.integers(0, 9) | inner, min_size=1, max_size=3),
    max_leaves=8,
)


def test_paths_are_joined_by_slashes():
    @struct.dataclass
    class State:
        params: dict

    state = State({"Dense_0": {"kernel": 1, "bias": 2}, "list": [3, 4]})
    assert tree.flatten(state) == {
        "params/Dense_0/bias": 2,
        "params/Dense_0/kernel": 1,
        "params/list/0": 3,
        "params/list/1": 4,
    }


@given(TREES, st.data())
def test_join_undoes_split(values, data):
    chosen = jax.tree.map(lambda _: data.draw(st.booleans()), values)
    yes, no = tree.split(values, chosen)
    assert tree.join(yes, no) == values
    assert tree.join(no, yes) == values
    wanted = {path for path, choice in tree.flatten(chosen).items() if choice}
    assert tree.flatten(yes).keys() == wanted
    assert tree.flatten(no).keys() == tree.flatten(values).keys() - wanted


@given(TREES)
def test_map_paths_sees_every_leaf_by_its_path(values):
    mapped = tree.map_paths(lambda path, leaf: (path, leaf), values)
    pairs = jax.tree.leaves(mapped, is_leaf=lambda x: isinstance(x, tuple))
    assert dict(pairs) == tree.flatten(values)


def test_cast_touches_floating_point_alone():
    values = {"a": jnp.ones(2), "b": jnp.ones(2, jnp.int32), "c": jnp.ones(2, jnp.uint8), "d": jnp.ones(2, bool)}
    cast = tree.cast(values, jnp.bfloat16)
    assert {name: str(x.dtype) for name, x in cast.items()} == {
        "a": "bfloat16",
        "b": "int32",
        "c": "uint8",
        "d": "bool",
    }


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ({"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.int32)}, "bfloat16"),
        ({"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}, "float32"),
        ({"b": jnp.ones(2, jnp.int32)}, "float32"),
        ({}, "float32"),
    ],
)
def test_floating_dtype(values, dtype):
    assert jnp.dtype(tree.floating_dtype(values)) == dtype


def test_sizes_count_what_is_not_there_yet():
    abstract = {"a": jax.ShapeDtypeStruct((3, 4), jnp.bfloat16), "b": jax.ShapeDtypeStruct((), jnp.int32)}
    assert (tree.size(abstract), tree.num_bytes(abstract)) == (13, 28)
    assert (tree.size({}), tree.num_bytes({})) == (0, 0)
