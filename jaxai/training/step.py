"""The training step: loss, gradient, update, metrics. Compiled once; no branch on what changes during a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxai import metrics
from jaxai.core import rng, tree
from jaxai.core.errors import InputError
from jaxai.parallel import GATHERED
from jaxai.parallel.tree_sum import tree_sum
from jaxai.tasks.task import Out, Task
from jaxai.training.state import TrainState
from jaxai.training.traces import tracing

Batch = Any


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """The parts of an experiment that the step is made of."""

    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = 1
    ema: float | None = None
    on_nonfinite: Literal["stop", "skip"] = "stop"
    virtual_shards: int | None = None
    """Into how many shards a batch is cut whose sums are taken in one order; None leaves the order to XLA."""
    num_devices: int = 1


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[Any], Any] | None,
    options: StepOptions,
    axis: str | None,
    for_use: Callable[[Any], Any] | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Packed]]:
    """The function `(state, batch) -> (state, metrics)` of one optimizer step.

    `axis` names the mapped axis that splits the batch, over which sums are taken; None where the compiler takes them.
    `for_use` brings parameters together from the devices that store them, where they are cut.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Packed]:
        key = rng.step_key(options.seed, "train", state.step)
        gradients, total, weight, measured, new_state = sum_batch(task, state, batch, key, options, axis, for_use)
        _check_out(measured, new_state, state.model_state)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(total) & jnp.isfinite(norm)

        def update() -> TrainState:
            with tracing("optimizer"):
                updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
            model_state = state.model_state | new_state
            ema = _average(state.ema, params, options.ema, state.step) if options.ema is not None else None
            return state.replace(params=params, opt_state=opt_state, model_state=model_state, ema=ema)

        skip = options.on_nonfinite == "skip"
        new = jax.lax.cond(finite, update, lambda: state) if skip else update()
        # A skipped step must not turn the interval's means into nan.
        count = (finite if skip else jnp.array(True)).astype(jnp.float32)
        measured = {
            "loss": metrics.Mean(jnp.where(count, total, 0.0), weight * count),
            **measured,
            "gradient_norm": metrics.Mean(jnp.where(count, norm, 0.0), count),
            "nonfinite_steps": metrics.Mean(1 - finite.astype(jnp.int32), jnp.int32(1)),
        }
        if schedule is not None:
            measured["learning_rate"] = metrics.Mean(jnp.float32(schedule(state.step)), jnp.float32(1))
        return new.replace(step=state.step + 1), Packed.of(measured)

    return train_step


def _check_out(measured: Mapping[str, Any], new_state: Mapping[str, Any], old_state: Mapping[str, Any]) -> None:
    """Raises InputError for metrics that are none, and for collections that no checkpoint would be expected to hold."""
    for name, metric in measured.items():
        if not callable(getattr(metric, "compute", None)):
            what = f"gives {name!r} as a metric, which is none"
            raise InputError("task.loss", what, "such as jaxai.metrics.Mean(total, weight)")
    shapes = [
        {name: (x.shape, x.dtype) for name, x in tree.flatten(states).items()} for states in (new_state, old_state)
    ]
    for name, shape in shapes[0].items():
        if shapes[1].get(name) != shape:
            raise InputError("task.loss", f"gives a model state {name!r} unlike task.init's", "give both the same")


def sum_batch(
    task: Task,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    options: StepOptions,
    axis: str | None,
    for_use: Callable[[Any], Any] | None = None,
) -> tuple[Any, jax.Array, jax.Array, dict[str, Any], dict[str, Any]]:
    """Of the whole batch: gradients of the mean loss; sums of loss, weight and metrics; the mean of the model state."""

    def over_devices(x: Any) -> Any:
        return jax.lax.psum(x, axis) if axis else x

    # In one piece, the weight is known before the backward pass, which then makes means: no pass over the gradients.
    whole = options.virtual_shards is None and options.accumulate == 1
    scale = (lambda weight: 1 / over_devices(weight)) if whole else None

    def measure(part: Batch) -> Any:
        gradients, out = sum_gradients(task, state, part, key, options, for_use, scale)
        return (gradients, out.total, out.weight, dict(out.metrics)), dict(out.model_state)

    if options.virtual_shards is not None:
        sums, states = tree_sum(measure, batch, options.virtual_shards, axis, options.num_devices)
        states = jax.tree.map(lambda x: x / options.virtual_shards, states)
    else:
        sums, states = measure(batch)
        sums, states = over_devices(sums), jax.lax.pmean(states, axis) if axis else states
    gradients, total, weight, measured = sums
    if not whole:
        gradients = jax.tree.map(lambda g: g / weight, gradients)
    return gradients, total, weight, measured, states


def sum_gradients(
    task: Task,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    options: StepOptions,
    for_use: Callable[[Any], Any] | None = None,
    scale: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[Any, Out]:
    """Gradients of the summed loss over this device's share of the batch, in `options.accumulate` micro-batches.

    In one micro-batch, of that loss times `scale(its weight)`.
    """
    compute = jnp.dtype(options.precision)

    def objective(params: Any, model_state: Any, part: Batch) -> tuple[jax.Array, Out]:
        joined = tree.cast(tree.join(params, state.frozen), compute)
        joined = joined if for_use is None else for_use(joined)
        out = task.loss({"params": joined, **model_state}, part, key, train=True)
        return out.total, out._replace(outputs=None)

    if for_use is not None:
        # Brought together again in the backward pass rather than kept: no device ever has all of them at once.
        objective = jax.checkpoint(objective, policy=jax.checkpoint_policies.save_anything_except_these_names(GATHERED))
    if options.accumulate == 1:

        def scaled(params: Any) -> tuple[jax.Array, Out]:
            total, out = objective(params, state.model_state, batch)
            # The weight depends on the batch alone.
            return total if scale is None else total * jax.lax.stop_gradient(scale(out.weight)), out

        return jax.grad(scaled, has_aux=True)(state.params)
    gradient = jax.grad(objective, has_aux=True)

    def add(carry: tuple[Any, Out], part: Batch) -> tuple[tuple[Any, Out], None]:
        gradients, sums = carry
        more, out = gradient(state.params, state.model_state | dict(sums.model_state), part)
        merged = metrics.merge(sums._replace(model_state=None), out._replace(model_state=None))
        return (metrics.merge(gradients, more), merged._replace(model_state=out.model_state)), None

    # Micro-batches interleave, so that each device cuts its own share and nothing moves between devices.
    parts = jax.tree.map(lambda x: x.reshape(-1, options.accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
    first = gradient(state.params, state.model_state, jax.tree.map(lambda x: x[0], parts))
    rest = jax.tree.map(lambda x: x[1:], parts)
    # XLA on CPU runs a convolution's weight gradient inside a rolled loop 84 times slower (jax issue 12868).
    unroll = options.accumulate - 1 if jax.default_backend() == "cpu" else 1
    return jax.lax.scan(add, first, rest, unroll=unroll)[0]


def _average(ema: Any, params: Any, decay: float, step: jax.Array) -> Any:
    # The first averages forget quickly, or the random initial values would linger for 1 / (1 - decay) steps.
    keep = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, p: a + (1 - keep) * (p - a), ema, params)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Packed:
    """Metric states as one float32 vector: one array to dispatch and to fetch instead of dozens.

    Of several steps in one dispatch it has a row each, [step, number]. A single step's counts are far below 2^24 and
    exact; sums over steps are taken on the host in float64.
    """

    vector: Any
    """float32 [number] or [step, number], on the device."""
    structure: tuple[Any, tuple[tuple[int, ...], ...]]

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> Packed:
        leaves, treedef = jax.tree.flatten(dict(measured))
        vector = jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves])
        return cls(vector, (treedef, tuple(leaf.shape for leaf in leaves)))

    def unpack(self) -> dict[str, Any]:
        """The metric states, with numpy leaves, of several steps their sums; waits for the device."""
        treedef, shapes = self.structure
        sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        parts = np.split(self.summed(), sizes)
        return jax.tree.unflatten(treedef, [p.reshape(s) for p, s in zip(parts, shapes, strict=True)])

    def summed(self) -> np.ndarray:
        """The vector, of several steps their sum in float64; waits for the device."""
        vector = np.asarray(self.vector)
        return vector if vector.ndim == 1 else vector.sum(axis=0, dtype=np.float64)

    def tree_flatten(self) -> tuple[tuple[Any], Any]:
        return (self.vector,), self.structure

    @classmethod
    def tree_unflatten(cls, structure: Any, children: tuple[Any]) -> Packed:
        return cls(children[0], structure)
