"""The dataset `tweets`: short messages with human scores of their sentiment; fetched on first use.

4,200 of them (Hutto and Gilbert 2014), in the form of tweets; `jaxai.data.builders.sentiment` tells where they are from
and which are kept. Test are those whose words have a sha256 with the first byte below 51, one in five.
"""

from __future__ import annotations

from pathlib import Path

from jaxai.data.builders import sentiment
from jaxai.data.builders.tables import Splits, train_and_test
from jaxai.data.originals import SAY, Progress

NAME, KIND = "tweets", "tweets"
TABLE = sentiment.table(NAME, "Short messages with the mean of the scores that people gave to their sentiment.")


def split(table: bytes) -> Splits:
    """The examples of both splits."""
    return train_and_test({key: row for _, key, row in sentiment.examples(table, KIND)})


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(sentiment.collect(NAME, KIND, source_path, progress)))
