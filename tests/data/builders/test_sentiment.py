"""Texts with human scores: what is kept of the tables, the splits, the excerpt, and the real ones."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.builders import product_snippets, sentiment, tweets_excerpt
from jaxai.data.builders.tables import first_byte, words
from jaxai.data.packages import digest
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, read

TABLE = b"\r\n".join(
    [
        b"1\t2.5\tLove it &amp; you!",
        b"2\t0.49\tAbout neutral.",
        b"3\t-0.5\tA tab\tinside",
        b"4\t-3\tlove it &lt; YOU",  # the words of the first
        b"5\t1\tabout NEUTRAL",  # of one that is left out
        b"6\t-2\t?!",  # no words
        b"",
    ]
)


def test_what_is_kept_of_a_table():
    assert list(sentiment.examples(TABLE, "x")) == [
        ("1", "love it you", {"text": "Love it & you!", "label": 1, "valence": 2.5}),
        ("3", "a tab inside", {"text": "A tab\tinside", "label": 0, "valence": -0.5}),
    ]


@pytest.mark.parametrize("line", ["1\t2.5", "1\thigh\ttext", "text"])
def test_a_line_that_is_no_row_is_named(line):
    with pytest.raises(InputError) as error:
        list(sentiment.examples(line.encode(), "tweets"))
    assert str(error.value) == f"tweets: has the line {line!r} (needs number, valence and text between tabs)"


def archive(tables: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for kind, content in tables.items():
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{kind}_GroundTruth.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_from_the_source_distribution(tmp_path, monkeypatch):
    rows = {"tweets": 40, "movieReviewSnippets": 41, "amazonReviewSnippets": 42}
    packed = archive({
        kind: "".join(f"{n // 5}_{n % 5}\t{n % 2 * 2 - 1}\t{kind} {n}\r\n" for n in range(count)).encode()
        for kind, count in rows.items()
    })  # fmt: skip
    with tarfile.open(tmp_path / "vaderSentiment-3.3.2.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(f"vaderSentiment-3.3.2/additional_resources/{sentiment.ARCHIVE}")
        member.size = len(packed)
        tar.addfile(member, io.BytesIO(packed))
    real = sentiment.packaged
    monkeypatch.setattr(
        sentiment,
        "packaged",
        lambda name: type(real(name))(**{**vars(real(name)), "sha256": digest({sentiment.ARCHIVE: packed})}),
    )
    for name, (kind, count) in zip(("tweets", "film_snippets", "product_snippets"), rows.items(), strict=True):
        prepare(name, data_dir=tmp_path / "data", source_path=tmp_path / "vaderSentiment-3.3.2.tar.gz")
        found = read(name, tmp_path / "data")
        texts = {split: set(column(part, "text")) for split, part in found.items()}
        assert texts["train"] | texts["test"] == {f"{kind} {n}" for n in range(count)}
        tested = {n for n in range(count) if first_byte(words(f"{kind} {n}")) < 51}
        if name == "product_snippets":
            tested = {n for n in range(count) if first_byte(str(n // 5)) < 51}
        assert texts["test"] == {f"{kind} {n}" for n in tested}
        assert all(row["label"] == int(row["text"].split()[1]) % 2 == (row["valence"] > 0) for row in found["train"])


def test_the_sentences_of_a_review_stay_together():
    table = "".join(f"{review}_{n}\t1\treview {review} {n}\n" for review in range(30) for n in range(4)).encode()
    parts = {split: {row["text"].split()[1] for row in rows} for split, rows in product_snippets.split(table).items()}
    assert parts["train"]
    assert parts["test"]
    assert not parts["train"] & parts["test"]


def test_the_excerpt(tmp_path):
    found = read("tweets_excerpt", tmp_path)
    assert {split: np.bincount(column(rows, "label")).tolist() for split, rows in found.items()} == {
        "train": [66, 207],
        "test": [15, 68],
    }
    row = next(row for part in found.values() for row in part if row["text"].startswith("Laptop"))
    assert row == {"text": "Laptop I hate you at times.", "label": 0, "valence": np.float32(-1.9)}
    assert tweets_excerpt.FILE.stat().st_size < 50_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "train", "test", "text", "valence"),
    [
        ("tweets", [785, 1809], [226, 458], "Pizza time.", 0.945652174),
        ("film_snippets", [4039, 4009], [1036, 986], "Effective but too tepid biopic", -0.6),
        ("product_snippets", [1005, 1395], [226, 342], "well worth the money.", 2.4),
    ],
)  # fmt: skip
def test_the_real_texts(name, train, test, text, valence):
    found = read(name)
    assert {split: np.bincount(column(rows, "label")).tolist() for split, rows in found.items()} == {
        "train": train,
        "test": test,
    }
    rows = [*found["train"], *found["test"]]
    assert len({words(row["text"]) for row in rows}) == len(rows)
    assert [row["valence"] for row in rows if row["text"] == text] == [np.float32(valence)]
    assert all((row["valence"] > 0) == row["label"] and 0.5 <= abs(row["valence"]) <= 4 for row in rows)
    if name == "tweets":
        for split, part in tweets_excerpt.load().items():
            assert set(column(list(part), "text")) < set(column(found[split], "text"))
