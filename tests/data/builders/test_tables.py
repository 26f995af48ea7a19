"""Datasets made in memory: their order, their keys, and that no import of a builder brings JAX or TensorFlow along."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from jaxai.data.builders.tables import Table, first_byte, is_test, train_and_test, words
from jaxai.data.originals import OWN
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, read

TABLE = Table(
    name="lines", description="", homepage="", features={"text": tfds.features.Text()}, ordered=True
)  # fmt: skip
LINES = [{"text": f"line {number}"} for number in range(50)]


def test_ordered_examples_keep_their_order_and_others_are_shuffled(tmp_path):
    for table, ordered in ((TABLE, True), (dataclasses.replace(TABLE, name="shuffled", ordered=False), False)):
        assert table.prepare(tmp_path, lambda: {"train": LINES}) == tmp_path / table.name / "1.0.0"
        texts = [row["text"].decode() for row in tfds.data_source(table.name, data_dir=tmp_path)["train"]]
        assert (texts == column(LINES, "text")) == ordered
        assert sorted(texts) == sorted(column(LINES, "text"))


def test_what_is_prepared_is_not_made_again(tmp_path):
    TABLE.prepare(tmp_path, lambda: {"train": LINES})
    assert TABLE.prepare(tmp_path, lambda: pytest.fail("made")) == tmp_path / "lines/1.0.0"


def test_texts_are_told_apart_by_their_words():
    assert words("Don't -- STOP,\n é1!") == "don t stop é1"


def test_the_split_is_that_of_sha256sum():
    """`printf abc | sha256sum` begins with ba, and `printf 5 | sha256sum` with ef."""
    assert (first_byte("abc"), first_byte("5")) == (0xBA, 0xEF)
    keys = [str(number) for number in range(10_000)]
    assert sum(map(is_test, keys)) / len(keys) == pytest.approx(51 / 256, abs=0.01)
    splits = train_and_test({key: {"text": key} for key in keys})
    assert column(splits["test"], "text") == [key for key in keys if first_byte(key) < 51]
    assert sorted(column([*splits["train"], *splits["test"]], "text")) == sorted(keys)


def test_the_embedded_ones_need_no_source(tmp_path):
    for name in ("shakespeare_excerpt", "tweets_excerpt"):
        assert prepare(name, data_dir=tmp_path) == tmp_path / name / "1.0.0"
        assert set(read(name, tmp_path)) == {"train", "test"}


def test_imports_neither_tensorflow_nor_jax():
    code = f"import importlib, sys\nfor name in {OWN!r}: importlib.import_module(f'jaxai.data.builders.{{name}}')\n"
    code += "assert not {'jax', 'tensorflow', 'yaml'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
