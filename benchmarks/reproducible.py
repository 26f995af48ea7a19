"""What does `reproducible=True` cost: one order of summation, so the same bits on 1, 2, 4 and 8 devices?

Method: the same experiment, batch 64, is stepped with and without it, in turns, on one device and on four that are
forced out of the CPU; the step function alone, compiled as the loop compiles it, on one batch. A round is as many steps
of each. On one device a reproducible step computes 16 virtual shards of 4 examples one after the other; on four devices
each computes four, in a loop. Not pinned: four devices share the cores. The time to compile is told once.

No target: the figure tells whether one can afford it.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

from harness import Figure, alternate, parse, ratios, report

DEVICES = 4


def main() -> None:
    options = parse(__doc__, cores=None)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
    import workloads

    experiments = {"perceptron": (workloads.perceptron(), 200), "convnet": (workloads.convnet(512, tiny=True), 5)}
    figures = []
    for name, (experiment, steps) in experiments.items():
        for devices in (1, DEVICES):
            plain = Steps(experiment, devices, reproducible=False)
            exact = Steps(experiment, devices, reproducible=True)
            count = 2 if options.smoke else steps
            runs = {"plain": plain.timed(count), "reproducible": exact.timed(count)}
            millis = alternate(runs, rounds=options.rounds)
            where = f"{name}, {devices} device{'s' if devices > 1 else ''}"
            figures += [
                Figure(name=f"{where}, plain step", unit="ms", values=millis["plain"]),
                Figure(name=f"{where}, reproducible step", unit="ms", values=millis["reproducible"]),
                Figure(name=f"{where}, cost", unit="x", values=ratios(millis, "reproducible", "plain")),
                Figure(
                    name=f"{where}, compiling", unit="x", values=[exact.seconds_to_compile / plain.seconds_to_compile]
                ),
            ]
    report("reproducible", options, figures, {"batch_size": workloads.BATCH_SIZE, "devices": DEVICES})


class Steps:
    """A compiled training step and the state that it moves on."""

    def __init__(self, experiment: Any, devices: int, *, reproducible: bool):
        import jax

        from jaxai import PMap
        from jaxai.training.setup import set_up

        chosen = dataclasses.replace(experiment, parallel=PMap(devices=devices), reproducible=reproducible)
        setup = set_up(chosen)
        self._state, self._batch = setup.init(), setup.example
        self._step = setup.compiled_step()
        began = time.perf_counter()
        self._advance(1)
        jax.block_until_ready(self._state)
        self.seconds_to_compile = time.perf_counter() - began

    def timed(self, count: int) -> Callable[[], float]:
        """A contender: milliseconds a step."""
        import jax

        def run() -> float:
            began = time.perf_counter()
            self._advance(count)
            jax.block_until_ready(self._state)
            return (time.perf_counter() - began) / count * 1e3

        return run

    def _advance(self, count: int) -> None:
        for _ in range(count):
            self._state, _ = self._step(self._state, self._batch)


if __name__ == "__main__":
    main()
