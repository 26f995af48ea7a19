"""`FILE.py:NAME`: the experiment that a function of a file gives, other than its `get_config`."""

from __future__ import annotations

from pathlib import Path


def split_variant(path: str | Path) -> tuple[Path, str]:
    """The file, and the function in it that gives the experiment: `get_config` where none is named."""
    name, colon, variant = str(path).rpartition(":")
    return (Path(name), variant) if colon and name.endswith(".py") else (Path(path), "get_config")
