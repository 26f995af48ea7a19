"""Tagged words: which token carries a word's label, and what is refused or told of."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import open_source
from jaxai.data.text import BPE, Bytes, TaggedWords, WordPiece
from jaxai.data.text.files import Listed
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

CLASSES = ("O", "B-LOC", "I-LOC")
EXAMPLE = {"words": ["In", b"New", "Yörk"], "tags": ["O", b"B-LOC", "I-LOC"]}


def read(*examples, tokenizer=Bytes(), length=12, classes=CLASSES, **fields):
    source = open_source(TaggedWords(Listed(examples), tokenizer=tokenizer, length=length, classes=classes, **fields))
    return source.batch(np.arange(len(source)))


def test_bytes():
    """The first byte of each word, white space and the rest of a letter of two bytes left out."""
    batch = read(EXAMPLE, {"words": ["ab"], "tags": [1]})
    assert bytes(batch["tokens"][0].tolist()).decode() == "In New Yörk"
    assert batch["labels"].tolist() == [[0, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, -1], [1, *[-1] * 11]]
    assert batch["segments"].tolist() == [[1] * 12, [1, 1, *[0] * 10]]
    assert batch["tokens"][1].tolist() == [97, 98, *[256] * 10]
    assert open_source(TaggedWords(Listed([EXAMPLE]), tokenizer=Bytes(), length=9, classes=CLASSES)).classes == CLASSES


@pytest.mark.parametrize("name", ["gpt2", "bert_uncased"])
def test_each_word_is_labelled_at_its_first_piece(name):
    tokenizer = BPE(file=name) if name == "gpt2" else WordPiece(file=name)
    opened = tokenizer.open()
    words = ["Antidisestablishmentarianism", "in", "Llanfairpwll", "über", "U.S.", "東京", "a"]
    tags = [1, 0, 1, 2, 1, 2, 0]
    batch = read({"words": words, "tags": tags}, tokenizer=tokenizer, length=64)
    firsts = np.flatnonzero(batch["labels"][0] >= 0)
    assert batch["labels"][0, firsts].tolist() == tags
    pieces = np.split(batch["tokens"][0, : batch["segments"].sum()], firsts[1:])
    squeezed = [opened.decode(piece).replace(" ", "") for piece in pieces]
    assert squeezed == [word if name == "gpt2" else word.lower().replace("ü", "u") for word in words]
    assert len(pieces[0]) > 1


def test_as_bert_reads_them():
    batch = read({"words": ["ab", "c"], "tags": ["O", "B-LOC"]}, length=8, specials=True)
    assert batch["tokens"].tolist() == [[259, 97, 98, 32, 99, 260, 256, 256]]
    assert batch["labels"].tolist() == [[-1, 0, -1, -1, 1, -1, -1, -1]]


@pytest.mark.oracle
def test_labels_are_where_transformers_aligns_them(tmp_path):
    """`word_ids` of words given one by one, as its examples for token classification label them."""
    from jaxai.data import packages
    from jaxai.data.text.library import PUBLISHED
    from tests.oracle import transformers

    (tmp_path / "vocab.txt").write_bytes(packages.collect(PUBLISHED["bert_uncased"], None, print)["vocab.txt"])
    theirs = transformers.BertTokenizerFast(str(tmp_path / "vocab.txt"))
    words = ["EU's", "rejects", "Llanfairpwllgwyngyll", "naïve-ness", "1,234.5", "(", "café", "U.N.", "x" * 9]
    tags = [1, 0, 2, 1, 0, 0, 2, 1, 0]
    encoded = theirs(words, is_split_into_words=True)
    wanted, before = [], None
    for word in encoded.word_ids():
        wanted.append(tags[word] if word is not None and word != before else -1)
        before = word
    declared = {"tokenizer": WordPiece(file="bert_uncased"), "specials": True, "length": len(wanted)}
    batch = read({"words": words, "tags": tags}, **declared)
    assert batch["tokens"][0].tolist() == encoded["input_ids"]
    assert batch["labels"][0].tolist() == wanted


def test_words_without_a_label_are_told_of(caplog):
    with caplog.at_level(logging.WARNING, "jaxai"):
        batch = read(EXAMPLE, {"words": ["", b"a\xff"], "tags": [0, 1]}, length=6)
    assert batch["labels"].tolist() == [[0, -1, -1, 1, -1, -1], [-1, 1, *[-1] * 4]]
    assert [record.getMessage() for record in caplog.records] == [
        "words: invalid UTF-8 in 1 places, replaced by U+FFFD",
        "words: 2 of 5 get no label, 6 tokens a row",
    ]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"words": ["a"]}, "example 1 has no 'tags', not a list (known: words)"),
        ({"words": "a b", "tags": [0, 1]}, "example 1 has str as 'words', not a list"),
        ({"words": [], "tags": []}, "example 1: 'words' is empty (a list of words)"),
        ({"words": ["a", 3], "tags": [0, 1]}, "example 1: 'words' is not all text"),
        ({"words": ["a", "b"], "tags": [0]}, "example 1 has 2 words and 1 tags (one for each)"),
        ({"words": ["a"], "tags": ["B-LOk"]}, "example 1: 'B-LOk' is none of the 3 classes (did you mean 'B-LOC'?)"),
        ({"words": ["a"], "tags": [3]}, "example 1: 3 is none of the 3 classes"),
    ],
)
def test_what_is_refused(example, message):
    with pytest.raises(InputError) as error:
        open_source(TaggedWords(Listed([EXAMPLE, example]), tokenizer=Bytes(), length=9, classes=CLASSES), "train")
    assert str(error.value).startswith(f"train.source: {message}")


def test_a_declaration_is_a_value():
    declared = TaggedWords(None, tokenizer=Bytes(), length=9, classes=CLASSES)
    assert from_json(to_json(declared)) == declared
    with pytest.raises(InputError, match="classes: names none"):
        TaggedWords(None, tokenizer=Bytes(), length=9, classes=())
    with pytest.raises(InputError, match="length: must be at least 3, is 2"):
        TaggedWords(None, tokenizer=Bytes(), length=2, classes=CLASSES, specials=True)
