"""What is taken of a mail, which mails are kept, and the real ones."""

from __future__ import annotations

import email

import numpy as np
import pytest

from jaxai.data.builders import spam_mails
from jaxai.data.builders.tables import is_test, words
from jaxai.data.prepare import prepare
from tests.data.builders.reading import column, package, publish, read

MULTIPART = b"""From: a@b
Received: from c
Subject: =?iso-8859-1?q?Gr=FC=DFe?= to
 you
Content-Type: multipart/mixed; boundary="B"

--B
Content-Type: multipart/alternative; boundary="C"

--C
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

d=C3=A9j=C3=A0   vu=20


--C
Content-Type: text/html

<p>other</p>
--C--
--B
Content-Type: text/x-log

attached
--B--
"""
PAGE = b"""Subject: page
Content-Type: text/html; charset=no_such
Content-Transfer-Encoding: base64

PHN0eWxlPnB7fTwvc3R5bGU+PHRpdGxlPnQ8L3RpdGxlPjxwPkNhZukgJmFtcDs8Yj5iYXI8L2I+PC9wPjxzY3JpcHQ+eCgpPC9zY3JpcHQ+PGJyPmVu
ZA==
"""


@pytest.mark.parametrize(
    ("content", "subject", "body"),
    [
        (MULTIPART, "Grüße to you", "déjà vu"),
        (PAGE, "page", "Café & bar end"),
        (b"X: y\n\none\r\n\r\n\r\n\r\ntwo \0three\n", "", "one\n\ntwo three"),
        (b"Subject: \xe9t\xe9\n\n\xe9", "été", "é"),
        (b"Subject: none\nContent-Type: image/png\n\nabc", "none", ""),
    ],
)
def test_what_a_reader_sees(content, subject, body):
    mail = email.message_from_bytes(content)
    assert spam_mails.subject(mail) == subject
    assert spam_mails.body(mail) == body


def mail(body: str, subject: str = "s") -> bytes:
    return f"Received: secret\nSubject: {subject}\n\n{body}\n".encode()


def test_which_are_kept_and_where(tmp_path, monkeypatch):
    opening = "one two three four five six seven eight nine ten and ten more that fill all of it until here "
    files = {
        "easy-ham-1/1.txt": mail("Hello, you"),
        "easy-ham-2/1.txt": mail("hello\nYOU!", "again"),
        "hard-ham-1/1.txt": mail("both"),
        "spam-1/1.txt": mail("Both!"),
        "spam-1/2.txt": mail("..."),
        **{f"spam-2/{n}.txt": mail(f"{opening} {n} of number {n}") for n in range(20)},
        **{f"spam-2/x{n}.txt": mail(f"buy {'w' * n}") for n in range(1, 40)},
    }
    publish(spam_mails, "PACKAGED", files, monkeypatch)
    source = package(tmp_path, {f"package/data/{name}": content for name, content in files.items()})
    prepare("spam_mails", data_dir=tmp_path, source_path=source)
    found = read("spam_mails", tmp_path)
    rows = [*found["train"], *found["test"]]
    assert [row["text"] for row in rows if row["label"] == 0] == ["s\n\nHello, you\n"]
    assert len(rows) == 1 + 20 + 39
    campaign = {split: sum("number" in row["text"] for row in part) for split, part in found.items()}
    assert sorted(campaign.values()) == [0, 20]
    for n in range(1, 40):
        where = "test" if is_test(f"buy {'w' * n}") else "train"
        assert f"s\n\nbuy {'w' * n}\n" in column(found[where], "text")
    assert not any("secret" in row["text"] for row in rows)


def test_the_beginning_is_twenty_words_without_figures():
    assert spam_mails.beginning(words("Win $1,000 by 5pm! " + "a " * 40)) == "win by pm " + "a " * 16 + "a"


@pytest.mark.slow
def test_the_real_mails():
    found = read("spam_mails")
    assert {split: np.bincount(column(rows, "label")).tolist() for split, rows in found.items()} == {
        "train": [3254, 1277],
        "test": [844, 332],
    }
    bodies = {split: [words(row["text"].partition("\n\n")[2]) for row in rows] for split, rows in found.items()}
    assert len({*bodies["train"], *bodies["test"]}) == 4531 + 1176
    beginnings = {split: set(map(spam_mails.beginning, texts)) for split, texts in bodies.items()}
    assert not beginnings["train"] & beginnings["test"]
    text = next(row["text"] for row in found["train"] if row["text"].startswith("[zzzzteana] RE: Alexander\n"))
    assert text.startswith("[zzzzteana] RE: Alexander\n\nMartin A posted:\nTassos Papadopoulos, the Greek sculptor")
