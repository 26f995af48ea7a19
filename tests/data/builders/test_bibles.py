"""Bibles in SWORD's format: places, verses, the splits of chapters, and the real ones."""

from __future__ import annotations

import struct
import zlib

import pytest

from jaxai.data.builders import kjv, kjv_spanish, sword
from jaxai.data.builders.tables import first_byte
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, package, publish, read, sizes

OLD = [
    ["", '<milestone type="x-importer"/>'],
    [
        '<div canonical="true" osisID="Gen" sID="gen2" type="book"/> <title>The First</title>',
        '<chapter n="1" osisID="Gen.1" sID="Gen.1"/> ',
        'In the <w lemma="strong:H7225">beginning</w><note n="1">Or <reference>x</reference></note>. ',
        "¶ And <transChange>the</transChange>  \\nd LORD\n<foreign>\u05d1</foreign> BETH.",
        '<title canonical="true" type="psalm">A Psalm.</title> é<chapter eID="Gen.1"/>',
        '<chapter n="2" osisID="Gen.2" sID="Gen.2"/>',
        '<chapter eID="Gen.2"/>',
        'End.<div eID="gen2" osisID="Gen" type="book"/>',
    ],
]
NEW = [
    [
        "",
        '<milestone type="x-importer"/>',
        '<div canonical="true" osisID="Matt" sID="gen3" type="book"/>',
        '<chapter n="1" osisID="Matt.1" sID="Matt.1"/>',
        "The book.",
    ]
]
VERSES = {
    "Gen.1.1": "In the beginning.",
    "Gen.1.2": "And the LORD BETH.",
    "Gen.1.3": "A Psalm. é",
    "Gen.2.2": "End.",
    "Matt.1.1": "The book.",
}


def written(testament: str, blocks: list[list[str]]) -> dict[str, bytes]:
    """The three files of blocks of places."""
    packed, begins, places = b"", b"", b""
    for number, texts in enumerate(blocks):
        unpacked = b""
        for text in texts:
            places += struct.pack("<2IH", number, len(unpacked), len(text.encode()))
            unpacked += text.encode()
        block = zlib.compress(unpacked)
        begins += struct.pack("<3I", len(packed), len(block), len(unpacked))
        packed += block
    return {f"{testament}.bzz": packed, f"{testament}.bzs": begins, f"{testament}.bzv": places}


def bible(chapters: dict[str, list[str]]) -> dict[str, bytes]:
    places = ["", "", '<div canonical="true" osisID="Gen" sID="gen2" type="book"/>']
    for chapter, lines in chapters.items():
        places += [f'<chapter osisID="{chapter}" sID="{chapter}"/>', *lines]
    return written("ot", [places]) | written("nt", [["", ""]])


def test_verses_without_their_marks():
    files = written("ot", OLD) | written("nt", NEW)
    assert list(sword.places(files, "ot")) == [place for block in OLD for place in block]
    assert sword.verses(files) == VERSES
    assert list(sword.verses(files)) == list(VERSES)
    assert sword.chapter_of("1Sam.24.3") == "1Sam.24"


def test_chapters_are_dealt_by_their_names():
    names = [f"Gen.{number}" for number in range(2000)]
    for name in names:
        byte = first_byte(name)
        assert kjv.split_of(name) == ("test" if byte < 13 else "validation" if byte < 26 else "train")
    for split in ("test", "validation"):
        assert sum(kjv.split_of(name) == split for name in names) / len(names) == pytest.approx(13 / 256, abs=0.015)


CHAPTERS = {
    f"Gen.{chapter}": [f"{chapter} {verse}." for verse in range(1, 4)] + [f"Again {chapter % 7}."]
    for chapter in range(1, 80)
}


def test_kjv_from_a_folder(tmp_path, monkeypatch):
    files = bible(CHAPTERS)
    publish(kjv, "PACKAGED", files, monkeypatch)
    source = package(tmp_path, {f"ztext/engKJV2006eb/{name}": content for name, content in files.items()})
    prepare("kjv", data_dir=tmp_path, source_path=source)
    found = read("kjv", tmp_path)
    for split, rows in found.items():
        expected = [chapter for chapter in CHAPTERS if kjv.split_of(chapter) == split]
        assert column(rows, "chapter") == expected
        assert column(rows, "text") == ["\n".join(CHAPTERS[chapter]) + "\n" for chapter in expected]
    assert set(found) == {"train", "validation", "test"}


def test_pairs_from_a_folder_with_both(tmp_path, monkeypatch):
    """Without chapters that are numbered otherwise, verses of one language, and in tests those that were trained on."""
    chapters = {**CHAPTERS, "Num.13": ["one", "two"]}
    spanish = {name: [f"{line} (es)" for line in lines] for name, lines in chapters.items()}
    spanish["Gen.1"][1] = ""
    english_files, spanish_files = bible(chapters), bible(spanish)
    publish(kjv_spanish, "ENGLISH", english_files, monkeypatch)
    publish(kjv_spanish, "SPANISH", spanish_files, monkeypatch)
    folders = {"engKJV2006eb": english_files, "spaRV1909eb": spanish_files}
    files = {f"ztext/{folder}/{name}": content for folder, part in folders.items() for name, content in part.items()}
    prepare("kjv_spanish", data_dir=tmp_path, source_path=package(tmp_path, files))
    found = read("kjv_spanish", tmp_path)
    rows = [row for part in found.values() for row in part]
    assert all(row["spanish"] == f"{row['english']} (es)" for row in rows)
    held_out = {name for name in CHAPTERS if kjv.split_of(name) != "train"}
    expected = {
        f"{name}.{number}"
        for name in CHAPTERS
        for number in range(1, 4 if name in held_out else 5)
        if (name, number) != ("Gen.1", 2)
    }
    assert set(column(rows, "verse")) == expected
    assert all(kjv.split_of(row["verse"].rpartition(".")[0]) == split for split, part in found.items() for row in part)


@pytest.mark.slow
def test_the_real_bible():
    found = read("kjv")
    assert sizes(found) == {"train": 1075, "validation": 51, "test": 63}
    assert found["train"][0]["text"].startswith("In the beginning God created the heaven and the earth.\nAnd the earth")
    texts = [text for rows in found.values() for text in column(rows, "text")]
    assert len(set(texts)) == 1189
    assert sum(text.count("\n") for text in texts) == 31_102


@pytest.mark.slow
def test_the_real_pairs():
    found = read("kjv_spanish")
    assert sizes(found) == {"train": 28_041, "validation": 1_161, "test": 1_613}
    chapters = {split: {row["verse"].rpartition(".")[0] for row in rows} for split, rows in found.items()}
    assert {split: len(names) for split, names in chapters.items()} == {"train": 1067, "validation": 50, "test": 62}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not chapters[one] & chapters[other]
        for side in ("english", "spanish"):
            assert not set(column(found[one], side)) & set(column(found[other], side))
    pairs = {row["verse"]: (row["english"], row["spanish"]) for rows in found.values() for row in rows}
    assert pairs["John.11.35"] == ("Jesus wept.", "Y lloró Jesús.")
    assert pairs["Ps.23.1"] == (
        "A Psalm of David. The LORD is my shepherd; I shall not want.",
        "Salmo de David. JEHOVÁ es mi pastor; nada me faltará.",
    )
    texts = "".join(text for pair in pairs.values() for text in pair)
    assert not set(texts) & set("<>¶\\\n")


@pytest.mark.slow
def test_all_verses_of_both():
    collected = [kjv_spanish.packages.collect(part, None, print) for part in (kjv_spanish.ENGLISH, kjv_spanish.SPANISH)]
    english, spanish = map(sword.verses, collected)
    assert (len(english), len(english.keys() & spanish.keys())) == (31_102, 31_084)
