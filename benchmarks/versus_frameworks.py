"""How fast is the whole training loop, beside Keras 3 on JAX and Lightning on PyTorch, and how soon does it run?

Method: each framework in a process of its own, on one core, on a terminal of its own, as its users run it: with its
bar, metrics, logs (jaxai metrics.jsonl and TensorBoard, the others their CSV logs) and a validation after each epoch,
but without checkpoints. Lightning has its TQDM bar and a DataLoader without workers over a TensorDataset, Keras numpy
arrays, both of the noise that jaxai has in memory. Epochs wait for their turn, one framework's after another's; a turn
lasts from the start of an epoch to the end of its validation, and of the fast ones has more epochs.

- `convnet`: MNIST's network of 93,322 parameters, Adam, batch 128. Lightning besides with what its users may know of:
  images with channels last, the settings of the allocator that jaxai makes, both. Beside it jaxai's compiled steps of
  training and validation, called in a loop and nothing else.
- `start`: from starting the process to the end of the first epoch of that. What a first start compiles jaxai keeps
  for the second; Keras does where it is told to (JAX_COMPILATION_CACHE_DIR), as here. PyTorch compiles nothing.
- `perceptron`: 64-32-10 on images of the digits' size, batch 64, where the loop is most of the cost: with one step a
  dispatch, and with 32 (Keras' `steps_per_execution`).

Keras and Lightning need not be installed beside jaxai: `--keras-python FILE` and `--lightning-python FILE` name the
interpreters that have them (default: this one). What is not there is left out. TensorFlow is never imported.

Targets: on the convnet 1.2 times the images of Lightning and 2.6 times those of Keras, and 0.98 of the compiled steps';
a second start in 0.5 of Lightning's time and 0.25 of Keras' first; on the perceptron 25 times the steps of Lightning
and 3 times those of Keras at one step a dispatch, 100 and 6 times at 32.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from frameworks.contender import Contender, Side
from frameworks.turns import Work
from harness import Figure, Options, Target, alternate, parse, ratios, report

ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_ARENA_MAX": "1",
}
"""The settings of glibc that jaxai makes: freed memory stays mapped."""
CHANNELS_LAST = ("channels_last",)
TUNED = {
    "Lightning, channels last": {"arguments": CHANNELS_LAST},
    "Lightning, allocator": {"variables": ALLOCATOR},
    "Lightning, both": {"arguments": CHANNELS_LAST, "variables": ALLOCATOR},
}
"""What Lightning can be given besides: how its side differs, by name."""
CONVNET = Work(model="convnet", batch_size=128, train_steps=32, eval_steps=6)
PERCEPTRON = Work(model="perceptron", batch_size=64, train_steps=1024, eval_steps=6)
SEVERAL = 32
"""Steps a dispatch."""


def main() -> None:
    options = parse(__doc__, rounds=7, extend=arguments)
    sides = interpreters(options.given)
    convnet, perceptron = CONVNET, PERCEPTRON
    if options.smoke:
        perceptron = dataclasses.replace(perceptron, train_steps=SEVERAL, eval_steps=1)
        convnet = perceptron  # which compiles in half the time
    bench = Bench(options, sides)
    with tempfile.TemporaryDirectory() as folder:
        figures = [
            *bench.start(convnet, Path(folder)),
            *bench.convnet(convnet, Path(folder) / "jaxai 1"),  # what its first start has compiled
            *bench.perceptron(perceptron, Path(folder) / "jaxai 1"),
        ]
    setting = {"convnet": dataclasses.asdict(convnet), "perceptron": dataclasses.asdict(perceptron)}
    report("versus_frameworks", options, figures, {**setting, "versions": bench.versions, "data": "noise in memory"})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark alone."""
    for package in ("keras", "lightning"):
        parser.add_argument(f"--{package}-python", metavar="FILE", help=f"the interpreter that has {package}")


def interpreters(given: argparse.Namespace) -> dict[str, Side]:
    """How each framework that is installed is started."""
    sides = {"jaxai": Side(python=sys.executable, script="with_jaxai.py")}
    for name, package, python in (
        ("Lightning", "lightning", given.lightning_python),
        ("Keras", "keras", given.keras_python),
    ):
        if python or importlib.util.find_spec(package):
            variables = {"KERAS_BACKEND": "jax"} if package == "keras" else {}
            sides[name] = Side(python=python or sys.executable, script=f"with_{package}.py", variables=variables)
        else:
            print(f"{name} is not installed and left out; --{package}-python names an interpreter that has it")
    return sides


class Bench:
    """The three questions, put to the frameworks that are there."""

    def __init__(self, options: Options, sides: Mapping[str, Side]):
        self._options, self._sides = options, sides
        self.versions: dict[str, dict[str, str]] = {}
        """By framework, of what it rests on."""

    def convnet(self, work: Work, caches: Path) -> list[Figure]:
        sides = dict(self._sides)
        if "Lightning" in sides:
            sides |= {name: dataclasses.replace(sides["Lightning"], **changes) for name, changes in TUNED.items()}
        sides["compiled steps"] = dataclasses.replace(sides["jaxai"], arguments=("bare",))
        rates, processor = self._rates({name: (side, work, 1) for name, side in sides.items()}, caches)
        images = {name: [steps * work.batch_size for steps in values] for name, values in rates.items()}
        targets = {"Lightning": 1.2, "Keras": 2.6, "compiled steps": 0.98}
        share = ratios(processor, "compiled steps", "jaxai")
        return [
            *compared("convnet", images, "images/s", targets),
            Figure(name="convnet, jaxai to compiled steps, processor time", unit="x", values=share),
        ]

    def start(self, work: Work, caches: Path) -> list[Figure]:
        """Seconds from starting a process to the end of its first epoch."""
        starts = Starts(self._sides, work, caches)
        contenders = {"jaxai, first": starts.first("jaxai"), "jaxai, second": starts.second("jaxai")}
        if "Keras" in self._sides:
            contenders |= {"Keras, first": starts.first("Keras"), "Keras, second": starts.second("Keras")}
        if "Lightning" in self._sides:
            contenders["Lightning"] = starts.first("Lightning")
        seconds = self._alternate(contenders)
        figures = [Figure(name=f"start, {name}", unit="s", values=values) for name, values in seconds.items()]
        pairs = [("second", "Lightning", 0.5), ("second", "Keras, first", 0.25), ("second", "Keras, second", None)]
        for ours, other, bound in [*pairs, ("first", "Lightning", None), ("first", "Keras, first", None)]:
            if other in seconds:
                target = Target(sign="<=", bound=bound) if bound else None
                values = ratios(seconds, f"jaxai, {ours}", other)
                figures.append(Figure(name=f"start, jaxai, {ours}, to {other}", unit="x", values=values, target=target))
        return figures

    def perceptron(self, work: Work, caches: Path) -> list[Figure]:
        epochs = {"jaxai": 5, "Lightning": 1, "Keras": 3}
        at_once = dataclasses.replace(work, steps_per_call=SEVERAL)
        trained = {name: (side, work, epochs[name]) for name, side in self._sides.items()}
        several = {
            f"{name}, {SEVERAL}": (side, at_once, 15) for name, side in self._sides.items() if name != "Lightning"
        }
        rates, _ = self._rates(trained | several, caches)
        first = {name: values for name, values in rates.items() if name in trained}
        last = {name.removesuffix(f", {SEVERAL}"): values for name, values in rates.items() if name not in trained}
        theirs = {name: values for name, values in first.items() if name == "Lightning"}
        together = compared(
            f"perceptron, {SEVERAL} a dispatch", last | theirs, "steps/s", {"Lightning": 100, "Keras": 6}
        )
        return [
            *compared("perceptron", first, "steps/s", {"Lightning": 25, "Keras": 3}),
            *(figure for figure in together if not figure.name.endswith(", Lightning")),
        ]

    def _rates(
        self, contenders: Mapping[str, tuple[Side, Work, int]], caches: Path
    ) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Steps a second and processor time of sides with so many epochs a turn, both [round] by name."""
        with contextlib.ExitStack() as stack:
            running: dict[str, Contender] = {}
            if not self._options.smoke:
                # One that only takes the pages of processes that have ended: they lie scattered, and who races on them
                # is slower by up to a fifth.
                side, work, _ = next(iter(contenders.values()))
                stack.callback(Contender(side, work, caches).close)
            for name, (side, work, _) in contenders.items():
                running[name] = Contender(side, work, caches)
                stack.callback(running[name].close)
                self.versions[name] = running[name].versions
            sizes = {name: contender.num_parameters for name, contender in running.items()}
            if len(set(sizes.values())) > 1:
                raise RuntimeError(f"the networks differ in size: {sizes}")
            seconds = self._alternate(
                {name: functools.partial(running[name], epochs) for name, (_, _, epochs) in contenders.items()}
            )
        steps = {name: epochs * work.train_steps for name, (_, work, epochs) in contenders.items()}
        rates = {name: [steps[name] / value for value in values] for name, values in seconds.items()}
        return rates, {name: running[name].processor[-len(seconds[name]) :] for name in running}

    def _alternate(self, contenders: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        return alternate(contenders, rounds=self._options.rounds, warm_up=0 if self._options.smoke else 1)


class Starts:
    """First and second starts, with a folder for caches a round."""

    def __init__(self, sides: Mapping[str, Side], work: Work, caches: Path):
        self._sides, self._work, self._caches = sides, work, caches
        self._rounds: dict[str, int] = {}

    def first(self, name: str) -> Callable[[], float]:
        def run() -> float:
            self._rounds[name] = self._rounds.get(name, 0) + 1
            return self._start(name)

        return run

    def second(self, name: str) -> Callable[[], float]:
        return lambda: self._start(name)

    def _start(self, name: str) -> float:
        caches = self._caches / f"{name} {self._rounds[name]}"
        side = self._sides[name]
        kept = {
            "JAX_COMPILATION_CACHE_DIR": str(caches),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        }
        if name == "Keras":
            side = dataclasses.replace(side, variables={**side.variables, **kept})
        contender = Contender(side, self._work, caches)
        contender.close()
        return contender.first_epoch


def compared(what: str, rates: Mapping[str, list[float]], unit: str, targets: Mapping[str, float]) -> list[Figure]:
    """The rates, and jaxai's to everyone else's."""
    figures = [Figure(name=f"{what}, {name}", unit=unit, values=values) for name, values in rates.items()]
    for name in rates:
        if name != "jaxai":
            target = Target(sign=">=", bound=targets[name]) if name in targets else None
            values = ratios(rates, "jaxai", name)
            figures.append(Figure(name=f"{what}, jaxai to {name}", unit="x", values=values, target=target))
    return figures


if __name__ == "__main__":
    main()
