"""A tokenizer that trains itself, once for the same texts and settings."""

from __future__ import annotations

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.text import TextFiles
from jaxai.data.text.trained import Trained


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


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputError, match="sources: is empty"):
        Trained(sources=(), vocab_size=100)
