"""Records as TensorBoard event files, by tensorboardX: neither TensorFlow nor PyTorch is involved."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxai.core.errors import cannot_write
from jaxai.log import figures
from jaxai.log.writer import metric_names

FLUSH_SECONDS = 10
QUEUE_SIZE = 1000
"""Events that may wait for the writing thread before the loop would have to."""


class TensorBoardWriter:
    """Writes scalars `split/metric`, images and confusion matrices to event files in `folder`.

    Of confusion matrices only the last of each split is drawn, at the end: drawing takes longer than many steps.
    `from_step` is the step the run continues from; what an earlier process wrote for later steps is hidden.
    """

    def __init__(self, folder: str | os.PathLike[str], from_step: int = 0):
        self._confusions: dict[str, tuple[int, np.ndarray, Sequence[str] | None]] = {}
        try:
            self._writer = _summary_writer()(
                os.fspath(folder),
                purge_step=from_step + 1 if from_step else 0,
                max_queue=QUEUE_SIZE,
                flush_secs=FLUSH_SECONDS,
                filename_suffix=f".{from_step}",  # names carry whole seconds; a quick resume must not overwrite
            )
        except OSError as error:
            raise cannot_write(folder, error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        for name in metric_names(record):
            self._writer.add_scalar(f"{record['split']}/{name}", record[name], record["step"])

    def confusion(self, step: int, split: str, matrix: np.ndarray, classes: Sequence[str] | None) -> None:
        self._confusions[split] = (step, matrix, classes)

    def images(self, step: int, split: str, name: str, images: np.ndarray) -> None:
        self._writer.add_image(f"{split}/{name}", figures.tiled(images), step, dataformats="HWC")

    def close(self) -> None:
        for split, (step, matrix, classes) in self._confusions.items():
            picture = figures.pixels(figures.confusion(matrix, classes))
            self._writer.add_image(f"{split}/confusion", picture, step, dataformats="HWC")
        self._confusions = {}
        try:
            self._writer.close()
        except OSError as error:
            raise cannot_write(self._writer.logdir, error) from error


def _summary_writer() -> Any:
    """The class `tensorboardX.SummaryWriter`, imported without PyTorch.

    It imports PyTorch wherever that is installed, only to recognise its tensors, and takes seconds to do so.
    """
    hide = "torch" not in sys.modules
    if hide:
        sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hide:
            del sys.modules["torch"]
    # It warns of every value that is not finite, which is for the run to say.
    logging.getLogger("tensorboardX").setLevel(logging.ERROR)
    return SummaryWriter
