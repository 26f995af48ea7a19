"""Headers of arrays are held to the files beside them, to Orbax's notes, and to what the experiment expects."""

from __future__ import annotations

import json
import shutil

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxai.core.errors import InputError
from jaxai.training.arrays import check_arrays
from jaxai.training.checkpoint import handler

TREE = {
    "w": jnp.arange(12, dtype=jnp.float32).reshape(3, 4),
    "half": jnp.ones((2, 2), jnp.bfloat16),
    "count": jnp.int32(3),
    "none": None,
    "inner": {"b": jnp.zeros(5), "empty": {}, "flag": jnp.array([True])},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "1"
    items = ocp.args.Composite(state=ocp.args.PyTreeSave(TREE))
    ocp.Checkpointer(handler()).save(path, args=items)
    return path / "state"


@pytest.fixture
def state(written, tmp_path):
    shutil.copytree(written, tmp_path / "state")
    return tmp_path / "state"


def refused(state, expected=None):
    with pytest.raises(InputError) as raised:
        check_arrays(state, expected)
    return str(raised.value)


def test_what_orbax_wrote_is_whole_and_fits_what_was_saved(state):
    check_arrays(state)
    check_arrays(state, TREE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"w": jnp.zeros((4, 3))}, "w is float32[3, 4] in the checkpoint, float32[4, 3] in the experiment"),
        ({"w": jnp.zeros((3, 4), jnp.int32)}, "w is float32[3, 4] in the checkpoint, int32[3, 4]"),
        ({"more": jnp.zeros(1)}, "more is absent in the checkpoint, float32[1] in the experiment"),
        ({"count": None}, "count is int32[] in the checkpoint, absent in the experiment"),
    ],
)
def test_another_shape_type_or_name_is_named(state, change, says):
    assert says in refused(state, TREE | change)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**13, 4], "chunks": [10**13, 4]},
        {"shape": [6, 4]},
        {"shape": [-3, 4]},
        {"shape": [3.0, 4]},
        {"shape": [True, 4]},
        {"shape": [3]},
        {"chunks": [0, 4]},
        {"chunks": [1, 4]},
        {"dtype": "|O"},
        {"dtype": "<f8"},
        {"dtype": ">f4"},
        {"dtype": "|V4"},
        {"order": "F"},
        {"compressor": {"id": "gzip"}},
        {"filters": [{"id": "delta"}]},
        {"dimension_separator": "/"},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused(state, change):
    header = json.loads((state / "w" / ".zarray").read_text())
    (state / "w" / ".zarray").write_text(json.dumps(header | change))
    assert str(state / "w") in refused(state)


def test_parts_are_exactly_those_declared(state):
    header = json.loads((state / "w" / ".zarray").read_text())
    (state / "w" / ".zarray").write_text(json.dumps(header | {"chunks": [2, 4]}))
    parts = np.zeros(8, np.float32).tobytes()
    for name in ("0.0", "1.0"):
        (state / "w" / name).write_bytes(parts)
    check_arrays(state)
    (state / "w" / "1.0").rename(state / "w" / "00.0")  # as many, but what is missing would be read as zeros
    assert str(state / "w" / "00.0") in refused(state)
    (state / "w" / "00.0").unlink()
    assert "2 parts are declared, 1 are there" in refused(state)


@pytest.mark.parametrize("name", ["manifest.ocdbt", "ocdbt.process_0/d/x", "w/more/0", "stray/file"])
def test_what_belongs_to_no_array_is_refused(state, name):
    (state / name).parent.mkdir(parents=True, exist_ok=True)
    (state / name).write_bytes(b"")
    assert str(state) in refused(state)


@pytest.mark.parametrize("keys", [["/etc/passwd"], ["..", "..", "x"], ["inner", "ghost"]])
def test_orbax_is_to_look_for_no_other_arrays(state, keys):
    notes = json.loads((state / "_METADATA").read_text())
    entry = {"key_metadata": [{"key": key, "key_type": 2} for key in keys]}
    entry["value_metadata"] = {"value_type": "jax.Array", "skip_deserialize": False}
    notes["tree_metadata"][str(tuple(keys))] = entry
    (state / "_METADATA").write_text(json.dumps(notes))
    assert str(state / "_METADATA") in refused(state)


@pytest.mark.parametrize("change", [{"use_ocdbt": True}, {"use_zarr3": True}, {"tree_metadata": {}}])
def test_notes_of_another_format_are_refused(state, change):
    notes = json.loads((state / "_METADATA").read_text())
    (state / "_METADATA").write_text(json.dumps(notes | change))
    assert str(state / "_METADATA") in refused(state)
