"""A run on text that is killed and started again sees the batches that it would have seen: to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def runner(*asked) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).parent / "text_resume_runner.py"), json.dumps(asked)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.experiments
@pytest.mark.parametrize("kind", ["pairs", "edited", "buckets"])
def test_killed_and_resumed_is_the_uninterrupted_run(tmp_path, kind):
    """Pairs are drawn, texts edited, words masked and batches arranged anew in each epoch, of 37 examples or fewer."""
    killed = runner((kind, str(tmp_path / "cut"), 8))
    assert killed.returncode == -9, killed.stderr[-2000:]
    assert max(int(path.name) for path in (tmp_path / "cut" / "checkpoints").iterdir() if path.name.isdigit()) in (3, 6)
    done = runner((kind, str(tmp_path / "cut"), 0), (kind, str(tmp_path / "whole"), 0))
    assert done.returncode == 0, done.stderr[-2000:]
    resumed, whole = done.stdout.split()
    assert resumed == whole
