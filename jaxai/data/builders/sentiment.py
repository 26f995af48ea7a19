"""Reads the texts with human scores of Hutto and Gilbert 2014, which `tweets` and the snippets of reviews are made of.

They come inside the source distribution of vaderSentiment (MIT), as an archive of tables: number, mean of the scores
that twenty or more people gave, from -4 (most negative) to 4, and text. Where that mean, the `valence`, is nearer to 0
than 0.5 they found the text about neutral: those examples are left out. The `label` of the others is whether it is
positive. Of texts with the same words, whatever their capitals and marks, the first is kept.
"""

from __future__ import annotations

import html
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.builders.tables import Row, Table, words
from jaxai.data.originals import Progress

ARCHIVE = "hutto_ICWSM_2014.tar.gz"
LEAST_VALENCE = 0.5


def packaged(dataset: str) -> packages.Packaged:
    """The archive, for this dataset."""
    return packages.Packaged(
        dataset=dataset,
        tool="pip-source",
        package="vaderSentiment==3.3.2",
        pattern=r"(hutto_ICWSM_2014\.tar\.gz)$",
        sha256="d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa",
    )


def table(name: str, description: str) -> Table:
    """The form that all of them have."""
    return Table(
        name=name,
        description=description,
        homepage="https://github.com/cjhutto/vaderSentiment",
        features={
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=("negative", "positive")),
            "valence": tfds.features.Scalar(np.float32),
        },
    )


def collect(dataset: str, kind: str, source_path: str | Path | None, progress: Progress) -> bytes:
    """The table of one kind of texts: `tweets`, `movieReviewSnippets` or `amazonReviewSnippets`."""
    archive = packages.collect(packaged(dataset), source_path, progress)[ARCHIVE]
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.extractfile(f"hutto_ICWSM_2014/{kind}_GroundTruth.txt").read()  # pyright: ignore[reportOptionalMemberAccess]


def examples(table: bytes, file: str) -> Iterator[tuple[str, str, Row]]:
    """Number, words and example of every text that is kept; raises InputError for a line that is no such row."""
    seen = set()
    for line in table.decode().splitlines():
        number, _, rest = line.partition("\t")
        valence, tab, text = rest.partition("\t")
        try:
            score = float(valence)
        except ValueError:
            tab = ""
        if not tab:
            raise InputError(file, f"has the line {line[:60]!r}", "needs number, valence and text between tabs")
        text = html.unescape(text).strip()
        key = words(text)
        if key and key not in seen and abs(score) >= LEAST_VALENCE:
            yield number, key, {"text": text, "label": int(score > 0), "valence": score}
        seen.add(key)
