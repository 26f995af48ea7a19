"""Deep ensembles (Lakshminarayanan et al. 2017): several models learn the same at once, and answer together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.tasks.inputs import part
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.wrapper import Wrapper, check_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ensemble(Wrapper):
    """`size` models of one task, each with its own start, dropout and augmentation; the batches are the same.

    Members are `member_0`, `member_1` ... in the parameters, so that rules, decay and layer-wise optimizers see each as
    if it were alone, and each has the gradient that it would have alone. The gradient norm, and what clips it, is of
    all. The loss in training is the mean of the members'; in evaluation it is the ensemble's own, whose answer is the
    mean of the members' probabilities.
    """

    task: Any
    """What each member learns: `Classification`, or a task like it, whose `outputs` are logits [batch, class]."""
    size: int = 5
    """Number of members."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_task(self.task)
        if self.size < 1:
            raise InputError("task.size", f"must be at least 1, is {self.size}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        def one(number: Any) -> Variables:
            return self.task.init(self._key(key, number), batch)

        members = [one(number) for number in range(self.size)]
        return {name: {_name(i): member[name] for i, member in enumerate(members)} for name in members[0]}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        def one(member: Variables, number: Any) -> Out:
            return self.task.loss(member, batch, self._key(key, number), train)

        outs = self._each(one, variables)
        summed = jnp.sum(outs.total)
        # The value of the mean with the gradient of the sum: a member's is what it would be alone.
        total = summed - jax.lax.stop_gradient(summed - jnp.mean(outs.total))
        state = {
            name: {_name(i): jax.tree.map(lambda x, i=i: x[i], values) for i in range(self.size)}
            for name, values in outs.model_state.items()
        }
        if train:
            means = jax.tree.map(lambda x: jnp.sum(x, axis=0), dict(outs.metrics))
            return Out(total, outs.weight[0], state, means)
        return self._evaluate(outs, batch, state)

    def predict(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The mean of the members' predictions of raw inputs."""
        return jnp.mean(self._each(lambda member, _: self.task.predict(member, inputs), variables), axis=0)

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The members' features of raw inputs, side by side: [batch, size * feature]."""
        features = self._each(lambda member, _: self.task.embed(member, inputs), variables)
        return jnp.concatenate(list(features), axis=-1)

    def check(self, variables: Variables, batch: Batch) -> None:
        """What the task of a member finds wrong with a batch."""
        if hasattr(self.task, "check"):
            self.task.check(part(variables, _name(0)), batch)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Those of the first member."""
        if not hasattr(self.task, "pictures"):
            return {}
        return self.task.pictures(part(variables, _name(0)), batch, self._key(key, 0))

    def _evaluate(self, outs: Out, batch: Batch, state: dict[str, Any]) -> Out:
        """Measures of the mean answer, and the mean of those of each member; `outs` are stacked."""
        labels = batch[self.task.label]
        weights = batch.get("mask", jnp.ones(labels.shape)) * batch.get("weight", 1.0)
        answers = jax.nn.softmax(outs.outputs)
        log_answer = jax.nn.logsumexp(jax.nn.log_softmax(outs.outputs), axis=0) - jnp.log(self.size)
        losses = -jnp.take_along_axis(log_answer, labels[:, None], axis=-1)[:, 0]
        calibration = jax.vmap(metrics.Calibration.of, in_axes=(0, None, None))(answers, labels, weights)
        measured = {
            "accuracy": metrics.accuracy(log_answer, labels, weights),
            "ece": metrics.Calibration.of(jnp.exp(log_answer), labels, weights),
            "member_loss": metrics.Mean(jnp.sum(outs.total), jnp.sum(outs.weight)),
            "member_accuracy": jax.tree.map(lambda x: jnp.sum(x, axis=0), outs.metrics["accuracy"]),
            "member_ece": calibration,
        }
        total = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
        return Out(total, jnp.sum(weights), state, measured, log_answer)

    def _each(self, fn: Callable[[Variables, Any], Any], variables: Variables) -> Any:
        """`fn(member, number)` of all members, stacked: mapped at once, or on CPU one after another.

        XLA on CPU runs the grouped convolutions that mapping makes 14 times slower than one after another.
        """
        members = [part(variables, _name(i)) for i in range(self.size)]
        if jax.default_backend() == "cpu":
            return jax.tree.map(lambda *x: jnp.stack(x), *[fn(member, i) for i, member in enumerate(members)])
        return jax.vmap(fn)(jax.tree.map(lambda *x: jnp.stack(x), *members), jnp.arange(self.size))

    @staticmethod
    def _key(key: jax.Array, number: Any) -> jax.Array:
        return jax.random.fold_in(rng.stream(key, "member"), number)


def _name(number: int) -> str:
    return f"member_{number}"
