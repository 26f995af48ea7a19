"""Recordings and transcripts: what is said, what is kept, what is refused, and the real ones."""

from __future__ import annotations

import gzip
import io
import wave

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.audio import Transcribed
from jaxai.data.builders import asterisk_prompts
from jaxai.data.builders.tables import is_test, words
from jaxai.data.prepare import prepare
from jaxai.data.text.tokenizers import Bytes
from jaxai.data.tfds import Tfds
from tests.data.builders.reading import column, package, publish, read, sizes


def recording(samples, rate: int = 8000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(channels)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(np.asarray(samples, "<i2").tobytes())
    return file.getvalue()


@pytest.mark.parametrize(
    ("transcript", "said"),
    [
        ("Thank you.", "Thank you."),
        ("dash [-]", "dash"),
        ("Leave it.  Then: (simple tone) now", "Leave it. Then: now"),
        ("<beep>", ""),
        ("press 1, 20 or 3. #, 28.8 3D 9", "press one, 20 or three. pound, 28.8 3D nine"),
        ("press * now", "press star now"),
    ],
)
def test_what_is_said(transcript, said):
    assert asterisk_prompts.said(transcript) == said


def test_transcripts_by_name():
    text = "; Core\n\na: One: two.\nletters/at: at [@]\nbeep: [a beep]\ndots: ...\n"
    assert asterisk_prompts.transcripts(gzip.compress(text.encode())) == {"a": "One: two.", "letters/at": "at"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 16_000}, "a.wav: has 16,000 samples a second, 1 channels, 16 bits (needs 8,000, 1 and 16)"),
        ({"channels": 2}, "a.wav: has 8,000 samples a second, 2 channels, 16 bits (needs 8,000, 1 and 16)"),
    ],
)
def test_another_form_is_refused_in_one_line(options, message):
    with pytest.raises(InputError) as error:
        asterisk_prompts.samples(recording([1, 2], **options), "a.wav")
    assert str(error.value) == message


def test_from_a_folder_with_both_to_rows(tmp_path, monkeypatch):
    names = [f"digits/w{number:02}" for number in range(40)]
    lines = [f"{name}: word {name[-2:]}" for name in names] + ["again: Word 07!", "beep: [beep]", "none: unrecorded"]
    texts = {"core-sounds-en.txt.gz": gzip.compress("\n".join(lines).encode())}
    sounds = {f"{name}.wav": recording(np.arange(n + 1) - 2) for n, name in enumerate([*names, "silence/1", "again"])}
    publish(asterisk_prompts, "SOUNDS", sounds, monkeypatch)
    publish(asterisk_prompts, "TRANSCRIPTS", texts, monkeypatch)
    files = {f"sounds/en_US_f_Allison/{name}": content for name, content in sounds.items()}
    prepare("asterisk_prompts", data_dir=tmp_path, source_path=package(tmp_path, files | texts))
    found = read("asterisk_prompts", tmp_path)
    rows = {row["name"]: (split, row) for split, part in found.items() for row in part}
    assert set(rows) == {*names, "again"} - {"digits/w07"}  # "again" comes first and has the same words
    for n, name in enumerate(names):
        if name in rows:
            split, row = rows[name]
            assert row["audio"].dtype == np.int16
            assert (row["audio"].tolist(), row["rate"]) == (list(range(-2, n - 1)), 8000)
            assert row["text"] == f"word {n:02}"
            assert split == ("test" if is_test(words(row["text"])) else "train")
    declared = Tfds("asterisk_prompts", data_dir=str(tmp_path))
    short = Transcribed(declared, tokenizer=Bytes(), rate=8000, seconds=(20 / 8000,), length=9).open()
    assert len(short) == sum(len(row["audio"]) <= 20 for row in found["train"])


@pytest.mark.slow
def test_the_real_prompts():
    found = read("asterisk_prompts")
    assert sizes(found) == {"train": 408, "test": 101}
    rows = [*found["train"], *found["test"]]
    assert len({words(row["text"]) for row in rows}) == 509
    for split, short, seconds in (("train", 365, 1113.822), ("test", 95, 259.718)):
        lengths = [len(row["audio"]) / 8000 for row in found[split]]
        assert sum(length <= 5 for length in lengths) == short
        assert sum(lengths) == pytest.approx(seconds, abs=1e-3)
    texts = {row["name"]: row["text"] for row in rows}
    assert texts["digits/7"] == "seven"
    assert texts["vm-next"] == "Press six to play the next message."
    assert not any(set(text) & set("[]<>()#*") for text in column(rows, "text"))
