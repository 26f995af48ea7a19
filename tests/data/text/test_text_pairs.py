"""What a pair of sentences looks like from outside does not tell whether the second follows the first."""

from __future__ import annotations

import numpy as np

from jaxai.data.text import Bytes, SentencePairs


class Documents:
    """Sentences of many lengths, each of one letter, with a full stop."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.texts = [
            " ".join(f"{chr(97 + rng.integers(26)) * rng.integers(3, 30)}." for _ in range(60)) for _ in range(20)
        ]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return {"text": self.texts[index]}


def test_length_and_last_token_are_alike_in_both_classes():
    source = SentencePairs(Documents(), tokenizer=Bytes(), length=64).open()
    rows = [source[i] for i in range(len(source))]
    labels = np.array([row["label"] for row in rows])
    used = np.array([np.sum(row["segments"]) for row in rows])
    stops = np.array([row["tokens"][n - 2] == ord(".") for row, n in zip(rows, used, strict=True)])
    assert min(np.bincount(labels)) > 100
    for shown in (used == 64, stops):
        follows, does_not = (shown[labels == label].mean() for label in (0, 1))
        assert abs(follows - does_not) < 0.1
