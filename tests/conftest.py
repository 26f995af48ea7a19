"""What all tests share: strict JAX settings, caches outside the tree, and a way to run code in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Hundreds of programs in one process would keep the memory of them all.
os.environ.setdefault("JAXAI_ALLOCATOR", "system")
RUNNER = Path(__file__).parent / "training" / "runner.py"


def pytest_addoption(parser):
    parser.addoption(
        "--faults", choices=("quick", "full"), default="quick", help="how many faults tests/faults commits"
    )


@pytest.fixture
def scale(request):
    """`scale(quick, full)` is the count to use; full by `make faults`."""
    return lambda quick, full: full if request.config.getoption("--faults") == "full" else quick


@pytest.fixture
def figure(request):
    """`figure(name, text)` is shown in a table when all tests have ended: what was counted."""
    return lambda name, text: request.node.user_properties.append((f"figure {name}", text))


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    figures = [(n, t) for r in reports if r.when == "call" for n, t in r.user_properties if n.startswith("figure ")]
    if figures:
        terminalreporter.section("figures")
        for name, text in sorted(figures):
            terminalreporter.write_line(f"{name.removeprefix('figure ')}: {text}")


@pytest.fixture(scope="session", autouse=True)
def _strict_jax():
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def run_apart():
    """Runs specs of `tests/training/runner.py` in a new process on forced CPU devices; gives its results."""

    def run(*specs: dict, devices: int = 1, exit_code: int = 0) -> list[dict]:
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
        }
        command = [sys.executable, str(RUNNER), json.dumps(specs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == exit_code, done.stdout[-2000:] + done.stderr[-4000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run
