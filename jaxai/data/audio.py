"""Recordings and what is said in them as rows of samples and tokens."""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays, Source
from jaxai.data.text.buckets import Bucketed
from jaxai.data.text.rows import open_texts, padded, text_of
from jaxai.data.text.tokenizers import open_tokenizer
from jaxai.data.text.utf8 import to_text

_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class Transcribed:
    """Recordings with their transcripts: `Transcribed(Tfds("asterisk_prompts"), tokenizer=Bytes(), rate=8000, ...)`.

    Examples are `audio` [sample] int16, padded with silence, `num_samples`, and `tokens` and `segments` [length] of the
    transcript, padded at the end (segment 0). Recordings that are longer than the last of `seconds`, or their
    transcript than `length`, are left out, of which a line tells; one without samples or text is an error. With several
    `seconds`, recordings of similar length share a batch, as texts do in `text.Buckets`.
    """

    source: Any
    """A declaration or source of `audio` [sample] int16, or float32 in -1..1, and `text`; where it has a `rate`, in
    samples a second, that has to be this one."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Of the transcripts, such as `Bytes()`."""
    rate: int
    """Samples a second."""
    seconds: tuple[float, ...]
    """Lengths that batches are cut to, ascending; the last is that of the longest recording that is kept."""
    length: int
    """Tokens of the longest transcript that is kept."""
    spoken: bool = True
    """Keep of a transcript what is heard: letters, in small, digits and apostrophes, a space between words."""

    def __post_init__(self):
        check_fields(self)
        for name in ("rate", "length"):
            if getattr(self, name) < 1:
                raise InputError(name, f"must be at least 1, is {getattr(self, name)}")
        if not self.seconds or self.seconds[0] <= 0 or list(self.seconds) != sorted(set(self.seconds)):
            raise InputError("seconds", f"{self.seconds} do not ascend from above 0", "such as (1.5, 3.0, 6.0)")

    def open(self) -> Source:
        source, tokenizer = open_texts(self.source, "text"), open_tokenizer(self.tokenizer)
        lengths, rows = np.array([round(each * self.rate) for each in self.seconds]), []
        for index in range(len(source)):
            example = source[index]
            audio, text = self._audio(example, index), to_text(text_of(example, "text", index))[0]
            tokens = tokenizer.encode(spoken(text) if self.spoken else text)
            if not len(tokens):
                raise InputError("source", f"example {index}: nothing is said in {text!r}", "leave it out")
            if len(audio) > lengths[-1] or len(tokens) > self.length:
                continue
            rows.append(
                {
                    "audio": np.pad(audio, (0, lengths[-1] - len(audio))),
                    "num_samples": np.int32(len(audio)),
                    "tokens": padded(tokens, self.length, tokenizer.pad or 0),
                    "segments": padded(np.ones(len(tokens)), self.length, 0),
                }
            )
        if not rows:
            raise InputError("seconds", f"all {len(source)} recordings are longer than {self.seconds[-1]:g} s", "more")
        if len(rows) < len(source):
            _log.info("left out %d of %d recordings, which are longer", len(source) - len(rows), len(source))
        arrays = Arrays({name: np.stack([row[name] for row in rows]) for name in rows[0]})
        return Recordings(arrays, arrays.arrays["num_samples"], lengths)

    def _audio(self, example: Mapping[str, Any], index: int) -> np.ndarray:
        audio, rate = np.asarray(example.get("audio")), example.get("rate", self.rate)
        if int(rate) != self.rate:
            what = f"example {index} has {int(rate):,} samples a second, not {self.rate:,}"
            raise InputError("rate", what, f"rate={int(rate)}, and the same in LogMel, or convert it")
        if audio.ndim != 1 or audio.dtype not in (np.int16, np.float32):
            what = f"example {index}: 'audio' is {audio.dtype}{list(audio.shape)}"
            raise InputError("source", what, "needs int16, or float32 in -1..1, [sample]")
        if not len(audio):
            raise InputError("source", f"example {index}: 'audio' has no samples", "leave it out")
        return audio if audio.dtype == np.int16 else np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)


class Recordings(Bucketed):
    """The opened recordings, whose sizes and lengths are in samples."""

    def cut(self, batch: dict[str, np.ndarray], indices: np.ndarray) -> dict[str, np.ndarray]:
        """`batch` cut to the least length that holds all of `indices`, and to all transcripts of that length."""
        bucket = int(np.searchsorted(self.lengths, self.sizes[indices].max()))
        ends = {"audio": self.lengths[bucket], "tokens": self._words[bucket], "segments": self._words[bucket]}
        return {name: x[:, : ends[name]] if name in ends else x for name, x in batch.items()}

    @functools.cached_property
    def _words(self) -> list[int]:
        """Tokens of the longest transcript of those recordings that each of the lengths holds."""
        num = self.source.arrays["segments"].sum(axis=1)
        return [int(num[self.sizes <= length].max(initial=1)) for length in self.lengths]


def spoken(text: str) -> str:
    """What of a transcript is heard: words of letters, in small, digits and apostrophes."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))
