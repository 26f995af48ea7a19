"""The dataset `tweets_excerpt`: one in eight of `tweets`, carried inside the package.

Of those of the table of Hutto and Gilbert 2014 (MIT) that the full set keeps every eighth, the first, the ninth and so
on, without coarse ones; in the form of the full set, and in the same split. Nothing is fetched.
"""

from __future__ import annotations

from pathlib import Path

from jaxai.data.builders import sentiment, tweets
from jaxai.data.builders.tables import Splits
from jaxai.data.originals import SAY, Progress

TABLE = sentiment.table("tweets_excerpt", "Some hundred of the messages of `tweets`.")
FILE = Path(__file__).with_name("texts") / "tweets.tsv"


def load() -> Splits:
    """The embedded examples of both splits."""
    return tweets.split(FILE.read_bytes())


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    del source_path, progress  # nothing is fetched
    return TABLE.prepare(data_dir, load)
