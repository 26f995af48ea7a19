"""Adversarial training: a task around another that learns from, and is measured on, images under attack.

An attack sees the model in evaluation mode, as in the code of TRADES and in Madry's `robustness` library: examples do
not touch each other through batch statistics, and dropout does not blur the gradient. So an example is attacked alike
however the batch is split.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.tasks.attacks import Losses
from jaxai.tasks.inputs import check_augmentations, prepare
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.wrapper import Wrapper, check_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Wrapper):
    """Learns from attacked images instead of clean ones (Madry et al. 2018).

    Training reports the metrics of the attacked batch, evaluation those of clean images, and of images under
    `eval_attack` those that are means; all of attacked images are called `robust_...`.
    """

    task: Any
    """What is learned of images, such as `Classification`. The attack raises its evaluation loss of each example, so
    its own augmentations should be those that the model needs in evaluation too, such as `Normalize`."""
    attack: Any
    """The attack in training, such as `PGD(epsilon=8 / 255)`."""
    eval_attack: Any
    """The attack in evaluation, such as `PGD(epsilon=8 / 255, steps=20, restarts=5)`."""
    augment: tuple[Any, ...] = ()
    """Augmentations before the attack, such as `RandomCrop`: the ball is around their result, a float image in 0..1."""
    inputs: str = "image"
    """The field of the batch that is attacked."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_task(self.task)
        check_augmentations(self.augment)
        for name in ("attack", "eval_attack"):
            if isinstance(given := getattr(self, name), type) or not callable(given):
                raise InputError(f"task.{name}", "is no attack", "such as jaxai.tasks.attacks.PGD(epsilon=8 / 255)")

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        batch = prepare(self.augment, batch, rng.stream(key, "adversarial"), train, self.inputs)
        if train:
            return self._learn(variables, batch, key)
        attacked = self._attacked(self.eval_attack, variables, batch, key)
        clean, robust = (self.task.loss(variables, each, key, False) for each in (batch, attacked))
        return clean._replace(metrics={**clean.metrics, **_robust(robust)})

    def pictures(self, variables: Variables, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Up to 16 images, each beside what `eval_attack` makes of it, with the inner task's own pictures."""
        further = self.task.pictures(variables, batch, key) if hasattr(self.task, "pictures") else {}
        few = prepare(self.augment, {name: x[:16] for name, x in batch.items()}, key, False, self.inputs)
        pair = [few[self.inputs], self._attacked(self.eval_attack, variables, few, key)[self.inputs]]
        return {**further, "adversarial": jnp.round(255 * jnp.concatenate(pair, axis=2)).astype(jnp.uint8)}

    def _learn(self, variables: Variables, batch: dict[str, Any], key: jax.Array) -> Out:
        """The loss of a prepared training batch."""
        out = self.task.loss(variables, self._attacked(self.attack, variables, batch, key), key, True)
        return out._replace(metrics=_robust(out))

    def _attacked(
        self, attack: Any, variables: Variables, batch: dict[str, Any], key: jax.Array, raised: Losses | None = None
    ) -> dict[str, Any]:
        """A prepared batch after `attack`, which raises the inner task's loss or else what `raised` gives."""
        keys = rng.example_keys(rng.stream(key, "attack"), batch["index"])
        raised = raised or self._losses(jax.lax.stop_gradient(variables), batch, key)
        return {**batch, self.inputs: jax.lax.stop_gradient(attack(raised, batch[self.inputs], keys))}

    def _losses(self, variables: Variables, batch: dict[str, Any], key: jax.Array) -> Losses:
        """The inner task's evaluation loss of each example of `batch` as a function of their images."""

        def of_one(example: dict[str, Any], image: jax.Array) -> jax.Array:
            alone = jax.tree.map(lambda x: x[None], {**example, self.inputs: image})
            return self.task.loss(variables, alone, key, False).total

        return lambda images: jax.vmap(of_one)(batch, images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trades(Adversarial):
    """Trades accuracy for robustness: cross-entropy of clean images, plus how far an attack moves the answer.

    The loss is that of the inner task, whose outputs are logits, on clean images, plus `beta` times the divergence
    KL(clean answer || attacked answer), which the attack raises (Zhang et al. 2019). Their code starts an attack from
    normal noise of deviation 0.001 about the image; PGD starts anywhere in the ball.
    """

    beta: float = 6.0
    """Weight of the divergence: more is more robust and less accurate."""

    def __post_init__(self):
        super().__post_init__()
        if not self.beta >= 0:
            raise InputError("task.beta", f"must not be negative, is {self.beta}")
        if not getattr(self.attack, "random_start", False):
            what = "starts from the clean image, where the divergence has no gradient"
            raise InputError("task.attack", what, "PGD(..., random_start=True)")

    def _learn(self, variables: Variables, batch: dict[str, Any], key: jax.Array) -> Out:
        fixed = jax.lax.stop_gradient(variables)

        def logits(images: jax.Array) -> jax.Array:
            return self.task.loss(fixed, {**batch, self.inputs: images}, key, False).outputs

        answer = logits(batch[self.inputs])
        attacked = self._attacked(self.attack, variables, batch, key, lambda x: divergence(answer, logits(x)))
        clean = self.task.loss(variables, batch, key, True)
        # Batch statistics average over both passes, one after the other.
        robust = self.task.loss({**variables, **clean.model_state}, attacked, key, True)
        weights = batch.get("weight", jnp.ones(batch["index"].shape))
        apart = divergence(clean.outputs, robust.outputs)
        measured = {**clean.metrics, **_robust(robust), "divergence": metrics.Mean.of(apart, weights)}
        total = clean.total + self.beta * jnp.sum(apart * weights)
        return Out(total, clean.weight, robust.model_state, measured, clean.outputs)


def divergence(first: jax.Array, second: jax.Array) -> jax.Array:
    """KL(first || second) [batch] of the distributions that two sets of logits [batch, class] stand for."""
    first, second = jax.nn.log_softmax(first), jax.nn.log_softmax(second)
    return jnp.sum(jnp.exp(first) * (first - second), axis=-1)


def _robust(out: Out) -> dict[str, Any]:
    """The loss and the means among the metrics of an attacked batch, by their new names."""
    means = {name: metric for name, metric in out.metrics.items() if isinstance(metric, metrics.Mean)}
    return {f"robust_{name}": mean for name, mean in {"loss": metrics.Mean(out.total, out.weight), **means}.items()}
