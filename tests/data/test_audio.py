"""Recordings and transcripts as rows, and what is refused."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import pytest

from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.data.audio import Transcribed, spoken
from jaxai.data.pipeline import Pipeline
from jaxai.data.text.tokenizers import Bytes


@dataclasses.dataclass(frozen=True)
class Clips:
    """Recordings in memory."""

    examples: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[index]


def clip(num, text, dtype=np.int16, **further):
    audio = np.arange(num) % 100 / (1 if dtype == np.int16 else 100)
    return {"audio": audio.astype(dtype), "text": text, **further}


def rows(*clips, **settings):
    declared = {"tokenizer": Bytes(), "rate": 100, "seconds": (0.3, 0.5), "length": 8, **settings}
    return Transcribed(Clips(clips), **declared).open()


def test_what_is_said_is_letters_digits_and_apostrophes():
    assert spoken("Press 1, don\u2019t -- PRESS: 'two'_x!") == "press 1 don't press two x"


def test_rows_are_padded_and_tell_how_far(caplog):
    caplog.set_level(logging.INFO, "jaxai")
    got = rows(clip(30, "Ab, c!"), clip(51, "long"), clip(50, "d"), clip(9, "nine chars"))
    assert len(got) == 2
    assert got[0]["audio"].tolist() == [*range(30), *[0] * 20]
    assert (int(got[0]["num_samples"]), int(got[1]["num_samples"])) == (30, 50)
    assert got[0]["tokens"].tolist() == [*b"ab c", 256, 256, 256, 256]
    assert got[0]["segments"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert "left out 2 of 4 recordings" in caplog.text
    assert rows(clip(5, b"Ab!"), spoken=False)[0]["tokens"].tolist() == [*b"Ab!", 256, 256, 256, 256, 256]


def test_recordings_of_similar_length_share_a_batch_that_is_cut():
    texts = {10: "abc", 45: "abcde", 20: "a", 50: "ab", 30: "abcd", 40: "abcd"}
    clips = [clip(length, text) for length, text in texts.items()]
    reader = Pipeline(source=rows(*clips), batch_size=2).open("train", seed=0)
    batches = [reader.at(position) for position in (0, 2, 4)]
    found = {tuple(sorted(batch["num_samples"].tolist())): batch["audio"].shape[1] for batch in batches}
    assert found == {(10, 20): 30, (30, 40): 50, (45, 50): 50}
    # Transcripts are as long as the longest of all recordings of up to 0.3 s, and of up to 0.5 s.
    assert {batch["audio"].shape[1]: batch["tokens"].shape for batch in batches} == {30: (2, 4), 50: (2, 5)}
    for batch in batches:
        numbers = batch["tokens"].astype(np.uint8)
        got = [bytes(row[part > 0]).decode() for row, part in zip(numbers, batch["segments"], strict=True)]
        assert got == [texts[num] for num in batch["num_samples"].tolist()]


MISMATCHED = """
import numpy as np
from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.audio import Transcribed
from jaxai.data.augment.speech import LogMel
from jaxai.data.text.tokenizers import Bytes
from jaxai.models.speech import SpeechEncoder
from jaxai.tasks.ctc import CTC


class Clips:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"audio": np.ones(900, np.int16), "text": "one", "rate": 16_000}


def get_config():
    train = Pipeline(source=Transcribed(Clips(), tokenizer=Bytes(), rate=8000, seconds=(1.0,), length=8), batch_size=2)
    task = CTC(model=SpeechEncoder(dim=8, depth=1, num_heads=2), augment=(LogMel(rate=8000),), blank=256)
    return Experiment(task=task, train=train, optimizer=optim.sgd(0.1), duration=Steps(1))
"""


def test_a_run_on_recordings_of_another_rate_ends_with_one_line(tmp_path, capsys):
    file = tmp_path / "clips.py"
    file.write_text(MISMATCHED)
    assert main(["train", str(file), "--run", str(tmp_path / "run"), "--display", "none"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "rate: example 0 has 16,000 samples a second, not 8,000 (rate=16000" in line


def test_floats_become_whole_numbers():
    got = rows({"audio": np.array([0, 0.5, -1, 1.5], np.float32), "text": "a"})[0]["audio"]
    assert got[:4].tolist() == [0, 16384, -32767, 32767]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rows(clip(9, "a", rate=16_000)), r"rate: example 0 has 16,000 samples a second, not 100 \(rate=16000"),
        (lambda: rows(clip(9, "a"), clip(0, "b")), "example 1: 'audio' has no samples"),
        (lambda: rows(clip(9, "...")), r"example 0: nothing is said in '\.\.\.'"),
        (lambda: rows(clip(9, "a", np.float64)), r"example 0: 'audio' is float64\[9\] \(needs int16"),
        (lambda: rows({"audio": np.zeros(3, np.int16)}), "example 0 has no 'text', not text"),
        (lambda: rows(clip(51, "a")), "seconds: all 1 recordings are longer than 0.5 s"),
        (lambda: rows(seconds=(0.5, 0.3)), r"seconds: \(0.5, 0.3\) do not ascend"),
    ],
)
def test_what_cannot_be_read_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
