"""One optimizer a group of parameters, chosen by rules: for a GAN's two networks, or a head and its trunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import optax

from jaxai.core import rules, tree
from jaxai.core.duration import Duration
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.optim.optimizer import Optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped:
    """Optimizers by rules: `Grouped(groups=(("^generator/", adam(1e-4)), ("^discriminator/", adam(4e-4))))`.

    Each has its own schedule, clips the norm of its own group and sees its own group's paths in its rules.
    """

    groups: tuple[tuple[str, Optimizer], ...]
    """Ordered (regex, optimizer): the first regex that is found in a path gives that parameter its optimizer."""

    def __post_init__(self):
        check_fields(self, "optimizer.")
        if not self.groups:
            raise InputError(
                "optimizer.groups", "is empty", "such as (('head', optim.adam(1e-3)), ('', optim.sgd(0.1)))"
            )

    def schedule(self, total_steps: int, to_steps: Callable[[Duration], int]) -> Callable[[Any], Any]:
        """The learning rate of the first group, as a function of the step."""
        return self.groups[0][1].schedule(total_steps, to_steps)

    def build(self, total_steps: int, to_steps: Callable[[Duration], int]) -> optax.GradientTransformation:
        """The Optax transformation of a run of `total_steps`."""
        chains: dict[Hashable, optax.GradientTransformation] = {
            i: optimizer.build(total_steps, to_steps) for i, (_, optimizer) in enumerate(self.groups)
        }
        return optax.multi_transform(chains, self._numbers)

    def decays(self, params: Any) -> dict[str, float]:
        """How strongly each parameter decays, by path; those that do not may be absent."""
        found: dict[str, float] = {}
        for i, (_, optimizer) in enumerate(self.groups):
            found |= optimizer.decays(self._group(i, params))
        return found

    def rules(self, params: Any) -> list[tuple[str, rules.Rules[Any], Any]]:
        """(field, rules, the parameters they choose among), for a description."""
        listed: list[tuple[str, rules.Rules[Any], Any]] = [("optimizer.groups", self.groups, params)]
        for i, (_, optimizer) in enumerate(self.groups):
            listed += optimizer.rules(self._group(i, params))
        return listed

    def _numbers(self, params: Any) -> Any:
        """The number of each parameter's group."""
        numbered = tuple((pattern, i) for i, (pattern, _) in enumerate(self.groups))
        chosen = rules.assign(numbered, params, -1, "optimizer.groups")
        for path, number in tree.flatten(chosen).items():
            if number < 0:
                raise InputError(
                    "optimizer.groups", f"no group has the parameter {path}", "end with a rule '' for the rest"
                )
        return chosen

    def _group(self, number: int, params: Any) -> Any:
        numbers = self._numbers(params)
        return tree.split(params, tree.map_paths(lambda _, n: n == number, numbers))[0]
