"""The dataset `asterisk_prompts`: what a telephone exchange says, with transcripts; fetched on first use.

One voice (Allison Smith, CC BY-SA 3.0) at 8,000 samples a second, from the Debian packages asterisk-core-sounds-en
and -en-wav. An example has the `audio` (int16 [samples], of any length), its `rate`, the `text`, and the `name` of the
recording. What transcripts have in brackets is not said and is left out, and with it recordings of tones, silence and
the like; digits that stand alone, and # and *, are spelled out as they are spoken, longer numbers are not. Of
recordings with the same words the first by name is kept. Test are those whose words have a sha256 with the first byte
below 51, one in five. Half of the 509 recordings last less than 2 s, all but 49 less than 5 s, the longest 73 s.

With `--from`, give a folder with both packages.
"""

from __future__ import annotations

import gzip
import io
import re
import wave
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.builders.tables import Row, Splits, Table, train_and_test, words
from jaxai.data.originals import SAY, Progress

RATE = 8000  # samples a second
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SOUNDS = packages.Packaged(
    dataset="asterisk_prompts",
    part="sounds",
    tool="apt-get",
    package="asterisk-core-sounds-en-wav",
    pattern=r"sounds/en_US_f_Allison/(.+\.wav)$",
    sha256="c5aaa003fc071d5f6d4ea9de116ca77a950fafeb7c6d4d03874f91ed4116662a",
)
TRANSCRIPTS = packages.Packaged(
    dataset="asterisk_prompts",
    part="transcripts",
    tool="apt-get",
    package="asterisk-core-sounds-en",
    pattern=r"(core-sounds-en\.txt\.gz)$",
    sha256="436538195b7c7361bd227036686f1a4039f694648c76573bdaca956655d34450",
)
TABLE = Table(
    name="asterisk_prompts",
    description="Prompts of a telephone exchange at 8,000 samples a second, with transcripts.",
    homepage="https://www.asterisk.org",
    features={
        "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16),
        "rate": tfds.features.Scalar(np.int32),
        "text": tfds.features.Text(),
        "name": tfds.features.Text(),
    },
)


def transcripts(content: bytes) -> dict[str, str]:
    """What is said by name, without recordings in which nothing is."""
    lines = [line for line in gzip.decompress(content).decode().splitlines() if line and not line.startswith(";")]
    texts = {name: said(text) for name, text in (line.split(": ", 1) for line in lines)}
    return {name: text for name, text in texts.items() if words(text)}


def said(transcript: str) -> str:
    """A transcript without what is in brackets, and with lone digits, # and * spelled out."""
    text = re.sub(r"\[.*?\]|\(.*?\)|<.*?>", "", transcript).replace("#", "pound").replace("*", "star")
    text = re.sub(r"(?<![\w.])\d(?![\w]|\.\d)", lambda match: DIGITS[int(match[0])], text)
    return " ".join(text.split())


def samples(content: bytes, name: str) -> np.ndarray:
    """The samples of a WAV file, int16; raises InputError if they are not of one channel, 16 bits and `RATE`."""
    with wave.open(io.BytesIO(content)) as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if (rate, channels, width) != (RATE, 1, 2):
            what = f"has {rate:,} samples a second, {channels} channels, {8 * width} bits"
            raise InputError(name, what, f"needs {RATE:,}, 1 and 16")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def split(sounds: packages.Files, texts: dict[str, str]) -> Splits:
    """The recordings in which something is said, each text once."""
    rows: dict[str, Row] = {}
    for file, content in sorted(sounds.items()):
        name = file.removesuffix(".wav")
        if name in texts and words(texts[name]) not in rows:
            audio = samples(content, file)
            rows[words(texts[name])] = {"audio": audio, "rate": RATE, "text": texts[name], "name": name}
    return train_and_test(rows)


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""

    def make() -> Splits:
        texts = packages.collect(TRANSCRIPTS, source_path, progress)["core-sounds-en.txt.gz"]
        return split(packages.collect(SOUNDS, source_path, progress), transcripts(texts))

    return TABLE.prepare(data_dir, make)
