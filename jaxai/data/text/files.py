"""Text files of one's own as a dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

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

    def open(self) -> FileTexts:
        return FileTexts([self._part(Path(name).expanduser()) for name in self.files])

    def _part(self, path: Path) -> bytes:
        try:
            content = path.read_bytes().removeprefix(_MARK)
        except FileNotFoundError:
            near = (str(p) for p in path.parent.glob("*.txt"))
            raise InputError("files", f"{path} does not exist", did_you_mean(str(path), near)) from None
        except OSError as error:
            raise InputError("files", f"{path}: {error.strerror}") from error
        cut = round(len(content) * (1 - self.holdout))
        while 0 < cut < len(content) and content[cut] & 0xC0 == 0x80:  # within a character
            cut -= 1
        part = content[:cut] if self.split == "train" else content[cut:]
        if not part.strip():
            what = f"{path} is empty" if not content.strip() else f"the {self.split} split of {path} is empty"
            raise InputError("files", what, "" if not content.strip() else f"holdout is {self.holdout}")
        return part


class FileTexts:
    """Texts in memory, each an example."""

    def __init__(self, texts: list[bytes]):
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        return {"text": self.texts[index]}
