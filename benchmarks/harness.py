"""What the benchmarks share: contenders that take turns, medians of per-round ratios, a table and a JSON file.

The speed of a machine drifts by the minute, so contenders are never timed one after the other: each round runs all of
them once, A B A B, and only figures of the same round are compared. A figure is the median over the rounds; its spread
is the range from the first to the third quartile. Imports no JAX, so that `pin` comes before JAX counts its cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import operator
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MIN_ROUNDS = 7
SMOKE_ROUNDS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The command line that all benchmarks share."""

    rounds: int
    """How often each contender runs."""
    smoke: bool
    """Whether sizes are tiny: to see that the benchmark works, not to learn anything."""
    out: Path | None
    """The JSON file to write."""
    given: argparse.Namespace
    """The whole command line, with the options of the benchmark alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What a figure has to reach."""

    sign: str
    """`<=` or `>=`."""
    bound: float
    """In the figure's unit."""

    def reached(self, value: float) -> bool:
        return {"<=": operator.le, ">=": operator.ge}[self.sign](value, self.bound)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table: what was measured in each round."""

    name: str
    """What it is, in words."""
    unit: str
    """Such as `ms`; `x` of a ratio."""
    values: Sequence[float]
    """[round]."""
    target: Target | None = None
    """None where the figure only informs."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The spread: a quarter of the rounds lies below the first, a quarter above the second."""
        if len(self.values) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def parse(
    doc: str | None,
    *,
    rounds: int = 9,
    cores: int | None = 1,
    extend: Callable[[argparse.ArgumentParser], object] = lambda _: None,
) -> Options:
    """Reads the command line and pins the process to `cores` cores (None: to none); before JAX is imported.

    `extend` adds options; with `--device gpu` among them no core is pinned.
    """
    name, _, rest = (doc or "").partition("\n")
    parser = argparse.ArgumentParser(description=name, epilog=rest, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds, at least {MIN_ROUNDS} (default {rounds})")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, one round, nothing written without --out")
    parser.add_argument("--out", type=Path, help="the JSON file to write (default: results/NAME.json)")
    extend(parser)
    given = parser.parse_args()
    if not given.smoke and given.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be at least {MIN_ROUNDS}")
    pin(None if getattr(given, "device", "cpu") == "gpu" else cores)
    name = Path(parser.prog).stem + ("_gpu" if getattr(given, "device", "cpu") == "gpu" else "")
    default = None if given.smoke else RESULTS / f"{name}.json"
    rounds = SMOKE_ROUNDS if given.smoke else given.rounds
    return Options(rounds=rounds, smoke=given.smoke, out=given.out or default, given=given)


def pin(cores: int | None) -> None:
    """Confines this process and its children to the last `cores` of the cores it may use, where the system can."""
    if cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def alternate(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """What each contender gives, [round] by name; all run once a round, in order, after `warm_up` rounds unrecorded."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + rounds):
        for name, run in contenders.items():
            value = run()
            if number >= warm_up:
                measured[name].append(value)
    return measured


def ratios(measured: Mapping[str, Sequence[float]], of: str, to: str) -> list[float]:
    """`of` divided by `to`, [round]."""
    return [a / b for a, b in zip(measured[of], measured[to], strict=True)]


def differences(measured: Mapping[str, Sequence[float]], of: str, to: str) -> list[float]:
    """`of` minus `to`, [round]."""
    return [a - b for a, b in zip(measured[of], measured[to], strict=True)]


def report(title: str, options: Options, figures: Sequence[Figure], setting: Mapping[str, Any]) -> None:
    """Prints the table, and writes it with every round's values, `setting` and the machine to the JSON file."""
    place = machine()
    print(f"\n{title}: {options.rounds} rounds{', smoke sizes' if options.smoke else ''}")
    print(f"{place['cpu']}, cores {place['pinned_cores']} of {place['cpu_cores']}, load {place['load_average']}\n")
    width = max(len(figure.name) for figure in figures)
    print(f"{'':{width}}  {'median':>10}  {'quartiles':>21}  {'target':>10}")
    for figure in figures:
        low, high = figure.quartiles
        spread = f"{low:,.4g} .. {high:,.4g}"
        print(f"{figure.name:{width}}  {figure.median:>10,.4g}  {spread:>21}  {_verdict(figure)}".rstrip())
    if options.out is None:
        return
    data = {
        "benchmark": title,
        "smoke": options.smoke,
        "rounds": options.rounds,
        "setting": dict(setting),
        "figures": [_plain(figure) for figure in figures],
        "machine": place,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    print(f"\nwrote {options.out}")


def machine() -> dict[str, Any]:
    """Device, versions, revision, processor and the cores in use."""
    from jaxai.training.folder import environment

    found = environment()
    # Where the project lies and how the command was spelt says nothing about the figures.
    for name in ("folder", "command"):
        found.pop(name)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    load = [round(value, 1) for value in os.getloadavg()]
    return {**found, "cpu": _cpu(), "pinned_cores": cores, "load_average": load}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _verdict(figure: Figure) -> str:
    if figure.target is None:
        return figure.unit
    said = "reached" if figure.target.reached(figure.median) else "MISSED"
    return f"{figure.target.sign + ' ' + format(figure.target.bound, 'g'):>10}  {figure.unit}  {said}"


def _plain(figure: Figure) -> dict[str, Any]:
    target = figure.target
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": figure.median,
        "quartiles": list(figure.quartiles),
        "rounds": list(figure.values),
        "target": f"{target.sign} {target.bound:g}" if target else None,
        "reached": target.reached(figure.median) if target else None,
    }
