"""What an experiment comes to, before a single FLOP is spent: shapes, counts, bytes, steps.

Everything is traced abstractly (`jax.eval_shape`, `jax.jit(...).lower`), so the whole of initialisation, step and
evaluation is checked; nothing is computed and no array of the model's size is made.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxai.core import rng, rules, tree
from jaxai.optim import Grouped, Optimizer
from jaxai.training.setup import Setup
from jaxai.training.step import StepOptions, make_train_step


@dataclasses.dataclass(frozen=True)
class Description:
    """The facts about an experiment on this machine."""

    params: list[tuple[str, tuple[int, ...], str, bool, bool]]
    """(path, shape, dtype, trained, decayed) of every parameter."""
    num_params: int
    num_trained: int
    bytes_params: int
    bytes_optimizer: int
    """Optimizer slots and moving average."""
    bytes_activations: int
    """What a step keeps for its backward pass, on one device."""
    bytes_memory: int
    """Estimated peak of a step on one device: state, gradients, activations and a batch."""
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
    options = dataclasses.replace(setup.step_options, virtual_shards=None)  # the same arithmetic, cut into fewer parts
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), setup.example)
    step = make_train_step(experiment.task, setup.optimizer, setup.schedule, options, None)
    cost = jax.jit(step).lower(state, batch).cost_analysis() or {}
    evaluator = setup.evaluator()
    activations = _residual_bytes(setup, options, batch)
    bytes_batch = tree.num_bytes(batch) // setup.layout.num_shards
    trained_bytes = tree.num_bytes(state.params)
    return Description(
        params=[
            (path, leaf.shape, str(leaf.dtype), path in trained, bool(decays.get(path)))
            for path, leaf in tree.flatten(params).items()
        ],
        num_params=tree.size(params),
        num_trained=tree.size(state.params),
        bytes_params=tree.num_bytes(params),
        bytes_optimizer=tree.num_bytes((state.opt_state, state.ema)),
        bytes_activations=activations,
        bytes_memory=tree.num_bytes(state) + trained_bytes + activations + bytes_batch,
        flops=float(cost.get("flops", float("nan"))),
        total_steps=setup.total_steps,
        batch_size=experiment.train.batch_size,
        num_examples={"train": setup.reader.num_examples} | {n: r.num_examples for n, r in setup.evals.items()},
        rules=_rules_hit(experiment.freeze, declared, params, state.params),
        metrics={
            name: evaluator.names(state.variables(), next(reader.evaluation())) for name, reader in setup.evals.items()
        },
        devices=setup.layout.num_shards,
    )


def _residual_bytes(setup: Setup, options: StepOptions, batch: Any) -> int:
    """Bytes that reverse-mode differentiation keeps of one micro-batch on one device."""
    task = setup.experiment.task
    parts = setup.layout.num_shards * options.accumulate
    part = jax.tree.map(lambda x: jax.ShapeDtypeStruct((x.shape[0] // parts, *x.shape[1:]), x.dtype), batch)

    def backward(state: Any, batch: Any) -> Any:
        def objective(params: Any) -> Any:
            joined = tree.cast(tree.join(params, state.frozen), jnp.dtype(options.precision))
            key = rng.step_key(options.seed, "train", 0)
            return task.loss({"params": joined, **state.model_state}, batch, key, train=True).total

        # The function that pulls gradients back is a pytree of exactly what it has to keep.
        return jax.vjp(objective, state.params)[1]

    return tree.num_bytes(jax.eval_shape(backward, setup.abstract_state, part))


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


def render(description: Description) -> str:
    """The description as text for a terminal."""
    d = description
    lines = [f"{'parameter':<40} {'shape':<18} {'dtype':<9} {'count':>12}  decay"]
    for path, shape, dtype, trained, decayed in d.params:
        count = 1
        for size in shape:
            count *= size
        flag = ("yes" if decayed else "no") if trained else "frozen"
        lines.append(f"{path:<40} {'x'.join(map(str, shape)) or '-':<18} {dtype:<9} {count:>12,}  {flag}")
    epochs = d.total_steps * d.batch_size / d.num_examples["train"]
    lines += [
        "",
        f"parameters   {d.num_params:,} ({_bytes(d.bytes_params)}), trained {d.num_trained:,}",
        f"optimizer    {_bytes(d.bytes_optimizer)} of slots and averages",
        f"step         {d.flops / 1e9:,.3f} GFLOP on {d.batch_size} examples over {d.devices} device"
        + ("s" if d.devices > 1 else ""),
        f"memory       about {_bytes(d.bytes_memory)} a device, {_bytes(d.bytes_activations)} of it activations",
        f"duration     {d.total_steps:,} steps, {epochs:,.1f} epochs",
        *(f"data         {name}: {count:,} examples" for name, count in d.num_examples.items()),
        *(f"metrics      {name}: {', '.join(names)}" for name, names in d.metrics.items()),
        *(f"rule         {field} {pattern!r}: {count} parameters" for field, pattern, count in d.rules),
    ]
    return "\n".join(lines)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
