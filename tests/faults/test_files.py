"""Broken files: whatever happens to a file of a checkpoint is noticed, named, and costs only the steps it held."""

from __future__ import annotations

import collections
import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import jaxai
from jaxai.core.errors import InputError
from jaxai.training.keeper import Keeper
from jaxai.training.setup import set_up

from .small import STEPS, bits, contents, make_experiment, train

pytestmark = pytest.mark.faults

KINDS = ("flip", "truncate", "zero", "remove", "link", "swap", "swap steps", "append", "add")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with three saved steps, the states it had at them, and its setup."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    states = train(folder)
    return folder / "checkpoints", states, set_up(make_experiment())


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def resume(folder, setup, *, verify=True):
    """What a run that is started again in `folder` goes on from."""
    checkpoint = dataclasses.replace(setup.experiment.checkpoint, verify=verify)
    experiment = dataclasses.replace(setup.experiment, checkpoint=checkpoint)
    return Keeper(folder, dataclasses.replace(setup, experiment=experiment), None, lambda _: None).newest()


def break_one(rng: np.random.Generator, step: Path, kind: str, outside: Path) -> list[Path]:
    """Does one fault of `kind` to a random file of `step`; gives the files that are then not what they were."""
    files = sorted(path for path in step.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    if kind == "flip":
        where = int(rng.integers(len(content)))
        path.write_bytes(content[:where] + bytes([content[where] ^ 1 << int(rng.integers(8))]) + content[where + 1 :])
    elif kind == "truncate":
        path.write_bytes(content[: rng.integers(len(content))])
    elif kind == "zero":
        where = int(rng.choice([i for i, byte in enumerate(content) if byte]))
        end = int(rng.integers(where + 1, len(content) + 1))
        path.write_bytes(content[:where] + bytes(end - where) + content[end:])
    elif kind == "append":
        path.write_bytes(content + rng.bytes(int(rng.integers(1, 5000))))
    elif kind == "remove":
        path.unlink()
    elif kind == "link":
        target = outside / "identical"
        shutil.copyfile(path, target)
        path.unlink()
        path.symlink_to(target)
    elif kind == "swap":
        others = [other for other in files if other.read_bytes() != content]
        other = others[rng.integers(len(others))]
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return [path, other]
    elif kind == "swap steps":
        other = step.parent / "6"
        step.rename(step.parent / "aside")
        other.rename(step)
        (step.parent / "aside").rename(other)
        return [step / "seal.json", other / "seal.json"]
    elif kind == "add":
        (path.parent / f"{path.name}x").write_bytes(content)
        return [path.parent / f"{path.name}x"]
    return [path]


def test_every_fault_in_a_file_is_noticed_and_the_run_falls_back(whole, tmp_path, outside, caplog, scale, figure):
    """A damaged step is never loaded: a good older one is, bit for bit; one line names the file, nothing is lost."""
    pristine, states, setup = whole
    counted = collections.Counter()
    for seed in range(scale(60, 1000)):
        rng, kind, folder = np.random.default_rng(seed), KINDS[seed % len(KINDS)], tmp_path / "checkpoints"
        shutil.copytree(pristine, folder)
        bad = break_one(rng, folder / "9", kind, outside)
        case = f"seed {seed}: {kind} of {[str(path.relative_to(folder)) for path in bad]}"
        after = contents(folder)
        caplog.clear()
        restored = resume(folder, setup)
        lost = [9, 6] if kind == "swap steps" else [9]
        good = max(set(STEPS) - set(lost))
        assert int(restored.state.step) == good, case
        assert bits(restored.state) == states[good], case
        assert (restored.position, restored.meta["history"][-1]["step"]) == (12 * good, good), case
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == len(lost), f"{case}: {lines}"
        named = [path for path in bad if any(f"{path}" in line for line in lines)]
        assert named, f"{case}: {lines}"
        assert all("\n" not in line for line in lines), case
        assert contents(folder) == {_aside(name, lost): digest for name, digest in after.items()}, case
        counted[kind] += 1
        shutil.rmtree(folder)
    text = (
        f"{counted.total():,} faults, 0 loaded silently, {counted.total():,} fell back to the newest good step, bitwise"
    )
    figure("faults in files", f"{text} ({', '.join(f'{count} {kind}' for kind, count in counted.items())})")


def _aside(name: str, lost: list[int]) -> str:
    step, _, rest = name.partition("/")
    return f"damaged-{name}" if int(step) in lost else f"{step}/{rest}"


def test_with_both_newest_steps_damaged_the_third_is_used(whole, tmp_path, outside, caplog, scale):
    """Damage in several steps costs those steps and no more; each is named."""
    pristine, states, setup = whole
    kinds = [kind for kind in KINDS if kind != "swap steps"]
    for seed in range(scale(6, 60)):
        rng, folder = np.random.default_rng(seed), tmp_path / "checkpoints"
        shutil.copytree(pristine, folder)
        bad = [break_one(rng, folder / step, str(rng.choice(kinds)), outside) for step in ("9", "6")]
        caplog.clear()
        restored = resume(folder, setup)
        assert bits(restored.state) == states[3], f"seed {seed}: {bad}"
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 2, f"seed {seed}: {lines}"
        for files in bad:
            assert any(str(path) in line for path in files for line in lines), f"seed {seed}: {files} {lines}"
        shutil.rmtree(folder)


def test_with_all_steps_damaged_nothing_is_touched(whole, tmp_path, outside, caplog, scale):
    """A run whose every step is damaged does not start over: it ends, naming the newest's bad file."""
    pristine, _, setup = whole
    kinds = [kind for kind in KINDS if kind != "swap steps"]
    for seed in range(scale(6, 60)):
        rng, folder = np.random.default_rng(seed), tmp_path / "checkpoints"
        shutil.copytree(pristine, folder)
        bad = [break_one(rng, folder / str(step), str(rng.choice(kinds)), outside) for step in STEPS]
        if any(files[0].name == "seal.json" and not files[0].exists() for files in bad):
            shutil.rmtree(folder)  # a step without a seal was never saved
            continue
        before = contents(folder)
        with pytest.raises(InputError) as raised:
            resume(folder, setup)
        assert any(str(path) in str(raised.value) for path in bad[-1]), f"seed {seed}: {bad[-1]} {raised.value}"
        assert contents(folder) == before, f"seed {seed}: {bad}"
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["truncate", "remove", "link", "append", "add"])
def test_without_verifying_names_and_sizes_still_count(whole, tmp_path, outside, kind, scale):
    """`Checkpoints(verify=False)` saves reading the files twice, no more."""
    pristine, states, setup = whole
    for seed in range(scale(2, 20)):
        folder = tmp_path / f"checkpoints{seed}"
        shutil.copytree(pristine, folder)
        bad = break_one(np.random.default_rng(seed), folder / "9", kind, outside)
        assert bits(resume(folder, setup, verify=False).state) == states[6], f"seed {seed}: {kind} of {bad}"


def test_without_verifying_a_flipped_weight_is_not_seen(whole, tmp_path):
    """What `verify=False` gives up, and `verify=True` does not."""
    pristine, states, setup = whole
    folder = tmp_path / "checkpoints"
    shutil.copytree(pristine, folder)
    weight = folder / "9" / "state" / "params.head.bias" / "0"
    content = weight.read_bytes()
    weight.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    changed = bits(resume(folder, setup, verify=False).state)
    assert [name for name in states[9] if changed[name] != states[9][name]] == ["params/head/bias"]
    assert bits(resume(folder, setup).state) == states[6]


def test_the_run_goes_on_from_the_good_step_to_the_true_end(whole, tmp_path):
    """A run resumed after damage ends with the bits of the run that was never damaged; what was set aside goes."""
    pristine, states, _ = whole
    shutil.copytree(pristine.parent, tmp_path / "run")
    weight = tmp_path / "run" / "checkpoints" / "9" / "state" / "params.head.bias" / "0"
    os.truncate(weight, 3)
    last = {}
    for info in jaxai.steps(make_experiment(), tmp_path / "run"):
        last = {info.step: bits(info.state)}
    assert last == {9: states[9]}
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["3", "6", "9"]
