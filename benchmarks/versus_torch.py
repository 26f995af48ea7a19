"""How fast is a training step of jaxai, beside PyTorch's of the same model, batch and optimizer?

Method: both sides run in processes of their own, on one core, in turns, on batches of noise in memory. jaxai's step is
the one that `jaxai.steps` compiles, with its metrics (loss, accuracy, perplexity of texts, norm of the gradients).
PyTorch's is forward, cross-entropy, backward, fused update and gradients set to none, with sums of loss and accuracy
that stay on the device; its models are written out in `versus/torch_models.py` with as many parameters, which is
checked first. It runs eager; where it convolves, with images and weights as channels_last; and by torch.compile, then
of the channels_last form, but for ResNets on CPUs, which compile for minutes, and for LSTMs, which it leaves as they
are. A turn takes as many steps as fit into 0.4 s, at least one; compiling and the first turn do not count, and jaxai's
programs come from its cache, as in every start but the first.
"32 steps a call" picks each batch out of data on the device, where the others repeat one.

jaxai keeps freed memory mapped, by `JAXAI_ALLOCATOR`, whose default that is. PyTorch runs as it is installed, and
"warm", by glibc's settings `MALLOC_...`, which do the same: "jaxai to channels_last" is jaxai as it comes to PyTorch as
it comes; "to channels_last, warm" gives both the same setting.

    --only NAME,NAME        some of the workloads: mnist_cnn (93,322 parameters, batch 128, Adam), cifar_cnn (4,275,594,
                            batch 64, momentum), resnet18 (32 x 32, small stem, batch 64, momentum), resnet50 (64 x 64,
                            batch 16, momentum), gpt (6 x 384, 256 bytes, batch 8, AdamW), bert (inference of 4 x 256,
                            128 tokens, batch 16, float32 and bfloat16), lstm (language model of 2 x 256, 128 bytes,
                            batch 32, Adam), mlp (64-32-10, batch 64, momentum)
    --device gpu            the sizes for a GPU, bfloat16 with float32 weights: gpt2 (124M, 1,024 tokens, batch 16,
                            AdamW, cuDNN's attention), resnet50 (224 x 224, batch 128, momentum), vit (B/16, 224 x 224,
                            batch 128, AdamW); with all cores and the allocators as they come; no targets
    --torch-python PATH     an interpreter that has torch; by default this one. Without torch, jaxai runs alone.

Targets, in steps of jaxai as it comes to one of PyTorch as it comes: cifar_cnn 1.3 and mnist_cnn 1.4 of channels_last,
both warm 1.08 and 1; resnet18 0.85 and resnet50 0.95 of channels_last; gpt 1.5 of torch.compile; bert 2.5 of eager,
both float32, and its bfloat16 3 of eager in float32; lstm 1 of eager; mlp with 32 steps a call 12 of eager.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import Figure, Options, Target, alternate, parse, ratios, report
from versus.sizes import workloads

WARM = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_TOP_PAD_": str(2**26),
    "MALLOC_ARENA_MAX": "1",
}
"""glibc's settings by which freed memory stays mapped."""
OURS, THEIRS = "jaxai_side.py", "torch_side.py"
ALLOCATORS = {OURS: {"": {"JAXAI_ALLOCATOR": "warm"}}, THEIRS: {"": {}, ", warm": WARM}}
"""By side, what the contenders' names end in, and the environment of their process; each as it comes first."""
BOUNDS = {
    ("mnist_cnn", "jaxai", "channels_last"): 1.4,
    ("mnist_cnn", "jaxai", "channels_last, warm"): 1.0,
    ("cifar_cnn", "jaxai", "channels_last"): 1.3,
    ("cifar_cnn", "jaxai", "channels_last, warm"): 1.08,
    ("resnet18", "jaxai", "channels_last"): 0.85,
    ("resnet50", "jaxai", "channels_last"): 0.95,
    ("gpt", "jaxai", "compile"): 1.5,
    ("bert", "jaxai", "eager"): 2.5,
    ("bert", "jaxai, bfloat16", "eager"): 3.0,
    ("lstm", "jaxai", "eager"): 1.0,
    ("mlp", "jaxai, 32 steps a call", "eager"): 12.0,
}
"""At least, of the first to the second."""
SMOKE = ("cifar_cnn", "bert", "mlp")
"""Workloads that smoke runs on CPUs, unless others are named: compiling the small ones too takes seconds each."""
TURN = 0.4
"""Seconds of a turn."""
SIDES = Path(__file__).parent / "versus"
FIND_TORCH = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"


class Side:
    """A process that runs one side's contenders, with one allocator."""

    def __init__(self, script: str, python: str, environment: dict[str, str]):
        self._script = script
        inherited = {name: value for name, value in os.environ.items() if name not in {*WARM, "JAXAI_ALLOCATOR"}}
        self._process = subprocess.Popen(
            [python, str(SIDES / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=inherited | environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer to a request, as in `versus/serve.py`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._script} ended at {request}, with exit code {self._process.wait()}")
        return json.loads(answer)

    def turns(self, contender: str, seconds: float) -> Callable[[], float]:
        """Steps a second of a contender, taken for about so long each time."""
        self.ask(run=contender, steps=1)  # compiles
        probe = self.ask(run=contender, steps=1)
        while probe["seconds"] < seconds / 8:
            probe = self.ask(run=contender, steps=4 * probe["steps"])
        steps = max(1, round(seconds * probe["steps"] / probe["seconds"]))

        def take() -> float:
            taken = self.ask(run=contender, steps=steps)
            return taken["steps"] / taken["seconds"]

        return take

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def main() -> None:
    options = parse(__doc__, rounds=7, extend=arguments)
    given = options.given
    sizes = workloads(given.device, options.smoke)
    names = given.only or (SMOKE if options.smoke and given.device == "cpu" else tuple(sizes))
    if unknown := set(names) - set(sizes):
        raise SystemExit(f"--only: no workload {', '.join(sorted(unknown))}; there are {', '.join(sizes)}")
    has_torch = subprocess.run([given.torch_python, "-c", FIND_TORCH], check=False).returncode == 0
    notes = [] if has_torch else ["jaxai alone: the interpreter has no torch"]
    figures: list[Figure] = []
    versions: dict[str, str] = {}
    # In processes of its own, but for smoke: what an allocator holds of one workload would change the next one's speed.
    for group in [names] if options.smoke else [(name,) for name in names]:
        with started(given, group, smoke=options.smoke, with_torch=has_torch) as sides:
            for name in group:
                more, opened = race(name, given.device, options, sides)
                figures += more
                for answer in opened:
                    notes += [note for note in answer["notes"] if note not in notes]
                    versions |= answer["versions"]
    setting = {
        "device": given.device,
        "workloads": {name: sizes[name]._asdict() for name in names},
        "allocators": ALLOCATORS,
        "versions": versions,
        "notes": notes,
    }
    report("versus_torch", options, figures, setting)
    print("\n".join(["", *notes]))


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark alone."""
    parser.add_argument("--only", type=lambda names: tuple(names.split(",")), metavar="NAME,NAME", help="see below")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="see below (default cpu)")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="see below")


@contextlib.contextmanager
def started(
    given: argparse.Namespace, names: Sequence[str], *, smoke: bool, with_torch: bool
) -> Iterator[dict[tuple[str, str], Side]]:
    """The processes, by their side's script and what their contenders' names end in."""
    scripts = {OURS: sys.executable} | ({THEIRS: given.torch_python} if with_torch else {})
    with contextlib.ExitStack() as stack:
        caches = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {
            "JAX_COMPILATION_CACHE_DIR": f"{caches}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": f"{caches}/torch",
            # On a GPU, memory is left to the other side.
            **({"JAX_PLATFORMS": "cpu"} if given.device == "cpu" else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),
        }
        if not smoke:
            stack.enter_context(contextlib.closing(compile_first(names, given.device, environment)))
        sides: dict[tuple[str, str], Side] = {}
        for script, python in scripts.items():
            # A GPU's memory is not the host's to set.
            for suffix, allocator in itertools.islice(ALLOCATORS[script].items(), 1 if given.device == "gpu" else None):
                side = Side(script, python, environment | allocator)
                sides[script, suffix] = stack.enter_context(contextlib.closing(side))
        yield sides


def compile_first(names: Sequence[str], device: str, environment: dict[str, str]) -> Side:
    """Fills jaxai's cache of compiled programs; the process that did.

    What compiling leaves of its heap makes short steps a fifth slower. To be kept while others race: who takes over the
    pages of a process that has ended, which lie scattered, is slower by as much.
    """
    side = Side(OURS, sys.executable, environment)
    for name in names:
        for contender in side.ask(open=name, device=device, smoke=False)["contenders"]:
            side.ask(run=contender, steps=1)
    return side


def race(
    name: str, device: str, options: Options, sides: dict[tuple[str, str], Side]
) -> tuple[list[Figure], list[dict[str, Any]]]:
    """The figures of a workload, and what each process answered when it opened it."""
    turns: dict[str, Callable[[], float]] = {}
    opened: dict[tuple[str, str], dict[str, Any]] = {}
    for (script, suffix), side in sides.items():
        answer = side.ask(open=name, device=device, smoke=options.smoke)
        opened[script, suffix] = answer
        for contender in answer["contenders"]:
            turns[contender + suffix] = side.turns(contender, 0 if options.smoke else TURN)
    if len({answer["parameters"] for answer in opened.values()}) > 1:
        counts = ", ".join(f"{answer['parameters']:,}" for answer in opened.values())
        raise SystemExit(f"{name} is not one model: parameters {counts}")
    rates = alternate(turns, rounds=options.rounds)
    figures = [Figure(name=f"{name}, {contender}", unit="steps/s", values=rates[contender]) for contender in rates]
    for ours, theirs in pairs(opened):
        bound = BOUNDS.get((name, ours, theirs)) if device == "cpu" else None
        target = None if bound is None else Target(sign=">=", bound=bound)
        ratio = ratios(rates, ours, theirs)
        figures.append(Figure(name=f"{name}, {ours} to {theirs}", unit="x", values=ratio, target=target))
    return figures, list(opened.values())


def pairs(opened: dict[tuple[str, str], dict[str, Any]]) -> list[tuple[str, str]]:
    """The contenders that are compared: each of jaxai's to all of the other side."""
    ours = opened[OURS, ""]["contenders"]
    theirs = [
        name + suffix
        for (script, suffix), answer in opened.items()
        if script == THEIRS
        for name in answer["contenders"]
    ]
    return [(one, other) for one in ours for other in theirs]


if __name__ == "__main__":
    main()
