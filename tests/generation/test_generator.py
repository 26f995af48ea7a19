"""Texts continued with a cache are those of full passes; chunks, batches and padding change nothing."""

from __future__ import annotations

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.generation.generator import Generator, begin, decode, generate
from jaxai.generation.sampling import Rules, Sampling
from jaxai.models.gpt2 import GPT2

from .small import MODEL, PROMPTS, continued, full_pass, variables

GREEDY = Sampling(temperature=0, max_new_tokens=9)
DRAWN = Sampling(temperature=1.5, top_k=20, top_p=0.95, max_new_tokens=9)


@pytest.fixture(scope="module")
def generator():
    return Generator.of(MODEL, variables())


@pytest.mark.slow
def test_greedy_decoding_takes_the_likeliest_of_full_passes(generator):
    for prompt, new in zip(PROMPTS, generator.generate(PROMPTS, GREEDY), strict=True):
        assert [*prompt, *new] == continued(prompt, 9, lambda logits, text: np.argmax(logits))
    assert len({tuple(new) for new in generator.generate(PROMPTS, GREEDY)}) == 3


@pytest.mark.slow
def test_repetition_is_penalized_as_it_was_published(generator):
    """Of tokens in the prompt too, but not for the padding of shorter ones."""

    def choose(logits, text):
        seen = np.unique(text)
        logits = logits.copy()
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / 1.7, logits[seen] * 1.7)
        return np.argmax(logits)

    sampling = Sampling(temperature=0, repetition_penalty=1.7, max_new_tokens=9)
    plain = generator.generate(PROMPTS, GREEDY)
    penalized = generator.generate(PROMPTS, sampling)
    for prompt, new in zip(PROMPTS, penalized, strict=True):
        assert [*prompt, *new] == continued(prompt, 9, choose)
    assert not np.array_equal(penalized, plain)


@pytest.mark.slow
def test_chunks_are_the_same_tokens_by_the_same_program(generator):
    whole = generator.generate(PROMPTS, DRAWN, seed=3)
    compiled = decode._cache_size()
    chunks = list(generator.stream(PROMPTS, DRAWN, seed=3, chunk=4))
    assert [chunk.shape for chunk in chunks] == [(3, 4), (3, 4), (3, 1)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), np.stack(whole))
    assert decode._cache_size() == compiled


@pytest.mark.slow
def test_a_text_depends_on_the_seed_and_its_number_and_not_on_its_batch(generator):
    together = generator.generate(PROMPTS, DRAWN, seed=3)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_array_equal(generator.generate([prompt], DRAWN, seed=3, rows=[row])[0], together[row])
    alike = generator.generate([PROMPTS[0]] * 3, DRAWN, seed=3)
    np.testing.assert_array_equal(alike[0], together[0])
    assert len({tuple(new) for new in alike}) == 3
    assert not np.array_equal(generator.generate(PROMPTS, DRAWN, seed=4)[0], together[0])


@pytest.mark.slow
def test_a_text_ends_with_its_stop_token_and_the_loop_with_the_last_text(generator):
    free = generator.generate(PROMPTS, GREEDY)
    stop = int(free[0][3])
    stopped = Sampling(temperature=0, max_new_tokens=9, stop=(stop, 22))
    for new, full in zip(generator.generate(PROMPTS, stopped), free, strict=True):
        ends = np.flatnonzero(np.isin(full, [stop, 22]))
        np.testing.assert_array_equal(new, full[: ends[0] + 1] if len(ends) else full)
    alone = list(generator.stream(PROMPTS[:1], stopped, chunk=3))
    first = int(np.flatnonzero(free[0] == stop)[0])
    assert sum(chunk.shape[1] for chunk in alone) == first + 1, "it would have gone on with nothing"


@pytest.mark.slow
def test_other_numbers_need_no_other_program_and_what_is_compiled_is_told(generator, caplog):
    generator.generate(PROMPTS, DRAWN)
    with caplog.at_level(logging.INFO, "jaxai"):
        other = Sampling(temperature=0.3, top_k=20, top_p=0.5, max_new_tokens=40)
        generator.generate([[4] * 17, [1], [2]], other, seed=9)
        assert not caplog.messages
        generator.generate([[4] * 18, [1], [2]], other)  # 17 before the last: the next power of two
        assert caplog.messages == [
            "jaxai: compiling the reading of 3 prompts of up to 32 tokens",
            "jaxai: compiling the decoding of 3 texts, 64 new tokens each at most",
        ]


@pytest.mark.slow
def test_drawn_tokens_have_the_probabilities_of_the_model(generator):
    """4,096 texts of one prompt: the first token's counts within four deviations of what softmax says."""
    number = 4096
    sampling = Sampling(temperature=2.0, max_new_tokens=1)
    drawn = np.concatenate(generator.generate([[5, 3, 9]] * number, sampling, seed=0))
    logits = full_pass(variables(), jnp.array([[5, 3, 9]]))[0, -1]
    expected = np.asarray(jax.nn.softmax(logits / 2.0)) * number
    counts = np.bincount(drawn, minlength=23)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected) + 1).all()
    assert np.sum(np.square(counts - expected) / expected) < 50  # chi-squared of 22 degrees: 1 in 1,600


@pytest.mark.slow
def test_bfloat16(generator):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables())
    new = generate(MODEL, half, PROMPTS, GREEDY)
    assert all(len(text) == 9 for text in new)
    # The first token follows from one pass; later ones from what came before.
    logits = full_pass(half, jnp.array([PROMPTS[0]]))[0, -1]
    assert new[0][0] == int(jnp.argmax(logits))
    rules = Rules.of(GREEDY, 0, np.arange(3))
    state = jax.eval_shape(lambda: begin(generator.reader, 64, half, generator.reader.arrange(PROMPTS, 9), rules))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.held) if leaf.ndim == 4} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("prompts", "sampling", "message"),
    [
        ([], GREEDY, "prompts: are none"),
        ([[1], []], GREEDY, "prompts.1: is empty"),
        ([[1, 23]], GREEDY, "prompts.0: token 23 is none of the model's 23"),
        ([[1, -1]], GREEDY, "prompts.0: token -1 is none"),
        (
            [[1] * 56],
            GREEDY,
            "prompt: 56 tokens and 9 new ones, but GPT2 has 64 positions .max_new_tokens of at most 8",
        ),
        ([[1] * 70], GREEDY, "prompt: 70 tokens and 9 new ones, but GPT2 has 64 positions .at most 63 tokens"),
    ],
)
def test_what_cannot_be_continued(generator, prompts, sampling, message):
    with pytest.raises(InputError, match=message):
        generator.generate(prompts, sampling)


def test_what_is_no_language_model():
    from jaxai.models import MLP

    with pytest.raises(InputError, match="model: MLP is no language model"):
        Generator.of(MLP(), {})


@pytest.mark.slow
def test_a_prompt_may_fill_all_positions_but_those_of_the_new_tokens():
    model = GPT2(vocab_size=23, dim=8, depth=1, num_heads=1, max_length=10)
    made = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    new = generate(model, made, [prompt], Sampling(temperature=0, max_new_tokens=1))[0]
    assert new.tolist() == [int(jnp.argmax(jax.jit(model.apply)(made, jnp.array([prompt]))[0, -1]))]
