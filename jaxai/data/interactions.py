"""Who took what and when, as examples of what came next; and the catalogue of what there is to take."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data.source import Arrays, Source, open_source
from jaxai.data.text.rows import open_texts, padded, read_examples
from jaxai.data.text.tokenizers import open_tokenizer


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """What each user took, and what before: `LeaveOneOut(Tfds("movielens_100k"), part="test")`.

    Of each user the last is for the test, the one before for validation, and the others for training; of one who took
    fewer than three, all are. Examples are `user`, `item`, numbered from 0 in the order of their own numbers, and
    `history` [history], the items before, the latest last, -1 where there are none; for evaluation also `seen` [num],
    all of those before, -1 behind.
    """

    source: Any
    """A declaration or source of `user`, `item` and `timestamp`; of equal times the earlier example comes first."""
    _: dataclasses.KW_ONLY
    part: Literal["train", "valid", "test"]
    """Which of a user's items."""
    history: int = 20
    """Items before that are told of."""

    def __post_init__(self):
        check_fields(self)
        if self.history < 1:
            raise InputError("history", f"must be at least 1, is {self.history}")

    def open(self) -> Source:
        taken = _read(self.source)
        chosen = np.flatnonzero(taken.part == ("train", "valid", "test").index(self.part))
        if not len(chosen):
            raise InputError("source", "has no user who took three items or more")
        arrays = {"user": taken.user[chosen], "item": taken.item[chosen]}
        arrays["history"] = _before(taken, chosen, self.history)[:, ::-1]
        if self.part != "train":
            arrays["seen"] = _before(taken, chosen, int(taken.place.max()))
        return Arrays(arrays)


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All items in the order of their numbers: `tokens` [length] of their text, and `count`, how often trained on."""

    source: Any
    """The same as of `LeaveOneOut`, with the text of the item."""
    _: dataclasses.KW_ONLY
    tokenizer: Any
    """Of the texts, such as `Bytes()`."""
    length: int
    """Tokens of a text, which is cut or padded to it."""
    fields: tuple[str, ...] = ("title",)
    """Where the source has the text, in parts, which are put together with a space between them."""

    def __post_init__(self):
        check_fields(self)

    def open(self) -> Source:
        taken, tokenizer = _read(self.source), open_tokenizer(self.tokenizer)
        rows = read_examples(open_texts(self.source, *self.fields), *self.fields)
        texts = {int(row["item"]): " ".join(row[field] for field in self.fields) for row in rows}
        tokens = [padded(tokenizer.encode(text), self.length, tokenizer.pad or 0) for _, text in sorted(texts.items())]
        counts = np.bincount(taken.item[taken.part == 0], minlength=len(texts))
        return Arrays({"tokens": np.stack(tokens), "count": counts})


class _Taken(NamedTuple):
    """All that was taken, [example] each, user by user in the order of time."""

    user: np.ndarray
    """From 0."""
    item: np.ndarray
    """From 0."""
    place: np.ndarray
    """Among those of the user, from 0."""
    part: np.ndarray
    """0 for training, 1 for validation, 2 for the test."""


@functools.lru_cache(maxsize=2)
def _read(declared: Any) -> _Taken:
    examples = read_examples(open_source(declared))
    for name in ("user", "item", "timestamp"):
        if name not in examples[0]:
            raise InputError("source", f"has no field {name!r}", did_you_mean(name, examples[0]))
    table = {name: np.array([row[name] for row in examples]) for name in ("user", "item", "timestamp")}
    (_, user), (_, item) = (np.unique(table[name], return_inverse=True) for name in ("user", "item"))
    order = np.lexsort((table["timestamp"], user))  # stable: the earlier example first
    user, item = user[order].astype(np.int32), item[order].astype(np.int32)
    total = np.bincount(user)
    place = np.arange(len(user)) - (np.cumsum(total) - total)[user]
    left = total[user] - 1 - place
    return _Taken(user, item, place, np.where(total[user] < 3, 0, np.maximum(2 - left, 0)))


def _before(taken: _Taken, chosen: np.ndarray, num: int) -> np.ndarray:
    """The `num` items before each of the `chosen`, the latest first, -1 where there are none: [example, num]."""
    back = np.arange(1, num + 1)
    known = back[None] <= taken.place[chosen][:, None]
    return np.where(known, taken.item[np.maximum(chosen[:, None] - back[None], 0)], -1).astype(np.int32)
