"""Extractive question answering: the loss is BERT's, answers lie where they can, and bad ones are named."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.tasks.question_answering import QuestionAnswering
from tests.tasks.small_text import Encoder, Table, jit

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(9, 2)).astype(np.float32)
TASK = QuestionAnswering(model=Table(vocab_size=9, num_classes=2), max_answer=3)
VARIABLES = {"params": {"table": TABLE}}
CONTEXT = np.array([[0, 0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1]] * 3, np.int32)
BATCH = {
    "tokens": RNG.integers(0, 9, (6, 7)).astype(np.int32),
    "context": CONTEXT,
    "start": np.array([2, 1, 3, 4, 5, 0], np.int32),
    "end": np.array([2, 3, 5, 4, 5, 0], np.int32),
    "mask": np.array([1, 1, 1, 1, 1, 0], np.float32),
    "index": np.arange(6, dtype=np.int32),
}
KEY = jax.random.key(0)


def likeliest(logits, allowed):
    """By trying all spans."""
    spans = [(i, j) for i in range(7) for j in range(i, min(i + 3, 7)) if allowed[i] and allowed[j]]
    return max(spans, key=lambda span: logits[span[0], 0] + logits[span[1], 1])


def test_loss_and_scores_by_hand():
    out = jit(lambda v, b: TASK.loss(v, b, KEY, False))(VARIABLES, BATCH)
    total, exact = 0.0, 0
    answers = []
    for row in range(5):
        logits = TABLE[BATCH["tokens"][row]].astype(np.float64)
        for i, field in enumerate(("start", "end")):
            among = np.exp(logits[CONTEXT[row] > 0, i]).sum()
            total += (np.log(among) - logits[BATCH[field][row], i]) / 2
        answers.append(likeliest(logits, CONTEXT[row]))
        (start, end), truth = answers[-1], BATCH["tokens"][row, BATCH["start"][row] : BATCH["end"][row] + 1]
        exact += np.array_equal(BATCH["tokens"][row, start : end + 1], truth)
    assert float(out.weight) == 5
    assert float(out.total) == pytest.approx(total, rel=1e-5)
    measured = metrics.compute(out.metrics)
    assert measured["exact_match"] == exact / 5
    assert exact / 5 <= measured["f1"] < 1
    given = jit(TASK.predict)(VARIABLES, {name: BATCH[name] for name in ("tokens", "context")})
    np.testing.assert_array_equal(given[:5], answers)


@pytest.mark.oracle
def test_the_loss_is_that_of_transformers():
    """`BertForQuestionAnswering` adds up both cross-entropies in halves; it looks at all tokens alike."""
    import torch

    everywhere = {**BATCH, "context": np.ones_like(CONTEXT)}
    out = jit(lambda v, b: TASK.loss(v, b, KEY, True))(VARIABLES, everywhere)
    logits = torch.tensor(TABLE[BATCH["tokens"][:5]])
    entropy = torch.nn.CrossEntropyLoss()
    want = sum(entropy(logits[..., i], torch.tensor(BATCH[f][:5]).long()) for i, f in enumerate(("start", "end"))) / 2
    assert float(out.total / out.weight) == pytest.approx(float(want), rel=1e-5)


@pytest.mark.slow
def test_gradients_of_what_cannot_be_an_answer_are_zero():
    task = QuestionAnswering(model=Encoder(vocab_size=9, num_classes=2))
    variables = jit(lambda: task.init(KEY, BATCH))()
    gradient = jit(jax.grad(lambda v: task.loss(v, {n: x[:5] for n, x in BATCH.items()}, KEY, True).total))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    alone = jit(jax.grad(lambda table: TASK.loss({"params": {"table": table}}, BATCH, KEY, True).total))(TABLE)
    seen = np.unique(BATCH["tokens"][CONTEXT > 0])
    never = np.setdiff1d(np.arange(9), seen)
    np.testing.assert_array_equal(alone[never], 0)
    assert np.isfinite(alone).all()


def test_what_cannot_be_learned_is_named():
    sound = {**BATCH, "start": np.maximum(BATCH["start"], 1), "end": np.maximum(BATCH["end"], 1)}
    TASK.check(VARIABLES, sound)
    with pytest.raises(InputError, match="start: the answer of example 5 goes from token 0 to 0"):
        TASK.check(VARIABLES, BATCH)
    with pytest.raises(InputError, match="start: the answer of example 4 goes from token 5 to 4"):
        TASK.check(VARIABLES, {**sound, "end": np.array([2, 3, 5, 4, 4, 1])})
    with pytest.raises(InputError, match="start: the answer of example 1 goes from token 1 to 7"):
        TASK.check(VARIABLES, {**sound, "end": np.array([2, 7, 5, 4, 5, 1])})
    with pytest.raises(InputError, match=r"task\.end: the data has no field 'end'"):
        TASK.check(VARIABLES, {name: x for name, x in sound.items() if name != "end"})
    wide = QuestionAnswering(model=Table(vocab_size=9, num_classes=3))
    variables = jax.eval_shape(wide.init, KEY, sound)
    with pytest.raises(InputError, match=r"task\.model: gives \[7, 3\] .*needs \[length, 2\]"):
        wide.check(variables, sound)
    with pytest.raises(InputError, match="max_answer: must be at least 1"):
        QuestionAnswering(model=TASK.model, max_answer=0)
