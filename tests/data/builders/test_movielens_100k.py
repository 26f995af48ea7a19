"""Ratings with what is known of films and people, and the real ones."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from jaxai.data.builders import movielens_100k
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, package, publish, read, sizes

FILES = {
    "ml-100k.inter": b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n2\t1\t3\t881250949\n1\t2\t5\t9\n",
    "ml-100k.item": "id\ttitle\tyear\tclass\n1\tToy Stor\u00e9\t1995\tComedy Children's\n2\tOld\tunkonwn\t\n".encode(),
    "ml-100k.user": b"user_id\tage\tgender\toccupation\tzip\n1\t24\tM\ttechnician\t85711\n2\t53\tF\tother\tV3N4P\n",
}


def test_ratings_from_a_folder(tmp_path, monkeypatch):
    publish(movielens_100k, "PACKAGED", FILES, monkeypatch)
    source = package(tmp_path, {f"dataset_example/ml-100k/{name}": content for name, content in FILES.items()})
    prepare("movielens_100k", data_dir=tmp_path, source_path=source)
    assert read("movielens_100k", tmp_path) == {
        "train": [
            {
                **{"user": 1, "item": 0, "rating": 3.0, "timestamp": 881250949, "title": "Toy Storé", "year": 1995},
                **{"genres": "Comedy Children's", "age": 53, "gender": "F", "occupation": "other"},
            },
            {
                **{"user": 0, "item": 1, "rating": 5.0, "timestamp": 9, "title": "Old", "year": 0},
                **{"genres": "", "age": 24, "gender": "M", "occupation": "technician"},
            },
        ]
    }


@pytest.mark.slow
def test_the_real_ratings():
    found = read("movielens_100k")
    assert sizes(found) == {"train": 100_000}
    rows = found["train"]
    assert (set(column(rows, "user")), set(column(rows, "item"))) == (set(range(943)), set(range(1682)))
    # The counts that the README of MovieLens 100K and Harper and Konstan 2015 give.
    assert np.bincount(column(rows, "user")).min() == 20
    assert collections.Counter(map(float, column(rows, "rating"))) == {
        **{1: 6_110, 2: 11_370, 3: 27_145},
        **{4: 34_174, 5: 21_201},
    }
    assert len({(row["user"], row["item"]) for row in rows}) == 100_000
    assert {"user": 195, "item": 241, "rating": 3, "timestamp": 881250949, "title": "Kolya"}.items() <= rows[0].items()
    assert len(set(column(rows, "occupation"))) == 21
