"""The command line from an empty folder: a new experiment is described, trained, evaluated and reported."""

from __future__ import annotations

import re

import pytest

from jaxai.cli import main
from jaxai.log import read_jsonl


@pytest.mark.slow
def test_from_a_new_file_to_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "moons.py"]) == 0
    assert main(["describe", "moons.py"]) == 0
    described = capsys.readouterr().out
    assert "parameters   1,218 (4.8 KiB)" in described  # 2 -> 32 -> 32 -> 2
    assert "313 steps, 10.0 epochs" in described
    assert main(["train", "moons.py", "--display", "plain", "--seed", "1"]) == 0
    printed = capsys.readouterr().out
    assert float(re.search(r"test/accuracy (\S+)", printed)[1]) > 0.97
    assert "next: jaxai report runs/moons --allow runs/moons/moons.py" in printed

    # The dataset is a class of the file: without leave, nobody's code is run.
    assert main(["evaluate", "runs/moons"]) == 2
    assert "--allow runs/moons/moons.py" in capsys.readouterr().err
    assert main(["evaluate", "runs/moons", "--allow", "runs/moons/moons.py"]) == 0
    values = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    best = max(r["accuracy"] for r in read_jsonl(tmp_path / "runs/moons/metrics.jsonl") if r["split"] == "test")
    assert float(values["test/accuracy"]) == pytest.approx(best, abs=1e-6)

    assert main(["report", "runs/moons", "--allow", "runs/moons/moons.py", "--out", "page.html"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert "upper" in page
    assert "http://" not in page.replace("http://www.w3.org", "")

    # A finished run stays finished; another seed is another run.
    assert main(["train", "moons.py", "--display", "plain", "--seed", "1"]) == 0
    assert "finished at step 313" in capsys.readouterr().out
    assert main(["train", "moons.py", "--display", "plain", "--seed", "2"]) == 2
    assert "holds a run of another experiment: seed 1 -> 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["", "train", "describe", "evaluate", "report", "probe", "active", "prepare", "new"]
)
def test_every_command_has_help(command, capsys):
    try:
        code = main([*command.split(), "--help"])
    except SystemExit as leaving:
        code = leaving.code
    assert code in (0, None)
    assert "usage: jaxai" in capsys.readouterr().out
