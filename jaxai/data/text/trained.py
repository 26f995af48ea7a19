"""Tokenizers that train themselves on first use."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Literal

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.text.rows import read_texts
from jaxai.data.text.tokenizers import BPE, Tokenizer, WordPiece


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """Subwords of the texts of all sources: `Trained(sources=(Tfds("kjv"),), vocab_size=8000)`.

    Kept in the cache folder under the sha256 of the texts and the settings: other texts are another tokenizer.
    """

    sources: tuple[Any, ...]
    """Declarations or sources of texts; training splits, or the vocabulary knows what is held out."""
    vocab_size: int
    """Tokens there are, the special ones among them."""
    kind: Literal["bpe", "wordpiece"] = "wordpiece"
    """Byte-level byte-pair encoding, or pieces of words in lower case."""
    field: str = "text"
    """Where the sources have their text."""

    def __post_init__(self):
        check_fields(self)
        if not self.sources:
            raise InputError("sources", "is empty", "texts to train on")

    def open(self) -> Tokenizer:
        from jaxai.compat import cache_folder  # it imports JAX, which reading does not need
        from jaxai.data.text import training  # it imports the library of the extra `text`

        texts = [text for source in self.sources for text in read_texts(source, self.field)]
        digest = hashlib.sha256(f"{self.kind} {self.vocab_size}".encode())
        for text in texts:
            digest.update(hashlib.sha256(text.encode()).digest())
        path = cache_folder() / "tokenizers" / f"{digest.hexdigest()}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            train = training.train_bpe if self.kind == "bpe" else training.train_wordpiece
            train(texts, self.vocab_size, path)
        return (BPE if self.kind == "bpe" else WordPiece)(file=str(path)).open()
