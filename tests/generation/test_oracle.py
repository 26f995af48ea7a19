"""Greedy decoding, beam search and filters beside `transformers`, with the same weights."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.oracle

from jaxai.generation.beam import beam_search  # noqa: E402
from jaxai.generation.generator import generate  # noqa: E402
from jaxai.generation.sampling import Sampling, candidates, penalize  # noqa: E402

from .small import MODEL, PROMPTS, their_model, variables  # noqa: E402


@pytest.fixture(scope="module")
def theirs():
    return their_model(MODEL, variables())


def their_batch(prompts):
    """Prompts padded at the beginning, and which are of them."""
    import torch

    length = max(map(len, prompts))
    rows = [[0] * (length - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask), "pad_token_id": 0}


def test_greedy_tokens(theirs):
    new = generate(MODEL, variables(), PROMPTS, Sampling(temperature=0, max_new_tokens=40))
    expected = theirs.generate(**their_batch(PROMPTS), do_sample=False, max_new_tokens=40).numpy()[:, -40:]
    np.testing.assert_array_equal(np.stack(new), expected)
    assert len(np.unique(expected)) > 3


def test_greedy_tokens_with_repetition_penalized(theirs):
    sampling = Sampling(temperature=0, repetition_penalty=1.3, max_new_tokens=20)
    for prompt in PROMPTS:
        new = generate(MODEL, variables(), [prompt], sampling)[0]
        expected = theirs.generate(
            **their_batch([prompt]), do_sample=False, repetition_penalty=1.3, max_new_tokens=20
        ).numpy()[0, -20:]
        np.testing.assert_array_equal(new, expected)


EARLY = {"first": True, "hopeful": False, "exhaustive": "never"}


@pytest.mark.parametrize("early_stopping", EARLY)
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("stop", [(), (7,), (0, 7)], ids=str)
def test_beam_search(theirs, length_penalty, early_stopping, stop):
    found = beam_search(
        MODEL,
        variables(),
        PROMPTS,
        num_beams=4,
        max_new_tokens=12,
        stop=stop,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )
    expected = theirs.generate(
        **their_batch(PROMPTS),
        do_sample=False,
        num_beams=4,
        num_return_sequences=4,
        max_new_tokens=12,
        eos_token_id=list(stop) or None,
        length_penalty=length_penalty,
        early_stopping=EARLY[early_stopping],
        output_scores=True,
        return_dict_in_generate=True,
    )
    np.testing.assert_allclose(found.scores.reshape(-1), expected.sequences_scores.numpy(), rtol=1e-5, atol=1e-5)
    start = max(map(len, PROMPTS))
    lengths = (expected.beam_indices.numpy() >= 0).sum(axis=1)
    texts = [text for beams in found.tokens for text in beams]
    for text, sequence, length in zip(texts, expected.sequences.numpy(), lengths, strict=True):
        np.testing.assert_array_equal(text, sequence[start : start + length])


def test_stopping_early_matters():
    """Else the test above would compare one mode three times."""
    settings = {"num_beams": 4, "max_new_tokens": 12, "stop": (0, 7), "length_penalty": 1.0}
    found = [beam_search(MODEL, variables(), PROMPTS, early_stopping=mode, **settings).scores for mode in EARLY]
    assert not np.allclose(found[0], found[1])
    assert not np.allclose(found[1], found[2])


LOGITS = 3 * np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)


def masked(top_k, top_p):
    logits, tokens = candidates(jnp.array(LOGITS), top_k, top_p)
    return np.asarray(jnp.full(LOGITS.shape, -jnp.inf).at[jnp.arange(5)[:, None], tokens].set(logits))


BOTH = list(itertools.product([None, 1, 7, 40, 99], [None, 1e-6, 0.3, 0.9, 1.0]))[1:]


@pytest.mark.parametrize(("top_k", "top_p"), BOTH)
def test_filters(top_k, top_p):
    import torch
    from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

    expected = torch.from_numpy(LOGITS.copy())
    if top_k is not None:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p is not None:
        expected = TopPLogitsWarper(top_p)(None, expected)
    np.testing.assert_array_equal(masked(top_k, top_p), expected.numpy())


def test_penalty():
    import torch
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    tokens = np.random.default_rng(1).integers(0, 40, (5, 12))
    seen = jnp.zeros((5, 40), bool).at[jnp.arange(5)[:, None], tokens].set(True)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.from_numpy(tokens), torch.from_numpy(LOGITS.copy()))
    np.testing.assert_allclose(penalize(jnp.array(LOGITS), seen, 1.7), expected.numpy(), rtol=1e-6)


def test_the_distribution_that_is_drawn_from(theirs):
    """2,048 texts: the first token's counts beside the probabilities that their warpers leave."""
    import torch
    from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    number = 2048
    sampling = Sampling(temperature=1.4, top_k=12, top_p=0.9, max_new_tokens=1)
    drawn = np.concatenate(generate(MODEL, variables(), [PROMPTS[0]] * number, sampling, seed=1))
    with torch.no_grad():
        logits = theirs(torch.tensor([PROMPTS[0]])).logits[:, -1]
    for warp in (TemperatureLogitsWarper(1.4), TopKLogitsWarper(12), TopPLogitsWarper(0.9)):
        logits = warp(None, logits)
    expected = torch.softmax(logits, dim=-1)[0].numpy() * number
    counts = np.bincount(drawn, minlength=23)
    assert (counts[expected == 0] == 0).all()
    assert 3 <= np.count_nonzero(expected) < 12
    assert (np.abs(counts - expected) <= 4 * np.sqrt(expected)).all()


def test_beams_of_a_batch_are_those_of_each_prompt():
    together = beam_search(MODEL, variables(), PROMPTS, num_beams=3, max_new_tokens=8, stop=(4,))
    for i, prompt in enumerate(PROMPTS):
        alone = beam_search(MODEL, variables(), [prompt], num_beams=3, max_new_tokens=8, stop=(4,))
        np.testing.assert_allclose(alone.scores[0], together.scores[i], rtol=1e-5)
        assert jax.tree.all(jax.tree.map(np.array_equal, alone.tokens[0], together.tokens[i]))
