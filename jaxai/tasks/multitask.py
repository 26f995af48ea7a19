"""Several things learned at once by one encoder with a head for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxai import metrics
from jaxai.core import rng
from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.tasks.inputs import apply_model, check_augmentations, examples, part, prepare
from jaxai.tasks.task import Batch, Out, Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationHead:
    """Names the class of an example: softmax cross-entropy."""

    field: str
    """The field of the batch with the class number, [batch]."""
    num_classes: int
    """Logits an example."""
    weight: float = 1.0
    """Weight of its loss."""

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    def losses(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """[batch]; nan for a label that is no class."""
        known = (target >= 0) & (target < self.num_classes)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), target[:, None], axis=-1, mode="clip")[:, 0]
        return jnp.where(known, -chosen, jnp.nan)

    def measure(self, outputs: jax.Array, target: jax.Array, weights: jax.Array) -> dict[str, metrics.Metric]:
        return {"accuracy": metrics.accuracy(outputs, target, weights)}

    def answer(self, outputs: jax.Array) -> jax.Array:
        """Class probabilities [batch, class]."""
        return jax.nn.softmax(outputs)

    def check(self, target: np.ndarray, index: np.ndarray) -> None:
        """Raises InputError for host labels that are no class."""
        if target.ndim != 1 or not np.issubdtype(target.dtype, np.integer):
            what = f"must be one integer an example, is {target.dtype}{list(target.shape[1:])}"
            raise InputError(self.field, what)
        wrong = np.flatnonzero((target < 0) | (target >= self.num_classes))
        if wrong.size:
            what = f"is {target[wrong[0]]} in example {index[wrong[0]]}, the head has {self.num_classes} classes"
            raise InputError(self.field, what, f"labels go from 0 to {self.num_classes - 1}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionHead:
    """Estimates a number: half the squared error, which is the likelihood of a normal distribution of variance 1."""

    field: str
    """The field of the batch with the number, [batch]; best scaled to variance 1."""
    weight: float = 1.0
    """Weight of its loss."""

    @property
    def num_outputs(self) -> int:
        return 1

    def losses(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """[batch]."""
        return jnp.square(outputs[:, 0] - target) / 2

    def measure(self, outputs: jax.Array, target: jax.Array, weights: jax.Array) -> dict[str, metrics.Metric]:
        return {"mse": metrics.Mean.of(jnp.square(outputs[:, 0] - target), weights)}

    def answer(self, outputs: jax.Array) -> jax.Array:
        """Estimates [batch]."""
        return outputs[:, 0]

    def check(self, target: np.ndarray, index: np.ndarray) -> None:
        """Raises InputError for host values that are not a number an example."""
        del index
        if target.ndim != 1:
            raise InputError(self.field, f"must be one number an example, is {target.dtype}{list(target.shape[1:])}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTask:
    """Learns several answers about an example from one encoder's features, each with a linear head.

    The parameters are `encoder/...`, `heads/NAME/...` and, where weights are learned, `log_variances/NAME`. Metrics are
    named NAME_loss, NAME_accuracy and so on.
    """

    encoder: nn.Module
    """The shared network, `encoder(inputs, train) -> features [batch, feature]`: a model of `num_classes=0`."""
    heads: Mapping[str, Any]
    """What is learned, by name: `{"digit": ClassificationHead(field="label", num_classes=10), ...}`."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """How losses are added up: by the heads' weights alone; or with a learned log-variance s for each, as
    exp(-s) loss + s / 2 (Kendall et al. 2018), so that an answer that stays uncertain counts less."""
    augment: tuple[Any, ...] = ()
    """Augmentations from `jaxai.data.augment`, applied in order within the compiled step."""
    inputs: str = "image"
    """The field of the batch that the encoder sees."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)
        if not self.heads:
            raise InputError("task.heads", "is empty", '{"digit": ClassificationHead(field="label", num_classes=10)}')
        for name, head in self.heads.items():
            if not name.isidentifier():
                raise InputError("task.heads", f"{name!r} cannot name a head", "letters, digits, _")
            if not hasattr(head, "losses") or isinstance(head, type):
                raise InputError(f"task.heads.{name}", f"{head!r} is no head", "such as RegressionHead(field='age')")

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        self._require(batch)
        inputs = prepare(self.augment, batch, key, False, self.inputs)[self.inputs]
        features, inner = self.encoder.init_with_output({"params": key, "dropout": key}, inputs, train=False)
        if getattr(features, "ndim", None) != 2:
            gives = list(features.shape) if hasattr(features, "shape") else f"a {type(features).__name__}"
            raise InputError("task.encoder", f"must give features [batch, feature], gives {gives}", "num_classes=0")
        variables = {collection: {"encoder": values} for collection, values in inner.items()}
        params = {"encoder": inner.get("params", {}), "heads": {}}
        for name, head in self.heads.items():
            dense = nn.Dense(head.num_outputs)
            params["heads"][name] = dense.init(rng.stream(key, f"head/{name}"), features)["params"]
        if self.weighting == "uncertainty":
            params["log_variances"] = {name: jnp.float32(0) for name in self.heads}
        return {**variables, "params": params}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        weights = batch.get("mask", jnp.ones(batch["index"].shape)) * batch.get("weight", 1.0)
        weight = jnp.sum(weights)
        inputs = prepare(self.augment, batch, key, train, self.inputs)[self.inputs]
        outputs, state = self._outputs(variables, inputs, batch["index"], key, train)
        total, measured = jnp.float32(0), {}
        for name, head in self.heads.items():
            losses = head.losses(outputs[name], batch[head.field])
            own = jnp.sum(jnp.where(weights > 0, losses * weights, 0.0))
            measured[f"{name}_loss"] = metrics.Mean(own, weight)
            further = head.measure(outputs[name], batch[head.field], weights)
            measured |= {f"{name}_{metric}": value for metric, value in further.items()}
            if self.weighting == "uncertainty":
                log_variance = jnp.asarray(variables["params"]["log_variances"][name], jnp.float32)
                measured[f"{name}_weight"] = metrics.Mean(jnp.exp(-log_variance) * weight, weight)
                own = jnp.exp(-log_variance) * own + log_variance / 2 * weight
            total += head.weight * own
        return Out(total, weight, state, measured, outputs)

    def predict(self, variables: Variables, inputs: jax.Array) -> dict[str, jax.Array]:
        """Each head's answer, by name, for raw inputs as the source gives them."""
        outputs = self._outputs(variables, *self._raw(inputs), train=False)[0]
        return {name: head.answer(outputs[name]) for name, head in self.heads.items()}

    def embed(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """What the heads see, [batch, feature], of raw inputs as the source gives them."""
        return apply_model(self.encoder, part(variables, "encoder"), *self._raw(inputs), train=False)[0]

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for a batch without the fields, or whose values a head cannot learn."""
        del variables
        self._require(batch)
        for head in self.heads.values():
            head.check(batch[head.field], batch["index"])

    def images(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Up to 16 examples, if they are pictures."""
        return examples(batch, self.inputs)

    def _outputs(
        self, variables: Variables, inputs: jax.Array, index: jax.Array, key: jax.Array, train: bool
    ) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        """Float32 outputs of each head, and the updated state of the encoder."""
        features, state = apply_model(self.encoder, part(variables, "encoder"), inputs, index, key, train)
        params = variables["params"]["heads"]
        outputs = {
            name: nn.Dense(head.num_outputs).apply(
                {"params": params[name]}, features.astype(params[name]["bias"].dtype)
            )
            for name, head in self.heads.items()
        }
        outputs = {name: jnp.asarray(values, jnp.float32) for name, values in outputs.items()}
        return outputs, {collection: {"encoder": values} for collection, values in state.items()}

    def _raw(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Raw inputs as the encoder takes them in evaluation, with their index and a key."""
        index, key = jnp.arange(inputs.shape[0]), jax.random.key(0)
        prepared = prepare(self.augment, {self.inputs: inputs, "index": index}, key, False, self.inputs)
        return prepared[self.inputs], index, key

    def _require(self, batch: Batch) -> None:
        fields = {f"task.heads.{name}.field": head.field for name, head in self.heads.items()}
        for field, name in {"task.inputs": self.inputs, **fields}.items():
            if name not in batch:
                raise InputError(field, f"the data has no field {name!r}", did_you_mean(name, set(batch) - {"index"}))
