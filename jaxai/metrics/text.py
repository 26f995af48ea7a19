"""Scores of whole texts, on the host: BLEU and chrF of translations, error rates of transcripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, need_extra


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The corpus BLEU, 0 to 100 (Papineni et al. 2002), as sacrebleu computes it by default (Post 2018).

    Raises InputError unless there is one of `references` for each of `hypotheses`, and the extra `text` is installed.
    """
    _check_pairs(hypotheses, references)
    return _sacrebleu().corpus_bleu(list(hypotheses), [list(references)]).score


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The corpus chrF2, 0 to 100 (Popović 2015), as sacrebleu computes it by default.

    Raises InputError unless there is one of `references` for each of `hypotheses`, and the extra `text` is installed.
    """
    _check_pairs(hypotheses, references)
    return _sacrebleu().corpus_chrf(list(hypotheses), [list(references)]).score


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits of words that turn `hypotheses` into `references`, divided by the words of all references."""
    return _error_rate([text.split() for text in hypotheses], [text.split() for text in references])


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits of characters that turn `hypotheses` into `references`, divided by the characters of all references."""
    return _error_rate(hypotheses, references)


def edit_distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions of items that turn one into the other (Levenshtein 1966)."""
    numbers: dict[Any, int] = {}
    a, b = ([numbers.setdefault(item, len(numbers)) for item in items] for items in (first, second))
    b, places = np.array(b, np.int64), np.arange(len(b) + 1)
    row = places
    for i, item in enumerate(a):
        above = np.minimum(row[1:] + 1, row[:-1] + (b != item))
        # Insertions go from left to right: each costs one more than the best so far.
        row = np.minimum.accumulate(np.concatenate([[i + 1], above]) - places) + places
    return int(row[-1])


def _error_rate(hypotheses: Sequence[Sequence[Any]], references: Sequence[Sequence[Any]]) -> float:
    _check_pairs(hypotheses, references)
    total = sum(map(len, references))
    edits = sum(map(edit_distance, hypotheses, references))
    return edits / total if total else math.nan


def _check_pairs(hypotheses: Sequence[Any], references: Sequence[Any]) -> None:
    if len(hypotheses) != len(references):
        raise InputError("references", f"there are {len(references)} for {len(hypotheses)} hypotheses", "one for each")


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError:
        raise need_extra("sacrebleu", "text") from None
    return sacrebleu
