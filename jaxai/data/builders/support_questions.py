"""The dataset `support_questions`: questions and their answers, to find one by the other; fetched on first use.

They are the English sections of `support_faq` and what the package chatterbot-corpus (BSD-3-Clause) has in English:
the first two turns of each of its conversations. An example has `question`, `answer` and `group`, which is the chapter
or the file. A pair is there once: the 1,050 pairs of its file tech_support are ten, repeated. Pairs that have the
question or the answer in common, by their words, are in one part, so that no text of the test is met in training: test
are those whose least question has a sha256 with the first byte below 51, about one in five.

With `--from`, give a folder with both packages, debian-faq and chatterbot-corpus.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders import support_faq
from jaxai.data.builders.tables import Row, Splits, Table, is_test, words
from jaxai.data.originals import SAY, Progress

FAQ = dataclasses.replace(support_faq.ENGLISH, dataset="support_questions", part="faq")
CHATS = packages.Packaged(
    dataset="support_questions",
    part="chats",
    tool="pip",
    package="chatterbot-corpus==1.3.3",
    pattern=r"chatterbot_corpus/data/english/([a-z_]+\.yml)$",
    sha256="6f227ff2bceb225c01cd000d5d2abfdecc35fc132dc913532f710b0c1019931f",
)
TABLE = Table(
    name="support_questions",
    description="Questions and their answers, about Debian and about everything.",
    homepage="https://github.com/gunthercox/chatterbot-corpus",
    features={name: tfds.features.Text() for name in ("question", "answer", "group")},
)


def chats(files: packages.Files) -> Iterator[Row]:
    """The first two turns of each conversation."""
    import yaml

    for file, content in sorted(files.items()):
        for question, answer, *_ in yaml.safe_load(content)["conversations"]:
            yield {"question": question.strip(), "answer": answer.strip(), "group": file.split(".")[0]}


def faq(files: packages.Files) -> Iterator[Row]:
    """The sections of the FAQ."""
    for section in support_faq.sections(files):
        yield {"question": section.question, "answer": section.answer, "group": section.group}


def split(rows: Iterable[Row]) -> Splits:
    """The pairs of both splits, each once."""
    unique = {(words(row["question"]), words(row["answer"])): row for row in rows}
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for pair, least in zip(unique, least_questions(list(unique)), strict=True):
        splits["test" if is_test(least) else "train"].append(unique[pair])
    return splits


def least_questions(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Of each pair the first question by alphabet of all pairs that it is joined with by a question or an answer."""
    least = {question: question for question, _ in pairs}
    changed = True
    while changed:
        changed = False
        by_answer: dict[str, str] = {}
        for question, answer in pairs:
            by_answer[answer] = min(by_answer.get(answer, least[question]), least[question])
        for question, answer in pairs:
            if by_answer[answer] < least[question]:
                least[question], changed = by_answer[answer], True
    return [least[question] for question, _ in pairs]


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""

    def make() -> Splits:
        sections = faq(packages.collect(FAQ, source_path, progress))
        return split([*sections, *chats(packages.collect(CHATS, source_path, progress))])

    return TABLE.prepare(data_dir, make)
