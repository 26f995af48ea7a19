"""Records to Weights & Biases; needs the extra `wandb`. `WANDB_MODE=offline` keeps them in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import need_extra
from jaxai.log import figures
from jaxai.log.writer import metric_names


class WandbWriter:
    """Sends records to the run `name` of `project`; a run resumed in the same `folder` continues there.

    Metrics are named `split/metric` and drawn over the field `step`, so they may arrive in any order.
    """

    def __init__(
        self, folder: str | os.PathLike[str], project: str, name: str, config: Mapping[str, Any] | None = None
    ):
        try:
            import wandb
        except ImportError:
            raise need_extra("wandb", "wandb") from None
        self._image = wandb.Image
        Path(folder).mkdir(parents=True, exist_ok=True)
        id_file = Path(folder, "wandb_run_id")
        self._run: Any = wandb.init(
            dir=os.fspath(folder),
            project=project,
            name=name,
            config=dict(config or {}),
            id=id_file.read_text() if id_file.exists() else None,
            resume="allow",
        )
        id_file.write_text(self._run.id)
        self._run.define_metric("*", step_metric="step")

    def write(self, record: Mapping[str, Any]) -> None:
        values = {f"{record['split']}/{name}": float(record[name]) for name in metric_names(record)}
        self._run.log({"step": int(record["step"]), **values})

    def confusion(self, step: int, split: str, matrix: np.ndarray, classes: Sequence[str] | None) -> None:
        picture = figures.pixels(figures.confusion(matrix, classes))
        self._run.log({"step": int(step), f"{split}/confusion": self._image(picture)})

    def images(self, step: int, split: str, name: str, images: np.ndarray) -> None:
        drawn = [self._image(image) for image in images.reshape(-1, *images.shape[-3:])]
        self._run.log({"step": int(step), f"{split}/{name}": drawn})

    def close(self) -> None:
        self._run.finish()
