"""A folder of images as a dataset: one sub-folder a class, its name the class."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data import images

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """Images in class folders: `ImageFolder("flowers", size=64)` reads `flowers/rose/1.jpg`, `flowers/tulip/...`."""

    path: str
    """Folder with one sub-folder a class; images may lie deeper inside it."""
    _: dataclasses.KW_ONLY
    split: str | None = None
    """Sub-folder to read, where the class folders lie under `train`, `test` and so on."""
    part: Literal["all", "train", "test"] = "all"
    """Part of the images to read, of a folder that is not split; see `test_fraction`."""
    test_fraction: float = 0.2
    """Share of the images that `part="test"` holds. An image belongs to a part by a hash of its class and file name
    alone, so adding images moves none, and the share is met on average."""
    size: int | tuple[int, int] | None = None
    """Side, or height and width, in pixels to resize to; default: as they are, which must then be all alike."""
    channels: int = 3
    """Channels to convert to: 1, 3, or 4 with alpha."""
    decode: bool = True
    """Without it examples hold the files' bytes, for `RandomCropped` and `CenterCropped` to decode."""

    def open(self) -> FolderSource:
        images.check_channels(self.channels)
        if not 0.0 < self.test_fraction < 1.0:
            raise InputError("test_fraction", f"{self.test_fraction} is not between 0 and 1")
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise InputError("path", f"{root} is not a folder")
        if self.split is not None:
            if not (root / self.split).is_dir():
                folders = [path.name for path in _folders(root)]
                raise InputError("split", f"{root} has no folder {self.split!r}", did_you_mean(self.split, folders))
            root = root / self.split
        classes = tuple(path.name for path in _folders(root))
        if not classes:
            raise InputError("path", f"{root} has no class folders", "put the images of each class in its own folder")
        files, labels = self._list(root, classes)
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        return FolderSource(
            files=files,
            labels=np.array(labels, np.int32),
            classes=classes,
            size=size,
            channels=self.channels,
            decode=self.decode,
        )

    def _list(self, root: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
        """Files and labels of the wanted part, by class and then by name."""
        files: list[Path] = []
        labels: list[int] = []
        found = 0
        for label, name in enumerate(classes):
            inside = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputError("path", f"{root / name} has no images", f"known: {' '.join(SUFFIXES)}")
            found += len(inside)
            for path in inside:
                is_test = _fraction(path.relative_to(root).as_posix()) < self.test_fraction
                if self.part == "all" or is_test == (self.part == "test"):
                    files.append(path)
                    labels.append(label)
        if not files:
            raise InputError("part", f"{self.part!r} has none of the {found} images", "change test_fraction")
        return files, labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderSource:
    """The opened folder; an example is `image`, uint8 `[height, width, channel]` or encoded, and `label`."""

    files: list[Path] = dataclasses.field(repr=False)
    """Image files by class, then by name."""
    labels: np.ndarray = dataclasses.field(repr=False)
    """Index of each file's class, `[example]`."""
    classes: tuple[str, ...]
    """Names of the classes, sorted."""
    size: tuple[int, int] | None
    """Height and width in pixels, or None to keep them."""
    channels: int
    """Channels of the arrays."""
    decode: bool = True
    """Whether pictures are decoded."""

    def __len__(self) -> int:
        return len(self.files)

    def where(self, index: int) -> str:
        """The file of an example, for errors."""
        return str(self.files[index])

    def __getitem__(self, index: int) -> dict[str, Any]:
        from PIL import Image, UnidentifiedImageError

        path = self.files[index]
        try:
            if not self.decode:
                return {"image": path.read_bytes(), "label": self.labels[index]}
            with Image.open(path) as image:
                array = images.to_array(image, self.channels, self.size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
            raise InputError("path", f"{path} cannot be read: {reason}", "repair or delete it") from error
        return {"image": array, "label": self.labels[index]}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _fraction(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
