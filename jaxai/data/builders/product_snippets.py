"""The dataset `product_snippets`: sentences of reviews with human scores of their sentiment; fetched on first use.

3,708 of them, of 309 reviews of five products (Hu and Liu 2004, scored by Hutto and Gilbert 2014);
`jaxai.data.builders.sentiment` tells where they are from and which are kept. The sentences of a review are all in one
part: test are those of the reviews whose number has a sha256 with the first byte below 51, one in five.
"""

from __future__ import annotations

from pathlib import Path

from jaxai.data.builders import sentiment
from jaxai.data.builders.tables import Row, Splits, is_test
from jaxai.data.originals import SAY, Progress

NAME, KIND = "product_snippets", "amazonReviewSnippets"
TABLE = sentiment.table(
    NAME, "Sentences of reviews of products with the mean of the scores that people gave to their sentiment."
)


def split(table: bytes) -> Splits:
    """The examples of both splits."""
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for number, _, row in sentiment.examples(table, KIND):
        review = number.partition("_")[0]
        splits["test" if is_test(review) else "train"].append(row)
    return splits


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(sentiment.collect(NAME, KIND, source_path, progress)))
