"""A table in a CSV or JSON-lines file as a dataset: numeric columns in, one column of labels out."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.source import Arrays

_KINDS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a file: `Table("cells.csv", inputs=("radius", "texture"), label="diagnosis")`."""

    path: str
    """A `.csv` or `.tsv` file with a header, or a `.jsonl` file with one object a line."""
    _: dataclasses.KW_ONLY
    inputs: tuple[str, ...]
    """Numeric columns, stacked in this order to `inputs`, float32 `[dim]`."""
    label: str
    """Column of the class, any text or number; becomes `label`, int32."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in order; default: those in the file, sorted (as numbers where all are). Give them when
    training and test lie in two files."""

    def open(self) -> Arrays:
        path = Path(self.path).expanduser()
        if not self.inputs:
            raise InputError("inputs", "names no column")
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                inputs, names, lines = self._columns(path, _rows(path, file))
        except OSError as error:
            raise InputError("path", f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError("path", f"{path} is not UTF-8 text: {error.reason}") from error
        if not names:
            raise InputError("path", f"{path} has no rows")
        classes = self.classes or _sorted_classes(names)
        index = {name: label for label, name in enumerate(classes)}
        for name, line in zip(names, lines, strict=True):
            if name not in index:
                what = f"{path} line {line}, column {self.label!r}: {name!r} is not one of the classes"
                raise InputError("classes", what, did_you_mean(name, classes))
        labels = np.array([index[name] for name in names], np.int32)
        return Arrays({"inputs": np.array(inputs, np.float32), "label": labels}, classes=classes)

    def _columns(
        self, path: Path, rows: Iterator[tuple[int, Mapping[str, Any]]]
    ) -> tuple[list[list[float]], list[str], list[int]]:
        """The numbers, class names and line numbers of all rows."""
        inputs, names, lines = [], [], []
        for line, row in rows:
            for column in (*self.inputs, self.label):
                where = "inputs" if column in self.inputs else "label"
                if column not in row:
                    fix = did_you_mean(column, row)
                    raise InputError(where, f"{path} line {line} has no column {column!r}", fix)
                if row[column] in (None, ""):
                    raise InputError(where, f"{path} line {line} has no value in column {column!r}")
            inputs.append([_number(row[column], path, line, column) for column in self.inputs])
            names.append(str(row[self.label]).strip())
            lines.append(line)
        return inputs, names, lines


def _rows(path: Path, file: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with the number of the line each ends on."""
    delimiter = _KINDS.get(path.suffix.lower())
    if delimiter is None:
        raise InputError("path", f"{path} is not a table", f"known: {' '.join(_KINDS)}")
    if delimiter:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                if None in row:
                    what = f"{path} line {reader.line_num} has more values than the header has columns"
                    raise InputError("path", what)
                yield reader.line_num, row
        except csv.Error as error:
            raise InputError("path", f"{path} line {reader.reader.line_num}: {error}") from error
        return
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError("path", f"{path} line {line} is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise InputError("path", f"{path} line {line} is not a JSON object")
        yield line, row


def _number(value: Any, path: Path, line: int, column: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError("inputs", f"{path} line {line}, column {column!r}: {value!r} is not a finite number")
    return number


def _sorted_classes(names: list[str]) -> tuple[str, ...]:
    """Sorted as text, or by value where every name is a number: 2 before 10."""
    try:
        return tuple(sorted(set(names), key=lambda name: (float(name), name)))
    except ValueError:
        return tuple(sorted(set(names)))
