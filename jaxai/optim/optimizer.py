"""An optimizer as a value: one Optax update rule and what surrounds it, each part chosen by rules over parameter paths.

The chain is always: clip the global norm, coupled weight decay, the update rule, decoupled weight decay, rescaling,
learning-rate multipliers, learning rate. `sgd`, `adam`, `adamw`, `lion`, `muon`, `lars` and `lamb` fill it in; an
experiment may also replace it whole, by `Call(optax.anything, ...)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxai import forms
from jaxai.core import rules, tree
from jaxai.core.call import Call
from jaxai.core.duration import Duration
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.optim.schedules import After, Schedule

LearningRate = float | Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An Optax update rule with its learning rate, weight decay, clipping and per-parameter rules."""

    update: Call
    """The update rule without learning rate, such as `Call(optax.scale_by_adam, b1=0.9)`."""
    learning_rate: Any
    """A number, or a schedule such as `WarmupCosine(peak=1e-3)`."""
    weight_decay: float = 0.0
    """Strength of weight decay."""
    coupled: bool = False
    """Whether decay is added to the gradient (L2, as PyTorch's SGD and Adam) or to the update (AdamW)."""
    decay: tuple[tuple[str, float], ...] | None = None
    """Rules (regex, multiplier) saying which parameters decay; by default those of two or more dims."""
    multipliers: tuple[tuple[str, float | After], ...] = ()
    """Rules (regex, multiplier) on the learning rate; 1 where none matches. `After(Epochs(2))` is 0 until then."""
    rescale: Call | None = None
    """A transformation of the update after weight decay, such as LAMB's trust ratio."""
    clip_norm: float | None = None
    """The gradient's global norm is scaled down to this."""

    def __post_init__(self):
        check_fields(self, "optimizer.")
        if not isinstance(self.learning_rate, (int, float)) and not hasattr(self.learning_rate, "build"):
            what = f"must be a number or a schedule, is {self.learning_rate!r}"
            raise InputError("optimizer.learning_rate", what, "such as 1e-3 or WarmupCosine(peak=1e-3)")
        if isinstance(self.learning_rate, (int, float)) and self.learning_rate < 0:
            raise InputError("optimizer.learning_rate", f"must not be negative, is {self.learning_rate}")
        if self.weight_decay < 0:
            raise InputError("optimizer.weight_decay", f"must not be negative, is {self.weight_decay}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise InputError("optimizer.clip_norm", f"must be above 0, is {self.clip_norm}", "None turns clipping off")

    def schedule(self, total_steps: int, to_steps: Callable[[Duration], int]) -> Callable[[Any], Any]:
        """The learning rate as a function of the step."""
        if isinstance(self.learning_rate, (int, float)):
            return optax.constant_schedule(self.learning_rate)
        return self.learning_rate.build(total_steps, to_steps)

    def build(self, total_steps: int, to_steps: Callable[[Duration], int]) -> optax.GradientTransformation:
        """The Optax chain of a run of `total_steps`."""
        decay = [_add_decay(self.weight_decay, self.decay)] if self.weight_decay else []
        return optax.chain(
            *([optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []),
            *(decay if self.coupled else []),
            _in_place(_transformation(self.update, "optimizer.update")),
            *([] if self.coupled else decay),
            *([_transformation(self.rescale, "optimizer.rescale")] if self.rescale is not None else []),
            *([_multiply(self.multipliers, to_steps)] if self.multipliers else []),
            optax.scale_by_learning_rate(self.schedule(total_steps, to_steps)),
        )

    def decays(self, params: Any) -> dict[str, float]:
        """How strongly each parameter decays, by path; those that do not may be absent."""
        return tree.flatten(decay_multipliers(self.decay, params)) if self.weight_decay else {}

    def rules(self, params: Any) -> list[tuple[str, rules.Rules[Any], Any]]:
        """(field, rules, the parameters they choose among), for a description."""
        return [("optimizer.decay", self.decay or (), params), ("optimizer.multipliers", self.multipliers, params)]


def _in_place(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same rule, whose new slots are made once, and then read, on CPUs.

    The compiler would rather compute them again for the parameters, and so need both the old and the new ones.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        new = rule.update(updates, state, params)
        return jax.lax.optimization_barrier(new) if forms.is_fast() and jax.default_backend() == "cpu" else new

    return optax.GradientTransformation(rule.init, update)


def _transformation(call: Call, field: str) -> optax.GradientTransformation:
    made = call()
    if not isinstance(made, optax.GradientTransformation):
        what = f"gives {type(made).__name__}, not an Optax GradientTransformation"
        raise InputError(field, what, "such as Call(optax.scale_by_adam)")
    return made


def decay_multipliers(decay: tuple[tuple[str, float], ...] | None, params: Any) -> Any:
    """The tree of weight-decay multipliers: by rules, or 1 for tensors of two or more dims but biases, else 0."""
    if decay is None:
        return tree.map_paths(lambda path, p: 1.0 if _num_dims(path, p) > 1 else 0.0, params)
    return rules.assign(decay, params, 0.0, "optimizer.decay")


def _num_dims(path: str, param: Any) -> int:
    """Dims of a tensor, one of a bias or scale; of one layer's where `blocks` stacks all layers', as with `scan`."""
    if f"/{path}".endswith(("/bias", "/scale")):
        return min(param.ndim, 1)  # that of several layers in one, such as of queries, keys and values, has more
    return param.ndim - ("/blocks/" in f"/{path}" and param.ndim > 2)


def _is_parted(path: str, param: Any) -> bool:
    """Whether it is a kernel [feature, part, features of each], such as that of queries, keys and values."""
    return _num_dims(path, param) == 3 and f"/{path}".endswith(("/qkv/kernel", "/kv/kernel", "/dense1/kernel"))


def _add_decay(strength: float, decay: tuple[tuple[str, float], ...] | None) -> optax.GradientTransformation:
    return _by_rules(
        lambda params: decay_multipliers(decay, params), lambda u, p, scale: u + strength * scale * p if scale else u
    )


def _multiply(
    multipliers: tuple[tuple[str, float | After], ...], to_steps: Callable[[Duration], int]
) -> optax.GradientTransformation:
    """Multiplies by the rules' values at the current step, which is counted if one of them depends on it."""
    by_rules = lambda params: rules.assign(multipliers, params, 1.0, "optimizer.multipliers")  # noqa: E731
    if not any(isinstance(value, After) for _, value in multipliers):
        return _by_rules(by_rules, lambda u, _, scale: u * scale)

    def init(params: Any) -> optax.ScaleByScheduleState:
        by_rules(params)
        return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def scaled(update: jax.Array, value: float | After) -> jax.Array:
            scale = value.build(0, to_steps)(state.count) if isinstance(value, After) else value
            return update * jnp.asarray(scale, update.dtype)

        changed = jax.tree.map(scaled, updates, by_rules(params))
        return changed, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def _by_rules(scales: Callable[[Any], Any], change: Callable[..., Any]) -> optax.GradientTransformation:
    """`change(update, param, scale)` of every leaf; rules that match nothing are known before the first step."""

    def init(params: Any) -> optax.EmptyState:
        scales(params)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(change, updates, params, scales(params)), state

    return optax.GradientTransformation(init, update)


def sgd(learning_rate: LearningRate, *, momentum: float = 0.9, nesterov: bool = False, **fields: Any) -> Optimizer:
    """Stochastic gradient descent with momentum; weight decay is coupled, as in PyTorch."""
    update = Call(optax.trace, decay=momentum, nesterov=nesterov)
    return Optimizer(update=update, learning_rate=learning_rate, **{"coupled": True, **fields})


def adam(
    learning_rate: LearningRate, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, **fields: Any
) -> Optimizer:
    """Adam (Kingma & Ba 2015); weight decay is coupled, as in PyTorch."""
    update = Call(optax.scale_by_adam, b1=b1, b2=b2, eps=eps)
    return Optimizer(update=update, learning_rate=learning_rate, **{"coupled": True, **fields})


def adamw(
    learning_rate: LearningRate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    **fields: Any,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    update = Call(optax.scale_by_adam, b1=b1, b2=b2, eps=eps)
    return Optimizer(update=update, learning_rate=learning_rate, weight_decay=weight_decay, **fields)


def lion(
    learning_rate: LearningRate, *, b1: float = 0.9, b2: float = 0.99, weight_decay: float = 1e-2, **fields: Any
) -> Optimizer:
    """Lion: the sign of an interpolated momentum (Chen et al. 2023)."""
    update = Call(optax.scale_by_lion, b1=b1, b2=b2)
    return Optimizer(update=update, learning_rate=learning_rate, weight_decay=weight_decay, **fields)


def muon(learning_rate: LearningRate, *, beta: float = 0.95, weight_decay: float = 1e-2, **fields: Any) -> Optimizer:
    """Muon: orthogonalised momentum for matrices, Adam for everything else (Jordan et al. 2024)."""
    update = Call(scale_by_muon_or_adam, beta=beta)
    return Optimizer(update=update, learning_rate=learning_rate, weight_decay=weight_decay, **fields)


def scale_by_muon_or_adam(beta: float = 0.95, b1: float = 0.9, b2: float = 0.999) -> optax.GradientTransformation:
    """Muon on parameters of two dims, and on each part of a kernel of several layers in one; Nesterov-Adam on others.

    Both without learning rate.
    """

    def numbers(path: str, param: Any) -> Any:
        if _num_dims(path, param) == 2 or _is_parted(path, param):
            return optax.contrib.MuonDimensionNumbers(param.ndim - _num_dims(path, param), param.ndim - 1)
        return None

    def matrices(params: Any) -> Any:
        return tree.map_paths(numbers, params)

    # `muon` is the one form that Optax can apply to some parameters only; its sign and rate of 1 are undone.
    muon = optax.contrib.muon(1.0, beta=beta, adam_b1=b1, adam_b2=b2, muon_weight_dimension_numbers=matrices)
    return optax.chain(muon, optax.scale(-1.0))


def lars(
    learning_rate: LearningRate,
    *,
    momentum: float = 0.9,
    trust_coefficient: float = 1e-3,
    weight_decay: float = 1e-4,
    **fields: Any,
) -> Optimizer:
    """LARS: each tensor's rate follows the ratio of its norm to its gradient's, for large batches (You et al. 2017)."""
    update = Call(scale_by_lars, momentum=momentum, trust_coefficient=trust_coefficient)
    return Optimizer(
        update=update, learning_rate=learning_rate, weight_decay=weight_decay, **{"coupled": True, **fields}
    )


def scale_by_lars(momentum: float = 0.9, trust_coefficient: float = 1e-3) -> optax.GradientTransformation:
    """The trust ratio of tensors of two or more dims, then momentum; in the paper the learning rate is in between."""
    trusted = optax.masked(
        optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient),
        lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
    )
    return optax.chain(trusted, optax.trace(decay=momentum))


def lamb(
    learning_rate: LearningRate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 1e-2,
    **fields: Any,
) -> Optimizer:
    """LAMB: Adam with a trust ratio for each tensor, for large batches (You et al. 2020)."""
    update, rescale = Call(optax.scale_by_adam, b1=b1, b2=b2, eps=eps), Call(optax.scale_by_trust_ratio)
    return Optimizer(update=update, rescale=rescale, learning_rate=learning_rate, weight_decay=weight_decay, **fields)
