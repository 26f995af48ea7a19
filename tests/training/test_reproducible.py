"""What `reproducible=True` asks of XLA, and that it asks in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxai import compat
from jaxai.core.errors import InputError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.mark.slow
def test_the_command_line_asks_before_it_opens_the_devices(tmp_path):
    run = tmp_path / "run"
    options = ["--reproducible", "--duration", "2steps", "--display", "none"]
    command = [sys.executable, "-m", "jaxai", "train", str(EXPERIMENTS / "digits_softmax.py"), "--run", str(run)]
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PJRT_NPROC")}
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    said = json.loads((run / "environment.json").read_text())
    assert said["xla_flags"] == "--xla_gpu_deterministic_ops=true"
    assert said["xla_cpu_threads"] == "8"


@pytest.fixture
def in_use(monkeypatch):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("PJRT_NPROC", raising=False)


def test_devices_in_use_already_are_said(in_use, monkeypatch, caplog):
    compat.be_deterministic()
    assert "JAX is in use already: another number of devices may give other bits (set PJRT_NPROC=8" in caplog.text
    assert os.environ["XLA_FLAGS"] == ""
    caplog.clear()
    monkeypatch.setenv("PJRT_NPROC", "8")
    compat.be_deterministic()
    assert caplog.text == ""


def test_a_gpu_in_use_already_is_refused(in_use, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(InputError, match="reproducible: the GPU is in use already, without deterministic operations"):
        compat.be_deterministic()
