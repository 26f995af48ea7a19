"""Tokenizers trained on texts of one's own, written as `tokenizer.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxai.core.errors import InputError, StorageError
from jaxai.data.text.library import bert_parts, import_library, wordpiece
from jaxai.data.text.utf8 import to_text

BPE_SPECIAL = ("<pad>", "<bos>", "<eos>", "<cls>", "<sep>", "<mask>")
"""The first tokens of a byte-level BPE that is trained here."""
WORDPIECE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[BOS]", "[EOS]")
"""The first tokens of a WordPiece that is trained here."""
_MAX_ALPHABET = 1000
"""Characters of a WordPiece; the rarer ones are unknown."""


def train_bpe(texts: Iterable[str | bytes | Path], vocab_size: int, path: str | Path) -> int:
    """Trains a byte-level BPE on texts, and on the content of files given as `Path`; gives the number of its tokens.

    Writes a `tokenizer.json`, the same for the same texts: first `BPE_SPECIAL`, then the bytes, then merges.
    """
    library = import_library()
    _check_size(vocab_size, 256 + len(BPE_SPECIAL))
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(BPE_SPECIAL),
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(_texts(texts), trainer)
    return _write(made, path)


def train_wordpiece(
    texts: Iterable[str | bytes | Path], vocab_size: int, path: str | Path, *, lowercase: bool = True
) -> int:
    """Trains a WordPiece on texts, and on the content of files given as `Path`; gives the number of its tokens.

    Writes a `tokenizer.json`, the same for the same texts: first `WORDPIECE_SPECIAL`, then characters, then pieces.
    """
    library = import_library()
    normalizer, splitter = bert_parts(library, lowercase)
    words = Counter(
        word for text in _texts(texts) for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters: Counter[str] = Counter()
    for word, count in words.items():
        letters.update({letter: word.count(letter) * count for letter in set(word)})
    known = {letter for letter, _ in sorted(letters.items(), key=lambda item: (-item[1], item[0]))[:_MAX_ALPHABET]}
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts["".join(letter for letter in word if letter in known)] += count
    inner = {f"##{letter}" for word in counts for letter in word[1:]}
    # The trainer numbers the pieces within words in the order of a hash table, and its merges depend on the numbers.
    # So it is given all of them, in order, as if they were special.
    first = [*WORDPIECE_SPECIAL, *sorted(known), *sorted(inner)]
    _check_size(vocab_size, len(first))
    made = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    trainer = library.trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=first, show_progress=False)
    made.train_from_iterator((" ".join([word] * count) for word, count in sorted(counts.items())), trainer)
    return _write(wordpiece(library, made.get_vocab(), lowercase, WORDPIECE_SPECIAL), path)


def _check_size(vocab_size: int, least: int) -> None:
    if vocab_size < least:
        raise InputError("vocab_size", f"{vocab_size} is fewer than the characters there are", f"at least {least}")


def _texts(texts: Iterable[str | bytes | Path]) -> Iterator[str]:
    for text in texts:
        try:
            yield to_text(text.read_bytes() if isinstance(text, Path) else text)[0]
        except OSError as error:
            raise InputError(str(text), f"cannot be read: {error.strerror}") from error


def _write(made: Any, path: str | Path) -> int:
    """Writes the file whole or not at all."""
    target = Path(path)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        temporary.write_text(made.to_str(pretty=True), encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise StorageError(str(target), f"cannot be written: {error.strerror}") from error
    return made.get_vocab_size()
