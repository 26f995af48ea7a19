"""How do time, memory and communication of a training step grow with depth, width, length, batch and devices?

Method: a GPT (`models.GPT2`, bytes, AdamW, float32), compiled as `jaxai.steps` compiles it. For depth, width, length
and batch the step is timed at two sizes, one twice the other, in turns on one core; the exponent of time is the
logarithm to base 2 of their ratio, that of memory the same of what the compiled program needs beside its state. Work
that grows with its size has an exponent of 1; width's would be 2 for parameters alone, length's nears 2 where attention
rules.

For devices the step is compiled, not timed, for 1, 2, 4 and 8 of them, forced out of the processor: cores are few. What
is told is each device's share of the state and of the floating-point operations, and what it is sent a step, in bytes
for each parameter: data parallelism sums 4, its gradient; fsdp brings 4 together as well; tensor parallelism sends
activations, whatever the parameters.

`PMap` and `Mesh(data)` are timed beside each other on 8 forced devices; target: within 2 % of each other. All on forced
devices is without oneDNN, which programs that the compiler cuts cannot call.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from harness import Figure, Options, Target, alternate, parse, ratios, report

BASE = {"depth": 2, "dim": 128, "length": 128, "batch_size": 8}
SMOKE = {"depth": 1, "dim": 32, "length": 16, "batch_size": 8}
DEVICES = (1, 2, 4, 8)
AXES = ("data", "fsdp", "tensor")


def main() -> None:
    if sys.argv[1:2] == ["devices"]:
        print(json.dumps(on_devices(json.loads(sys.argv[2]))))
        return
    options = parse(__doc__, rounds=7)
    base = SMOKE if options.smoke else BASE
    figures = [*growth(base, options), *devices(base, options), *layouts(base, options)]
    report("scaling", options, figures, {"base": base, "model": "GPT2, 256 tokens"})


def experiment(base: dict[str, int], parallel: Any, **changed: int) -> Any:
    """A step of a GPT of these sizes, heads of 32 features."""
    import numpy as np

    from jaxai import Experiment, Pipeline, Steps, models, optim
    from jaxai.data.source import Arrays
    from jaxai.tasks import LanguageModel

    sizes = {**base, **changed}
    tokens = np.random.default_rng(0).integers(0, 256, (2 * sizes["batch_size"], sizes["length"]), dtype=np.int32)
    model = models.GPT2(
        vocab_size=256,
        dim=sizes["dim"],
        depth=sizes["depth"],
        num_heads=max(sizes["dim"] // 16, 1),
        max_length=sizes["length"],
    )
    return Experiment(
        task=LanguageModel(model=model),
        train=Pipeline(source=Arrays({"tokens": tokens}), batch_size=sizes["batch_size"]),
        optimizer=optim.adamw(1e-4),
        duration=Steps(1_000_000_000),
        parallel=parallel,
    )


def growth(base: dict[str, int], options: Options) -> list[Figure]:
    """Exponents between each size and its double."""
    import jaxai

    one = jaxai.PMap(devices=1)
    millis = {"": stepper(experiment(base, one))}
    memory = {"": needs(experiment(base, one))}
    names = ["depth"] if options.smoke else list(base)
    for name in names:
        doubled = experiment(base, one, **{name: 2 * base[name]})
        millis[name], memory[name] = stepper(doubled), needs(doubled)
    times = alternate(millis, rounds=options.rounds)
    figures = [Figure(name="base, a step", unit="ms", values=times[""])]
    for name in names:
        exponents = [math.log2(ratio) for ratio in ratios(times, name, "")]
        figures.append(Figure(name=f"{name}, exponent of time", unit="", values=exponents))
        grown = math.log2(memory[name] / memory[""])
        figures.append(Figure(name=f"{name}, exponent of memory", unit="", values=[grown]))
    return figures


def stepper(value: Any) -> Callable[[], float]:
    """Takes a few steps, and gives the milliseconds of one."""
    import jax

    from jaxai.training.setup import set_up

    setup = set_up(value)
    held, step, batch = [setup.init()], setup.compiled_step(), setup.example

    def take(steps: int = 5) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            held[0], packed = step(held[0], batch)
        jax.block_until_ready(packed.vector)
        return (time.perf_counter() - began) / steps * 1e3

    return take


def needs(value: Any) -> int:
    """Bytes that a compiled step needs beside its state and batch."""
    import jax

    from jaxai import forms
    from jaxai.training.setup import set_up

    setup = set_up(value)
    with forms.use(value.forms):
        lowered = jax.jit(setup.train_step(), donate_argnums=0).lower(setup.abstract_state, setup.example)
    analysis: Any = lowered.compile().memory_analysis()
    return analysis.temp_size_in_bytes


def forced(count: int) -> dict[str, str]:
    """An environment in which JAX sees so many devices."""
    flags = f"--xla_force_host_platform_device_count={count}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAXAI_ONEDNN": "off"}


def devices(base: dict[str, int], options: Options) -> list[Figure]:
    """What each device has and is sent, by axis and number of devices."""
    figures = []
    for count in DEVICES[1:2] if options.smoke else DEVICES:
        command = [sys.executable, __file__, "devices", json.dumps({"base": base, "count": count})]
        done = subprocess.run(command, env=forced(count), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        for name, value in json.loads(done.stdout.splitlines()[-1]).items():
            unit = "bytes a parameter" if name.endswith("sent") else "share"
            figures.append(Figure(name=name, unit=unit, values=[value]))
    return figures


def on_devices(asked: dict[str, Any]) -> dict[str, float]:
    """The figures of one number of devices, in whose process this runs; or, to be timed, of a layout."""
    import jax

    import jaxai
    from jaxai.core import tree
    from jaxai.parallel.collectives import collectives
    from jaxai.training.setup import set_up

    base, count = asked["base"], asked["count"]
    if "rounds" in asked:
        layouts = {"PMap": jaxai.PMap(), "Mesh": jaxai.Mesh()}
        timed = {name: stepper(experiment(base, parallel)) for name, parallel in layouts.items()}
        return alternate(timed, rounds=asked["rounds"])  # type: ignore[return-value]
    found = {}
    whole = None
    for axis in AXES if count > 1 else AXES[:1]:
        setup = set_up(experiment(base, jaxai.Mesh(**{"data": 1, axis: count})))
        state = setup.layout.abstract(setup.abstract_state)
        step = setup.train_step()
        lowered = setup.layout.lower_step(
            lambda state, _, batch, step=step: step(state, batch), state, (), setup.layout.send(setup.example)
        )
        compiled = lowered.compile()
        whole = whole or tree.num_bytes(state)
        mine = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state))
        sent = sum(each.num_bytes for each in collectives(compiled.as_text()))
        alone: Any = jax.jit(step).lower(setup.abstract_state, setup.example).compile().cost_analysis()
        work: Any = compiled.cost_analysis()
        name = f"{axis}={count}"
        found |= {f"{name}, state": mine / whole, f"{name}, work": work["flops"] / alone["flops"]}
        found |= {f"{name}, sent": sent / tree.size(state.params)}
    return found


def layouts(base: dict[str, int], options: Options) -> list[Figure]:
    """`PMap` and `Mesh(data)` beside each other."""
    count = 2 if options.smoke else DEVICES[-1]
    asked = {"base": base, "count": count, "rounds": options.rounds}
    command = [sys.executable, __file__, "devices", json.dumps(asked)]
    done = subprocess.run(command, env=forced(count), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    times = json.loads(done.stdout.splitlines()[-1])
    apart = [abs(ratio - 1) for ratio in ratios(times, "Mesh", "PMap")]
    return [
        *(Figure(name=f"{name}, {count} devices, a step", unit="ms", values=times[name]) for name in times),
        Figure(name="Mesh(data) and PMap, apart", unit="x", values=apart, target=Target(sign="<=", bound=0.02)),
    ]


if __name__ == "__main__":
    main()
