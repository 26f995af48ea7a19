"""Learning-rate schedules as values: they know their shape, and learn the number of steps when a run starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import optax

from jaxai.core.duration import Duration
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields

ToSteps = Callable[[Duration], int]
Function = Callable[[Any], Any]


class Schedule(Protocol):
    """Anything that becomes a function from the step to the learning rate."""

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:
        """The schedule of a run of `total_steps`; `to_steps` turns durations into steps."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Warmup:
    peak: float
    """The highest learning rate."""
    warmup: Duration | None = None
    """Length of the linear warm-up from zero to `peak`."""

    def __post_init__(self):
        check_fields(self, "learning_rate.")

    def _warm(self, total_steps: int, to_steps: ToSteps, after: Callable[[int], Function]) -> Function:
        """Warm-up, then the function that `after` makes of the number of steps left."""
        steps = to_steps(self.warmup) if self.warmup else 0
        if steps and steps >= total_steps:
            raise InputError(
                "learning_rate.warmup", f"{self.warmup} is {steps} steps of the run's {total_steps}", "shorten it"
            )
        if not steps:
            return after(total_steps)
        warmup = optax.linear_schedule(0.0, self.peak, steps)
        return optax.join_schedules([warmup, after(total_steps - steps)], [steps])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant(_Warmup):
    """Linear warm-up to `peak`, then constant."""

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:
        return self._warm(total_steps, to_steps, lambda _: optax.constant_schedule(self.peak))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupCosine(_Warmup):
    """Linear warm-up to `peak`, then half a cosine down to `end` (Loshchilov & Hutter 2017)."""

    end: float = 0.0
    """The learning rate at the last step."""

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:
        alpha = self.end / self.peak if self.peak else 0.0
        return self._warm(total_steps, to_steps, lambda left: optax.cosine_decay_schedule(self.peak, left, alpha))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupLinear(_Warmup):
    """Linear warm-up to `peak`, then linear down to `end`."""

    end: float = 0.0
    """The learning rate at the last step."""

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:
        return self._warm(total_steps, to_steps, lambda left: optax.linear_schedule(self.peak, self.end, left))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmupSteps(_Warmup):
    """Linear warm-up to `peak`, then multiplied by `factor` at each of `boundaries`."""

    boundaries: tuple[Duration, ...] = ()
    """When the rate falls, counted from the start of the run."""
    factor: float = 0.1
    """What it is multiplied by each time."""

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:
        def after(left: int) -> Function:
            falls = {to_steps(boundary) - (total_steps - left): self.factor for boundary in self.boundaries}
            if min(falls, default=1) <= 0:
                raise InputError("learning_rate.boundaries", "a boundary lies within the warm-up", "move it behind")
            return optax.piecewise_constant_schedule(self.peak, falls)

        return self._warm(total_steps, to_steps, after)


@dataclasses.dataclass(frozen=True)
class After:
    """A multiplier that is 0 until `at`: parameters unfrozen on a schedule (Howard & Ruder 2018).

    Unlike `Experiment.freeze` it costs gradients and optimizer memory from the start.
    """

    at: Duration
    """When the multiplier begins."""
    multiplier: float = 1.0
    """What it is from then on."""

    def __post_init__(self):
        check_fields(self, "After.")

    def build(self, total_steps: int, to_steps: ToSteps) -> Function:  # noqa: ARG002
        first = to_steps(self.at)
        return lambda step: jnp.where(step >= first, self.multiplier, 0.0)
