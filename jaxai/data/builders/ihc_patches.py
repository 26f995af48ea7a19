"""The dataset `ihc_patches`: patches of a stained section of colon, to classify or to segment; fetched on first use.

The picture (512x512, immunohistochemistry with haematoxylin counterstain) comes inside the package scikit-image
(BSD-3-Clause). An example has the `image`, a map `stain` of the pixels stained brown (DAB), and the `label`: whether
the share of such pixels is above the median of the training patches. The stain is told by colour deconvolution (Ruifrok
and Johnston 2001). So map and labels are *computed from the colours* and not a pathologist's: a network that sees
colours has to learn no more than that arithmetic, so show it grey pictures (`jaxai.data.augment.Grey`).

`ihc_patches/64` has patches of 64x64 pixels, 522 to train and 145 to test; `ihc_patches/256` of 128x128 pixels
enlarged twofold, 78 and 13. The test is a band of 128 columns that holds both kinds, training what lies left and right
of it: no pixel is in both, while neighbouring patches of one part share three quarters of their pixels, so that there
are far fewer independent examples than patches.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.builders import writer
from jaxai.data.images import to_array
from jaxai.data.originals import SAY, Progress

NAME, VERSION = "ihc_patches", "1.0.0"
FILE = "ihc.png"
CLASSES = ("little stain", "much stain")
SIDE = 512
#: Columns of each part.
PARTS = {"train": ((0, 224), (352, 512)), "test": ((224, 352),)}
#: Optical density in red, green and blue of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001).
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
#: Amount of DAB from which on a pixel is stained: what divides the two peaks of its histogram.
THRESHOLD = 0.05
PACKAGED = packages.Packaged(
    dataset=NAME,
    tool="pip",
    package="scikit-image==0.26.0",
    pattern=r"skimage/data/(ihc\.png)$",
    sha256="f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """How the picture is cut into patches."""

    side: int
    """Of a patch in the picture, in pixels."""
    stride: int
    """From one patch to the next, in pixels."""
    scale: int
    """How many times it is enlarged."""


CUTS = {"64": Cut(side=64, stride=16, scale=1), "256": Cut(side=128, stride=32, scale=2)}


class IhcPatches(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images uint8 `[size, size, 3]`, stain uint8 `[size, size, 1]` and labels 0 and 1."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        size = int(str(getattr(self.builder_config, "name", "")))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Patches of a stained section of colon, with a map of the stain computed from the colours.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(size, size, 3), dtype=np.uint8, encoding="bytes"),
                    "stain": tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://scikit-image.org/docs/stable/api/skimage.data.html#skimage.data.immunohistochemistry",
        )


def amount_of_stains(picture: np.ndarray) -> np.ndarray:
    """Haematoxylin, eosin and DAB of uint8 `[height, width, 3]`: the optical densities as a mix of the three."""
    smallest = 1e-6
    density = np.log(np.maximum(picture / 255, smallest)) / np.log(smallest)
    return np.maximum(density @ np.linalg.inv(STAINS), 0)


def parse(content: bytes) -> np.ndarray:
    """The picture, uint8 `[512, 512, 3]`."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        picture = to_array(image, channels=3)
    if picture.shape != (SIDE, SIDE, 3):
        raise InputError(FILE, f"has shape {list(picture.shape)}, not [{SIDE}, {SIDE}, 3]")
    return picture


def patches(picture: np.ndarray, cut: Cut, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[example, side, side, 3]` and stains `[example, side, side, 1]` of one part."""
    stain = (amount_of_stains(picture)[..., 2:] > THRESHOLD).astype(np.uint8)
    both = np.concatenate([picture, stain], axis=-1)
    found = []
    for left, right in PARTS[split]:
        windows = np.lib.stride_tricks.sliding_window_view(both[:, left:right], (cut.side, cut.side), axis=(0, 1))
        chosen = windows[:: cut.stride, :: cut.stride].transpose(0, 1, 3, 4, 2)
        found.append(chosen.reshape(-1, cut.side, cut.side, 4))
    patches = np.concatenate(found)
    return patches[..., :3], patches[..., 3:]


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes both sizes under `data_dir` unless they are there; returns their folder."""
    missing = [size for size in CUTS if not writer.is_prepared(data_dir / NAME / size / VERSION)]
    if missing:
        picture = parse(packages.collect(PACKAGED, source_path, progress)[FILE])
        for size in missing:
            # Patches of a part, and the median share of stained pixels in those of the training.
            parts = {split: patches(picture, CUTS[size], split) for split in ("train", "test")}
            median = np.median(parts["train"][1].mean(axis=(1, 2, 3)))
            splits = {
                split: functools.partial(_examples, *part, median, CUTS[size].scale) for split, part in parts.items()
            }
            writer.write(writer.local_builder(_sized(size), NAME, splits), data_dir)
    return data_dir / NAME


def _sized(size: str) -> type:
    class Sized(IhcPatches, skip_registration=True):
        """One size only: a builder writes all configurations that it has, and each has examples of its own."""

        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name=size, version=tfds.core.Version(VERSION))]

    return Sized


def _examples(
    images: np.ndarray, stains: np.ndarray, median: float, scale: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, (image, stain) in enumerate(zip(images, stains, strict=True)):
        label = int(stain.mean() > median)
        yield number, {"image": enlarge(image, scale), "stain": stain.repeat(scale, 0).repeat(scale, 1), "label": label}


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """A picture with `scale` times the pixels each way, by bicubic interpolation."""
    from PIL import Image

    if scale == 1:
        return np.ascontiguousarray(image)
    size = (scale * image.shape[1], scale * image.shape[0])
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BICUBIC))
