"""Tokenizers that train themselves on first use."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.library import import_library
from jaxai.data.text.rows import open_texts, read_examples
from jaxai.data.text.tokenizers import BPE, Tokenizer, WordPiece
from jaxai.data.text.training import train_bpe, train_wordpiece


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """Subwords of the texts of all sources: `Trained(sources=(Tfds("kjv"),), vocab_size=8000)`.

    Kept in the cache folder under the sha256 of the texts and the settings: other texts are another tokenizer.
    """

    sources: tuple[Any, ...]
    """Declarations or sources of texts; training splits, or the vocabulary knows what is held out."""
    vocab_size: int
    """Tokens there are at most, the special ones among them."""
    kind: Literal["bpe", "wordpiece"] = "wordpiece"
    """Byte-level byte-pair encoding, or pieces of words in lower case."""
    fields: tuple[str, ...] = ("text",)
    """Where the sources have their texts."""

    def __post_init__(self):
        check_fields(self)
        for name in ("sources", "fields"):
            if not getattr(self, name):
                raise InputError(name, "is empty", "texts to train on")

    def open(self) -> Tokenizer:
        import_library()  # or a missing one would be told of only after texts are fetched and read
        return (BPE if self.kind == "bpe" else WordPiece)(file=str(_file(self))).open()


@functools.lru_cache(maxsize=8)
def _file(declared: Trained) -> Path:
    """The tokenizer's file, trained where there is none; the texts are read once a process."""
    from jaxai.compat import cache_folder  # it imports JAX, which reading does not need

    texts = [
        example[field]
        for source in declared.sources
        for example in read_examples(open_texts(source, *declared.fields), *declared.fields)
        for field in declared.fields
    ]
    digest = hashlib.sha256(f"{declared.kind} {declared.vocab_size}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    path = cache_folder() / "tokenizers" / f"{digest.hexdigest()}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train = train_bpe if declared.kind == "bpe" else train_wordpiece
        train(texts, declared.vocab_size, path)
    return path
