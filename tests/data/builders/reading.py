"""Reading prepared datasets back, and small files in place of the published ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxai.data.originals import default_data_dir
from jaxai.data.packages import digest
from jaxai.data.prepare import prepare

Rows = list[dict[str, Any]]


def read(name: str, data_dir: Path | None = None) -> dict[str, Rows]:
    """All examples by split as the stock library reads them, with texts as such; prepared and fetched on first use."""
    prepare(name, data_dir=data_dir)
    source = tfds.data_source(name, data_dir=data_dir or default_data_dir())
    return {split: [decoded(row) for row in rows.__getitems__(range(len(rows)))] for split, rows in source.items()}


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}


def column(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows]


def sizes(splits: dict[str, Rows]) -> dict[str, int]:
    return {split: len(rows) for split, rows in splits.items()}


def package(root: Path, files: dict[str, bytes]) -> Path:
    """Files under a folder, which is given as an unpacked package."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def publish(module: Any, constant: str, files: dict[str, bytes], monkeypatch) -> None:
    """Makes a builder take these files for the published ones."""
    packaged = dataclasses.replace(getattr(module, constant), sha256=digest(files))
    monkeypatch.setattr(module, constant, packaged)
