"""Token classification against numpy, with the spans that its predictions make."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.tasks.token_classification import TokenClassification
from tests.tasks.small_text import Encoder, Table, jit

TAGS = ("O", "B-PER", "I-PER")
#: Token 0 is a first word of a name, 1 goes on, 2 is none; the model takes 3 for one too.
TABLE = np.array([[0, 9, 0], [0, 0, 9], [9, 0, 0], [0, 9, 0]], np.float32)
TASK = TokenClassification(model=Table(vocab_size=4, num_classes=3), tags=TAGS)
VARIABLES = {"params": {"table": TABLE}}
BATCH = {
    "tokens": np.array([[2, 0, 1, 2, 3], [0, 1, 0, 2, 2], [0, 1, 0, 2, 2]], np.int32),
    "labels": np.array([[0, 1, 2, 0, 0], [1, -1, 1, 0, -1], [9, 9, 9, 9, 9]], np.int32),
    "mask": np.array([1, 1, 0], np.float32),
    "index": np.arange(3, dtype=np.int32),
}
KEY = jax.random.key(0)


def test_each_counted_token_weighs_alike_and_spans_are_counted():
    out = jit(lambda v, b: TASK.loss(v, b, KEY, False))(VARIABLES, BATCH)
    # 8 of 10 tokens count; the loss of a right one is log(1 + 2 e^-9), and one is wrong: 9 more.
    assert float(out.weight) == 8
    assert float(out.total) == pytest.approx(8 * np.log1p(2 * np.exp(-9)) + 9, rel=1e-4)
    measured = metrics.compute(out.metrics)
    assert measured["accuracy"] == 7 / 8
    # True: tokens 1-2; 0, 2. Predicted as well: 4.
    assert measured["span_precision"] == 3 / 4
    assert measured["span_recall"] == 1
    assert measured["span_f1"] == pytest.approx(6 / 7)


def test_predicts_probabilities():
    predict = jit(TASK.predict)
    want = jax.nn.softmax(TABLE[BATCH["tokens"]])
    np.testing.assert_allclose(predict(VARIABLES, BATCH["tokens"]), want, rtol=1e-5)
    np.testing.assert_allclose(predict(VARIABLES, {"tokens": BATCH["tokens"]}), want, rtol=1e-5)


@pytest.mark.slow
def test_halves_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(0, 11, (8, 5)).astype(np.int32),
        "labels": rng.integers(-1, 3, (8, 5)).astype(np.int32),
        "segments": np.where(np.arange(5) < rng.integers(1, 6, (8, 1)), 1, 0).astype(np.int32),
        "index": np.arange(8, dtype=np.int32),
    }
    task = TokenClassification(model=Encoder(num_classes=3), tags=TAGS)
    variables = jit(lambda: task.init(KEY, batch))()

    @jit
    def sums(part):
        out = task.loss(variables, part, KEY, False)
        return out.total, out.weight, dict(out.metrics)

    first, second = (sums({name: x[part] for name, x in batch.items()}) for part in (slice(4), slice(4, 8)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics.merge(first, second), sums(batch))


def test_what_cannot_be_learned_is_named():
    sound = {**BATCH, "labels": np.minimum(BATCH["labels"], 2)}
    TASK.check(VARIABLES, sound)
    with pytest.raises(InputError, match=r"labels: is 9 at token 0 of example 2 \(labels go from 0 to 2; -1"):
        TASK.check(VARIABLES, BATCH)
    with pytest.raises(InputError, match=r"task\.tags: names 2 classes, the model has 3"):
        TokenClassification(model=TASK.model, tags=TAGS[:2]).check(VARIABLES, sound)
    with pytest.raises(InputError, match="token 0 of example 0 is 4"):
        TASK.check(VARIABLES, {**sound, "tokens": sound["tokens"] + 2})
    with pytest.raises(InputError, match=r"task\.labels: the data has no field 'labels'"):
        TASK.check(VARIABLES, {"tokens": BATCH["tokens"], "index": BATCH["index"]})
    pooled = TokenClassification(model=Encoder(num_classes=3, pool="token"))
    variables = jax.eval_shape(pooled.init, KEY, sound)
    with pytest.raises(InputError, match=r"task\.model: gives \[3\] for labels \[5\]"):
        pooled.check(variables, sound)
