"""Where the time of a run goes is told, and a few of its steps are traced for xprof."""

from __future__ import annotations

import json
import re
import time

import pytest

import jaxai
from jaxai.training.times import PARTS, Times, described


def test_parts_within_parts_count_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    times = Times({"data": 1.0})
    with times.of("evaluation"):
        now[0] += 3
        with times.of("compile"):
            now[0] += 2
        times.add("data", 0.5)
    split = times.split(10.0)
    assert split == {"compile": 2.0, "data": 1.5, "evaluation": 2.5, "checkpoint": 0.0, "steps": 4.0}
    assert described(split) == "compile 2.00 s, data 1.50 s, evaluation 2.50 s, steps 4.00 s"


def test_a_run_tells_where_its_time_went(tiny, tmp_path, capsys):
    folder = tmp_path / "run"
    result = jaxai.train(tiny(), folder, display="plain")
    assert sum(result.times.values()) == pytest.approx(result.seconds, rel=0.05)
    assert result.times.keys() == {*PARTS, "steps"}
    assert min(result.times[part] for part in ("compile", "data", "evaluation", "checkpoint")) > 0
    assert result.num_recompiled == 0
    assert re.search(r"^time: compile \d", capsys.readouterr().out, re.MULTILINE)
    written = json.loads((folder / "results.json").read_text())
    assert written["times"] == dict(result.times)
    more = jaxai.train(tiny(duration=jaxai.Steps(9)), folder, display="none", resume_anyway=True)
    assert all(more.times[part] >= result.times[part] for part in ("compile", "data", "evaluation"))


@pytest.mark.slow
def test_a_profile_of_a_few_steps(tiny, tmp_path, capsys):
    folder = tmp_path / "run"
    value = tiny(duration=jaxai.Steps(12))
    jaxai.train(value, folder, display="plain", profile=3)
    assert f"profile of steps 4 to 6: xprof --logdir {folder / 'profile'}" in capsys.readouterr().out
    [trace] = folder.glob("profile/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000


@pytest.mark.parametrize(("profile", "folder", "message"), [
    (0, "run", "profile: must be at least 1, is 0"),
    (3, None, "profile: needs a run folder"),
])  # fmt: skip
def test_profiles_that_cannot_be(tiny, tmp_path, profile, folder, message):
    with pytest.raises(jaxai.InputError, match=message):
        jaxai.train(tiny(), folder and tmp_path / folder, display="none", profile=profile)


@pytest.mark.slow
def test_a_run_too_short_for_a_profile_says_so(tiny, tmp_path, capsys):
    jaxai.train(tiny(duration=jaxai.Steps(2)), tmp_path / "run", display="plain", profile=3)
    assert "no profile: the run ended within 3 dispatches" in capsys.readouterr().out
