"""How much an encoder knows of classes that it was not trained on: nearest neighbours and a linear classifier.

Neither changes the encoder: both look at its features of a training and a test set. `jaxai probe RUN` compares a run's
encoder with itself untrained and with the raw inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.pipeline import Reader
from jaxai.training.saved import SavedRun

TEMPERATURE = 0.07
"""Of the votes of neighbours (Wu et al. 2018)."""


class Features(NamedTuple):
    """Features of a whole dataset, with its labels."""

    features: np.ndarray
    """float32 [example, feature]."""
    labels: np.ndarray
    """int32 [example]."""


class LinearProbe(NamedTuple):
    """A linear classifier of standardized features, and how it does."""

    accuracy: float
    """On the test set."""
    kernel: np.ndarray
    """[feature, class], of features at mean 0 and standard deviation 1 on the training set."""
    bias: np.ndarray
    """[class]."""


class Probed(NamedTuple):
    """Accuracies, 0 to 1, on one evaluation."""

    knn: float
    linear: float


def features(task: Any, variables: Mapping[str, Any], reader: Reader) -> Features:
    """`task.embed` of every labelled example of an open pipeline, un-augmented and in order."""
    inputs = getattr(task, "inputs", "image")
    if not callable(getattr(task, "embed", None)):
        raise InputError("task", f"{type(task).__name__} has no method 'embed'", "such as that of Classification")
    embed = jax.jit(task.embed)
    return _collect(lambda batch: embed(variables, batch[inputs]), reader, task)


def pixels(task: Any, reader: Reader) -> Features:
    """The raw inputs of every labelled example themselves, flat; uint8 becomes 0..1."""
    inputs = getattr(task, "inputs", "image")

    def flat(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        x = batch[inputs].reshape(len(batch[inputs]), -1).astype(np.float32)
        return x / 255 if batch[inputs].dtype == np.uint8 else x

    return _collect(flat, reader, task)


def knn(train: Features, test: Features, k: int = 20) -> float:
    """Accuracy on `test` of the vote of the `k` nearest of `train` by cosine, weighted by exp(cosine / 0.07)."""
    if not 1 <= k <= len(train.labels):
        raise InputError("k", f"{k} neighbours of {len(train.labels)} examples", f"1 to {len(train.labels)}")
    guesses = _vote(train.features, train.labels, test.features, k, _num_classes(train, test))
    return float(np.mean(np.asarray(guesses) == test.labels))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _vote(train: jax.Array, labels: jax.Array, test: jax.Array, k: int, num_classes: int) -> jax.Array:
    """The class of each of `test` [example, feature] by its neighbours in `train`."""
    train, test = (x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (train, test))

    def vote(x: jax.Array) -> jax.Array:
        cosines, nearest = jax.lax.top_k(train @ x, k)
        votes = jnp.zeros(num_classes).at[labels[nearest]].add(jnp.exp(cosines / TEMPERATURE))
        return jnp.argmax(votes)

    return jax.lax.map(vote, test, batch_size=256)


def linear_probe(train: Features, test: Features, l2: float = 1e-3, max_steps: int = 1000) -> LinearProbe:
    """Multinomial logistic regression on standardized features, fitted on all of `train` at once by L-BFGS.

    Minimizes the mean cross-entropy + l2 / 2 * the sum of the squared kernel, but not the bias: as scikit-learn's
    `LogisticRegression` with C = 1 / (l2 * number of examples).
    """
    mean, std = train.features.mean(axis=0), train.features.std(axis=0)
    std = np.where(std > 0, std, 1)
    x, unseen = ((of.features - mean) / std for of in (train, test))
    kernel, bias = map(np.asarray, _fit(x, train.labels, _num_classes(train, test), l2, max_steps))
    guesses = np.argmax(unseen @ kernel + bias, axis=1)
    return LinearProbe(float(np.mean(guesses == test.labels)), kernel, bias)


@functools.partial(jax.jit, static_argnums=(2, 4))
def _fit(x: jax.Array, labels: jax.Array, num_classes: int, l2: float, max_steps: int) -> tuple[jax.Array, jax.Array]:
    """Kernel and bias at the minimum."""
    target = jax.nn.one_hot(labels, num_classes)

    def objective(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        kernel, bias = params
        log_p = jax.nn.log_softmax(x @ kernel + bias[None])
        return -jnp.mean(jnp.sum(target * log_p, axis=1)) + l2 / 2 * jnp.sum(jnp.square(kernel))

    optimizer = optax.lbfgs()
    value_and_gradient = optax.value_and_grad_from_state(objective)

    def step(carry: Any) -> Any:
        params, state, number, _ = carry
        value, gradient = value_and_gradient(params, state=state)
        updates, state = optimizer.update(gradient, state, params, value=value, grad=gradient, value_fn=objective)
        return optax.apply_updates(params, updates), state, number + 1, optax.tree.norm(gradient)

    def unfinished(carry: Any) -> jax.Array:
        _, _, number, norm = carry
        return (number < max_steps) & (norm > 1e-5)

    params = (jnp.zeros((x.shape[1], num_classes)), jnp.zeros(num_classes))
    start = (params, optimizer.init(params), jnp.int32(0), jnp.float32(jnp.inf))
    return jax.lax.while_loop(unfinished, step, start)[0]


def probe_run(run: SavedRun, k: int = 20) -> dict[str, dict[str, Probed]]:
    """By evaluation, what is seen in the run's encoder, in the same one untrained, and in the raw inputs.

    Each learns from the run's training data and is tested on the evaluation's.
    """
    task, reader = run.setup.experiment.task, run.setup.reader
    fresh = run.setup.layout.init(run.setup.create, run.setup.example).variables()
    ways: dict[str, Callable[[Reader], Features]] = {
        "encoder": lambda of: features(task, run.variables, of),
        "untrained": lambda of: features(task, fresh, of),
        "raw inputs": lambda of: pixels(task, of),
    }
    if not run.setup.evals:
        raise InputError("evals", "are none: there is nothing to test a probe on", "evals={...} in the experiment")
    found: dict[str, dict[str, Probed]] = {name: {} for name in run.setup.evals}
    for way, see in ways.items():
        train = see(reader)
        for name, evaluation in run.setup.evals.items():
            test = see(evaluation)
            found[name][way] = Probed(knn(train, test, min(k, len(train.labels))), linear_probe(train, test).accuracy)
    return found


def render(probed: Mapping[str, Mapping[str, Probed]]) -> Iterator[str]:
    """Lines of a table."""
    yield f"{'':<24}{'k-NN':>8}{'linear':>8}"
    for name, ways in probed.items():
        for way, accuracy in ways.items():
            yield f"{f'{name}/{way}':<24}{accuracy.knn:>8.4f}{accuracy.linear:>8.4f}"


def _collect(see: Callable[[Mapping[str, np.ndarray]], Any], reader: Reader, task: Any) -> Features:
    """What `see` makes of all examples that have a label; a negative one says that it is not known."""
    label = getattr(task, "label", "label")
    if label not in reader.spec:
        what = f"{reader.field} has no field {label!r}, which a probe learns"
        raise InputError("probe", what, did_you_mean(label, reader.spec))
    seen, labels = [], []
    for batch in reader.evaluation():
        kept = (batch["mask"] > 0) & (batch[label] >= 0)
        seen.append(np.asarray(see(batch), np.float32)[kept])
        labels.append(np.asarray(batch[label], np.int32)[kept])
    found = Features(np.concatenate(seen), np.concatenate(labels))
    if not len(found.labels):
        raise InputError("probe", f"{reader.field} has no labelled example")
    return found


def _num_classes(*of: Features) -> int:
    return 1 + max(int(one.labels.max()) for one in of)
