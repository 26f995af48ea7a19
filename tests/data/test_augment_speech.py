"""Log-mel spectra against Whisper's, and what SpecAugment hides."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.augment import apply
from jaxai.data.augment.speech import ChangeSpeed, LogMel, MelNormalize, SpecAugment, log_mel, mel_filters

RNG = np.random.default_rng(0)


def spectra(num=6, length=50, mels=20):
    return {
        "log_mel": RNG.normal(size=(num, length, mels)).astype(np.float32),
        "num_frames": np.array([50, 50, 40, 30, 10, 1], np.int32)[:num],
        "index": np.arange(num, dtype=np.int32) + 7,
    }


@pytest.mark.oracle
@pytest.mark.parametrize(("window", "hop", "mels"), [(400, 160, 80), (512, 128, 60)])
def test_log_mel_is_whispers(window, hop, mels):
    from tests.oracle import transformers

    rate = 16_000  # Whisper's bands end at 8 kHz whatever the rate

    extractor = transformers.WhisperFeatureExtractor(
        feature_size=mels, sampling_rate=rate, hop_length=hop, n_fft=window, chunk_length=1
    )
    tone = np.sin(np.arange(rate) * 0.2) * np.linspace(0, 0.5, rate)
    audio = np.stack([tone, RNG.normal(size=rate) * 0.1]).astype(np.float32)
    want = extractor(list(audio), sampling_rate=rate, return_tensors="np")["input_features"]
    got = jax.jit(log_mel, static_argnums=(1, 2, 3, 4))(audio, rate, window, hop, mels)
    assert got.shape == (2, rate // hop, mels)
    np.testing.assert_allclose(got, want.swapaxes(1, 2), atol=1e-4)


@pytest.mark.oracle
def test_filters_are_slaneys_below_a_kilohertz_and_above():
    from transformers.audio_utils import mel_filter_bank

    for rate, window, mels in [(16_000, 400, 80), (1600, 200, 12)]:
        want = mel_filter_bank(
            num_frequency_bins=window // 2 + 1, num_mel_filters=mels, min_frequency=0.0, max_frequency=rate / 2,
            sampling_rate=rate, norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        np.testing.assert_allclose(mel_filters(rate, window, mels), want, atol=1e-7)


def test_a_tone_is_loudest_in_the_band_around_its_frequency():
    rate, hertz = 8000, 1280
    audio = np.sin(2 * np.pi * hertz * np.arange(2000) / rate).astype(np.float32)[None]
    got = np.asarray(log_mel(jnp.asarray(audio), rate, 200, 80, 30))
    filters = mel_filters(rate, 200, 30)
    assert (got[0, 5:-5].argmax(axis=1) == filters[hertz * 200 // rate].argmax()).all()


def test_whole_numbers_are_the_same_recording_and_lengths_become_frames():
    audio = (RNG.normal(size=(2, 1000)) * 3000).astype(np.int16)
    stage = LogMel(rate=8000, window=200, hop=80, num_mels=20)
    batch = {"audio": audio, "num_samples": np.array([1000, 399]), "index": np.arange(2)}
    made = apply((stage,), batch, jax.random.key(0), False)
    assert made["log_mel"].shape == (2, 12, 20)
    np.testing.assert_array_equal(made["num_frames"], [12, 4])
    floats = apply((stage,), {**batch, "audio": audio / np.float32(32768)}, jax.random.key(0), True)
    np.testing.assert_array_equal(floats["log_mel"], made["log_mel"])


def test_recordings_are_played_at_a_speed_that_is_drawn_and_fit_into_their_row():
    num, length, ends = 40, 120, np.repeat([120, 100, 60, 1], 10)
    ramp = np.arange(length, dtype=np.float32)
    batch = {
        "audio": np.where(ramp < ends[:, None], ramp, 0).astype(np.float32),
        "num_samples": ends.astype(np.int32),
        "index": np.arange(num, dtype=np.int32),
    }
    stages = (ChangeSpeed(most=0.2),)
    run = jax.jit(lambda batch, train: apply(stages, batch, jax.random.key(0), train), static_argnums=1)
    out = jax.device_get(run(batch, True))
    factor = out["audio"][:, 1]  # of a ramp, the second sample
    for i, (x, got) in enumerate(zip(out["audio"], out["num_samples"], strict=True)):
        if ends[i] == 1:
            assert got == 1
            continue
        assert got == np.floor((ends[i] - 1) / factor[i] + 1e-4) + 1
        np.testing.assert_allclose(x[:got], ramp[:got] * factor[i], rtol=1e-4)
        np.testing.assert_array_equal(x[got:], 0)
    assert (factor[:10] >= 1).all()  # they fill their row
    assert factor[20:30].min() < 0.9
    assert factor[20:30].max() > 1.1
    assert np.abs(factor[:30] - 1).max() <= 0.2 + 1e-6
    few = jax.device_get(run({name: x[[25, 3]] for name, x in batch.items()}, True))
    np.testing.assert_array_equal(few["num_samples"], out["num_samples"][[25, 3]])
    same = run(batch, False)
    np.testing.assert_array_equal(same["audio"], batch["audio"])
    assert "num_samples" in apply((ChangeSpeed(),), {"audio": batch["audio"], "index": ends}, jax.random.key(0), True)


def test_normalized_mels_have_mean_0_and_deviation_1_over_what_does_not_pad():
    batch = spectra(5)
    scaled = {**batch, "log_mel": 3 * batch["log_mel"] + np.arange(20, dtype=np.float32)}
    out = np.asarray(
        jax.jit(lambda batch: apply((MelNormalize(),), batch, jax.random.key(0), False)["log_mel"])(scaled)
    )
    for x, num in zip(out, batch["num_frames"], strict=True):
        np.testing.assert_allclose(x[:num].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x[:num].std(axis=0), 1, atol=1e-3)
        np.testing.assert_array_equal(x[num:], 0)


def test_no_more_is_hidden_than_declared_and_all_widths_occur():
    stage = SpecAugment(mel_masks=1, mel_width=4, time_masks=1, time_width=12, time_share=0.2)
    batch = spectra()
    run = jax.jit(lambda key: apply((stage,), batch, key, True)["log_mel"])
    widths = []
    for seed in range(40):
        hidden = np.asarray(run(jax.random.key(seed))) != batch["log_mel"]
        rows, columns = hidden.all(axis=2), hidden.all(axis=1)
        np.testing.assert_array_equal(hidden, rows[:, :, None] | columns[:, None, :])
        assert (rows.sum(axis=1) <= np.minimum(12, np.floor(0.2 * batch["num_frames"]))).all()
        assert (columns.sum(axis=1) <= 4).all()
        assert not (rows & (np.arange(50) >= batch["num_frames"][:, None])).any()
        assert (np.abs(np.diff(rows.astype(int), axis=1)).sum(axis=1) <= 2).all()  # one stretch
        widths += columns.sum(axis=1).tolist()
    assert set(widths) == {0, 1, 2, 3, 4}


def test_what_is_hidden_is_the_mean_of_the_recording():
    batch = spectra()
    whole = SpecAugment(mel_masks=30, mel_width=20, time_masks=0)
    out = np.asarray(jax.jit(lambda batch: apply((whole,), batch, jax.random.key(0), True)["log_mel"])(batch))
    means = [x[:n].mean() for x, n in zip(batch["log_mel"], batch["num_frames"], strict=True)]
    hidden = out != batch["log_mel"]
    assert hidden.any(axis=(1, 2)).all()
    np.testing.assert_allclose(
        out[hidden], np.broadcast_to(np.array(means)[:, None, None], out.shape)[hidden], atol=1e-6
    )


def test_the_same_example_is_hidden_alike_wherever_it_is_in_a_batch():
    batch = spectra()
    run = jax.jit(lambda batch, key: apply((SpecAugment(mel_width=8, time_width=20),), batch, key, True)["log_mel"])
    whole = np.asarray(run(batch, jax.random.key(1)))[[4, 2]]
    few = {name: x[[4, 2]] for name, x in batch.items()}
    part = np.asarray(run(few, jax.random.key(1)))
    np.testing.assert_array_equal(part == few["log_mel"], whole == few["log_mel"])
    np.testing.assert_allclose(part, whole, atol=1e-6)
    assert not np.array_equal(whole == few["log_mel"], run(few, jax.random.key(2)) == few["log_mel"])
    assert apply((SpecAugment(),), batch, jax.random.key(1), False)["log_mel"] is batch["log_mel"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(hop=0), "LogMel.hop: must be at least 1, is 0"),
        (lambda: LogMel(rate=8000.5), "LogMel.rate: must be a whole number"),
        (lambda: ChangeSpeed(most=1.0), "ChangeSpeed.most: 1 .*0 to below 1"),
        (lambda: run_on(ChangeSpeed(), image=np.zeros(2)), "ChangeSpeed: the batch has no 'audio'"),
        (lambda: SpecAugment(time_share=1.5), "SpecAugment.time_share: 1.5 .*0 to 1"),
        (lambda: SpecAugment(mel_masks=-1), "SpecAugment.mel_masks: must not be negative"),
        (lambda: mel_filters(16_000, 64, 80), "num_mels: 80 bands are more than windows of 64 samples"),
        (
            lambda: run_on(LogMel(), image=np.zeros((2, 9))),
            r"LogMel: the batch has no 'audio', only \['image', 'index'\]",
        ),
        (lambda: run_on(LogMel(), audio=np.zeros((2, 900), np.uint8)), r"'audio' is uint8 \[2, 900\]"),
        (lambda: run_on(LogMel(), audio=np.zeros((2, 200), np.int16)), "recordings of 200 samples .*more than 200"),
        (lambda: run_on(SpecAugment(), audio=np.zeros((2, 900))), r"no 'log_mel', .*LogMel\(\) before it"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def run_on(stage, **fields):
    return apply((stage,), {**fields, "index": np.arange(2)}, jax.random.key(0), True)
