"""What does the training loop cost over a bare `jax.jit` loop of the same training step?

Method: both contenders run the same step function, compiled alike, on the same core in turns. The bare one calls it on
one batch that stays on the device and does nothing else. The other is `jaxai.steps` with everything on: batches
gathered from memory in shuffled order, metrics, a record every 50 steps to metrics.jsonl and TensorBoard and to the
plain display (sent to nowhere), and checkpoints in a temporary folder at the default interval. Images are noise: the
arithmetic is the same.

Targets: at least 0.97 of the bare loop's throughput on the CIFAR-10 network (4,275,594 parameters, crop, flip and
normalize inside the step, batch 64); at most 25 microseconds a step more than the bare loop on a perceptron of 64
inputs, 32 hidden units and 10 classes (batch 64).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from harness import Figure, Options, Target, alternate, differences, parse, ratios, report


def main() -> None:
    options = parse(__doc__)
    figures = [*perceptron(options), *convnet(options)]
    report("overhead", options, figures, {"batch_size": 64, "data": "uint8 noise in memory"})


def perceptron(options: Options) -> list[Figure]:
    import workloads

    steps = 100 if options.smoke else 2000
    micros = compare(workloads.perceptron(), steps, options, scale=1e6)
    return [
        Figure(name="perceptron, bare loop, a step", unit="us", values=micros["bare"]),
        Figure(name="perceptron, jaxai.steps, a step", unit="us", values=micros["jaxai"]),
        Figure(
            name="perceptron, added a step",
            unit="us",
            values=differences(micros, "jaxai", "bare"),
            target=Target(sign="<=", bound=25),
        ),
    ]


def convnet(options: Options) -> list[Figure]:
    import workloads

    experiment = workloads.convnet(512, tiny=True) if options.smoke else workloads.convnet()
    millis = compare(experiment, 5 if options.smoke else 50, options, scale=1e3)
    return [
        Figure(name="convnet, bare loop, a step", unit="ms", values=millis["bare"]),
        Figure(name="convnet, jaxai.steps, a step", unit="ms", values=millis["jaxai"]),
        Figure(
            name="convnet, share of the bare throughput",
            unit="x",
            values=ratios(millis, "bare", "jaxai"),
            target=Target(sign=">=", bound=0.97),
        ),
    ]


def compare(experiment: Any, steps: int, options: Options, *, scale: float) -> dict[str, list[float]]:
    """Time of a step of both loops, seconds times `scale`, [round] by contender."""
    import jaxai

    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,  # noqa: PTH123 - not a file
        contextlib.redirect_stdout(nowhere),
    ):
        run = jaxai.steps(experiment, folder, display="plain")
        with contextlib.closing(run):
            contenders = {"bare": bare(experiment, steps), "jaxai": whole(run, steps)}
            seconds = alternate(contenders, rounds=options.rounds)
    return {name: [value * scale for value in values] for name, values in seconds.items()}


def bare(experiment: Any, steps: int) -> Callable[[], float]:
    """The compiled step on a batch that stays on the device, and nothing else."""
    import jax

    from jaxai.train.setup import set_up

    setup = set_up(experiment)
    state = setup.layout.init(setup.create, setup.example)
    step = setup.layout.compile_step(setup.train_step())
    batch = jax.device_put(setup.example)

    def run() -> float:
        nonlocal state
        began = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, batch)
        jax.block_until_ready(state)
        return (time.perf_counter() - began) / steps

    return run


def whole(run: Iterator[Any], steps: int) -> Callable[[], float]:
    """The loop of jaxai, as a user iterates it."""
    import jax

    def timed() -> float:
        began = time.perf_counter()
        for _ in range(steps - 1):
            next(run)
        jax.block_until_ready(next(run).state)
        return (time.perf_counter() - began) / steps

    return timed


if __name__ == "__main__":
    main()
