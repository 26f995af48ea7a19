"""A CSV or JSON-lines file as a dataset."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import open_source, read
from jaxai.data.table import Table

CSV = 'age,"body mass",kind,note\n61, 2.5e1 ,yes,"two\nlines"\n7,-3,no,\n30,0.125,yes,x\n'
JSONL = (
    '{"age": 61, "body mass": 25.0, "kind": "yes"}\n\n'
    '{"age": 7, "body mass": -3, "kind": "no", "more": [1]}\n'
    '{"kind": "yes", "body mass": "0.125", "age": 30}\n'
)
COLUMNS = {"inputs": ("body mass", "age"), "label": "kind"}


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", CSV), ("a.TSV", CSV.replace(",", "\t")), ("a.jsonl", JSONL), ("b.csv", "\ufeff" + CSV)]
)
def test_reads(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    source = open_source(Table(str(tmp_path / name), **COLUMNS))
    assert source.classes == ("no", "yes")
    batch = read(source, range(3))
    assert batch["inputs"].dtype == np.float32
    assert batch["inputs"].tolist() == [[25.0, 61.0], [-3.0, 7.0], [0.125, 30.0]]
    assert batch["label"].tolist() == [1, 0, 1]
    assert batch["label"].dtype == np.int32


def test_agrees_with_scikit_learns_breast_cancer(tmp_path):
    """569 examples, 30 features, 212 malignant: the copy that scikit-learn installs, rewritten as a table."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    path = tmp_path / "cancer.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "diagnosis"])
        writer.writerows([*row, data.target_names[label]] for row, label in zip(data.data, data.target, strict=True))
    source = open_source(Table(str(path), inputs=tuple(names), label="diagnosis"))
    batch = read(source, range(len(source)))
    assert source.classes == ("benign", "malignant")
    np.testing.assert_array_equal(batch["inputs"], data.data.astype(np.float32))
    assert np.bincount(batch["label"]).tolist() == [357, 212]


def test_numeric_classes_sort_by_value_and_given_ones_stay(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,10\n1,2\n1,10\n")
    assert open_source(Table(str(path), inputs=("x",), label="y")).classes == ("2", "10")
    source = open_source(Table(str(path), inputs=("x",), label="y", classes=("10", "7", "2")))
    assert read(source, range(3))["label"].tolist() == [0, 2, 0]
    with pytest.raises(InputError) as error:
        open_source(Table(str(path), inputs=("x",), label="y", classes=("10", "20")))
    assert str(error.value) == (
        f"source.classes: {path} line 3, column 'y': '2' is not one of the classes (did you mean '20'?)"
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", None, "path: {}: No such file or directory"),
        ("a.txt", CSV, "path: {} is not a table (known: .csv .tsv .jsonl .ndjson)"),
        ("a.csv", "", "path: {} has no rows"),
        ("a.csv", "age,body mass,kind\n", "path: {} has no rows"),
        ("a.csv", CSV.replace("-3", "heavy"), "inputs: {} line 4, column 'body mass': 'heavy' is not a finite number"),
        ("a.csv", CSV.replace("-3", "nan"), "inputs: {} line 4, column 'body mass': 'nan' is not a finite number"),
        ("a.csv", CSV.replace("-3", ""), "inputs: {} line 4 has no value in column 'body mass'"),
        ("a.csv", CSV.replace("7,-3,no,", "7,-3"), "label: {} line 4 has no value in column 'kind'"),
        ("a.csv", CSV.replace("7,-3,no,", "7,-3,no,,,"), "path: {} line 4 has more values than the header has columns"),
        ("a.csv", CSV.replace("age", "aged"), "inputs: {} line 3 has no column 'age' (did you mean 'aged'?)"),
        ("a.csv", 'age,body mass,kind\n1,2,"x"y\n', "path: {} line 2: "),
        ("a.jsonl", JSONL.replace("-3", "null"), "inputs: {} line 3 has no value in column 'body mass'"),
        ("a.jsonl", JSONL.replace("-3", "[1]"), "inputs: {} line 3, column 'body mass': [1] is not a finite number"),
        ("a.jsonl", JSONL.replace('"no"', "no"), "path: {} line 3 is not JSON: "),
        ("a.jsonl", JSONL + "[1, 2]\n", "path: {} line 5 is not a JSON object"),
    ],
)
def test_refuses_naming_file_line_and_column(tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as error:
        open_source(Table(str(path), **COLUMNS), "train")
    assert str(error.value).startswith("train." + message.format(path))


def test_refuses_bytes_and_no_inputs(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"age,kind\n1,\xff\n")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        open_source(Table(str(path), inputs=("age",), label="kind"))
    with pytest.raises(InputError, match="inputs: names no column"):
        open_source(Table(str(path), inputs=(), label="kind"))
