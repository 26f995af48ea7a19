"""Masked language modelling: the shares, what is never masked, whole words, and that an example keeps its mask."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.augment import apply
from jaxai.data.text.masking import MaskTokens
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

VOCAB, MASK, CLS, SEP = 1000, 3, 1, 2
MASKING = MaskTokens(mask=MASK, vocab_size=VOCAB, special=(CLS, SEP))


@pytest.fixture(scope="module")
def batch():
    """512 rows of 64: [CLS], up to 60 tokens, [SEP], padding; words of two tokens."""
    random = np.random.default_rng(0)
    used = random.integers(20, 61, (512, 1))
    places = np.arange(64)
    tokens = np.where(places <= used, random.integers(10, VOCAB, (512, 64)), SEP)
    tokens[:, 0] = CLS
    segments = (places <= used + 1).astype(np.int32)
    words = np.where((places >= 1) & (places <= used), (places - 1) // 2, -1)
    return {
        "tokens": jnp.array(np.where(segments, tokens, 0), jnp.int32), "segments": jnp.array(segments),
        "words": jnp.array(words, jnp.int32), "index": jnp.arange(512, dtype=jnp.int32),
    }  # fmt: skip


def compiled(masking, train=True):
    return jax.jit(
        lambda batch, seed: apply((masking,), batch, jax.random.key(seed), train),
        compiler_options={"xla_backend_optimization_level": 0},
    )


masked = compiled(MASKING)
masked_words = compiled(MaskTokens(mask=MASK, vocab_size=VOCAB, whole_words=True, rate=0.3))


def within(count, total, share):
    """Whether a count is within 4 standard deviations of its share."""
    return abs(count - total * share) < 4 * np.sqrt(total * share * (1 - share))


def test_the_shares(batch):
    out = masked(batch, 0)
    tokens, chosen = np.asarray(batch["tokens"]), np.asarray(out["chosen"]) == 1
    may = (tokens >= 10) & (np.asarray(batch["segments"]) == 1)
    assert within(chosen.sum(), may.sum(), 0.15)
    now = np.asarray(out["tokens"])[chosen]
    then = tokens[chosen]
    assert within((now == MASK).sum(), chosen.sum(), 0.8)
    # A random token is the original or the mask by a chance of 1 in 1000.
    assert within((now == then).sum(), chosen.sum(), 0.1 + 0.1 / VOCAB)
    other = now[(now != MASK) & (now != then)]
    assert within(len(other), chosen.sum(), 0.1 * (1 - 2 / VOCAB))
    assert within((other < VOCAB / 2).sum(), len(other), 0.5)
    assert other.max() < VOCAB
    assert len(np.unique(other)) > 0.7 * len(other)
    # Rows and places are chosen alike.
    counts = chosen[:, 1:21].sum(axis=0)
    assert all(within(count, 512, 0.15) for count in counts)


def test_what_is_not_chosen_stays_and_targets_are_the_original(batch):
    out = masked(batch, 0)
    np.testing.assert_array_equal(out["targets"], batch["tokens"])
    left = np.asarray(out["chosen"]) == 0
    np.testing.assert_array_equal(np.asarray(out["tokens"])[left], np.asarray(batch["tokens"])[left])
    assert set(np.unique(out["chosen"])) == {0, 1}
    assert {out[name].dtype.name for name in ("tokens", "targets")} == {"int32"}
    assert out["chosen"].dtype == jnp.float32


def test_special_tokens_and_padding_are_never_chosen(batch):
    chosen = np.asarray(masked(batch, 0)["chosen"]) == 1
    for never in (batch["segments"] == 0, batch["tokens"] == CLS, batch["tokens"] == SEP):
        assert np.asarray(never).any()
        assert not chosen[np.asarray(never)].any()


def test_words_are_chosen_whole(batch):
    out = masked_words(batch, 0)
    chosen, words = np.asarray(out["chosen"]) == 1, np.asarray(batch["words"])
    rows = np.broadcast_to(np.arange(512)[:, None], words.shape)
    sizes, hits = (np.zeros((512, 32), int) for _ in range(2))
    np.add.at(sizes, (rows[words >= 0], words[words >= 0]), 1)
    np.add.at(hits, (rows[chosen], words[chosen]), 1)
    assert ((hits == 0) | (hits == sizes)).all()
    assert not chosen[words < 0].any()
    assert within((hits > 0).sum(), (sizes > 0).sum(), 0.3)
    # What becomes of each token of a chosen word is drawn for itself.
    now = np.asarray(out["tokens"])
    pairs = (now[:, 1:-1:2] == MASK) & (now[:, 2::2] == MASK)
    assert within(pairs[hits[:, :31] == 2].sum(), (hits[:, :31] == 2).sum(), 0.64)


def test_an_example_keeps_its_mask_in_any_batch(batch):
    """Whatever other examples are there, in whatever order, and however long the rows are."""
    whole = masked(batch, 0)
    rows = np.random.default_rng(0).integers(0, 512, 512)
    other = {name: value[rows] for name, value in batch.items()}
    for length in (64, 40):
        part = masked({name: value[:, :length] if value.ndim > 1 else value for name, value in other.items()}, 0)
        for name in ("tokens", "targets", "chosen"):
            np.testing.assert_array_equal(part[name], whole[name][rows, :length])


def test_keys_decide_and_evaluations_mask_alike(batch):
    first, again, other = masked(batch, 0), compiled(MASKING, train=False)(batch, 0), masked(batch, 1)
    np.testing.assert_array_equal(first["tokens"], again["tokens"])
    assert (first["chosen"] != other["chosen"]).any()


def test_without_segments_all_may_be_chosen():
    rows = {"tokens": jnp.full((4, 16), 50), "index": jnp.arange(4)}
    assert (compiled(MaskTokens(mask=MASK, vocab_size=VOCAB, rate=1.0))(rows, 0)["chosen"] == 1).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate": 0.0}, r"MaskTokens.rate: 0.0 \(above 0 and at most 1\)"),
        ({"mask": 1000}, r"MaskTokens.mask: 1000 is no token of a vocabulary of 1000 \(0 to 999\)"),
        ({"special": (1.5,)}, r"MaskTokens.special.0: must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        MaskTokens(**{"mask": MASK, "vocab_size": VOCAB, **fields})


def test_whole_words_need_words(batch):
    rows = {name: value for name, value in batch.items() if name != "words"}
    with pytest.raises(
        InputError, match=r"MaskTokens.whole_words: the batch has no 'words' \(Texts\(..., words=True\)\)"
    ):
        masked_words(rows, 0)
    assert from_json(to_json(MASKING)) == MASKING
