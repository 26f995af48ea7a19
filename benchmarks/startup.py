"""How long until something happens: help, import, and the first training step of a second start?

Method: every run is a process of its own, on one core, in turns, timed from starting it. Help and imports end with the
process; the bare interpreter is shown beside them. The first training step ends with the line that `first_step.py`
prints once it is computed. A round's first start finds an empty cache folder (XDG_CACHE_HOME), its second start the
one that the first has filled.

Targets: `jaxai --help` in 0.2 s, without importing JAX; `import jaxai` at most 1.05 times `import jax`; the second
start at most 0.4 times the first: on the CIFAR-10 network with crop, flip and normalize, and on the digits experiment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Figure, Options, Target, alternate, parse, ratios, report

FIRST_STEP = str(Path(__file__).parent / "first_step.py")
HELP = ("-m", "jaxai", "--help")
#: What a training run imports, by jaxai's names and by the libraries'.
EVERYTHING = "import jaxai; jaxai.train, jaxai.models, jaxai.Experiment"
LIBRARIES = "import jax, flax.linen, optax, orbax.checkpoint, grain"


def main() -> None:
    options = parse(__doc__, rounds=7)
    figures = [*imports(options), *first_steps(options)]
    report("startup", options, figures, {"command": "python", "imports_everything": EVERYTHING})


def imports(options: Options) -> list[Figure]:
    seconds = alternate(
        {
            "python": ends("-c", "pass"),
            "help": ends(*HELP),
            "jaxai": ends("-c", "import jaxai"),
            "jax": ends("-c", "import jax"),
            **({} if options.smoke else {"everything": ends("-c", EVERYTHING), "libraries": ends("-c", LIBRARIES)}),
        },
        rounds=options.rounds,
        warm_up=0 if options.smoke else 1,
    )
    figures = [
        Figure(name="python -c pass", unit="s", values=seconds["python"]),
        Figure(name="jaxai --help", unit="s", values=seconds["help"], target=Target(sign="<=", bound=0.2)),
        Figure(
            name="modules of jax that help imports",
            unit="",
            values=[num_jax_modules()],
            target=Target(sign="<=", bound=0),
        ),
        Figure(name="import jaxai", unit="s", values=seconds["jaxai"]),
        Figure(name="import jax", unit="s", values=seconds["jax"]),
        Figure(
            name="import jaxai to import jax",
            unit="x",
            values=ratios(seconds, "jaxai", "jax"),
            target=Target(sign="<=", bound=1.05),
        ),
    ]
    if not options.smoke:
        figures += [
            Figure(name="all that training imports", unit="s", values=seconds["everything"]),
            Figure(
                name="to jax, flax, optax, orbax, grain", unit="x", values=ratios(seconds, "everything", "libraries")
            ),
        ]
    return figures


def first_steps(options: Options) -> list[Figure]:
    figures = []
    for name in ("perceptron",) if options.smoke else ("convnet", "digits"):
        with tempfile.TemporaryDirectory() as folder:
            starts = Starts(name, Path(folder))
            contenders = {"first": starts.first, "second": starts.second}
            # The very first process would also find cold files: left out, as everywhere.
            seconds = alternate(contenders, rounds=options.rounds, warm_up=0 if options.smoke else 1)
        figures += [
            Figure(name=f"{name}, first start to first step", unit="s", values=seconds["first"]),
            Figure(name=f"{name}, second start to first step", unit="s", values=seconds["second"]),
            Figure(
                name=f"{name}, second to first",
                unit="x",
                values=ratios(seconds, "second", "first"),
                target=Target(sign="<=", bound=0.4),
            ),
        ]
    return figures


def ends(*arguments: str) -> Callable[[], float]:
    """Seconds from starting `python ARGUMENTS` to its end."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    return run


def num_jax_modules() -> int:
    """How many modules of JAX `jaxai --help` imports."""
    command = [sys.executable, "-X", "importtime", *HELP]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines]
    return sum(name.split(".")[0] in ("jax", "jaxlib") for name in names)


class Starts:
    """First and second starts of training, with a cache folder a round."""

    def __init__(self, name: str, folder: Path):
        self._name, self._folder, self._round = name, folder, 0

    def first(self) -> float:
        self._round += 1
        return self._start()

    def second(self) -> float:
        return self._start()

    def _start(self) -> float:
        """Seconds from starting the process to the end of its first step."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
        variables["XDG_CACHE_HOME"] = str(self._folder / str(self._round))
        command = [sys.executable, FIRST_STEP, self._name]
        began = time.perf_counter()
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - began
        if line.strip() != "stepped" or process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} before its first step")
        return seconds


if __name__ == "__main__":
    main()
