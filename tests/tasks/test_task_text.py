"""What tasks of text share: cross-entropy, which tokens follow one another, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.models import MLP
from jaxai.tasks import Classification
from jaxai.tasks.text import check_vocabulary, cross_entropy, next_weights
from tests.tasks.small_text import Encoder, jit

RNG = np.random.default_rng(0)


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing):
    import torch

    logits, targets = RNG.normal(size=(3, 4, 7)).astype(np.float32), RNG.integers(0, 7, (3, 4))
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")
    want = theirs(torch.tensor(logits).reshape(12, 7), torch.tensor(targets).reshape(12)).reshape(3, 4)
    np.testing.assert_allclose(cross_entropy(logits, targets, smoothing), want, rtol=1e-5)


def test_cross_entropy_of_what_is_no_class_is_nan():
    losses = cross_entropy(jnp.zeros((4, 3)), jnp.array([0, -1, 3, 2]))
    np.testing.assert_allclose(losses, [np.log(3), np.nan, np.nan, np.log(3)], rtol=1e-6)


def test_a_token_is_predicted_from_one_of_its_own_text():
    segments = jnp.array([[1, 1, 2, 2, 2, 0, 0], [0, 0, 1, 1, 1, 1, 1]])
    weights = next_weights(jnp.array([2.0, 1.0]), segments, jnp.zeros((2, 7), jnp.int32))
    np.testing.assert_array_equal(weights, [[2, 0, 2, 2, 0, 0], [0, 0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(next_weights(jnp.array([1.0, 0.0]), None, segments), [[1] * 6, [0] * 6])


def test_a_token_beyond_the_vocabulary_is_named():
    batch = {"tokens": np.array([[1, 2], [3, 11]]), "index": np.array([40, 41])}
    with pytest.raises(InputError, match=r"tokens: token 1 of example 41 is 11, .* vocabulary of 11 .* at least 12\)"):
        check_vocabulary(Encoder(), batch, "tokens")
    with pytest.raises(InputError, match="token 0 of example 7 is -1"):
        check_vocabulary(Encoder(), {"tokens": np.array([[-1]]), "index": np.array([7])}, "tokens")
    check_vocabulary(Encoder(vocab_size=12), batch, "tokens")
    check_vocabulary(MLP(num_classes=2), batch, "tokens")


BATCH = {
    "tokens": RNG.integers(0, 11, (6, 5)).astype(np.int32),
    "types": RNG.integers(0, 2, (6, 5)).astype(np.int32),
    "segments": np.where(np.arange(5) < RNG.integers(2, 6, (6, 1)), 1, 0).astype(np.int32),
    "label": RNG.integers(0, 3, 6).astype(np.int32),
    "index": np.arange(6, dtype=np.int32),
}


@pytest.mark.slow
def test_a_classifier_of_text_sees_the_further_fields():
    task = Classification(
        model=Encoder(num_classes=3, pool="token"), inputs="tokens", further=("segments", "types")
    )  # fmt: skip
    variables = jit(lambda: task.init(jax.random.key(0), BATCH))()
    out = jit(lambda v, b: task.loss(v, b, jax.random.key(0), False))(variables, BATCH)
    further = {name: BATCH[name] for name in task.further}
    apply = jit(task.model.apply)
    logits, without = apply(variables, BATCH["tokens"], **further), apply(variables, BATCH["tokens"])
    want = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), BATCH["label"][:, None], axis=1)
    assert float(out.total) == pytest.approx(want.sum(), rel=1e-5)
    assert not np.allclose(logits, without)
    predict = jit(task.predict)
    named = {"tokens": BATCH["tokens"], **further}
    np.testing.assert_allclose(predict(variables, named), jax.nn.softmax(logits), rtol=1e-5)
    np.testing.assert_allclose(predict(variables, BATCH["tokens"]), jax.nn.softmax(without), rtol=1e-5)
    assert jit(task.embed)(variables, named).shape == (6, 6)
    gaps = out.metrics["ece"]
    assert int(gaps.counts.sum()) == 6
    assert 0 < gaps.compute() < 1
    with pytest.raises(InputError, match=r"further\.1: the data has no field 'types'"):
        task.check(variables, {name: x for name, x in BATCH.items() if name != "types"})
    with pytest.raises(InputError, match="tokens: token 0 of example 0 is 99"):
        task.check(variables, {**BATCH, "tokens": np.full((6, 5), 99)})


@pytest.mark.slow
def test_padding_of_a_classifier_that_is_not_finite_counts_nowhere():
    """Such as rows without any token, whose mean is 0 / 0."""
    task = Classification(model=Encoder(num_classes=3, pool="token"), inputs="tokens", further=("segments",))
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    batch = {**BATCH, "mask": mask, "segments": BATCH["segments"] * mask[:, None].astype(np.int32)}
    variables = jit(lambda: task.init(jax.random.key(0), BATCH))()
    out = jit(lambda v, b: task.loss(v, b, jax.random.key(0), False))(variables, batch)
    assert not np.isfinite(out.outputs[4:]).any()
    assert np.isfinite(float(out.total))
    assert int(out.metrics["ece"].counts.sum()) == 4
    assert np.isfinite(out.metrics["ece"].compute())
