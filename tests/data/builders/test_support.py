"""Questions and answers: sections of the FAQ, conversations, a split without common texts, and the real ones."""

from __future__ import annotations

import numpy as np
import pytest

from jaxai.data.builders import support_faq, support_questions
from jaxai.data.builders.tables import is_test, words
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, package, publish, read, sizes

PAGE = """<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><div class="chapter">
<div class="section"><div class="titlepage"><h2 class="title"><a id="one"></a>1.1.\u00a0What is
<code>x</code> 2.0?</h2></div><p>It is
 <em>this</em>.</p><pre>$ run
  it</pre><div class="section"><div class="titlepage"><h3><a id="inner"></a>1.1.1. Inside?</h3></div>
<ul><li><p>Yes.</p></li><li>No.</li></ul></div></div>
<div class="section"><div class="titlepage"><h2><a id="empty"></a>1.2. Parts</h2></div>
<div class="section"><div class="titlepage"><h3><a id="last"></a>1.2.1. End?</h3></div><p>Now<br/>then</p></div></div>
</div></body></html>"""
SECTIONS = [
    ("one", "What is x 2.0?", "It is this.\n$ run\nit"),
    ("inner", "Inside?", "Yes.\nNo."),
    ("last", "End?", "Now\nthen"),
]


def test_sections_of_a_page():
    found = [*support_faq.sections({"basic-defs.en.html": PAGE.encode()})]
    assert [(section.name, section.question, section.answer) for section in found] == SECTIONS
    assert {section.group for section in found} == {"basic-defs"}


def page(language: str, names: list[str]) -> bytes:
    sections = "".join(
        f'<div class="section"><div><h2><a id="{name}"></a>1. {name} {language}?</h2></div>'
        f"<p>{language} {name}</p></div>"
        for name in names
    )
    return f'<html xmlns="http://www.w3.org/1999/xhtml">{sections}</html>'.encode()


def test_the_languages_are_joined_by_the_names_of_sections(tmp_path, monkeypatch):
    names = [f"s{number}" for number in range(30)]
    packages = {"ENGLISH": ("en", names), "GERMAN": ("de", names[::-1]), "FRENCH": ("fr", names[1:])}
    files = {}
    for constant, (language, found) in packages.items():
        content = {f"kernel.{language}.html": page(language, found)}
        publish(support_faq, constant, content, monkeypatch)
        folder = "debian/FAQ" if language == "en" else f"debian/FAQ/{language}"
        files |= {f"{folder}/{name}": page for name, page in content.items()}
    prepare("support_faq", data_dir=tmp_path, source_path=package(tmp_path, files))
    splits = read("support_faq", tmp_path)
    rows = {row["answer"].split()[1]: row for part in splits.values() for row in part}
    assert set(rows) == set(names[1:])
    assert rows["s3"] == {
        **{"question": "s3 en?", "answer": "en s3", "question_de": "s3 de?", "answer_de": "de s3"},
        **{"question_fr": "s3 fr?", "answer_fr": "fr s3", "group": "kernel"},
    }
    assert {row["answer"] for row in splits["test"]} == {f"en {name}" for name in names[1:] if is_test(name)}


CHATS = b"""categories:
- talk
conversations:
- - What is it? \n  - "A thing."
- - What is it
  - Another thing.
  - A third turn
- - Which?
  - a thing
- - what is it?
  - A thing!
- - Alone
  - |
    code
      more
"""


def test_conversations_give_their_first_two_turns():
    rows = list(support_questions.chats({"talk.yml": CHATS.replace(b"\\n", b"\n")}))
    assert [row["answer"] for row in rows] == ["A thing.", "Another thing.", "a thing", "A thing!", "code\n  more"]
    assert rows[0] == {"question": "What is it?", "answer": "A thing.", "group": "talk"}
    pairs = [row for part in support_questions.split(rows).values() for row in part]
    assert sorted(row["answer"] for row in pairs) == ["A thing!", "Another thing.", "a thing", "code\n  more"]


def test_what_is_joined_by_questions_or_answers_is_one():
    pairs = [("d", "1"), ("c", "2"), ("d", "2"), ("b", "3"), ("a", "4"), ("c", "5"), ("b", "5"), ("z", "6")]
    assert support_questions.least_questions(pairs) == ["b", "b", "b", "b", "a", "b", "b", "z"]


def test_no_text_is_in_both_parts():
    random = np.random.default_rng(0)
    numbers = random.integers(0, 400, (400, 2))
    rows = [{"question": f"q {q}", "answer": f"a {a}", "group": ""} for q, a in numbers]
    found = support_questions.split(rows)
    assert sum(map(len, found.values())) == len({tuple(pair) for pair in numbers.tolist()})
    assert found["test"]
    for field in ("question", "answer"):
        texts = {split: {row[field] for row in part} for split, part in found.items()}
        assert not texts["train"] & texts["test"]


def test_questions_from_a_folder_with_both(tmp_path, monkeypatch):
    pages = {"kernel.en.html": page("en", [f"s{number}" for number in range(9)])}
    chats = {"talk.yml": CHATS.replace(b"\\n", b"\n")}
    publish(support_questions, "FAQ", pages, monkeypatch)
    publish(support_questions, "CHATS", chats, monkeypatch)
    files = {f"debian/FAQ/{name}": content for name, content in pages.items()}
    files |= {f"chatterbot_corpus/data/english/{name}": content for name, content in chats.items()}
    prepare("support_questions", data_dir=tmp_path, source_path=package(tmp_path, files))
    found = read("support_questions", tmp_path)
    assert sorted(row["group"] for part in found.values() for row in part) == ["kernel"] * 9 + ["talk"] * 4


@pytest.mark.slow
def test_the_real_faq():
    found = read("support_faq")
    assert sizes(found) == {"train": 119, "test": 28}
    rows = [*found["train"], *found["test"]]
    assert len(set(column(rows, "group"))) == 16
    assert len({(row["question"], row["answer"]) for row in rows}) == 147
    row = next(row for row in rows if row["question"] == "How does one pronounce Debian and what does this word mean?")
    assert row["question_de"] == "Wie spricht man Debian aus und was bedeutet das?"
    assert row["answer"].startswith("The project name is pronounced Deb'-ee-en, with a short e in Deb, and emphasis on")
    assert sum(row["answer"] in (row["answer_de"], row["answer_fr"]) for row in rows) == 5


@pytest.mark.slow
def test_the_real_questions():
    found = read("support_questions")
    assert sizes(found) == {"train": 835, "test": 208}
    rows = [*found["train"], *found["test"]]
    assert column(rows, "group").count("tech_support") == 10
    assert sum(row["group"] in ("pkgtools", "kernel") for row in rows) == 17
    for field in ("question", "answer"):
        texts = {split: {words(row[field]) for row in part} for split, part in found.items()}
        assert not texts["train"] & texts["test"]
        assert all(texts["test"])
    assert {"question": "My mouse is not responding.", "group": "tech_support"}.items() <= next(
        row for row in rows if row["answer"].startswith("Try plugging it into another USB port")
    ).items()
