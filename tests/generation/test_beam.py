"""Beam search is exhaustive where the beams are enough, and stops as it says."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.generation.beam import beam_search
from jaxai.generation.generator import generate
from jaxai.generation.sampling import Sampling
from jaxai.models.gpt2 import GPT2
from jaxai.models.seq2seq import Seq2Seq

from .small import larger

MODEL = GPT2(vocab_size=4, dim=8, depth=1, num_heads=2, max_length=16)
PROMPTS = [[1, 2, 3], [0]]
ROOM, STOP = 3, 2


TRANSLATOR = Seq2Seq(vocab_size=5, dim=8, depth=1, num_heads=2, hidden=16, max_length=16, norm_first=True)
BOS = 4


@pytest.fixture(scope="module")
def variables():
    return larger(jax.jit(MODEL.init)(jax.random.key(1), jnp.zeros((1, 2), jnp.int32)))


@pytest.fixture(scope="module")
def translator():
    made = jax.jit(TRANSLATOR.init)(jax.random.key(2), *jnp.zeros((2, 1, 2), jnp.int32))
    return tree.map_paths(lambda path, leaf: leaf * (3 if leaf.ndim == 2 else 1), made)


def continuations(variables, prompt):
    """`texts -> logits` of a decoder, whose text the prompt begins."""
    apply = jax.jit(MODEL.apply)
    return lambda texts: apply(variables, np.array([[*prompt, *text] for text in texts]))[:, len(prompt) - 1 :]


def translations(variables, source):
    """`texts -> logits` of the translator."""
    apply = jax.jit(TRANSLATOR.apply)
    return lambda texts: apply(variables, np.array([source] * len(texts)), np.array([[BOS, *text] for text in texts]))


def exhaustive(logits, vocab, penalty):
    """(score, text) of every text of three tokens, or fewer that end with the stop token; best first."""
    texts = [
        text
        for number in range(1, ROOM + 1)
        for text in itertools.product(range(vocab), repeat=number)
        if STOP not in text[:-1] and (number == ROOM or text[-1] == STOP)
    ]
    log_p = np.asarray(jax.nn.log_softmax(logits([(*text, 0, 0, 0)[:ROOM] for text in texts])))
    sums = [sum(log_p[i, place, token] for place, token in enumerate(text)) for i, text in enumerate(texts)]
    return sorted(((total / len(text) ** penalty, text) for total, text in zip(sums, texts, strict=True)), reverse=True)


def check(found, all_of, penalty, vocab):
    for logits, texts, scores in zip(all_of, found.tokens, found.scores, strict=True):
        best = exhaustive(logits, vocab, penalty)[:5]
        assert [tuple(text.tolist()) for text in texts[:5]] == [text for _, text in best]
        np.testing.assert_allclose(scores[:5], [score for score, _ in best], atol=1e-5)


SEARCH = {"max_new_tokens": ROOM, "stop": (STOP,), "early_stopping": "exhaustive"}


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -1.0])
def test_with_enough_beams_the_best_of_all_texts_are_found(variables, penalty):
    """27 beams hold all open texts of two tokens, and of their ends all."""
    found = beam_search(MODEL, variables, PROMPTS, num_beams=27, length_penalty=penalty, **SEARCH)
    check(found, [continuations(variables, prompt) for prompt in PROMPTS], penalty, vocab=4)


@pytest.mark.slow
def test_the_best_of_all_translations_are_found(translator):
    """Sources of several lengths, of which the shorter end in padding."""
    sources = [[1, 2, 3, 3, 1], [0, 3]]
    found = beam_search(TRANSLATOR, translator, sources, num_beams=64, length_penalty=-1.0, bos=BOS, **SEARCH)
    check(found, [translations(translator, source) for source in sources], -1.0, vocab=5)
    assert {len(text) for text in found.tokens[0][:5]} != {ROOM}


@pytest.mark.slow
def test_one_beam_is_greedy(variables):
    greedy = generate(MODEL, variables, PROMPTS, Sampling(temperature=0, max_new_tokens=6))
    found = beam_search(MODEL, variables, PROMPTS, num_beams=1, max_new_tokens=6)
    for new, texts in zip(greedy, found.tokens, strict=True):
        np.testing.assert_array_equal(texts[0], new)


def test_what_cannot_be_searched(variables):
    with pytest.raises(InputError, match="num_beams: must be at least 1, is 0"):
        beam_search(MODEL, variables, PROMPTS, num_beams=0)
    with pytest.raises(InputError, match="max_new_tokens: must be at least 1, is 0"):
        beam_search(MODEL, variables, PROMPTS, max_new_tokens=0)
    with pytest.raises(InputError, match="prompt: 3 tokens and 20 new ones, but GPT2 has 16 positions"):
        beam_search(MODEL, variables, PROMPTS, max_new_tokens=20)
    with pytest.raises(InputError, match="bos: Seq2Seq begins its targets with a token"):
        beam_search(TRANSLATOR, {}, PROMPTS)
    with pytest.raises(InputError, match="source: 17 tokens, but Seq2Seq has 16 positions"):
        beam_search(TRANSLATOR, {}, [[1] * 17], bos=BOS, max_new_tokens=5)
    with pytest.raises(InputError, match="target: 17 tokens, but Seq2Seq has 16 positions"):
        beam_search(TRANSLATOR, {}, PROMPTS, bos=BOS, max_new_tokens=17)
