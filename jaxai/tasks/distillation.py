"""Distillation: a small model learns from the answers and the hidden states of a large one (Hinton et al. 2015)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data import augment as augmentation
from jaxai.tasks.adversarial import divergence
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import check_augmentations, joined, part
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.wrapper import Wrapper, check_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distill(Wrapper):
    """Learns what `task` says and, of the same examples, to answer as `teacher` does.

    The loss is `(1 - share)` times that of the task, plus `share` times T^2 KL(teacher || student) of both answers at
    the temperature T, plus `hidden_weight` times the mean squared errors of hidden states. The parameters are
    `student/...`, `teacher/...` and, for hidden states, `projections/...`. The teacher is in evaluation mode and never
    gets a gradient; it must be frozen, or weight decay would shrink it:

    `Experiment(task=Distill(...), freeze=("^teacher/",), start_from=FromRun(run="runs/teacher",
    rename=(("^", "teacher/"),), new=("^student/", "^projections/")), ...)`

    Evaluations are of the student alone.
    """

    task: Any
    """What the student learns, with its model: `Classification`, or a task with a `model` whose `outputs` are logits
    [..., class], one row for each of its `weights(batch)`, such as `LanguageModel`."""
    teacher: nn.Module
    """The large model, in place of the task's own."""
    temperature: float = 2.0
    """Divides the logits of both: the higher, the more the classes count that the teacher thinks unlikely."""
    share: float = 0.5
    """Share of the teacher's answers in the loss; the labels have the rest."""
    hidden: tuple[tuple[str, str], ...] = ()
    """Pairs of modules, of student and teacher, by their path in the model: `(("block0", "block2"),)`. What the first
    gives, through a learned dense layer, is to be what the second gives (Romero et al. 2015). Not of modules inside
    `remat` or `scan`; of modules called several times it is the last call's."""
    hidden_weight: float = 1.0
    """Weight of the mean squared error of each pair."""
    augment: tuple[Any, ...] = ()
    """Augmentations whose result student and teacher both see; those of `task` should be what evaluation needs too."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_task(self.task)
        check_augmentations(self.augment)
        if not hasattr(self.task, "model"):
            raise InputError("task.task", f"{type(self.task).__name__} has no model", "such as Classification(...)")
        if not self.temperature > 0:
            raise InputError("task.temperature", f"must be positive, is {self.temperature:g}")
        if not 0 <= self.share <= 1:
            raise InputError("task.share", f"must be 0 to 1, is {self.share:g}")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        batch = augmentation.apply(self.augment, dict(batch), key, False)
        student = self.task.init(key, batch)
        teacher = self._teacher.init(rng.stream(key, "teacher"), batch)
        variables = joined(student=student, teacher=teacher)
        if self.hidden:
            mine, theirs = jax.eval_shape(lambda v, b: self._both(v, b, key, False)[1], variables, batch)
            dense = [nn.Dense(state.shape[-1]) for state in theirs]
            keys = [rng.stream(key, f"projection/{i}") for i in range(len(dense))]
            params = [d.init(k, jnp.zeros(s.shape))["params"] for d, k, s in zip(dense, keys, mine, strict=True)]
            variables["params"]["projections"] = {str(i): each for i, each in enumerate(params)}
        return variables

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        batch = augmentation.apply(self.augment, dict(batch), rng.stream(key, "distill"), train)
        if not train:
            return self.task.loss(part(variables, "student"), batch, key, False)._replace(model_state={})
        (out, answer), states = self._both(variables, batch, key, True)
        weights = self._weights(batch)
        if out.outputs.shape != answer.shape or out.outputs.shape[:-1] != weights.shape:
            what = f"answers {list(answer.shape)}, the student {list(out.outputs.shape)} of {list(weights.shape)}"
            raise InputError("task.teacher", what, "both need logits of the same classes")
        apart = divergence(answer / self.temperature, out.outputs / self.temperature)
        total = (1 - self.share) * out.total + self.share * self.temperature**2 * weighted_sum(apart, weights)
        measured = {**out.metrics, "divergence": metrics.Mean.of(apart, weights)}
        if self.hidden:
            errors = self._errors(variables, states, batch, weights)
            total += self.hidden_weight * weighted_sum(errors, weights)
            measured["hidden_loss"] = metrics.Mean.of(errors, weights)
        kept = {name: values for name, values in part(variables, "teacher").items() if name != "params"}
        state = joined(student=out.model_state, teacher=kept)
        return Out(total, out.weight, state, measured, out.outputs)

    def predict(self, variables: Variables, inputs: Any) -> Any:
        """What the student predicts of raw inputs."""
        return self.task.predict(part(variables, "student"), inputs)

    def embed(self, variables: Variables, inputs: Any) -> jax.Array:
        """The student's features of raw inputs."""
        return self.task.embed(part(variables, "student"), inputs)

    def check(self, variables: Variables, batch: Batch) -> None:
        """What the inner task finds wrong with a batch, for the student or the teacher."""
        for task, name in ((self.task, "student"), (self._teacher, "teacher")):
            if hasattr(task, "check"):
                task.check(part(variables, name), batch)

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The inner task's."""
        return self.task.pictures(part(variables, "student"), batch, key) if hasattr(self.task, "pictures") else {}

    @property
    def _teacher(self) -> Any:
        return dataclasses.replace(self.task, model=self.teacher)

    def _weights(self, batch: Batch) -> jax.Array:
        """Of each row of logits."""
        return self.task.weights(batch) if hasattr(self.task, "weights") else weights_of(batch)

    def _both(
        self, variables: Variables, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[tuple[Out, jax.Array], tuple[list[jax.Array], list[jax.Array]]]:
        """What the student's task gives and the teacher answers; and the hidden states of both."""
        mine, theirs = ([pair[i] for pair in self.hidden] for i in range(2))
        out, states = _observe(self.task, part(variables, "student"), batch, key, train, mine)
        fixed = jax.lax.stop_gradient(part(variables, "teacher"))
        taught, their_states = _observe(self._teacher, fixed, batch, key, False, theirs)
        return (out, taught.outputs), (states, their_states)

    def _errors(self, variables: Variables, states: Any, batch: Batch, weights: jax.Array) -> jax.Array:
        """The sum over pairs of the squared errors, each the mean over features and what has no weight of its own.

        Of the shape of `weights`; tokens that only pad are left out where the batch has `segments`.
        """
        total = jnp.zeros(weights.shape)
        for i, (mine, theirs) in enumerate(zip(*states, strict=True)):
            params = variables["params"]["projections"][str(i)]
            given: Any = nn.Dense(theirs.shape[-1]).apply({"params": params}, mine.astype(params["bias"].dtype))
            if given.shape != theirs.shape:
                what = f"{self.hidden[i][0]} gives {list(mine.shape)}, {self.hidden[i][1]} {list(theirs.shape)}"
                raise InputError(f"task.hidden.{i}", what, "all but the last must agree")
            errors = jnp.mean(jnp.square(given.astype(jnp.float32) - theirs.astype(jnp.float32)), axis=-1)
            if errors.ndim > weights.ndim:
                axes = tuple(range(weights.ndim, errors.ndim))
                counted = batch["segments"] > 0 if "segments" in batch else jnp.ones(errors.shape, bool)
                counts = jnp.maximum(jnp.sum(counted, axis=axes), 1)
                errors = jnp.sum(jnp.where(counted, errors, 0.0), axis=axes) / counts
            total += errors
        return total


def _observe(
    task: Any, variables: Variables, batch: Batch, key: jax.Array, train: bool, paths: list[str]
) -> tuple[Out, list[jax.Array]]:
    """The loss of `task`, and what the modules at `paths` of its model gave."""
    seen: dict[str, Any] = {}

    def keep(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        given = call(*args, **kwargs)
        if context.method_name == "__call__":
            seen["/".join(context.module.path)] = given
        return given

    with nn.intercept_methods(keep):
        out = task.loss(variables, batch, key, train)
    for path in paths:
        if path not in seen:
            what = f"{type(task.model).__name__} has no module {path!r}"
            raise InputError("task.hidden", what, did_you_mean(path, seen.keys() - {""}))
    return out, [seen[path] for path in paths]
