"""Every product of axes gives the numbers of one device, each tensor is where the rules say, and nothing else moves."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxai
from jaxai.parallel.collectives import Collective, by_kind, collectives
from tests.faults.processes import free_port

SHAPES = {
    "one": None,
    "data": {"data": 8},
    "fsdp": {"data": 1, "fsdp": 8},
    "tensor": {"data": 1, "tensor": 8},
    "data x fsdp": {"data": 2, "fsdp": 4},
    "data x tensor": {"data": 4, "tensor": 2},
    "fsdp x tensor": {"data": 1, "fsdp": 4, "tensor": 2},
    "all": {"data": 2, "fsdp": 2, "tensor": 2},
}
NUM_PARAMS = 64 * 64 + 32 * 64 + (12 * 64 * 64 + 13 * 64) + 2 * 64
NUM_TENSORS = 16


def start(shapes, num_devices, *options):
    environment = os.environ | {
        # What moves between devices is decided before code is made, which may then be slow code.
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices} --xla_backend_optimization_level=0",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, str(Path(__file__).parent / "meshes.py"), json.dumps(shapes), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-4000:]
    assert "rematerialization" not in err, "the compiler copied what it could not move"
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def found():
    return dict(zip(SHAPES, results(start(list(SHAPES.values()), 8)), strict=True))


def kinds(result, at_least=0):
    return collections.Counter(kind for kind, size, _, _ in result["collectives"] if size >= at_least)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "one"])
def test_losses_are_those_of_one_device(found, name):
    assert found[name]["losses"] == pytest.approx(found["one"]["losses"], rel=2e-6)
    assert found[name]["evaluation"] == pytest.approx(found["one"]["evaluation"], rel=2e-6)
    assert found[name]["kept"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spec"), [
    ("data", [None, None, None]),
    ("fsdp", ["fsdp", None, None]),
    ("tensor", [None, None, "tensor"]),
    ("all", ["fsdp", None, "tensor"]),
])  # fmt: skip
def test_parameters_and_what_belongs_to_them_lie_alike(found, name, spec):
    """The kernel of qkv [feature, 3, feature], its average and its slots."""
    expected = "PartitionSpec" + "(" + ", ".join(repr(each) for each in spec) + ")"
    places = {
        path: place for path, place in found[name]["places"].items() if path.endswith("block0/attention/qkv/kernel")
    }
    assert len(places) == 4
    assert {
        place.replace("P(", "PartitionSpec(", 1) if place.startswith("P(") else place for place in places.values()
    } == {expected}


@pytest.mark.slow
def test_megatron_cuts_the_inside_of_a_block(found):
    cut = {
        path.removeprefix("params/"): place.partition("(")[2].rstrip(",)")
        for path, place in found["tensor"]["places"].items()
        if path.startswith("params/") and "tensor" in place
    }
    expected = {"tokens/embedding": "'tensor', None"}
    expected |= {
        "block0/attention/qkv/kernel": "None, None, 'tensor'",
        "block0/attention/qkv/bias": "None, 'tensor'",
        "block0/attention/out/kernel": "'tensor', None",
        "block0/mlp/dense1/kernel": "None, 'tensor'",
        "block0/mlp/dense1/bias": "'tensor'",
        "block0/mlp/dense2/kernel": "'tensor', None",
    }
    assert cut == expected


@pytest.mark.slow
def test_fsdp_holds_an_eighth_of_the_state(found):
    assert found["data"]["share"] == 1
    assert found["fsdp"]["share"] == pytest.approx(1 / 8, rel=1e-3)


@pytest.mark.slow
def test_data_parallelism_sums_gradients_and_no_more(found):
    assert kinds(found["data"]).keys() == {"all-reduce"}
    moved = sum(size for _, size, _, _ in found["data"]["collectives"])
    # The table's gradient comes from where tokens are looked up and from where logits are made of it, and the last
    # position is never used; then the loss's sum, its weight, and the count of right answers.
    assert moved == 4 * (NUM_PARAMS + 64 * 64 - 64 + 3)


@pytest.mark.slow
def test_fsdp_gathers_every_parameter_once_and_no_activation(found):
    gathered = [size for kind, size, _, _ in found["fsdp"]["collectives"] if kind == "all-gather"]
    assert len(gathered) == NUM_TENSORS
    assert sum(gathered) == 4 * NUM_PARAMS
    assert kinds(found["fsdp"]).keys() <= {"all-gather", "all-reduce", "reduce-scatter"}


@pytest.mark.slow
def test_tensor_parallelism_sums_twice_a_block_and_way_and_gathers_no_activation(found):
    """Megatron's f and g: of [batch, length, feature], after attention and feed-forward, forward and backward."""
    activation = 4 * 16 * 31 * 64
    sums = [size for kind, size, _, _ in found["tensor"]["collectives"] if kind == "all-reduce" and size >= activation]
    # Twice a block in both directions, for the tokens' table where they are looked up, and where logits are made of it.
    assert 2 * 2 <= len(sums) <= 2 * 2 + 2
    # Each device's likeliest token and its logit, of which the likeliest of all is found.
    assert kinds(found["tensor"])["all-gather"] == 2
    assert max(size for kind, size, _, _ in found["tensor"]["collectives"] if kind == "all-gather") < activation / 4
    assert kinds(found["tensor"]).keys() == {"all-reduce", "all-gather"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data x fsdp", "data x tensor", "fsdp x tensor", "all"])
def test_products_of_axes_move_nothing_else(found, name):
    assert kinds(found[name]).keys() <= {"all-gather", "all-reduce", "reduce-scatter"}
    fsdp, tensor = SHAPES[name].get("fsdp", 1), SHAPES[name].get("tensor", 1)
    likeliest = 2 if tensor > 1 else 0
    groups = collections.Counter(group for kind, _, group, _ in found[name]["collectives"] if kind == "all-gather")
    expected = collections.Counter({tensor: likeliest}) + collections.Counter(
        {fsdp: groups[fsdp] - likeliest * (fsdp == tensor)}
    )
    assert groups == expected
    # Biases that the tensor axis cuts to pieces smaller than the fsdp axis stay whole.
    assert (fsdp == 1) == (groups[fsdp] - likeliest * (fsdp == tensor) == 0)
    assert expected[fsdp] - likeliest * (fsdp == tensor) in (0, NUM_TENSORS - 2, NUM_TENSORS)


BETWEEN_TWO = {
    "fsdp": {"data": 1, "fsdp": 4},
    "tensor": {"data": 1, "tensor": 4},
    "data x fsdp": {"data": 2, "fsdp": 2},
    "data x tensor": {"data": 2, "tensor": 2},
    "fsdp x tensor": {"data": 1, "fsdp": 2, "tensor": 2},
}


@pytest.mark.experiments
def test_two_processes_of_two_devices_agree_with_one_process(found):
    address = f"localhost:{free_port()}"
    processes = [start(list(BETWEEN_TWO.values()), 2, address, str(number)) for number in range(2)]
    first, second = (results(process) for process in processes)
    for name, mine, others in zip(BETWEEN_TWO, first, second, strict=True):
        assert mine["losses"] == others["losses"], name
        assert mine["losses"] == pytest.approx(found["one"]["losses"], rel=2e-6), name
        assert mine["evaluation"] == pytest.approx(found["one"]["evaluation"], rel=2e-6), name


TEXT = """
  %a = f32[64,32]{1,0} all-gather(%x), channel_id=1, replica_groups=[2,4]<=[8], metadata={op_name="jit(f)/dot"}
  %b = (f32[8]{0}, bf16[4]{0}) all-reduce(%y, %z), replica_groups={{0,1},{2,3}}, to_apply=%add
  %c = f32[2]{0} add(%all-reduce.1, %b)
  %d = (f32[2]{0}, f32[8]{0}) all-gather-start(%w), replica_groups={{0,1,2,3}}, dimensions={0}
  %e = (f32[2]{0}, /*index=1*/f32[8]{0}) all-reduce(%w), replica_groups=mesh['a'=4,'b'=1], ids=([2]) {'a','b'}
"""


def test_collectives_are_read_from_a_program():
    found = collectives(TEXT)
    assert found == [
        Collective("all-gather", 4 * 64 * 32, 4, "jit(f)/dot"),
        Collective("all-reduce", 4 * 8 + 2 * 4, 2, ""),
        Collective("all-gather", 4 * 8, 4, ""),
        Collective("all-reduce", 4 * 10, 4, ""),
    ]
    assert by_kind(found) == {"all-gather": (2, 4 * 64 * 32 + 32), "all-reduce": (2, 80)}


@pytest.mark.parametrize(("parallel", "message"), [
    ({"data": 3}, r"parallel: a mesh of 3 does not fit the 1 devices here \(sizes that multiply to 1\)"),
    ({"tensor": 0}, r"parallel.tensor: must be at least 1, or -1 for the rest, is 0"),
    ({"tensor": -1}, r"parallel: only one axis can take the rest \(give data or tensor a size\)"),
])  # fmt: skip
def test_meshes_that_do_not_fit(parallel, message):
    with pytest.raises(jaxai.InputError, match=message):
        jaxai.Mesh(**parallel).lay_out()
