"""Sequence to sequence: targets shifted by one, padding left out, label smoothing as PyTorch's."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.models.text import TokenEmbed
from jaxai.tasks.sequence_to_sequence import SequenceToSequence
from tests.tasks.small_text import jit

RNG = np.random.default_rng(0)
SOURCE_LENGTHS, LENGTHS = RNG.integers(1, 5, (6, 1)), RNG.integers(2, 7, (6, 1))
BATCH = {
    "tokens": RNG.integers(0, 9, (6, 4)).astype(np.int32),
    "segments": (np.arange(4) < SOURCE_LENGTHS).astype(np.int32),
    "target_tokens": RNG.integers(0, 9, (6, 6)).astype(np.int32),
    "target_segments": (np.arange(6) < LENGTHS).astype(np.int32),
    "index": np.arange(6, dtype=np.int32),
}
KEY = jax.random.key(0)


class Model(nn.Module):
    """Adds to each token of the target the mean of the source."""

    vocab_size: int = 9

    @nn.compact
    def __call__(self, inputs, target_tokens, train=False, segments=None, target_segments=None):
        embed = TokenEmbed(self.vocab_size, 5, nn.initializers.normal(1.0), name="tokens")
        mean = (embed(inputs) * segments[..., None]).sum(1, keepdims=True) / segments.sum(1)[:, None, None]
        return nn.Dense(self.vocab_size, name="head")(embed(target_tokens) + mean)


TASK = SequenceToSequence(model=Model(), label_smoothing=0.1)


@pytest.fixture(scope="module")
def variables():
    return jit(lambda: TASK.init(KEY, BATCH))()


loss = jit(lambda v, b: TASK.loss(v, b, KEY, False))


def answers(variables):
    """Logits of each token that follows one of the target, [6, 5, 9]."""
    segments = BATCH["segments"]
    return TASK.model.apply(variables, BATCH["tokens"], BATCH["target_tokens"][:, :-1], segments=segments)


@pytest.mark.oracle
def test_the_loss_is_torchs(variables):
    import torch

    out = loss(variables, BATCH)
    logits = torch.tensor(np.array(answers(variables)))
    labels = np.where(BATCH["target_segments"] > 0, BATCH["target_tokens"], -100)[:, 1:]
    entropy = torch.nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=-100)
    want = entropy(logits.reshape(30, 9), torch.tensor(labels.reshape(30)).long())
    assert float(out.total / out.weight) == pytest.approx(float(want), rel=1e-5)


def test_perplexity_and_accuracy_are_without_smoothing(variables):
    out = loss(variables, BATCH)
    counted = BATCH["target_segments"][:, 1:] > 0
    log_p, targets = np.asarray(jax.nn.log_softmax(answers(variables))), BATCH["target_tokens"][:, 1:]
    nats = -np.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0][counted]
    assert float(out.weight) == counted.sum() == LENGTHS.sum() - 6
    measured = metrics.compute(out.metrics)
    assert measured["perplexity"] == pytest.approx(np.exp(nats.mean()), rel=1e-5)
    assert measured["accuracy"] == pytest.approx((log_p.argmax(-1) == targets)[counted].mean())


def test_padding_counts_nowhere(variables):
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    broken = np.where(mask[:, None] > 0, BATCH["segments"], 0).astype(np.int32)
    padded, whole = (
        loss(variables, {**BATCH, "mask": mask, "segments": broken}),
        loss(variables, {name: values[:4] for name, values in BATCH.items()}),
    )
    assert not np.isfinite(padded.outputs[4:]).any()
    assert float(padded.total) == pytest.approx(float(whole.total), rel=1e-5)
    assert float(padded.weight) == float(whole.weight)
    assert metrics.compute(padded.metrics) == pytest.approx(metrics.compute(whole.metrics), rel=1e-5)
    # What stands in the padding of a target is not looked at.
    other = np.where(BATCH["target_segments"] > 0, BATCH["target_tokens"], 3).astype(np.int32)
    assert float(loss(variables, {**BATCH, "target_tokens": other}).total) == float(loss(variables, BATCH).total)


def test_what_cannot_be_learned_is_named():
    with pytest.raises(InputError, match=r"task\.target: the data has no field 'target_tokens'"):
        TASK.check({}, {"tokens": BATCH["tokens"], "index": BATCH["index"]})
    with pytest.raises(InputError, match=r"task\.target: 'target_tokens' has one token an example"):
        TASK.check({}, {**BATCH, "target_tokens": BATCH["target_tokens"][:, :1]})
    with pytest.raises(InputError, match="target_tokens: token 0 of example 0 is 20, the model has a vocabulary of 9"):
        TASK.check({}, {**BATCH, "target_tokens": np.full((6, 6), 20)})
    with pytest.raises(InputError, match="label_smoothing: must be at least 0 and below 1"):
        SequenceToSequence(model=Model(), label_smoothing=1.0)
