"""Text and its UTF-8: what is invalid is replaced and counted, never an error deep inside a tokenizer."""

from __future__ import annotations

import re

import numpy as np

_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def to_text(value: str | bytes) -> tuple[str, int]:
    """The text of `value`, in which U+FFFD stands for what is not valid UTF-8, and how often it was put there."""
    if isinstance(value, str):
        return _SURROGATES.subn(_REPLACEMENT, value)
    try:
        return value.decode(), 0
    except UnicodeDecodeError:
        text = value.decode(errors="replace")
        return text, text.count(_REPLACEMENT) - value.count(_REPLACEMENT.encode())


def widths(text: str) -> np.ndarray:
    """UTF-8 bytes of each character, [num_chars] int32."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return (1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)).astype(np.int32)
