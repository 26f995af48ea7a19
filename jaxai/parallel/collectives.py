"""What devices tell each other, read from a compiled program."""

from __future__ import annotations

import collections
import dataclasses
import math
import re

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8}
_CALL = re.compile(rf" = (?P<shape>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"([a-z]+\d*|pred)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange in a program."""

    kind: str
    """One of `KINDS`."""
    num_bytes: int
    """What each device has of it afterwards."""
    group: int
    """How many devices take part with each other."""
    source: str
    """The operation in JAX that it comes from, as far as the compiler knows."""


def collectives(program: str) -> list[Collective]:
    """The exchanges in the text of a compiled program (HLO); what stands in a loop counts once."""
    found = []
    for line in program.splitlines():
        call = _CALL.search(line)
        if call is None:
            continue
        arrays = _ARRAY.findall(call["shape"])
        if call["start"] and len(arrays) > 1:  # the operands stand before the results
            arrays = arrays[len(arrays) // 2 :]
        sizes = [math.prod(int(n) for n in dims.split(",") if n) * _SIZES.get(dtype, 4) for dtype, dims in arrays]
        source = re.search(r'op_name="([^"]*)"', line)
        found.append(Collective(call["kind"], sum(sizes), _group(line), source[1] if source else ""))
    return found


def by_kind(found: list[Collective]) -> dict[str, tuple[int, int]]:
    """(number, bytes) of each kind that there is."""
    counts: dict[str, tuple[int, int]] = {}
    for each in found:
        number, size = counts.get(each.kind, (0, 0))
        counts[each.kind] = (number + 1, size + each.num_bytes)
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def _group(line: str) -> int:
    """From `replica_groups={{0,1},{2,3}}`, or `[4,2]<=[8]`, or `mesh['a'=4,'b'=2] {'b'}`, of which each has 2."""
    named = re.search(r"replica_groups=mesh\[(.*?)\].*?\{([^}]*)\}", line)
    if named:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return len(listed[1].split(","))
    tiled = re.search(r"replica_groups=\[(\d+),(\d+)\]", line)
    if tiled:
        return int(tiled[2])
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", line)
    return len(collections.Counter(re.findall(r"\{(\d+),", line))) if pairs else 1
