"""A run's folder goes on with the experiment that it holds."""

from __future__ import annotations

import json

import pytest

import jaxai


def test_a_run_from_before_a_field_existed_goes_on(tiny, tmp_path):
    """As long as the field is what it is by default."""
    folder = tmp_path / "run"
    jaxai.train(tiny(), folder, display="none")
    config = json.loads((folder / "config.json").read_text())
    del config["steps_per_call"]
    (folder / "config.json").write_text(json.dumps(config))
    assert jaxai.train(tiny(), folder, display="none").status == "finished"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(jaxai.InputError, match="another experiment: steps_per_call nothing -> 2"):
        jaxai.train(tiny(steps_per_call=2), folder, display="none")
