"""Tokenizers trained here: the same file for the same texts, with the tokens that it says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cats import TEXTS

from jaxai.core.errors import InputError
from jaxai.data.text import BPE, WordPiece, train_bpe, train_wordpiece
from jaxai.data.text.training import WORDPIECE_SPECIAL


def test_training_bpe_makes_what_it_says(trained):
    bpe = BPE(file=str(trained / "bpe.json")).open()
    assert bpe.vocab_size == 290
    assert [bpe.pad, bpe.bos, bpe.eos, bpe.cls, bpe.sep, bpe.mask] == list(range(6))
    assert len(bpe.encode("the cat sat")) == 3
    assert train_bpe(TEXTS, 290, trained / "x.json") == 290
    assert train_bpe(TEXTS, 1000, trained / "x.json") == 297  # there is nothing more to merge
    with pytest.raises(InputError, match=r"vocab_size: 200 is fewer than the characters there are \(at least 262\)"):
        train_bpe(TEXTS, 200, trained / "x.json")


def test_training_wordpiece_makes_what_it_says(trained):
    tokenizer = WordPiece(file=str(trained / "wordpiece.json")).open()
    assert tokenizer.vocab_size == 58
    specials = [tokenizer.pad, tokenizer.unk, tokenizer.cls, tokenizer.sep, tokenizer.mask, tokenizer.bos]
    assert [*specials, tokenizer.eos] == list(range(len(WORDPIECE_SPECIAL)))
    assert len(tokenizer.encode("the Cat sat")) == 3
    assert tokenizer.encode("%").tolist() == [tokenizer.unk]
    assert tokenizer.decode(tokenizer.encode("The mats, naïve")) == "the mats, naive"
    with pytest.raises(InputError, match=r"vocab_size: 20 is fewer than the characters there are \(at least \d+\)"):
        train_wordpiece(TEXTS, 20, trained / "x.json")


def test_training_on_files_and_bytes_gives_the_same_file_in_any_process(trained, tmp_path):
    (tmp_path / "a.txt").write_text(TEXTS[0])
    code = "import sys; from pathlib import Path; from jaxai.data.text import *\n"
    code += f"texts = [Path('a.txt'), {TEXTS[1].encode()!r}, {TEXTS[2]!r}]\n"
    code += "train_bpe(texts, 290, 'bpe.json'); train_wordpiece(texts, 58, 'wordpiece.json')"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        for name in ("bpe.json", "wordpiece.json"):
            assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    with pytest.raises(InputError, match=r"b\.txt: cannot be read: No such file"):
        train_bpe([tmp_path / "b.txt"], 300, tmp_path / "x.json")
