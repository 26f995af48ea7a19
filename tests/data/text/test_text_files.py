"""Files of text: splits between characters, lines of JSON, and what is refused."""

from __future__ import annotations

import logging

import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import open_source
from jaxai.data.text import Bytes, JsonLines, TextFiles, Texts, Windows

EOS = 258


def test_text_files(tmp_path):
    text = "".join(f"{i:03} wörd\n" for i in range(100))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + b"x" * 10)
    files = (str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    parts = [[e["text"].decode() for e in map(TextFiles(files=files, split=s).open().__getitem__, (0, 1))]
             for s in ("train", "test")]  # fmt: skip
    assert [a + b for a, b in zip(*parts, strict=True)] == [text, "x" * 10]
    assert [len(part.encode()) for part in parts[1]] == [100, 1]
    whole = TextFiles(files=files[:1], holdout=0).open()
    assert whole[0]["text"].decode() == text
    stream = open_source(Windows(TextFiles(files=files, split="test"), tokenizer=Bytes(), length=103)).arrays["tokens"]
    assert stream.tolist() == [[*text.encode()[-100:], EOS, 120, EOS]]


def test_text_files_are_cut_between_characters(tmp_path):
    (tmp_path / "a.txt").write_text("é" * 50, encoding="utf-8")
    for holdout in (0.1, 0.11, 0.5, 0.503):
        parts = [TextFiles(files=(str(tmp_path / "a.txt"),), split=s, holdout=holdout).open()[0]["text"].decode()
                 for s in ("train", "test")]  # fmt: skip
        assert "".join(parts) == "é" * 50
        assert len(parts[1]) - 100 * holdout / 2 == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": ("{folder}/c.txt",)}, "files: {folder}/c.txt does not exist (did you mean '{folder}/a.txt'?)"),
        ({"files": ("{folder}",)}, "files: {folder}: Is a directory"),
        ({"files": ("{folder}/empty.txt",)}, "files: {folder}/empty.txt is empty"),
        (
            {"files": ("{folder}/a.txt",), "split": "test", "holdout": 0},
            "files: the test split of {folder}/a.txt is empty (holdout is 0)",
        ),
        ({"files": ()}, "files: names no file"),
        ({"files": ("a.txt",), "holdout": 1.0}, "holdout: 1.0 is not from 0 up to 1"),
        ({"files": ("a.txt",), "split": "dev"}, "split: 'dev' is unknown (known: test, train)"),
        ({"files": "a.txt"}, "files: must be a tuple, is 'a.txt' (write (x,) for a tuple of one)"),
    ],
)
def test_text_files_refuse(tmp_path, fields, message):
    (tmp_path / "a.txt").write_text("some text")
    (tmp_path / "empty.txt").write_text(" \n")
    if isinstance(fields["files"], tuple):
        fields = fields | {"files": tuple(name.format(folder=tmp_path) for name in fields["files"])}
    with pytest.raises(InputError) as error:
        TextFiles(**fields).open()
    assert str(error.value) == message.format(folder=tmp_path)


def test_lines_of_json(tmp_path, caplog):
    """Each an example; what of it is no UTF-8 is counted as elsewhere."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a\xff\xffb", "label": 1}\r\n\n{"label": 0, "text": "\\u00e9\\n"}')
    assert JsonLines(str(path)).open()[1] == {"label": 0, "text": "é\n"}
    with caplog.at_level(logging.WARNING, "jaxai"):
        source = open_source(Texts(JsonLines(str(path)), tokenizer=Bytes(), length=8))
    assert bytes(source.arrays["tokens"][0].tolist()).decode() == "a\ufffd\ufffdb"
    assert source.arrays["label"].tolist() == [1, 0]
    assert [record.getMessage() for record in caplog.records] == ["text: invalid UTF-8 in 2 places, replaced by U+FFFD"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 is no JSON: Expecting value"),
        ('{"a": 1}\n\n[1]\n', 'line 3 is no object ({"text": ..., "label": ...})'),
        ("\n \n", "is empty"),
    ],
)
def test_lines_that_are_no_examples_are_refused(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        JsonLines(str(path)).open()
    assert str(error.value).startswith(f"file: {path} {message}")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"b\.jsonl does not exist \(did you mean .*a\.jsonl"):
        JsonLines(str(tmp_path / "b.jsonl")).open()
