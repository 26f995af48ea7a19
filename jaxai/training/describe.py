"""What an experiment comes to, before a single FLOP is spent: shapes, counts, bytes, steps.

Everything is traced abstractly (`jax.eval_shape`, `jax.jit(...).lower`), so the whole of initialisation, step and
evaluation is checked; nothing is computed and no array of the model's size is made.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax

from jaxai import forms
from jaxai.core import rules, tree
from jaxai.optim import Grouped, Optimizer
from jaxai.parallel import Mesh
from jaxai.parallel.placing import shard_bytes
from jaxai.training.compiled import Compiled
from jaxai.training.peak import peak_bytes
from jaxai.training.setup import Setup
from jaxai.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Description:
    """The facts about an experiment on this machine."""

    params: list[tuple[str, tuple[int, ...], str, bool, bool]]
    """(path, shape, dtype, trained, decayed) of every parameter."""
    places: dict[str, str]
    """Which dim of each parameter is cut over which axis of the mesh, by path; empty where there is but one device."""
    num_params: int
    num_trained: int
    bytes_params: int
    bytes_optimizer: int
    """Optimizer slots and moving average."""
    bytes_state: int
    """Parameters, optimizer, and what else a step updates."""
    bytes_params_device: int
    """Of the parameters, on one device."""
    bytes_optimizer_device: int
    bytes_state_device: int
    bytes_temporary: int
    """Estimate of what lives within a step only, at its fullest, on one device: activations, gradients, copies."""
    bytes_memory: int
    """Estimated peak of a step on one device: its state, what is temporary, and its share of a batch."""
    flops: float
    """Floating-point operations of one step on the whole batch."""
    total_steps: int
    batch_size: int
    num_examples: dict[str, int]
    """Examples of the training data and of each evaluation."""
    rules: list[tuple[str, str, int]]
    """(field, regex, parameters that it decides)."""
    metrics: dict[str, list[str]]
    """The metrics that each evaluation reports."""
    devices: int


def describe(setup: Setup) -> Description:
    """Traces initialisation, step and evaluations, and adds up what they need; raises InputError where they fail."""
    experiment, state = setup.experiment, setup.abstract_state
    params = tree.join(state.params, state.frozen)
    trained = set(tree.flatten(state.params))
    declared = experiment.optimizer if isinstance(experiment.optimizer, (Optimizer, Grouped)) else None
    decays = declared.decays(state.params) if declared is not None else {}
    evaluator = setup.evaluator()
    placed = setup.layout.abstract(state)
    devices = len(setup.layout.devices)
    shows_places = devices > 1 or isinstance(experiment.parallel, Mesh)
    temporary = _temporary_bytes(setup, placed)
    return Description(
        params=[
            (path, leaf.shape, str(leaf.dtype), path in trained, bool(decays.get(path)))
            for path, leaf in tree.flatten(params).items()
        ],
        places=_places(tree.join(placed.params, placed.frozen)) if shows_places else {},
        num_params=tree.size(params),
        num_trained=tree.size(state.params),
        bytes_params=tree.num_bytes(params),
        bytes_optimizer=tree.num_bytes((state.opt_state, state.ema)),
        bytes_state=tree.num_bytes(state),
        bytes_params_device=_device_bytes((placed.params, placed.frozen)),
        bytes_optimizer_device=_device_bytes((placed.opt_state, placed.ema)),
        bytes_state_device=_device_bytes(placed),
        bytes_temporary=temporary,
        bytes_memory=_device_bytes(placed) + temporary + tree.num_bytes(setup.example) // setup.layout.num_shards,
        flops=_flops(setup),
        total_steps=setup.total_steps,
        batch_size=experiment.train.batch_size,
        num_examples={"train": setup.reader.num_examples} | {n: r.num_examples for n, r in setup.evals.items()},
        rules=_rules_hit(experiment.freeze, declared, params, state.params),
        metrics={
            name: evaluator.names(state.variables(), next(reader.evaluation())) for name, reader in setup.evals.items()
        },
        devices=devices,
    )


def _device_bytes(placed: Any) -> int:
    return sum(shard_bytes(leaf) for leaf in jax.tree.leaves(placed))


def _places(params: Any) -> dict[str, str]:
    """Such as `dim 0 over fsdp, dim 1 over tensor`, by path."""

    def place(leaf: Any) -> str:
        spec = getattr(leaf.sharding, "spec", ())
        return ", ".join(f"dim {dim} over {axis}" for dim, axis in enumerate(spec) if axis) or "replicated"

    return {path: place(leaf) for path, leaf in tree.flatten(params).items()}


def _flops(setup: Setup) -> float:
    """Operations of a step on the whole batch, counted before anything is optimized."""
    # The same arithmetic, cut into fewer parts.
    options = dataclasses.replace(setup.step_options, virtual_shards=None)
    step = make_train_step(setup.experiment.task, setup.optimizer, setup.schedule, options, None)
    cost = jax.jit(step).lower(setup.abstract_state, _shapes(setup.example)).cost_analysis() or {}
    return float(cost.get("flops", float("nan")))


def _temporary_bytes(setup: Setup, placed: Any) -> int:
    """The estimate for a device that works on its share of the batch."""
    layout, state = setup.layout, setup.abstract_state
    options = dataclasses.replace(setup.step_options, virtual_shards=None)
    step = make_train_step(setup.experiment.task, setup.optimizer, setup.schedule, options, None, layout.for_use)
    shares = {leaf.shape: shard_bytes(leaf) / tree.num_bytes(leaf) for leaf in jax.tree.leaves(placed) if leaf.size}
    with forms.use(setup.experiment.forms):
        program = jax.jit(step).trace(state, _shapes(setup.example, layout.num_shards)).jaxpr
    cut = {shape: share for shape, share in shares.items() if share < 1}
    return peak_bytes(program, len(jax.tree.leaves(state)), cut)


def _shapes(batch: Any, parts: int = 1) -> Any:
    """Of one of `parts` equal parts of a batch."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0] // parts, *x.shape[1:]), x.dtype), batch)


def _rules_hit(
    freeze: tuple[str, ...], optimizer: Optimizer | Grouped | None, params: Any, trained: Any
) -> list[tuple[str, str, int]]:
    listed = [("freeze", tuple((pattern, True) for pattern in freeze), params)]
    if optimizer is not None:
        listed += optimizer.rules(trained)
    return [
        (field, pattern, len(paths))
        for field, chosen, among in listed
        for pattern, _, paths in rules.hits(chosen, among)
    ]


def render(description: Description, compiled: Compiled | None = None, pretended: bool = False) -> str:
    """The description as text for a terminal; `pretended` says that CPU devices stand in for others."""
    d = description
    place = "  place" if d.places else ""
    lines = [f"{'parameter':<40} {'shape':<18} {'dtype':<9} {'count':>12}  {'decay':<6}{place}".rstrip()]
    for path, shape, dtype, trained, decayed in d.params:
        flag = ("yes" if decayed else "no") if trained else "frozen"
        size = f"{'x'.join(map(str, shape)) or '-':<18} {dtype:<9} {math.prod(shape):>12,}"
        lines.append(f"{path:<40} {size}  {flag:<6}  {d.places.get(path, '')}".rstrip())
    epochs = d.total_steps * d.batch_size / d.num_examples["train"]
    sizes = [(d.bytes_params, d.bytes_params_device), (d.bytes_optimizer, d.bytes_optimizer_device)]
    params, optimizer, state = (
        _bytes(whole) + (f", {_bytes(part)} a device" if d.places else "")
        for whole, part in [*sizes, (d.bytes_state, d.bytes_state_device)]
    )
    lines += [
        "",
        f"parameters   {d.num_params:,} ({params}), trained {d.num_trained:,}",
        f"optimizer    {optimizer} of slots and averages",
        *([f"state        {state}"] if d.places else []),
        f"step         {d.flops / 1e9:,.3f} GFLOP on {d.batch_size} examples over {_devices(d.devices)}",
        f"memory       about {_bytes(d.bytes_memory)} a device, {_bytes(d.bytes_temporary)} of it temporary",
        *(_render_compiled(compiled) if compiled is not None else []),
        *([f"devices      {_devices(d.devices)} of a CPU stand in for yours; {_ESTIMATE}"] if pretended else []),
        f"duration     {d.total_steps:,} steps, {epochs:,.1f} epochs",
        *(f"data         {name}: {count:,} examples" for name, count in d.num_examples.items()),
        *(f"metrics      {name}: {', '.join(names)}" for name, names in d.metrics.items()),
        *(f"rule         {field} {pattern!r}: {count} parameters" for field, pattern, count in d.rules),
    ]
    return "\n".join(lines)


_ESTIMATE = "memory and FLOPs are those of XLA's program for CPUs, an estimate for other hardware"


def _render_compiled(c: Compiled) -> list[str]:
    took = f"read from the compilation cache in {c.seconds:.1f} s" if c.from_cache else f"in {c.seconds:.1f} s"
    rest = c.bytes_memory - c.bytes_state - c.bytes_temporary
    memory = (
        f"{_bytes(c.bytes_state)} of state, {_bytes(c.bytes_temporary)} temporary, {_bytes(max(rest, 0))} of a batch"
    )
    per = "a step" if c.num_steps == 1 else f"in {c.num_steps} steps, which are one program"
    kinds = [f"{number:,} {kind} of {_bytes(size)}" for kind, (number, size) in c.exchanges.items()]
    said = f"{', '.join(kinds)} on each device {per}; what is in a loop counts once" if kinds else "none"
    return [
        f"compiled     {took}",
        f"  memory     {_bytes(c.bytes_memory)} a device: {memory}",
        f"  step       {c.flops / 1e9:,.3f} GFLOP a device",
        f"  exchanges  {said}",
    ]


def _devices(count: int) -> str:
    return f"{count:,} device" + ("s" if count > 1 else "")


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
