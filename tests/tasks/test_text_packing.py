"""Texts that share a row: what is written in one changes nothing, to the bit, of what a model says of another."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai.data.source import open_source
from jaxai.data.text import Bytes, Packed
from jaxai.data.text.files import Listed
from jaxai.models.bert import Bert
from jaxai.models.gpt2 import GPT2
from jaxai.models.llama import Llama
from tests.tasks.small_text import jit

SIZES = {"vocab_size": 262, "dim": 16, "depth": 2, "num_heads": 2}
MODELS = {
    "gpt2": GPT2(**SIZES, max_length=16),
    "llama": Llama(**SIZES, num_kv_heads=1, hidden=32),
    "bert": Bert(**SIZES, max_length=16, pool="none"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_token_attends_to_its_own_text_alone(name):
    model = MODELS[name]
    source = open_source(
        Packed(Listed([{"text": text} for text in ("abcd", "ef", "gh")]), tokenizer=Bytes(), length=12)
    )
    (row,) = (source.batch(np.array([i])) for i in range(len(source)))
    tokens, segments = row["tokens"], row["segments"][0]
    assert segments.tolist() == [1] * 5 + [2] * 3 + [3] * 3 + [0]
    variables = jit(model.init)(jax.random.key(0), tokens)
    apply = jit(lambda tokens: model.apply(variables, tokens, segments=row["segments"], positions=row["positions"]))
    whole = np.asarray(apply(tokens))[0]
    for text in (0, 1, 2, 3):
        for place in np.flatnonzero(segments == text):
            changed = tokens.copy()
            changed[0, place] = ord("z")
            now = np.asarray(apply(changed))[0]
            others = (segments != text) & (segments > 0)
            np.testing.assert_array_equal(now[others], whole[others])
            assert (now[place] != whole[place]).any()
    # The same text elsewhere in the row, at positions that begin anew, is told the same of.
    swapped = {name: np.concatenate([x[:, 5:8], x[:, :5], x[:, 8:]], axis=1) for name, x in row.items()}
    further = {name: swapped[name] for name in ("segments", "positions")}
    now = jit(lambda tokens: model.apply(variables, tokens, **further))(swapped["tokens"])[0]
    np.testing.assert_allclose(np.concatenate([now[3:8], now[:3]]), whole[:8], atol=1e-5)
