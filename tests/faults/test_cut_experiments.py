"""The quick shipped experiments: cut and resumed they end bitwise the same; reproducible, on any number of devices."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.runs import differences, outcome
from tests.test_experiments import FILES as ALL
from tests.test_experiments import QUICK

pytestmark = pytest.mark.faults

#: The larger ones would take hours; what they are made of is no different to a checkpoint.
FILES = [file for file in ALL if file.stem in QUICK]
LAYOUTS = {"PMap(devices=1)": 1, "PMap()": 4, "Mesh()": 4, "Mesh(fsdp=4)": 4}
STEPS = 16


def test_cut_at_a_random_step(starter, tmp_path, scale, figure):
    """Left at any step and taken up by another process, an experiment's state and records end bitwise the same."""
    rng = np.random.default_rng(6)
    count = 0
    assert len(FILES) >= 6
    for file in scale([file for file in FILES if file.stem == "digits_mlp_plain_jax"], FILES):
        for parallel in scale(["PMap(devices=1)", "Mesh(fsdp=4)"], LAYOUTS):
            if "fsdp" in parallel and "reproducible=True" in file.read_text():
                continue  # it wants the whole state on every device, and says so
            folder = tmp_path / f"{file.stem}-{parallel}"
            whole, cut, at = folder / "whole", folder / "cut", int(rng.integers(1, STEPS))
            for runs in ([(str(whole), 0), (str(cut), at)], [(str(cut), 0)]):
                call = "tests.faults.jobs:train_small"
                process = starter.start(call, str(file), parallel, runs, devices=LAYOUTS[parallel])
                assert process.wait(300) == 0, f"{folder.name}, cut at {at}\n{process.said()}"
            found = differences(outcome(cut), outcome(whole))
            assert not found, f"{folder.name}, cut at {at}: differs in {found}"
            assert outcome(whole)["step"] == STEPS
            count += 1
    figure("experiments cut at a random step", f"{count} (experiment, layout) pairs resumed: all bitwise equal")


def test_one_digest_on_any_number_of_devices(starter, scale, figure):
    """With reproducible=True the last state has one digest on 1, 2, 4 and 8 devices, under PMap and Mesh."""
    count = 0
    for file in scale([file for file in FILES if file.stem == "digits_softmax"], FILES):
        digests: dict[str, str] = {}
        for devices in scale((1, 8), (1, 2, 4, 8)):
            call = "tests.faults.jobs:digest_small"
            process = starter.start(call, str(file), ["PMap()", "Mesh()"], devices=devices)
            assert process.wait(500) == 0, f"{file.stem} on {devices}\n{process.said()}"
            for said in process.lines():
                digests[f"{said['parallel']} on {devices}"] = said["digest"]
                assert said["leaves"] > 4
        assert len(set(digests.values())) == 1, f"{file.stem}: {digests}"
        count += len(digests)
    figure("reproducible", f"{count} (experiment, layout, devices) triples: one digest an experiment")
