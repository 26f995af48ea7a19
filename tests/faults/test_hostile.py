"""Hostile checkpoints: refused in a line, and nothing outside the folder is opened, run, or made room for."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from jaxai.training import seal

from .attacked import SECRET
from .hostile import ARRAY, CASES
from .small import train

pytestmark = pytest.mark.faults

UNREAD = {
    "resume": {
        "handlers: others", "handlers: garbage", "handlers: a list", "sharding: garbage", "seal: half as deep",
        "notes: typed np.ndarray", "notes: typed scalar",
    },
    "params": {
        "handlers: others", "handlers: garbage", "pickle as meta", "seal: half as deep", "notes: typed np.ndarray",
    },
}  # fmt: skip
"""Cases that change only what this way of loading does not read: it may load, and then loads the true state."""
SECONDS, MEGABYTES = 20, 1500


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run with one saved step, and beside it a folder of secrets made like parts of it."""
    base = tmp_path_factory.mktemp("hostile")
    train(base / "run")
    for step in ("6", "9"):
        shutil.rmtree(base / "run" / "checkpoints" / step)
    secret, step = base / "secret", base / "run" / "checkpoints" / "3"
    secret.mkdir()
    shutil.copytree(step, secret / "step")
    for chunk in (secret / "step" / "state").rglob("0*"):
        np.full(chunk.stat().st_size // 4, SECRET, np.float32).tofile(chunk)
    shutil.copytree(secret / "step" / "state" / ARRAY, secret / "array")
    shutil.copyfile(secret / "array" / "0.0", secret / "part")
    shutil.copyfile(secret / "array" / ".zarray", secret / "header")
    numbers = {"step": 3, "position": 36, "experiment": "", "finite": True}
    (secret / "step" / seal.NAME).unlink()
    seal.write(secret / "step", **numbers)
    return base


@pytest.fixture(scope="module")
def answers(base, starter):
    """What came of each case; a process that a case kills is started again for those after it."""
    said: dict[str, dict] = {}
    while left := [name for name in CASES if name not in said]:
        job = starter.start("tests.faults.attacked:attack", str(base), left)
        try:
            ended = f"exit code {job.wait(240)}"
        except AssertionError as error:
            ended = str(error)
        lines = job.lines()
        said |= {line["case"]: line for line in lines if "case" in line}
        begun = [line["begins"] for line in lines if "begins" in line]
        assert begun, ended + job.said()
        said.setdefault(begun[-1], {"died": ended + job.said()})
    return said


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_checkpoint_is_refused(answers, base, name):
    """In one line that names the checkpoint or a file of it, in seconds, without a byte from outside."""
    said = answers[name]
    assert "died" not in said, said
    for way in ("resume", "params"):
        answer = said[way]
        if "true" in answer:
            unread = name in UNREAD[way] or (way == "params" and name.startswith(("data: ", "meta: ")))
            assert unread, f"{way}: {said}"
            assert answer == {"true": True, "secret": False}, f"{way}: {said}"
        else:
            assert answer.get("kind") == "InputError", f"{way}: {said}"
            assert "\n" not in answer["refused"], f"{way}: {said}"
            assert len(answer["refused"]) < 1000, f"{way}: {said}"
            assert str(base) in answer["refused"], f"{way}: {said}"
    assert said["opened"] == [], said
    assert not said["marker"], said
    assert said["seconds"] < SECONDS, said
    assert said["megabytes"] < MEGABYTES, said


def test_the_figures_of_hostile_checkpoints(answers, figure):
    """What was counted: refusals of either way of loading, and what got through to the outside."""
    died = sum("died" in said for said in answers.values())
    read = [said[way] for said in answers.values() if "died" not in said for way in UNREAD]
    refused = sum(answer.get("kind") == "InputError" for answer in read)
    true = sum(answer.get("true", False) for answer in read)
    opened = sum(len(said.get("opened", ())) for said in answers.values())
    ran = sum(said.get("marker", False) for said in answers.values())
    text = f"{len(answers)} checkpoints x 2 ways of loading: {refused} refused, {true} gave the true state"
    slowest = max(said.get("seconds", 0.0) for said in answers.values())
    peak = max(said.get("megabytes", 0) for said in answers.values())
    text += f", {len(read) - refused - true} else; {opened} files outside opened, {ran} code run, {died} aborts"
    text += f", at most {slowest:.1f} s and {peak} MB"
    figure("hostile checkpoints", text)
    assert (opened, ran, died) == (0, 0, 0)


@pytest.mark.parametrize("name", ["part is a link"])
def test_the_command_line_says_so_in_a_line(base, starter, tmp_path, name):
    """`jaxai evaluate` of a run with such a checkpoint: exit code 2, one line."""
    run = tmp_path / "run"
    shutil.copytree(base / "run", run)
    process = starter.start("tests.faults.attacked:evaluate", name, str(run), str(base / "secret"))
    assert process.wait() == 2, process.said()
    (line,) = process.err.read_text().splitlines()
    assert line.startswith(f"jaxai: error: {run}/checkpoints/3"), line
