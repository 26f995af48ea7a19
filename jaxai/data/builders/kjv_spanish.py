"""The dataset `kjv_spanish`: verses of the Bible in English and Spanish, to translate; fetched on first use.

English is the King James Bible of 1769, Spanish the Reina-Valera of 1909, from the Debian packages sword-text-kjv and
sword-text-sparv (public domain): 31,084 verses are in both. Ten chapters whose verses the two number differently are
left out. Whole chapters are in the splits that `kjv` has them in. Out of validation and test are left the verses that,
in either language, are also in training or, out of validation, in the test.

With `--from`, give a folder with both packages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders import kjv, sword
from jaxai.data.builders.tables import Row, Splits, Table
from jaxai.data.originals import SAY, Progress

ENGLISH = dataclasses.replace(kjv.PACKAGED, dataset="kjv_spanish", part="english")
SPANISH = packages.Packaged(
    dataset="kjv_spanish",
    part="spanish",
    tool="apt-get",
    package="sword-text-sparv",
    pattern=r"ztext/spaRV1909eb/([on]t\.bz[svz])$",
    sha256="14b5e2fafbf8ebfbc0e7d96b93ae0a2ac1a08963004b06e307dac324a2f4a123",
)
TABLE = Table(
    name="kjv_spanish",
    description="Verses of the Bible in the English of 1769 and the Spanish of 1909.",
    homepage="https://ebible.org/details.php?id=spaRV1909",
    features={name: tfds.features.Text() for name in ("english", "spanish", "verse")},
)
#: Chapters with three verses or more of which the two translations share less than 0.4 of Strong's numbers, the marks
#: of the Hebrew and Greek words that they are from; of the smaller set of a verse.
RENUMBERED = (
    *("Num.13", "Num.30", "1Sam.24", "1Kgs.22", "1Chr.21"),
    *("2Chr.33", "Job.39", "Job.40", "Hos.12", "Jonah.2"),
)


def split(english: Mapping[str, str], spanish: Mapping[str, str]) -> Splits:
    """The verses that are in both, in the splits of their chapters."""
    rows: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for verse, text in english.items():
        chapter = sword.chapter_of(verse)
        if verse in spanish and chapter not in RENUMBERED:
            row = {"english": text, "spanish": spanish[verse], "verse": verse}
            rows[kjv.split_of(chapter)].append(row)
    rows["test"] = _unseen(rows["test"], rows["train"])
    rows["validation"] = _unseen(rows["validation"], [*rows["train"], *rows["test"]])
    return rows


def _unseen(rows: list[Row], seen: list[Row]) -> list[Row]:
    """Those of `rows` of which neither side is one of `seen`."""
    english, spanish = ({row[side] for row in seen} for side in ("english", "spanish"))
    return [row for row in rows if row["english"] not in english and row["spanish"] not in spanish]


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""

    def make() -> Splits:
        return split(*(sword.verses(packages.collect(part, source_path, progress)) for part in (ENGLISH, SPANISH)))

    return TABLE.prepare(data_dir, make)
