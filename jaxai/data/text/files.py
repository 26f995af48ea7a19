"""Files of text of one's own as a dataset."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields

_MARK = b"\xef\xbb\xbf"  # with which some editors begin a file of UTF-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Files of UTF-8, each one `text`: `TextFiles(files=("my.txt",))`, and `split="test"` for what it leaves out."""

    files: tuple[str, ...]
    """Paths of the files."""
    split: Literal["train", "test"] = "train"
    """The first or the last part of each file."""
    holdout: float = 0.1
    """Share of a file's bytes, at its end, that is the test split."""

    def __post_init__(self):
        check_fields(self)
        if not self.files:
            raise InputError("files", "names no file")
        if not 0 <= self.holdout < 1:
            raise InputError("holdout", f"{self.holdout} is not from 0 up to 1")

    def open(self) -> Listed:
        return Listed([{"text": self._part(Path(name).expanduser())} for name in self.files])

    def _part(self, path: Path) -> bytes:
        content = _read(path, "files")
        cut = round(len(content) * (1 - self.holdout))
        while 0 < cut < len(content) and content[cut] & 0xC0 == 0x80:  # within a character
            cut -= 1
        part = content[:cut] if self.split == "train" else content[cut:]
        if not part.strip():
            what = f"{path} is empty" if not content.strip() else f"the {self.split} split of {path} is empty"
            raise InputError("files", what, "" if not content.strip() else f"holdout is {self.holdout}")
        return part


@dataclasses.dataclass(frozen=True)
class JsonLines:
    """Examples of a file with one JSON object a line: `JsonLines("mails.jsonl")`, for any source of text to read.

    Such as `{"text": "Hello", "label": 1}` for `Texts`, `{"words": ["In", "Rome"], "tags": ["O", "B-LOC"]}` for
    `TaggedWords`, `{"question": ..., "context": ..., "answer": ..., "answer_start": 7}` for `Questions`.
    """

    file: str
    """Path of the file."""

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Listed:
        path, examples = Path(self.file).expanduser(), []
        for number, line in enumerate(_read(path, "file").split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                example = json.loads(line.decode(errors="surrogateescape"))
            except json.JSONDecodeError as error:
                raise InputError("file", f"{path} line {number} is no JSON: {error}") from error
            if not isinstance(example, dict):
                raise InputError("file", f"{path} line {number} is no object", '{"text": ..., "label": ...}')
            examples.append(example)
        if not examples:
            raise InputError("file", f"{path} is empty")
        return Listed(examples)


class Listed:
    """Examples in memory."""

    def __init__(self, examples: list[dict[str, Any]]):
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[index]


def _read(path: Path, field: str) -> bytes:
    """What a file holds, after the mark that some editors begin it with."""
    try:
        return path.read_bytes().removeprefix(_MARK)
    except FileNotFoundError:
        near = (str(p) for p in path.parent.glob(f"*{path.suffix}"))
        raise InputError(field, f"{path} does not exist", did_you_mean(str(path), near)) from None
    except OSError as error:
        raise InputError(field, f"{path}: {error.strerror}") from error
