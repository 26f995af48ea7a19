"""The dataset `support_faq`: questions about Debian and their answers in three languages; fetched on first use.

They are the sections of "The Debian GNU/Linux FAQ" (Software in the Public Interest; free to copy and change under its
own terms), from the Debian packages debian-faq, debian-faq-de and debian-faq-fr, whose sections have the same names. An
example has `question` and `answer`, the heading of a section and its text, in English, the same in German and French
(`question_de`, `answer_de`, `question_fr`, `answer_fr`), and the chapter it is in (`group`). In five examples one of
the languages has the English answer. What is in a section of a section is an example of its own and no part of the
outer answer. Test are the sections whose name has a sha256 with the first byte below 51, about one in five.

With `--from`, give a folder with the three packages.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders.tables import Row, Splits, Table, train_and_test
from jaxai.data.originals import SAY, Progress

ENGLISH = packages.Packaged(
    dataset="support_faq",
    part="en",
    tool="apt-get",
    package="debian-faq",
    pattern=r"debian/FAQ/([a-z-]+\.en\.html)$",
    sha256="1af0a5d8de8b23ccb6b660f0da990ba26d3c8f73f7b4044239f01f12e3e14ace",
)
GERMAN = dataclasses.replace(
    ENGLISH,
    part="de",
    package="debian-faq-de",
    pattern=r"debian/FAQ/de/([a-z-]+\.de\.html)$",
    sha256="508094117ed981762308f32acb841374d2ad19a7a92f76ba23645c71aa3d0078",
)
FRENCH = dataclasses.replace(
    ENGLISH,
    part="fr",
    package="debian-faq-fr",
    pattern=r"debian/FAQ/fr/([a-z-]+\.fr\.html)$",
    sha256="9406973e8c8a760734f8e19e14f0ad11036617ba7a0c36d0f3728efe9430f6ad",
)
FIELDS = ("question", "answer", "question_de", "answer_de", "question_fr", "answer_fr", "group")
TABLE = Table(
    name="support_faq",
    description="Questions about Debian and their answers in three languages.",
    homepage="https://www.debian.org/doc/manuals/debian-faq/",
    features={name: tfds.features.Text() for name in FIELDS},
)

_X = "{http://www.w3.org/1999/xhtml}"
_BLOCKS = {f"{_X}{tag}" for tag in ("p", "pre", "li", "dt", "dd", "tr", "div", "br")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A question and its answer."""

    name: str
    """The same in all languages."""
    group: str
    """The chapter."""
    question: str
    """The heading, without its number."""
    answer: str
    """A line for each paragraph, line of a listing or item."""


def sections(files: packages.Files) -> Iterator[Section]:
    """The sections of all chapters that have an answer."""
    for file, content in sorted(files.items()):
        for section in ElementTree.fromstring(content).iter(f"{_X}div"):
            if section.get("class") == "section":
                title, *rest = section
                anchor = next(title.iter(f"{_X}a"))
                answer = "".join(_text(element) for element in rest if element.get("class") != "section")
                question = re.sub(r"^[\d.]+\s+", "", " ".join("".join(title.itertext()).split()))
                if answer := _tidy(answer):
                    name = anchor.get("id", "")
                    yield Section(name=name, group=file.split(".")[0], question=question, answer=answer)


def _text(element: ElementTree.Element) -> str:
    """The text in an element, with a line for each block; that of listings as it is, of others without its breaks."""
    listing = element.tag == f"{_X}pre"

    def own(text: str | None) -> str:
        return text or "" if listing else re.sub(r"\s+", " ", text or "")

    inside = own(element.text) + "".join(_text(child) + own(child.tail) for child in element)
    return f"\n{inside}\n" if element.tag in _BLOCKS else inside


def _tidy(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def split(english: packages.Files, german: packages.Files, french: packages.Files) -> Splits:
    """The sections that are in all languages."""
    others = {
        language: {section.name: section for section in sections(files)}
        for language, files in (("de", german), ("fr", french))
    }
    return train_and_test(
        {
            section.name: _row(section, {language: found[section.name] for language, found in others.items()})
            for section in sections(english)
            if all(section.name in found for found in others.values())
        }
    )


def _row(section: Section, translations: Mapping[str, Section]) -> Row:
    row = {"question": section.question, "answer": section.answer, "group": section.group}
    for language, translation in translations.items():
        row |= {f"question_{language}": translation.question, f"answer_{language}": translation.answer}
    return row


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""

    def make() -> Splits:
        return split(*(packages.collect(part, source_path, progress) for part in (ENGLISH, GERMAN, FRENCH)))

    return TABLE.prepare(data_dir, make)
