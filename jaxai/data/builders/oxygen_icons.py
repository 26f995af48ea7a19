"""The dataset `oxygen_icons`: small colour pictures of nine kinds, in the form of CIFAR-10; fetched on first use.

They are the 32x32 icons of KDE's Oxygen theme (LGPL), from the Debian package oxygen-icon-theme: a real set of labelled
colour images that every Debian-like system can fetch. The label is the folder: actions, apps, devices, ..., and the
`name`, which is read where it is asked for, the words of the file's: document save, battery low, ... It is small and
imbalanced (more than half are actions), so macro-F1 says more than accuracy. Transparent pixels show white. Equal
pictures are one example; one picture that lies in two folders is left out, and so are the animations, which are strips
of several pictures. An example is test if the first byte of its pixels' sha256 is below 51 (one in five).
"""

from __future__ import annotations

import functools
import hashlib
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

NAME, VERSION = "oxygen_icons", "1.1.0"
CLASSES = ("actions", "apps", "categories", "devices", "emblems", "emotes", "mimetypes", "places", "status")
PACKAGED = packages.Packaged(
    dataset=NAME,
    tool="apt-get",
    package="oxygen-icon-theme",
    pattern=r"icons/oxygen/base/32x32/([a-z]+/[^/]+\.png)$",
    sha256="27fe75267182731b44691c87e9b74311f66e42becf870b05fff92b5f0ffc1754",
)

#: Images with their labels and names by the sha256 of the pixels.
Examples = dict[str, tuple[np.ndarray, int, str]]


class OxygenIcons(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images uint8 `[32, 32, 3]` and labels 0 to 8; 951 to train and 247 to test."""

    VERSION = tfds.core.Version(VERSION)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Icons of 32x32 pixels on white, by the kind of thing that they stand for.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(32, 32, 3), dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(names=CLASSES),
                    "name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://invent.kde.org/frameworks/oxygen-icons",
        )


def on_white(image: Any) -> np.ndarray:
    """A PIL image of any mode over white, uint8 `[height, width, 3]`."""
    rgba = to_array(image, channels=4).astype(np.uint32)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def unique(files: packages.Files) -> Examples:
    """The pictures of `FOLDER/NAME.png` files, each once; without those of no class and those of two.

    Of equal pictures the first by name is kept.
    """
    from PIL import Image

    found: Examples = {}
    ambiguous = set()
    for name, content in sorted(files.items()):
        folder, _, file = name.partition("/")
        if folder not in CLASSES:
            continue
        image, label = on_white(Image.open(io.BytesIO(content))), CLASSES.index(folder)
        key = hashlib.sha256(image.tobytes()).hexdigest()
        words = file.removesuffix(".png").replace("-", " ").replace("_", " ")
        if found.setdefault(key, (image, label, words))[1] != label:
            ambiguous.add(key)
    return {key: example for key, example in found.items() if key not in ambiguous}


def is_test(key: str) -> bool:
    """Whether the picture with this sha256 is in the test split."""
    return int(key[:2], 16) < 51


def prepare(data_dir: Path, source_path: str | Path | None = None, progress: Progress = SAY) -> Path:
    """Writes the dataset under `data_dir` unless it is there; returns its folder."""
    directory = data_dir / NAME / VERSION
    if writer.is_prepared(directory):
        return directory
    examples = unique(packages.collect(PACKAGED, source_path, progress))
    splits = {split: functools.partial(_examples, examples, split == "test") for split in ("train", "test")}
    return writer.write(writer.local_builder(OxygenIcons, NAME, splits), data_dir)


def _examples(examples: Examples, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    for key, (image, label, name) in examples.items():
        if is_test(key) == test:
            yield int(key[:15], 16), {"image": image, "label": label, "name": name}
