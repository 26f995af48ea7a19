"""The memory of a program at its fullest moment, estimated from its trace: nothing is compiled or computed.

The rules are those of XLA. What is cheap to compute element by element is computed where it is read and never stored,
if all that read it can do so; a product, a convolution or a sum is stored, from where it is computed to where it is
last read. What is updated in place costs nothing, unless something reads the old value that the update does not wait
for: then the old value is copied.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxai import compat

CHEAP = frozenset((
    "abs", "add", "add_any", "and", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp", "clz", "complex",
    "concatenate", "conj", "convert_element_type", "copy", "copy_p", "dynamic_slice", "eq", "eq_to", "expand_dims",
    "floor", "ge", "gt", "imag", "integer_pow", "iota", "is_finite", "le", "le_to", "lt", "lt_to", "max", "min",
    "mul", "mulhi", "name", "ne", "neg", "not", "one_minus_square", "or", "pad", "population_count", "real",
    "reduce_precision", "reshape", "rev", "round", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "split", "square", "squeeze", "stop_gradient", "sub", "transpose", "xor",
))  # fmt: skip
#: Computed once rather than at each of several places that read it.
DEAR = frozenset((
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "div", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "lgamma", "log", "log1p", "log2", "logistic", "nextafter", "pow",
    "rem", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
))  # fmt: skip
#: The same numbers in the same order.
VIEWS = frozenset((
    "copy", "copy_p", "expand_dims", "name", "reshape", "squeeze", "stop_gradient",
))  # fmt: skip
#: Sums and the like, which can compute what they take in.
SUMS = frozenset((
    "argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum",
    "reduce_xor",
))  # fmt: skip
#: Functions that stand for what they are made of.
CALLS = frozenset((
    "checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
    "custom_vmap_call", "jit", "named_call", "pjit", "remat", "remat2", "shard_map",
))  # fmt: skip


@dataclasses.dataclass(eq=False, slots=True)
class _Value:
    """What one operation gives, in the order in which a program computes them."""

    op: str
    num_bytes: float
    operands: list[_Value]
    inside: float = 0
    """Bytes that a loop needs besides."""
    readers: list[_Value] = dataclasses.field(default_factory=list)
    at: int = -1
    """Which operation gives it; -1 for what is there from the beginning."""
    is_stored: bool = False
    is_held: bool = False
    """Whether a barrier keeps the compiler from computing it where it is read."""

    @property
    def is_elementwise(self) -> bool:
        return self.op in CHEAP or self.op in DEAR

    @property
    def takes_in(self) -> bool:
        """Whether it can compute what it reads, instead of reading it from memory."""
        return self.is_elementwise or self.op in SUMS


def peak_bytes(program: Any, num_updated: int = 0, shares: Mapping[tuple[int, ...], float] | None = None) -> int:
    """Bytes at the fullest moment of `program`, a closed jaxpr, besides its arguments and results.

    The first `num_updated` arguments are updated in place: they become the first results. Of arrays with one of the
    shapes `shares`, which are cut over several devices, each has that share.
    """
    return round(_peak(program.jaxpr, num_updated, dict(shares or {})))


def _peak(jaxpr: Any, num_updated: int, shares: dict[tuple[int, ...], float]) -> float:
    arguments = [_Value("argument", _num_bytes(var.aval, shares), []) for var in jaxpr.invars]
    values: list[_Value] = []
    results = _list_values(jaxpr, arguments, values, shares)
    values = _needed(values, results)
    for at, value in enumerate(values):
        value.at = at
        for operand in value.operands:
            operand.readers.append(value)
    ends = {id(value) for value in results}
    for value in reversed(values):
        value.is_stored = id(value) in ends or _is_stored(value)
    sources = _sources(values)
    updated = list(zip(arguments, results, strict=False))[:num_updated]
    return _fullest(values, ends, sources, _copies(values, updated, sources))


def _num_bytes(aval: Any, shares: Mapping[tuple[int, ...], float]) -> float:
    if not hasattr(aval, "shape"):
        return 0
    is_key = jnp.issubdtype(aval.dtype, jax.dtypes.prng_key)
    item = 8 if is_key else np.dtype(aval.dtype).itemsize
    if item == 2 and jax.default_backend() == "cpu" and jnp.issubdtype(aval.dtype, np.floating):
        item = 4  # in which CPUs compute
    return math.prod(aval.shape) * item * shares.get(tuple(aval.shape), 1)


def _list_values(
    jaxpr: Any, given: Sequence[_Value | None], values: list[_Value], shares: dict[tuple[int, ...], float]
) -> list[_Value | None]:
    """Appends what each operation gives to `values`, with functions that are called taken apart; gives the results."""
    known: dict[Any, _Value | None] = dict(zip(jaxpr.invars, given, strict=True))

    def read(atom: Any) -> _Value | None:
        return None if isinstance(atom, core.Literal) else known.get(atom)  # None for constants, which count nothing

    for eqn in jaxpr.eqns:
        operands, name = [read(atom) for atom in eqn.invars], eqn.primitive.name
        parts = _parts(eqn)
        if name in CALLS and parts and len(parts[0].invars) == len(operands):
            known.update(zip(eqn.outvars, _list_values(parts[0], operands, values, shares), strict=True))
            continue
        if name == "optimization_barrier":
            known.update(zip(eqn.outvars, operands, strict=True))
            for operand in operands:
                if operand is not None:
                    operand.is_held = True
            continue
        inside = max((_peak(part, 0, shares) for part in parts), default=0.0)
        for var in eqn.outvars:
            size = _num_bytes(var.aval, shares)
            if name == "sharding_constraint":
                name, size = _constrained(var.aval, eqn.params["sharding"], shares)
            value = _Value(name, size, [each for each in operands if each is not None], inside)
            known[var], inside = value, 0.0
            values.append(value)
    return [read(atom) for atom in jaxpr.outvars]


def _parts(eqn: Any) -> list[Any]:
    """The programs within an operation, such as the body of a loop."""
    kinds = (core.Jaxpr, core.ClosedJaxpr)
    found = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda each: isinstance(each, kinds))
    return [getattr(each, "jaxpr", each) for each in found if isinstance(each, kinds)]


def _constrained(aval: Any, sharding: Any, shares: dict[tuple[int, ...], float]) -> tuple[str, float]:
    """What a constraint comes to, and its bytes: a cut parameter is gathered for use, what else there is stays."""
    shape = tuple(aval.shape)
    if shape not in shares:
        return "reshape", _num_bytes(aval, shares)
    share = math.prod(sharding.shard_shape(shape)) / max(math.prod(shape), 1)
    if jax.default_backend() == "cpu":
        shares[shape] = share  # its gradient is added up as it is used, and only then cut
    return "gather", _num_bytes(aval, {}) * share


def _needed(values: list[_Value], results: list[_Value | None]) -> list[_Value]:
    """Those of `values` that the results are made of."""
    wanted = {id(value) for value in results}
    for value in reversed(values):
        if id(value) in wanted:
            wanted.update(id(operand) for operand in value.operands)
    return [value for value in values if id(value) in wanted]


def _is_stored(value: _Value) -> bool:
    """Whether memory has to hold it; of all that read it, this is known already."""
    if value.is_held:
        return True
    if value.op in VIEWS:
        return False
    shared = len(value.readers) > 1
    if not value.is_elementwise or (shared and value.op in DEAR):
        return True
    if shared and compat.sums_by_library() and any(_is_summed(reader) for reader in value.readers):
        return True
    return not all(_takes_in(reader) for reader in value.readers)


def _takes_in(reader: _Value) -> bool:
    """Whether `reader` computes what it reads, instead of reading it from memory."""
    if reader.op in VIEWS:
        return not reader.is_stored and all(_takes_in(each) for each in reader.readers)
    return reader.is_elementwise or reader.op in SUMS


def _is_summed(reader: _Value) -> bool:
    """Whether it is computed for sums alone."""
    return reader.is_elementwise and bool(reader.readers) and all(each.op in SUMS for each in reader.readers)


def _sources(values: list[_Value]) -> dict[int, set[_Value]]:
    """By the id of each value, what memory holds that it is computed from, arguments included."""
    sources: dict[int, set[_Value]] = {}
    for value in values:
        read: set[_Value] = set()
        for operand in value.operands:
            held = operand.at < 0 or operand.is_stored
            read |= {operand} if held else sources[id(operand)]
        sources[id(value)] = read
    return sources


def _copies(
    values: list[_Value], updated: Sequence[tuple[_Value, _Value | None]], sources: dict[int, set[_Value]]
) -> list[tuple[int, float]]:
    """(when it is last read, bytes) of every old value that something reads which its update does not wait for."""
    readers = collections.defaultdict(list)
    awaited: list[int] = []  # of each value, a bit for every value that it is computed from, and its own
    for value in values:
        bits = 1 << value.at
        for operand in value.operands:
            bits |= awaited[operand.at] if operand.at >= 0 else 0
        awaited.append(bits)
        if value.is_stored:
            for source in sources[id(value)]:
                readers[id(source)].append(value.at)
    copies = []
    for old, new in updated:
        if new is None or new.at < 0:
            continue
        late = [at for at in readers[id(old)] if not awaited[new.at] >> at & 1]
        if late:
            copies.append((max(late), old.num_bytes))
    return copies


def _fullest(
    values: list[_Value], ends: set[int], sources: dict[int, set[_Value]], copies: list[tuple[int, float]]
) -> float:
    """The most bytes that are held at once, besides arguments and results."""
    last_read: dict[int, int] = {}
    for value in values:
        if value.is_stored:
            last_read.update((id(source), value.at) for source in sources[id(value)])
    dying = collections.defaultdict(list)
    for at, size in copies:
        dying[at].append(size)
    for value in values:
        if value.is_stored and id(value) not in ends:
            dying[last_read.get(id(value), value.at)].append(value.num_bytes)
    held, most = sum(size for _, size in copies), 0.0
    for value in values:
        if not value.is_stored:
            continue
        size = 0 if id(value) in ends else value.num_bytes
        # Element by element, a result takes the place of what is read for the last time.
        in_place = value.is_elementwise and any(each >= size for each in dying[value.at])
        most = max(most, held + value.inside + (0 if in_place else size))
        held += size - sum(dying[value.at])
    return most
