import json
import struct
import sys
import time

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.log.wandb_writer import WandbWriter

BLOCK = 32768


def read_records(path):
    """The protocol buffers in a `.wandb` file: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            records.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return records


def history(path):
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in read_records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def wait_until_written(path):
    """The library's service may write its file a moment after the run has finished."""
    deadline = time.monotonic() + 30
    while not any(record.HasField("exit") for record in read_records(path)) and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_records_are_kept_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_CONSOLE", "off")
    writer = WandbWriter(tmp_path / "run", "project", "name", {"seed": 3})
    writer.write({"step": 200, "split": "test", "accuracy": np.float32(0.75), "seconds": 2.0})
    writer.write({"step": 100, "split": "train", "loss": 0.5, "seconds": 1.0})  # fetched one interval late
    writer.confusion(200, "test", np.eye(2, dtype=int), ["a", "b"])
    writer.images(200, "test", "worst", np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3))
    writer.close()

    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/run-*.wandb")
    wait_until_written(path)
    rows = history(path)
    assert (rows[0]["step"], rows[0]["test/accuracy"]) == (200, 0.75)
    assert (rows[1]["step"], rows[1]["train/loss"]) == (100, 0.5)
    assert any(record.run.display_name == "name" and record.run.project == "project" for record in read_records(path))
    assert len(list(path.parent.glob("files/media/images/test/*.png"))) == 3
    assert (tmp_path / "run" / "wandb_run_id").read_text() in path.name


def test_missing_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"wandb: is not installed \(pip install 'jaxai-research\[wandb\]'\)"):
        WandbWriter(tmp_path, "project", "name")
