"""How soon does a first result stand: 99 % of the digits, 97 % of 5,000 images of MNIST, from starting Python?

Method: every training is a process of its own, on one core, timed from starting it until it says that an evaluation on
the test split has reached the accuracy: interpreter, imports, data, compiling, training and all evaluations until then
are in it. A round's first start finds an empty cache folder (XDG_CACHE_HOME), its second start the one that the first
has filled; both have the round's seed. The datasets are those that jaxai makes; they are made before anything is timed.

The recipes: small networks, one cycle of the learning rate, AdamW, an average of the weights, evaluations several times
an epoch, as declared below. The split that is tested on also ends the training and has chosen the recipe: what is
measured is a time, the accuracy is no result. A training that ends below it begins again, in the same process and on
the same clock, with a further seed; the share of rounds that needed none is reported.

Targets: none of the times; at least 0.9 of the seeds reach the accuracy at once.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Figure, Options, Target, alternate, parse, ratios, report

GOALS = {"digits": 0.99, "mnist_5k": 0.97}
"""Test accuracy, by dataset."""
AGAIN = 1_000_000
"""How far the seed moves where a training begins again."""


def main() -> None:
    options = parse(__doc__, rounds=11)
    goals = {"digits": 0.9} if options.smoke else GOALS
    figures = [figure for name, goal in goals.items() for figure in measure(options, name, goal)]
    report("time_to_accuracy", options, figures, {"goals": goals})


def measure(options: Options, name: str, goal: float) -> list[Figure]:
    """Seconds of a first and a second start, and how sure they are."""
    with tempfile.TemporaryDirectory() as folder:
        # One that is not counted makes the dataset where it is not there yet.
        trainings = Trainings(name, goal, Path(folder))
        contenders = {"first": trainings.first, "second": trainings.second}
        seconds = alternate(contenders, rounds=options.rounds, warm_up=0 if options.smoke else 1)
    ends = trainings.ends[-options.rounds :]
    what = f"{name}, {100 * goal:g} %"
    second = ratios(seconds, "second", "first")
    at_once = [sum(end["trainings"] == 1 for end in ends) / len(ends)]
    return [
        Figure(name=f"{what}, first start", unit="s", values=seconds["first"]),
        Figure(name=f"{what}, second start", unit="s", values=seconds["second"]),
        Figure(name=f"{what}, second to first", unit="x", values=second),
        Figure(name=f"{what}, of the second before training", unit="s", values=[end["began"] for end in ends]),
        Figure(name=f"{what}, examples seen", unit="", values=[end["examples"] for end in ends]),
        Figure(name=f"{what}, share of seeds", unit="", values=at_once, target=Target(sign=">=", bound=0.9)),
    ]


class Trainings:
    """First and second starts of training, with a seed and a cache folder a round."""

    def __init__(self, name: str, goal: float, folder: Path):
        self._name, self._goal, self._folder, self._seed = name, goal, folder, -1
        self.ends: list[dict[str, Any]] = []
        """What the second starts say at their end, [round]."""

    def first(self) -> float:
        self._seed += 1
        return self._start()[0]

    def second(self) -> float:
        seconds, end = self._start()
        self.ends.append(end)
        return seconds

    def _start(self) -> tuple[float, dict[str, Any]]:
        """Seconds from starting the process until the accuracy is reached, and what it says then."""
        variables = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
        variables["XDG_CACHE_HOME"] = str(self._folder / str(self._seed))
        command = [sys.executable, __file__, "train", self._name, str(self._goal), str(self._seed)]
        began = time.perf_counter()
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            stepped = time.perf_counter() - began
            line = process.stdout.readline()
            seconds = time.perf_counter() - began
        if not line or process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        return seconds, {**json.loads(line), "began": stepped}


def train(name: str, goal: float, seed: int) -> None:
    """Trains until the accuracy is reached, and says when the first step and when that is computed."""
    import jax

    import jaxai

    examples = 0
    for number in itertools.count():
        experiment = recipe(name, seed + number * AGAIN)
        for info in jaxai.steps(experiment):
            if info.step == 1 and not number:
                jax.block_until_ready(info.state)
                print("stepped", flush=True)
            if info.evaluations.get("test/accuracy", 0) >= goal:
                examples += info.step * experiment.train.batch_size
                print(json.dumps({"trainings": number + 1, "examples": examples}), flush=True)
                return
        examples += info.step * experiment.train.batch_size


def recipe(name: str, seed: int) -> Any:
    """The experiment on a dataset."""
    from jaxai import Epochs, Experiment, Pipeline, optim
    from jaxai.data.augment import Normalize, RandomCrop
    from jaxai.data.tfds import Tfds
    from jaxai.models import ConvNet
    from jaxai.tasks import Classification

    def pipeline(split: str, batch_size: int) -> Pipeline:
        return Pipeline(source=Tfds(name=name, split=split), batch_size=batch_size, cache=True)

    if name == "digits":
        task = Classification(
            model=ConvNet(features=(32, 64), dense=(256,), pool_last=False, dropout=0.5),
            augment=(Normalize(mean=(0.29,), std=(0.35,)),),
            label_smoothing=0.1,
        )
        peak, warmup, epochs, every = 5e-3, 2, 20, 0.5
    else:
        task = Classification(
            model=ConvNet(features=(16, 32), dense=(64,)),
            augment=(RandomCrop(padding=2), Normalize(mean=(0.1307,), std=(0.3081,))),
        )
        peak, warmup, epochs, every = 4e-3, 1, 8, 0.25
    return Experiment(
        task=task,
        train=pipeline("train", 64),
        evals={"test": pipeline("test", 120 if name == "digits" else 250)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=peak, warmup=Epochs(warmup)), weight_decay=1e-4),
        duration=Epochs(epochs),
        evaluate_every=Epochs(every),
        ema=0.95,  # evaluations use an average over the last 20 or so steps
        seed=seed,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
