"""Six steps are three steps, a kill, a new process and three steps: bit for bit, data and metrics included."""

from __future__ import annotations

import shutil

import pytest

LAYOUTS = [
    ("PMap()", 1, "dropout"),
    ("PMap()", 2, "batchnorm"),
    ("Mesh(data=2, fsdp=2)", 4, "dropout"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "devices", "model"), LAYOUTS)
def test_killed_and_resumed_run_is_bitwise_the_uninterrupted_one(run_apart, tmp_path, parallel, devices, model):
    spec = {"parallel": parallel, "model": model}
    whole, *_ = run_apart({**spec, "folder": str(tmp_path / "whole")}, devices=devices)
    cut = {**spec, "folder": str(tmp_path / "cut")}
    run_apart({**cut, "kill_at": 5}, devices=devices, exit_code=-9)
    resumed, *_ = run_apart(cut, devices=devices)
    assert len(whole["losses"]) == 6
    assert resumed["losses"] == whole["losses"][3:]
    assert resumed["state"] == whole["state"]
    assert {"step", "params/Dense_0/kernel", "ema/Dense_0/kernel"} <= whole["state"].keys()
    assert resumed["records"] == whole["records"]
    assert [r["step"] for r in whole["records"] if r["split"] == "test"] == [3, 6]


@pytest.mark.slow
def test_other_devices_and_layouts_resume_each_other(run_apart, tmp_path):
    """8 -> 1 -> 2 devices and PMap -> Mesh: the same examples in the same order, and losses alike to rounding."""
    whole, *_ = run_apart({"steps": 9}, devices=1)
    folder = str(tmp_path / "run")
    run_apart({"steps": 9, "folder": folder, "kill_at": 4}, devices=8, exit_code=-9)
    path = tmp_path / "run" / "checkpoints"
    second, *_ = run_apart({"steps": 9, "folder": folder}, devices=1)
    assert second["losses"] == pytest.approx(whole["losses"][3:], rel=2e-5)
    for parallel in ("PMap()", "Mesh(data=1, fsdp=2)"):
        for step in ("6", "9"):
            shutil.rmtree(path / step)
        again, *_ = run_apart({"steps": 9, "folder": folder, "parallel": parallel}, devices=2)
        assert again["losses"] == pytest.approx(whole["losses"][3:], rel=2e-5), parallel
