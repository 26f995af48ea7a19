"""Records as TensorBoard event files, by tensorboardX: neither TensorFlow nor PyTorch is involved."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import cannot_write
from jaxai.log import figures
from jaxai.log.writer import metric_names


class TensorBoardWriter:
    """Writes scalars `split/metric`, images and confusion matrices to an event file in `folder`.

    Of confusion matrices only the last of each split is drawn, at the end: drawing takes longer than many steps.
    `from_step` is the step the run continues from; what an earlier process wrote for later steps is hidden.
    """

    def __init__(self, folder: str | os.PathLike[str], from_step: int = 0):
        self._confusions: dict[str, tuple[int, np.ndarray, Sequence[str] | None]] = {}
        self._library = _library()
        # The last part because the seconds are whole ones: a quick resume must not overwrite.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{from_step}"
        self.path = Path(folder) / name
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
        except OSError as error:
            raise cannot_write(folder, error) from error
        first = from_step + 1 if from_step else 0
        protocol = self._library.proto.event_pb2
        self._add(file_version="brain.Event:2")
        self._add(step=first, session_log=protocol.SessionLog(status=protocol.SessionLog.START))

    def write(self, record: Mapping[str, Any]) -> None:
        for name in metric_names(record):
            summary = self._library.summary.scalar(f"{record['split']}/{name}", record[name])
            self._add(step=record["step"], summary=summary)

    def confusion(self, step: int, split: str, matrix: np.ndarray, classes: Sequence[str] | None) -> None:
        self._confusions[split] = (step, matrix, classes)

    def images(self, step: int, split: str, name: str, images: np.ndarray) -> None:
        self._image(step, f"{split}/{name}", figures.tiled(images))

    def close(self) -> None:
        for split, (step, matrix, classes) in self._confusions.items():
            self._image(step, f"{split}/confusion", figures.pixels(figures.confusion(matrix, classes)))
        self._confusions = {}
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error

    def _image(self, step: int, tag: str, image: np.ndarray) -> None:
        self._add(step=step, summary=self._library.summary.image(tag, image, dataformats="HWC"))

    def _add(self, **fields: Any) -> None:
        """Appends an event, on the loop's own thread: tensorboardX's would end on a full disk, and the loop not know.

        Its `RecordWriter`, used directly, would either keep events back or wait for the disk at every one.
        """
        data = self._library.proto.event_pb2.Event(wall_time=time.time(), **fields).SerializeToString()
        checksum, length = self._library.record_writer.masked_crc32c, struct.pack("<Q", len(data))
        frame = length + struct.pack("<I", checksum(length)) + data + struct.pack("<I", checksum(data))
        try:
            self._file.write(frame)
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path.parent, error) from error


def _library() -> Any:
    """tensorboardX, imported without PyTorch.

    It imports PyTorch wherever that is installed, only to recognise its tensors, and takes seconds to do so.
    """
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        import tensorboardX.proto.event_pb2
        import tensorboardX.record_writer
        import tensorboardX.summary
    finally:
        if hide:
            del sys.modules["torch"]
    # It warns of every value that is not finite, which is for the run to say.
    logging.getLogger("tensorboardX").setLevel(logging.ERROR)
    return tensorboardX
