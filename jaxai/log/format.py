"""How a number is written for people: the one place, used by the displays, the charts and the report."""

from __future__ import annotations

import math


def label(name: str) -> str:
    """`examples_per_second` as `examples/s`, `gradient_norm` as `gradient norm`."""
    return name.replace("_per_second", "/s").replace("_", " ")


def value(name: str, number: float) -> str:
    """A metric's value in four significant digits; shares (`data_wait`, `mfu`) in percent, `..._seconds` as a time."""
    if isinstance(number, int):
        return f"{number:,}"
    if math.isfinite(number):
        if name in ("data_wait", "mfu"):
            return f"{number:.0%}"
        if name == "seconds" or (name.endswith("_seconds") and not name.endswith("per_second")):
            return duration(number)
        if name == "learning_rate":
            return f"{number:.4g}"
    return significant(number)


def significant(number: float) -> str:
    """Four significant digits: `0.9000`, `12.35`, `1,235`, `12.35k`, `1.235M`, `0.00012`, `1.235e-05`."""
    if not math.isfinite(number):
        return f"{number:g}"
    size = abs(float(f"{number:.4g}"))
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{number:.4g}"
    if size < 1e3:
        return f"{number:#.4g}"
    if size < 1e4:
        return f"{number:,.0f}"
    for unit, scale in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if size < 1e3 * scale:
            digits = f"{number / scale:#.4g}"
            return digits.rstrip(".") + unit
    return f"{number:.4g}"


def duration(seconds: float) -> str:
    """`0.25 s`, `12.3 s`, then as `clock`."""
    if not math.isfinite(seconds):
        return "?"
    if round(seconds, 1) < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    return clock(seconds)


def clock(seconds: float) -> str:
    """`0:05`, `4:05`, `3:04:05`, `2d 03:04`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours == 0:
        return f"{minutes}:{rest:02}"
    if hours < 24:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{hours // 24}d {hours % 24:02}:{minutes:02}"
