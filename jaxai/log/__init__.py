"""Everything a run shows or writes about itself; knows only host values, never JAX."""

from jaxai.log.display import Display, NullDisplay, PlainDisplay, RichDisplay, make_display
from jaxai.log.jsonl import JsonlWriter, read_confusions, read_jsonl
from jaxai.log.writer import Writer

__all__ = [
    "Display",
    "JsonlWriter",
    "NullDisplay",
    "PlainDisplay",
    "RichDisplay",
    "Writer",
    "make_display",
    "read_confusions",
    "read_jsonl",
]
