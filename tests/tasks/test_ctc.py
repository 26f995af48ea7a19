"""Transcription: the loss against PyTorch's, decoding against all that could have been said."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.augment.speech import LogMel, SpecAugment
from jaxai.models.speech import SpeechEncoder
from jaxai.tasks.ctc import CTC, ctc_loss
from jaxai.tasks.ctc_decoding import NGrams, beam_search, greedy

RNG = np.random.default_rng(0)
TASK = CTC(
    model=SpeechEncoder(vocab_size=6, dim=8, depth=1, num_heads=2, strides=(2,)),
    augment=(LogMel(rate=8000, window=64, hop=32, num_mels=8), SpecAugment(mel_width=2, time_width=4)),
    blank=5,
    space=0,
)


def make_batch(**fields):
    tokens = np.array([[1, 0, 2, 2], [3, 4, 5, 5], [1, 2, 3, 5]], np.int32)
    return {
        "audio": (np.random.default_rng(1).normal(size=(3, 700)) * 3000).astype(np.int16),
        "num_samples": np.array([700, 512, 640], np.int32),
        "tokens": tokens,
        "segments": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]], np.int32),
        "index": np.arange(3, dtype=np.int32),
        **fields,
    }


@pytest.mark.oracle
@pytest.mark.parametrize("blank", [0, 6])
def test_loss_and_gradient_are_pytorchs(blank):
    import torch

    tokens = np.array([[1, 2, 3, 4], [2, 2, 2, 9], [5, 9, 9, 9], [3, 3, 1, 9]], np.int32)
    num_tokens, num_steps = np.array([4, 3, 1, 3], np.int32), np.array([12, 9, 5, 4], np.int32)
    logits = RNG.normal(size=(4, 12, 7)).astype(np.float32)

    def total(x):
        losses = ctc_loss(x, num_steps, np.where(tokens == 9, 1, tokens), num_tokens, blank)
        return jnp.sum(losses), losses

    (_, losses), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(logits)
    x = torch.tensor(logits, requires_grad=True)
    want = torch.nn.functional.ctc_loss(
        x.log_softmax(2).transpose(0, 1), torch.tensor(np.where(tokens == 9, 1, tokens)), torch.tensor(num_steps),
        torch.tensor(num_tokens), blank=blank, reduction="none",
    )  # fmt: skip
    want.sum().backward()
    np.testing.assert_allclose(losses, want.detach(), rtol=1e-5)
    np.testing.assert_allclose(gradient, x.grad, atol=1e-5)


def spoken(log_p, blank):
    """The log-probability of each transcript, summed over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        tokens = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        found[tokens] = np.logaddexp(found.get(tokens, -np.inf), sum(log_p[i, token] for i, token in enumerate(path)))
    return found


@pytest.mark.parametrize("blank", [0, 2])
def test_beam_search_finds_what_is_likeliest_of_all(blank):
    differ = 0
    for seed in range(12):
        logits = np.random.default_rng(seed).normal(size=(5, 3)) * 1.5
        log_p = np.asarray(jax.nn.log_softmax(logits))
        every = spoken(log_p, blank)
        assert np.logaddexp.reduce(list(every.values())) == pytest.approx(0, abs=1e-5)
        best = max(every, key=every.get)
        tokens, score = beam_search(log_p, blank, width=50)
        assert tokens == best
        assert score == pytest.approx(every[best], abs=1e-5)
        first, num = greedy(jnp.asarray(logits)[None], jnp.array([5]), blank)
        differ += tuple(np.asarray(first[0, : int(num[0])]).tolist()) != best
    assert differ  # or greedy would have been as good


def test_beam_search_adds_what_the_language_says_of_each_token_once():
    language = lambda prefix, token: -1.5 if prefix[-1:] == (token,) else 0.4 * token * len(prefix)  # noqa: E731
    differ = 0
    for seed in range(12):
        log_p = np.asarray(jax.nn.log_softmax(np.random.default_rng(seed).normal(size=(5, 3)) * 1.5))
        every = spoken(log_p, 2)
        scores = {
            tokens: score + sum(language(tokens[:i], token) for i, token in enumerate(tokens))
            for tokens, score in every.items()
        }
        best = max(scores, key=scores.get)
        tokens, score = beam_search(log_p, 2, width=50, language=language)
        assert tokens == best
        assert score == pytest.approx(scores[best], abs=1e-5)
        differ += best != max(every, key=every.get)
    assert differ


def test_ngrams_mix_what_followed_by_witten_and_bell():
    model = NGrams([(1, 2, 1, 2), (1, 3)], order=2)
    # Of six tokens three are 1, two 2 and one 3; after 1 came 2 twice and 3 once; nothing but 1 came after 2.
    one, two, three = ((count + 3 / 3) / (6 + 3) for count in (3, 2, 1))
    assert np.exp([model.log_p((), token) for token in (1, 2, 3)]) == pytest.approx([one, two, three])
    want = [(0 + 2 * one) / 5, (2 + 2 * two) / 5, (1 + 2 * three) / 5]
    assert np.exp([model.log_p((2, 3, 1), token) for token in (1, 2, 3)]) == pytest.approx(want)
    assert np.exp(model.log_p((2,), 1)) == pytest.approx((1 + one) / 2)
    assert model.log_p((3,), 2) == model.log_p((), 2)  # nothing came after 3
    assert sum(np.exp(model.log_p((1,), token)) for token in (1, 2, 3)) == pytest.approx(1)


def test_the_loss_is_that_of_all_paths_and_nan_where_there_is_none():
    log_p = np.asarray(jax.nn.log_softmax(RNG.normal(size=(4, 3))), np.float32)
    every = spoken(log_p, 2)
    for tokens in [(0,), (0, 1), (1, 1), (0, 1, 0)]:
        row, num = np.array([[*tokens, 0, 0, 0][:4]]), np.array([len(tokens)])
        got = ctc_loss(log_p[None], np.array([4]), row, num, 2)
        assert float(got[0]) == pytest.approx(-every[tokens], rel=1e-5)
    steps = np.array([3])
    assert np.isnan(ctc_loss(log_p[None], steps, np.array([[1, 1, 0]]), np.array([3]), 2)).all()
    assert np.isfinite(ctc_loss(log_p[None], steps, np.array([[1, 1, 0]]), np.array([2]), 2)).all()


def test_greedy_drops_blanks_and_repeats_and_what_comes_after_the_end():
    path = np.array([[3, 1, 1, 3, 1, 2, 2, 0], [1, 3, 3, 2, 0, 0, 0, 0]])
    tokens, num = greedy(jax.nn.one_hot(path, 4), jnp.array([8, 4]), blank=3)
    assert [row[:n].tolist() for row, n in zip(np.asarray(tokens), np.asarray(num), strict=True)] == [
        [1, 1, 2, 0],
        [1, 2],
    ]


@pytest.fixture(scope="module")
def learned():
    """The variables of `TASK`, and its losses compiled."""
    return jax.jit(TASK.init)(jax.random.key(0), make_batch()), jax.jit(TASK.loss, static_argnames="train")


@pytest.mark.slow
def test_padding_counts_in_nothing_and_the_weight_is_of_tokens(learned):
    variables, loss = learned
    whole = loss(variables, make_batch(), jax.random.key(0), train=False)
    assert float(whole.weight) == 9
    assert int(whole.metrics["cer"].weight) == 9
    assert int(whole.metrics["wer"].weight) == 4
    masked = loss(variables, make_batch(mask=np.array([1.0, 0, 1], np.float32)), jax.random.key(0), train=False)
    parts = [
        loss(variables, {name: x[i : i + 1] for name, x in make_batch().items()}, jax.random.key(0), train=False)
        for i in (0, 2)
    ]
    assert float(masked.total) == pytest.approx(sum(float(part.total) for part in parts), rel=1e-5)
    assert float(masked.weight) == 7
    trained = loss(variables, make_batch(), jax.random.key(0), train=True)
    assert trained.metrics == {}
    assert float(trained.total) != float(whole.total)  # spectra were masked


@pytest.mark.slow
def test_predict_gives_what_is_decoded(learned):
    variables, loss = learned
    batch = make_batch()
    log_p, steps = jax.jit(TASK.predict)(variables, {name: batch[name] for name in ("audio", "num_samples")})
    np.testing.assert_array_equal(steps, [11, 8, 10])
    out = loss(variables, batch, jax.random.key(0), train=False)
    np.testing.assert_allclose(log_p, jax.nn.log_softmax(out.outputs), atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"segments": np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]])}, "transcript of example 1 is empty"),
        ({"segments": np.ones((3, 4), int)}, "transcript of example 1 holds the blank, 5"),
        ({"tokens": np.full((3, 4), 6)}, "token 0 of example 0 is 6, the model has a vocabulary of 6"),
        ({"num_samples": np.array([700, 512, 128])}, "example 2 needs 3 steps, the recording has 2 .*smaller strides"),
        ({"num_samples": np.array([256, 512, 640])}, "example 0 needs 5 steps, the recording has 4"),
    ],
)
def test_transcripts_that_cannot_be_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        TASK.check({}, make_batch(**fields))


def test_a_batch_without_transcripts_or_spectra_is_refused():
    with pytest.raises(InputError, match=r"task\.segments: the data has no field 'segments'"):
        TASK.init(jax.random.key(0), {name: x for name, x in make_batch().items() if name != "segments"})
    with pytest.raises(InputError, match=r"task\.inputs: the data has no field 'log_mel'"):
        CTC(model=TASK.model, augment=(), blank=5).init(jax.random.key(0), make_batch())
