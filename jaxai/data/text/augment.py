"""Augmentation of texts: edits of single words (EDA; Wei and Zou 2019), and translation there and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.fields import check_fields
from jaxai.data.text.rows import open_texts, read_examples

Edit = Literal["synonyms", "swap", "delete"]
_MARKS = ".,;:!?\"'()[]"


@dataclasses.dataclass(frozen=True)
class EDA:
    """Edits a share of the texts, anew each epoch: `Texts(EDA(Tfds("tweets"), edits=("swap", "delete")), ...)`.

    An edited text had one of `edits`, chosen by chance, done to it. Evaluations see texts as they are.
    """

    source: Any
    """A declaration or source of texts."""
    _: dataclasses.KW_ONLY
    edits: tuple[Edit, ...]
    """What may be done: words replaced by `synonyms`, pairs of words swapped, or words deleted."""
    rate: float = 0.1
    """Share of a text's words that an edit is about; at least one is replaced or swapped."""
    probability: float = 0.5
    """Share of the texts that are edited."""
    synonyms: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """For a word in small letters, what may stand for it."""
    field: str = "text"
    """Where the source has its text."""

    def __post_init__(self):
        check_fields(self)
        for name in ("rate", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(name, f"{getattr(self, name)} is not from 0 to 1")
        if not self.edits:
            raise InputError("edits", "names none", did_you_mean("", ("synonyms", "swap", "delete")))
        if "synonyms" in self.edits and not self.synonyms:
            raise InputError("synonyms", "is empty", 'give words: {"good": ("fine", "great")}')

    def open(self) -> EditedTexts:
        source = open_texts(self.source, self.field)
        if hasattr(source, "draw"):
            raise InputError("source", "draws its examples already", "one EDA with all edits")
        return EditedTexts(read_examples(source, self.field), self, getattr(source, "classes", None))

    def edit(self, text: str, random: np.random.Generator) -> str:
        """The text after one of the edits; its white space becomes single spaces."""
        chosen = self.edits[int(random.random() * len(self.edits))]
        words = text.split()
        if chosen == "delete":
            return " ".join(delete(words, self.rate, random))
        number = max(1, round(self.rate * len(words)))
        if chosen == "swap":
            return " ".join(swap(words, number, random))
        return " ".join(replace(words, number, self.synonyms, random))


@dataclasses.dataclass(frozen=True, repr=False)
class EditedTexts:
    """The opened source."""

    examples: list[dict[str, Any]]
    eda: EDA
    classes: tuple[str, ...] | None
    """Names of the labels, where the source knows them."""

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.examples[index]

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Any]:
        """The example, its text perhaps edited."""
        example, field = self.examples[index], self.eda.field
        if random.random() >= self.eda.probability:
            return example
        return example | {field: self.eda.edit(example[field], random)}


# Only raw doubles are drawn: numpy may change how it makes other numbers of them.


def replace(
    words: Sequence[str], number: int, synonyms: Mapping[str, Sequence[str]], random: np.random.Generator
) -> list[str]:
    """`number` of the words that have synonyms, or all, replaced; capitals and marks around a word stay."""
    made = list(words)
    bare = [word.strip(_MARKS) for word in made]
    places = [i for i, word in enumerate(bare) if synonyms.get(word.lower())]
    for _ in range(min(number, len(places))):
        place = places.pop(int(random.random() * len(places)))
        known = synonyms[bare[place].lower()]
        other = known[int(random.random() * len(known))]
        other = other[:1].upper() + other[1:] if bare[place][0].isupper() else other
        made[place] = made[place].replace(bare[place], other, 1)
    return made


def swap(words: Sequence[str], number: int, random: np.random.Generator) -> list[str]:
    """Two of the words change places, `number` times."""
    made = list(words)
    for _ in range(number if len(made) > 1 else 0):
        first = int(random.random() * len(made))
        second = (first + 1 + int(random.random() * (len(made) - 1))) % len(made)
        made[first], made[second] = made[second], made[first]
    return made


def delete(words: Sequence[str], rate: float, random: np.random.Generator) -> list[str]:
    """Each word but by a chance of `rate`; one of them where none would be left."""
    kept = [word for word in words if random.random() >= rate]
    return kept or list(words[(place := int(random.random() * len(words))) : place + 1])


def back_translate(
    texts: Sequence[str],
    forward: Callable[[list[str]], Sequence[str]],
    backward: Callable[[list[str]], Sequence[str]],
) -> list[str]:
    """The texts said otherwise: translated by `forward` and back by `backward` (Sennrich et al. 2016)."""
    there = list(forward(list(texts)))
    _check_count("forward", there, len(texts))
    back = list(backward(there))
    _check_count("backward", back, len(texts))
    return back


def _check_count(name: str, made: Sequence[str], expected: int) -> None:
    if len(made) != expected:
        raise InputError(name, f"gives {len(made)} texts for {expected}", "one for each")
