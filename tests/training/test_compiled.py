"""What the compiler says of a step, for devices that are here and for others."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import jaxai
from jaxai.cli import main
from jaxai.models import MLP
from jaxai.tasks import Classification
from jaxai.training.compiled import compile_step
from jaxai.training.describe import describe, render
from jaxai.training.setup import set_up

ROOT = Path(__file__).parents[2]
SHAPES = {"pmap": None, "fsdp": {"data": 1, "fsdp": 8}, "all": {"data": 2, "fsdp": 2, "tensor": 2}}
EXPERIMENT = """
import jaxai
from tests.parallel.meshes import experiment


def get_config():
    return experiment(jaxai.Mesh(data=2, fsdp=2, tensor=2))


def one():
    return experiment(jaxai.PMap(devices=1))


def mapped():
    return experiment(jaxai.PMap())
"""


def child(*command, cwd=ROOT, cache=None, devices=None):
    """What a process of its own prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment |= {"XDG_CACHE_HOME": str(cache)} if cache else {}
    if devices:
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def pretended():
    """By the name of a shape, what is found on 8 devices that are not there."""
    lines = child(Path(__file__).parent / "described.py", "pretended", json.dumps(list(SHAPES.values()))).splitlines()
    return dict(zip(SHAPES, map(json.loads, lines), strict=True))


@pytest.fixture(scope="module")
def real():
    """By the name of a mesh, what a process with 8 devices has in fact."""
    meshes = {name: shape for name, shape in SHAPES.items() if shape is not None}
    lines = child(Path(__file__).parent / "described.py", "real", json.dumps(list(meshes.values())), devices=8)
    return dict(zip(meshes, map(json.loads, lines.splitlines()), strict=True))


@pytest.mark.slow
def test_a_device_holds_its_part_of_the_state(pretended):
    whole = pretended["pmap"]
    assert whole["bytes_state_device"] == whole["bytes_state"]
    assert set(whole["places"].values()) == {"replicated"}
    cut = pretended["fsdp"]
    for name in ("params", "optimizer", "state"):
        # Step counters are on every device.
        assert cut[f"bytes_{name}_device"] == pytest.approx(cut[f"bytes_{name}"] / 8, rel=1e-3)
    assert cut["bytes_params_device"] * 8 == cut["bytes_params"] == whole["bytes_params"]
    assert cut["places"]["block0/attention/qkv/kernel"] == "dim 0 over fsdp"
    both = pretended["all"]["places"]
    assert both["block0/attention/qkv/kernel"] == "dim 0 over fsdp, dim 2 over tensor"
    assert both["block0/norm1/scale"] == "dim 0 over fsdp"
    assert pretended["all"]["devices"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp", "all"])
def test_pretended_devices_say_what_real_ones_have(pretended, real, name):
    found, expected = pretended[name], real[name]
    assert found["compiled"]["exchanges"] == expected["exchanges"]
    assert found["bytes_state_device"] == expected["bytes_state_device"]
    assert found["bytes_state"] == expected["bytes_state"]
    assert found["compiled"]["bytes_state"] == found["bytes_state_device"]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHAPES))
def test_the_compiler_and_the_estimate_agree(pretended, name):
    found = pretended[name]
    compiled = found["compiled"]
    assert compiled["bytes_memory"] > compiled["bytes_state"] + compiled["bytes_temporary"]
    assert found["bytes_memory"] == pytest.approx(compiled["bytes_memory"], rel=0.35)
    assert compiled["flops"] * 8 == pytest.approx(found["flops"], rel=0.25)


@pytest.mark.slow
def test_data_parallelism_sums_every_gradient(pretended):
    exchanges = pretended["pmap"]["compiled"]["exchanges"]
    assert exchanges.keys() == {"all-reduce"}
    assert exchanges["all-reduce"][1] == pytest.approx(pretended["pmap"]["bytes_params"], rel=0.05)


@pytest.mark.slow
def test_the_command_describes_devices_that_are_not_there(tmp_path):
    (tmp_path / "small.py").write_text(EXPERIMENT)
    arguments = ["-m", "jaxai", "describe", "small.py", "--devices", "8", "--compile"]
    printed = child(*arguments, cwd=tmp_path, cache=tmp_path / "cache")
    assert re.search(r"^block0/mlp/dense1/kernel +64x256 .* yes +dim 0 over fsdp, dim 1 over tensor$", printed, re.M)
    assert "over 8 devices" in printed
    assert re.search(r"^state +[\d.]+ .iB, [\d.]+ .iB a device$", printed, re.M)
    assert re.search(r"^  exchanges  \d+ all-gather of .*, \d+ all-reduce of .* on each device a step;", printed, re.M)
    assert "an estimate for other hardware" in printed
    assert "read from the compilation cache" not in printed


BOTH = """
import sys
from jaxai.cli import main

name = sys.argv[1]
code = main(["train", f"small.py:{name}", "--run", f"run {name}", "--display", "none"])
sys.exit(code or main(["describe", f"small.py:{name}", "--compile"]))
"""


@pytest.mark.experiments
@pytest.mark.parametrize(("variant", "devices"), [("one", 1), ("mapped", 8), ("get_config", 8)])
def test_training_and_describing_compile_the_same_program(variant, devices, tmp_path):
    (tmp_path / "small.py").write_text(EXPERIMENT)
    printed = child("-c", BOTH, variant, cwd=tmp_path, cache=tmp_path / "cache", devices=devices)
    assert "compiled     read from the compilation cache in" in printed


@pytest.mark.slow
def test_nothing_of_the_model_is_made_by_compiling(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr("jaxai.compat.enable_compilation_cache", lambda: None)
    others = {id(array) for array in jax.live_arrays()}
    setup = set_up(tiny(task=Classification(model=MLP(features=(100_000, 100_000), num_classes=3))))
    found = compile_step(setup)
    assert found.bytes_state > 3 * 4 * 10**10  # parameters and Adam's moments
    assert found.exchanges == {}
    made = [array.nbytes for array in jax.live_arrays() if id(array) not in others]
    assert max(made, default=0) < 2**20


@pytest.mark.slow
def test_steps_of_one_dispatch(tiny, monkeypatch):
    monkeypatch.setattr("jaxai.compat.enable_compilation_cache", lambda: None)
    one, several = (compile_step(set_up(tiny(steps_per_call=number))) for number in (1, 4))
    assert several.num_steps == 1  # a loop, of which what is inside counts once
    assert several.flops == pytest.approx(one.flops, rel=0.2)
    text = render(describe(set_up(tiny())), one)
    assert "\n  exchanges  none\n" in text


def test_a_mesh_of_one_device_says_where_parameters_are(tiny):
    found = describe(set_up(tiny(parallel=jaxai.Mesh())))
    assert set(found.places.values()) == {"replicated"}
    assert found.bytes_state_device == found.bytes_state
    assert "decay   place\n" in render(found)
    alone = describe(set_up(tiny()))
    assert alone.places == {}
    assert "place" not in render(alone)
    assert "a device" not in render(alone).split("\nmemory")[0]


def test_devices_are_pretended_before_jax_looks_for_them(tmp_path, capsys):
    assert jax.devices()
    assert main(["describe", str(tmp_path / "any.py"), "--devices", "2"]) == 2
    assert "--devices: JAX is in use already in this process" in capsys.readouterr().err


def test_help_names_the_options(capsys):
    assert main(["describe", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--compile" in printed
    assert "--devices N" in printed
