import json
import math

import numpy as np
import pytest

from jaxai.core.errors import InputError, StorageError
from jaxai.log import JsonlWriter, read_confusions, read_jsonl


def record(step, split="train", **metrics):
    return {"step": step, "split": split, **metrics, "seconds": step / 10, "examples_per_second": 100.0}


def write(path, from_step, *records):
    writer = JsonlWriter(path, from_step)
    for one in records:
        writer.write(one)
    writer.close()


def test_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    records = [record(1, loss=0.1 + 0.2, accuracy=1.0), record(1, "test é", loss=1e-300)]
    write(path, 0, *records)
    assert read_jsonl(path) == records


def test_every_record_is_in_the_file_before_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonlWriter(path)
    for step in range(3):
        writer.write(record(step))
        assert len(read_jsonl(path)) == step + 1
    writer.close()


def test_numpy_values_become_plain_numbers(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(
        path, 0, record(np.int32(3), loss=np.float32(0.5), right=np.int64(2), ok=np.bool_(True), zero_dim=np.array(2.0))
    )
    assert json.loads(path.read_text())["loss"] == 0.5
    (back,) = read_jsonl(path)
    assert back == record(3, loss=0.5, right=2, ok=True, zero_dim=2.0)
    assert [type(back[name]) for name in ("step", "right", "ok")] == [int, int, bool]


def test_values_that_are_not_finite_stay_strict_json(tmp_path):
    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    path = tmp_path / "metrics.jsonl"
    write(path, 0, record(1, loss=math.nan, gradient_norm=np.float32("inf")))
    strict = json.loads(path.read_text(), parse_constant=refuse)
    assert strict["loss"] is None
    assert strict["gradient_norm"] is None
    (back,) = read_jsonl(path)
    assert math.isnan(back["loss"])


def test_resumed_file_equals_an_uninterrupted_one(tmp_path):
    steps = [record(step, loss=1 / step) for step in range(1, 9)]
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    write(whole, 0, *steps)
    write(resumed, 0, *steps[:6])  # the checkpoint is of step 4; steps 5 and 6 will run again
    with resumed.open("a") as file:
        file.write('{"step": 7, "split": "tra')
    write(resumed, 4, *steps[4:])
    assert resumed.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_whole_last_line_without_its_line_end_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, record(1), record(2))
    path.write_bytes(path.read_bytes()[:-1])
    write(path, 2, record(3))
    assert [one["step"] for one in read_jsonl(path)] == [1, 2, 3]


def test_run_from_step_0_starts_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, record(0, "test"), record(1))
    write(path, 0, record(0, "test"))
    assert read_jsonl(path) == [record(0, "test")]


def test_file_with_nothing_to_remove_is_not_rewritten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, record(1))
    before = path.stat().st_ino
    write(path, 1)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("torn", [b'{"step": 2, "split', b'{"step": 2, "split": "\xc3', b"42"])
def test_reading_drops_a_torn_last_line(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    write(path, 0, record(1))
    with path.open("ab") as file:
        file.write(torn)
    assert read_jsonl(path) == [record(1)]


def test_damage_in_the_middle_is_named_by_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2: is not a JSON object"):
        read_jsonl(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_jsonl(tmp_path / "absent.jsonl")


def test_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        JsonlWriter(tmp_path / "file" / "metrics.jsonl")


def test_latest_confusion_of_each_split_comes_back(tmp_path):
    writer = JsonlWriter(tmp_path / "metrics.jsonl")
    first, second = np.array([[1, 2], [3, 4]]), np.array([[5, 0], [0, 5]])
    writer.confusion(1, "test", first, ["a", "b"])
    writer.confusion(2, "test", second, ["a", "b"])
    writer.confusion(2, "odd/../name", first, None)
    writer.close()
    found = read_confusions(tmp_path)
    assert sorted(found) == ["odd/../name", "test"]
    np.testing.assert_array_equal(found["test"][0], second)
    assert found["test"][1] == ["a", "b"]
    assert found["odd/../name"][1] is None
