"""A tokenizer that trains itself, once for the same texts and settings; and experiments where it cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.data.text import TextFiles, Trained
from jaxai.data.text import trained as module
from jaxai.data.text.files import Listed
from jaxai.data.text.rows import read_examples
from jaxai.experiment import load
from jaxai.experiment.json import encode as to_json


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    paths = []
    for name, text in (("a", "one two three two one "), ("b", "three four ")):
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text(text * 40)
    return [TextFiles(files=(str(path),), holdout=0.0) for path in paths]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_is_trained_once_and_kept(files, kind, tmp_path):
    size = 300 if kind == "bpe" else 60
    declared = Trained(sources=tuple(files), vocab_size=size, kind=kind)
    first = declared.open()
    (kept,) = (tmp_path / "jaxai" / "tokenizers").iterdir()
    stamp = kept.stat().st_mtime_ns
    module._file.cache_clear()  # as in another process
    second = declared.open()
    assert kept.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(first.encode("four two"), second.encode("four two"))
    assert first.decode(first.encode("four two")) == "four two"
    assert len(first.encode(" four")) == 1
    assert first.mask is not None
    assert first.vocab_size <= size


def test_other_texts_or_sizes_are_another_tokenizer(files, tmp_path):
    for sources, size in ((files, 60), (files[:1], 60), (files, 50)):
        Trained(sources=tuple(sources), vocab_size=size).open()
    assert len(list((tmp_path / "jaxai" / "tokenizers").iterdir())) == 3


def test_both_texts_of_pairs_are_learned_and_read_once_a_process(files, monkeypatch):
    count = []
    monkeypatch.setattr(module, "read_examples", lambda *given: count.append(1) or read_examples(*given))
    pairs = Listed([{"english": "night", "spanish": "noche"}] * 20)
    declared = Trained(sources=(pairs,), fields=("english", "spanish"), vocab_size=300, kind="bpe")
    tokenizers = [declared.open() for _ in range(3)]
    assert [len(tokenizers[2].encode(word)) for word in ("night", "noche")] == [1, 1]
    assert len(count) == 1


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputError, match="sources: is empty"):
        Trained(sources=(), vocab_size=100)
    with pytest.raises(InputError, match="fields: is empty"):
        Trained(sources=(None,), vocab_size=100, fields=())


@pytest.mark.parametrize("name", ["bert_pretrain", "kjv_translation"])
def test_an_experiment_without_the_library_names_the_extra_and_its_variant_needs_none(
    name, tmp_path, monkeypatch, capsys
):
    """Before anything is fetched, in one line; no tokenizer of the library is in the variant."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr(module, "read_examples", lambda *_: pytest.fail("texts are read"))
    file = f"experiments/{name}.py"
    assert main(["describe", file]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jaxai: error: train.")
    assert line.endswith("tokenizers: is not installed (pip install 'jaxai-research[text]')")
    declared = str(to_json(load(f"{file}:on_bytes")))
    assert "Bytes" in declared
    assert not any(kind in declared for kind in ("Trained", "BPE", "WordPiece"))
