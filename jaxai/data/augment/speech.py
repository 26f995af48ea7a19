"""What is done to recordings within the step: log-mel spectra, and in training other speeds and masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.core.rng import stream
from jaxai.data.augment.base import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeSpeed:
    """Play recordings, `audio` [batch, sample], faster or slower in training (Ko et al. 2015); before `LogMel`.

    Each has a factor drawn, by which its pitch rises and its length shrinks, as `num_samples` [batch] then tells. None
    is made longer than its row.
    """

    most: float = 0.1
    """How far from 1 the factor may be."""

    def __post_init__(self) -> None:
        check_fields(self, "ChangeSpeed.")
        if not 0 <= self.most < 1:
            raise InputError("ChangeSpeed.most", f"{self.most:g}", "0 to below 1")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        audio = _audio_of(batch, "ChangeSpeed")
        if not train:
            return batch
        length = audio.shape[1]

        def changed(key: jax.Array, x: jax.Array, num: jax.Array) -> tuple[jax.Array, jax.Array]:
            factor = jax.random.uniform(stream(key, "speed"), minval=1 - self.most, maxval=1 + self.most)
            factor = jnp.maximum(factor, num / length)
            place = jnp.arange(length) * factor
            before = jnp.minimum(place.astype(jnp.int32), length - 2)
            between = x[before] + (place - before) * (x[before + 1] - x[before])
            num = jnp.floor((num - 1) / factor).astype(jnp.int32) + 1
            return jnp.where(jnp.arange(length) < num, between, 0), num

        audio, num = jax.vmap(changed)(keys, audio, batch.get("num_samples", jnp.full((len(audio),), length)))
        return {**batch, "audio": audio, "num_samples": num}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMel:
    """Make `log_mel` [batch, frame, mel] of `audio` [batch, sample], in training and evaluation.

    The recordings are int16, or float32 in -1..1. Where the batch has `num_samples` [batch], the rest of a recording
    being padding, it gains `num_frames` [batch]. The features are Whisper's (Radford et al. 2023); see `log_mel`.
    """

    rate: int = 16_000
    """Samples a second of the recordings."""
    window: int = 400
    """Samples a frame is made of; 25 ms at the default rate."""
    hop: int = 160
    """Samples from one frame to the next; 10 ms at the default rate."""
    num_mels: int = 80
    """Bands of frequency."""

    def __post_init__(self) -> None:
        check_fields(self, "LogMel.")
        for name in ("rate", "window", "hop", "num_mels"):
            if getattr(self, name) < 1:
                raise InputError(f"LogMel.{name}", f"must be at least 1, is {getattr(self, name)}")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:  # noqa: ARG002
        audio = _audio_of(batch, "LogMel")
        if audio.shape[1] <= self.window // 2:  # too short to mirror
            what = f"recordings of {audio.shape[1]} samples"
            raise InputError("LogMel", what, f"more than {self.window // 2}: half a window")
        made = {"log_mel": log_mel(audio, self.rate, self.window, self.hop, self.num_mels)}
        if "num_samples" in batch:
            made["num_frames"] = batch["num_samples"] // self.hop
        return {**batch, **made}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MelNormalize:
    """Bring each mel of `log_mel` to mean 0 and deviation 1 over its recording, in training and evaluation.

    What a microphone and a room add to all of a recording goes with that. Frames that pad become 0.
    """

    epsilon: float = 1e-3
    """Added to the variance."""

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:  # noqa: ARG002
        x, real, num_frames = _spectra_of(self, batch)
        num = jnp.maximum(num_frames, 1)[:, None, None]
        mean = jnp.sum(jnp.where(real, x, 0), axis=1, keepdims=True) / num
        variance = jnp.sum(jnp.where(real, jnp.square(x - mean), 0), axis=1, keepdims=True) / num
        return {**batch, "log_mel": jnp.where(real, (x - mean) * jax.lax.rsqrt(variance + self.epsilon), 0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Hide bands of frequency and stretches of time of `log_mel` in training (Park et al. 2019).

    What is hidden becomes the mean of the recording. The defaults are the paper's policy "LD", without its warping of
    time, which it found to matter least.
    """

    mel_masks: int = 2
    """Bands hidden; they may overlap."""
    mel_width: int = 27
    """Most mels of a band; how many is drawn, from none."""
    time_masks: int = 2
    """Stretches hidden; they may overlap."""
    time_width: int = 100
    """Most frames of a stretch; how many is drawn, from none."""
    time_share: float = 1.0
    """Most of a recording that one stretch may hide."""

    def __post_init__(self) -> None:
        check_fields(self, "SpecAugment.")
        for name in ("mel_masks", "mel_width", "time_masks", "time_width"):
            if getattr(self, name) < 0:
                raise InputError(f"SpecAugment.{name}", f"must not be negative, is {getattr(self, name)}")
        if not 0 <= self.time_share <= 1:
            raise InputError("SpecAugment.time_share", f"{self.time_share:g}", "0 to 1")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        x, real, num_frames = _spectra_of(self, batch)
        if not train:
            return batch
        length, mels = x.shape[1:]

        def hidden(key: jax.Array, frames: jax.Array) -> jax.Array:
            longest = jnp.minimum(self.time_width, jnp.floor(self.time_share * frames).astype(jnp.int32))
            of_time = spans(stream(key, "time"), self.time_masks, longest, frames, length)
            widest = jnp.int32(min(self.mel_width, mels))
            of_mel = spans(stream(key, "mel"), self.mel_masks, widest, jnp.int32(mels), mels)
            return of_time[:, None] | of_mel[None, :]

        sums = jnp.sum(jnp.where(real, x, 0), axis=(1, 2), keepdims=True)
        mean = sums / (mels * jnp.maximum(num_frames, 1))[:, None, None]
        return {**batch, "log_mel": jnp.where(jax.vmap(hidden)(keys, num_frames), mean, x)}


def spans(key: jax.Array, num: int, widest: jax.Array, limit: jax.Array, length: int) -> jax.Array:
    """Which of `length` places lie in one of `num` spans before `limit`, each of up to `widest`; bool [length]."""
    uniform = jax.random.uniform(key, (2, num))
    width = jnp.floor(uniform[0] * (widest + 1))
    start = jnp.floor(uniform[1] * (limit - width + 1))
    place = jnp.arange(length)[:, None]
    return jnp.any((place >= start[None]) & (place < (start + width)[None]), axis=1)


def log_mel(audio: jax.Array, rate: int, window: int, hop: int, num_mels: int) -> jax.Array:
    """Log-mel spectra [batch, sample // hop, num_mels] of recordings float32 [batch, sample].

    The power of Hann windows around every `hop`-th sample, the recording mirrored at its ends, in triangular bands; its
    decimal logarithm, at most 8 below the recording's highest; plus 4, divided by 4.
    """
    half, num_frames, per_window = window // 2, audio.shape[1] // hop, -(-window // hop)
    padded = jnp.pad(audio, ((0, 0), (half, half)), mode="reflect")
    # A window is several hops side by side: slices, which are cheaper than gathering samples.
    needed = (num_frames + per_window - 1) * hop
    padded = jnp.pad(padded, ((0, 0), (0, max(0, needed - padded.shape[1]))))[:, :needed]
    hops = padded.reshape(len(padded), -1, hop)
    frames = jnp.concatenate([hops[:, i : i + num_frames] for i in range(per_window)], axis=2)[..., :window]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    spectrum = jnp.fft.rfft(frames * hann[None, None])
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mels = jnp.log10(jnp.maximum(power @ mel_filters(rate, window, num_mels), 1e-10))
    highest = jnp.max(mels, axis=(1, 2), keepdims=True)
    return (jnp.maximum(mels, highest - 8) + 4) / 4


def mel_filters(rate: int, window: int, num_mels: int) -> np.ndarray:
    """Triangles on Slaney's mel scale up to half the rate, each of area 1 in hertz: float32 [window // 2 + 1, mel].

    The scale is linear to 1 kHz and logarithmic above. Raises InputError where a band lies between two frequencies of
    the spectrum, and would always be empty.
    """
    top = rate / 2
    highest = top * 3 / 200 if top < 1000 else 15 + np.log(top / 1000) * 27 / np.log(6.4)
    mels = np.linspace(0, highest, num_mels + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    frequencies = np.arange(window // 2 + 1) * rate / window
    rising = (frequencies[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])[None]
    falling = (edges[None, 2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])[None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[None]
    if not filters.any(axis=0).all():
        what = f"{num_mels} bands are more than windows of {window} samples can tell apart at {rate:,} Hz"
        raise InputError("LogMel.num_mels", what, "fewer bands, or a longer window")
    return filters.astype(np.float32)


def _spectra_of(augmentation: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The batch's spectra, which of their frames do not pad [batch, frame, 1], and how many those are [batch]."""
    if "log_mel" not in batch:
        name = type(augmentation).__name__
        raise InputError(name, f"the batch has no 'log_mel', only {sorted(batch)}", "LogMel() before it")
    x = batch["log_mel"]
    num_frames = batch.get("num_frames", jnp.full((len(x),), x.shape[1], jnp.int32))
    return x, jnp.arange(x.shape[1])[None, :, None] < num_frames[:, None, None], num_frames


def _audio_of(batch: Batch, name: str) -> jax.Array:
    """The batch's recordings as float32, refused by augmentation `name` where they are none."""
    if "audio" not in batch:
        raise InputError(name, f"the batch has no 'audio', only {sorted(batch)}")
    audio = batch["audio"]
    if audio.ndim != 2 or not (audio.dtype == jnp.int16 or jnp.issubdtype(audio.dtype, jnp.floating)):
        what = f"'audio' is {audio.dtype} {list(audio.shape)}"
        raise InputError(name, what, "needs int16, or float32 in -1..1, [batch, sample]")
    return audio.astype(jnp.float32) / 32768 if audio.dtype == jnp.int16 else audio
