"""Reads Bibles in the format zText of the SWORD project (crosswire.org), with the versification of the King James.

Of a testament there are three files: `.bzz`, blocks of zlib; `.bzs`, of each block where it begins in it, and its
length there and unpacked; `.bzv`, of each place in the Bible its block, where it begins in it unpacked, and its length.
Places are, in order, two for the testament, and for each book one for its heading, and for each chapter one for its
heading and one a verse. The text of a place is marked up as OSIS.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

TESTAMENTS = ("ot", "nt")

_BOOK = re.compile(r'<div [^>]*\bsID="[^"]*"[^>]* type="book"')
_CHAPTER = re.compile(r'<chapter [^>]*\bosisID="([^"]*)"[^>]* sID=')


def places(files: Mapping[str, bytes], testament: str) -> Iterator[str]:
    """The marked-up text of every place of a testament, empty where there is none."""
    packed = files[f"{testament}.bzz"]
    begins = struct.iter_unpack("<3I", files[f"{testament}.bzs"])
    blocks = [zlib.decompress(packed[start : start + size]) for start, size, _ in begins]
    for block, start, size in struct.iter_unpack("<2IH", files[f"{testament}.bzv"]):
        yield blocks[block][start : start + size].decode() if size else ""


def verses(files: Mapping[str, bytes]) -> dict[str, str]:
    """The text of each verse by its name, such as `Gen.1.1`, in their order; without those that have none."""
    found = {}
    for testament in TESTAMENTS:
        chapter, number = "", 0
        for place in places(files, testament):
            if _BOOK.search(place):
                chapter = ""
            elif heading := _CHAPTER.search(place):
                chapter, number = heading[1], 0
            elif chapter:
                number += 1
                if text := plain(place):
                    found[f"{chapter}.{number}"] = text
    return found


def plain(place: str) -> str:
    """Without marks, notes, Hebrew letters, the pilcrow, and what is left of another markup (`\\nd`)."""
    text = re.sub(r"<(note|foreign)\b.*?</\1>", "", place, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>|¶|\\nd ", "", text).split())


def chapter_of(verse: str) -> str:
    """`Gen.1` of `Gen.1.1`."""
    return verse.rpartition(".")[0]
