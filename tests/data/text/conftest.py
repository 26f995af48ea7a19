"""What the tests of tokenizers share."""

from __future__ import annotations

import pytest
from cats import TEXTS

from jaxai.data.text import train_bpe, train_wordpiece


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with `bpe.json` of 290 tokens and `wordpiece.json` of 58."""
    folder = tmp_path_factory.mktemp("tokenizers")
    train_bpe(TEXTS, 290, folder / "bpe.json")
    train_wordpiece(TEXTS, 58, folder / "wordpiece.json")
    return folder
