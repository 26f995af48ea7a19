import errno
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jaxai.core.errors import StorageError
from jaxai.log.tensorboard import TensorBoardWriter

TRAIN = {"step": 3, "split": "train", "loss": 0.125, "learning_rate": 1e-3, "gradient_norm": 2.5, "seconds": 1.0}


def read_events(path):
    """Frames of length, checksum, bytes, checksum, all little-endian."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def values(folder):
    events = [event for path in sorted(folder.iterdir()) for event in read_events(path)]
    return {(event.step, value.tag): value for event in events for value in event.summary.value}


def test_scalars_are_tagged_by_split_and_metric(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.write(TRAIN)
    writer.write({"step": 4, "split": "test", "accuracy": np.float32(0.75), "seconds": 2.0})
    writer.close()
    found = {key: value.simple_value for key, value in values(tmp_path).items()}
    assert found == pytest.approx(
        {
            (3, "train/loss"): 0.125,
            (3, "train/learning_rate"): 1e-3,
            (3, "train/gradient_norm"): 2.5,
            (4, "test/accuracy"): 0.75,
        }
    )


def test_loss_that_is_not_finite_is_kept(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.write({"step": 1, "split": "train", "loss": float("nan")})
    writer.close()
    assert np.isnan(values(tmp_path)[1, "train/loss"].simple_value)


def test_images_come_back_bit_for_bit(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1, 5, 7, 3), dtype=np.uint8)
    writer = TensorBoardWriter(tmp_path)
    writer.images(2, "test", "worst", images)
    writer.close()
    stored = values(tmp_path)[2, "test/worst"].image
    picture = np.asarray(Image.open(io.BytesIO(stored.encoded_image_string)))
    np.testing.assert_array_equal(picture, images[0])


def test_confusion_is_drawn(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.confusion(2, "test", np.array([[90, 0], [0, 90]]), ["cat", "dog"])
    writer.close()
    stored = values(tmp_path)[2, "test/confusion"].image
    picture = np.asarray(Image.open(io.BytesIO(stored.encoded_image_string)))
    assert picture.shape == (stored.height, stored.width, 3)
    is_blue = (picture == (0x3B, 0x7D, 0xDD)).all(axis=-1)
    assert is_blue.mean() > 0.1


def test_resume_hides_what_came_after_the_checkpoint(tmp_path):
    for from_step in (0, 2):  # within the same second: neither file may overwrite the other
        writer = TensorBoardWriter(tmp_path, from_step)
        writer.write({**TRAIN, "step": from_step + 1})
        writer.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    starts = [
        (event.step, event.session_log.status)
        for path in files
        for event in read_events(path)
        if event.HasField("session_log")
    ]
    # TensorBoard drops earlier events whose step is this one or later.
    assert starts == [(0, SessionLog.START), (3, SessionLog.START)]


def test_closing_twice_is_allowed(tmp_path):
    writer = TensorBoardWriter(tmp_path)
    writer.close()
    writer.close()


def test_a_disk_that_is_full_at_the_end_is_a_storage_error(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = TensorBoardWriter(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=f"{tmp_path}: cannot be written: No space left"):
        writer.close()


def test_a_disk_that_fills_up_is_a_storage_error_at_once(tmp_path, monkeypatch):
    writer = TensorBoardWriter(tmp_path)
    writer.write(TRAIN)
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(writer, "_file", full)
        with pytest.raises(StorageError, match=f"{tmp_path}: cannot be written: No space left"):
            writer.write(TRAIN)
