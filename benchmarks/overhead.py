"""What does the training loop cost over a bare `jax.jit` loop of the same training step?

Method: both contenders run the same step function, compiled alike, on the same core in turns. The bare one calls it on
one batch that stays on the device and does nothing else. The other is `jaxai.steps` with everything on: batches
gathered from memory in shuffled order, metrics, a record every 50 steps to metrics.jsonl and TensorBoard and to the
plain display (sent to nowhere), and checkpoints in a temporary folder at the default interval. Images are noise: the
arithmetic is the same. Beside the time by the clock stands the processor time of the process: on one core they are
the same thing, unless others use the core too, which processor time leaves out (it would also leave out waiting).
A round is 2,000 steps of the perceptron each; the network's steps are long, so there it is two, in five times as many
rounds, lest the machine's drift within a round be taken for a difference.

Targets: at least 0.97 of the bare loop's throughput on the CIFAR-10 network (4,275,594 parameters, crop, flip and
normalize inside the step, batch 64); at most 25 microseconds a step more than the bare loop on a perceptron of 64
inputs, 32 hidden units and 10 classes (batch 64).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Generator, Iterator
from typing import Any

from harness import Figure, Options, Target, alternate, differences, parse, ratios, report


def main() -> None:
    options = parse(__doc__)
    figures = [*perceptron(options), *convnet(options)]
    report("overhead", options, figures, {"batch_size": 64, "data": "uint8 noise in memory"})


def perceptron(options: Options) -> list[Figure]:
    import workloads

    steps = 100 if options.smoke else 2000
    micros = compare(workloads.perceptron(), steps, options.rounds, scale=1e6)
    added = differences(micros, "jaxai", "bare")
    return [
        Figure(name="perceptron, bare loop, a step", unit="us", values=micros["bare"]),
        Figure(name="perceptron, jaxai.steps, a step", unit="us", values=micros["jaxai"]),
        Figure(name="perceptron, added a step", unit="us", values=added, target=Target(sign="<=", bound=25)),
        Figure(
            name="perceptron, added, processor time",
            unit="us",
            values=differences(micros, "jaxai processor", "bare processor"),
        ),
    ]


def convnet(options: Options) -> list[Figure]:
    import workloads

    experiment = workloads.convnet(512, tiny=True) if options.smoke else workloads.convnet()
    millis = compare(experiment, 2, options.rounds if options.smoke else 5 * options.rounds, scale=1e3)
    share = ratios(millis, "bare", "jaxai")
    return [
        Figure(name="convnet, bare loop, a step", unit="ms", values=millis["bare"]),
        Figure(name="convnet, jaxai.steps, a step", unit="ms", values=millis["jaxai"]),
        Figure(name="convnet, share of bare throughput", unit="x", values=share, target=Target(sign=">=", bound=0.97)),
        Figure(
            name="convnet, share, processor time",
            unit="x",
            values=ratios(millis, "bare processor", "jaxai processor"),
        ),
    ]


def compare(experiment: Any, steps: int, rounds: int, *, scale: float) -> dict[str, list[float]]:
    """Time of a step of both loops, seconds times `scale`, [round] by contender; also `CONTENDER processor`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,  # noqa: PTH123 - not a file
        contextlib.redirect_stdout(nowhere),
        contextlib.closing(whole(experiment, folder)) as loop,
    ):
        # Begun before the other: it switches the compilation cache on for both.
        next(loop)
        timers = {"bare": Timer(bare(experiment), steps), "jaxai": Timer(loop, steps)}
        seconds = alternate(timers, rounds=rounds)
    processor = {f"{name} processor": timer.processor[-rounds:] for name, timer in timers.items()}
    return {name: [value * scale for value in values] for name, values in {**seconds, **processor}.items()}


def bare(experiment: Any) -> Iterator[Any]:
    """The compiled step on a batch that stays on the device, and nothing else; gives the states."""
    import jax

    from jaxai.training.setup import set_up

    setup = set_up(experiment)
    state = setup.init()
    step = setup.compiled_step()
    batch = jax.device_put(setup.example)
    while True:
        state, _ = step(state, batch)
        yield state


def whole(experiment: Any, folder: str) -> Generator[Any]:
    """The loop of jaxai, as a user iterates it; gives the states."""
    import jaxai

    for info in jaxai.steps(experiment, folder, display="plain"):
        yield info.state


class Timer:
    """Takes `steps` steps of a loop and gives the seconds of one."""

    def __init__(self, loop: Iterator[Any], steps: int):
        self._loop, self._steps = loop, steps
        self.processor: list[float] = []
        """Seconds of processor time of a step, [call]."""

    def __call__(self) -> float:
        import jax

        began, used = time.perf_counter(), time.process_time()
        for _ in range(self._steps - 1):
            next(self._loop)
        jax.block_until_ready(next(self._loop))
        self.processor.append((time.process_time() - used) / self._steps)
        return (time.perf_counter() - began) / self._steps


if __name__ == "__main__":
    main()
