"""Large photographs on the host: decoded and cropped one by one, ahead of the step, which does the rest.

The inner source gives encoded pictures: `ImageFolder(path, decode=False)` or `Tfds(name, decode=False)`. A JPEG is
decoded at a half, quarter or eighth of its size where the crop has pixels enough.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data import images
from jaxai.data.source import open_source

ATTEMPTS = 10
"""How often a crop is drawn until one fits, as torchvision does."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""

_log = logging.getLogger("jaxai")


@dataclasses.dataclass(frozen=True)
class CenterCropped:
    """The middle of each picture: `CenterCropped(ImageFolder("val", decode=False))`.

    As resizing the shorter side to `resize` and cutting `size` out of the middle, in one step.
    """

    source: Any
    """A declaration or source of encoded pictures, under `image`."""
    _: dataclasses.KW_ONLY
    size: int = 224
    """Side of what comes out, in pixels."""
    resize: int = 256
    """What the shorter side is resized to, in pixels; `size` keeps all of it."""
    channels: int = 3
    """Channels to convert to: 1, 3, or 4 with alpha."""
    on_damaged: Literal["stop", "skip"] = "stop"
    """What to do about a picture that cannot be decoded: stop, or warn and leave it out of the evaluation."""

    def __post_init__(self):
        check_fields(self)
        _check(self)
        if self.resize < self.size:
            raise InputError("resize", f"{self.resize} is below the size {self.size}", "at least the size")

    def open(self) -> Cropped:
        return Cropped(source=open_source(self.source), crop=self)

    def middle(self, width: int, height: int) -> Box:
        side = min(width, height) * self.size / self.resize
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side


@dataclasses.dataclass(frozen=True)
class RandomCropped:
    """A crop of random area and aspect ratio, resized (Szegedy et al. 2014): `RandomCropped(Tfds("x", decode=False))`.

    The draw is torchvision's, and depends on the seed, the epoch and the example alone. Evaluations never draw: they
    see the largest square in the middle.
    """

    source: Any
    """A declaration or source of encoded pictures, under `image`."""
    _: dataclasses.KW_ONLY
    size: int = 224
    """Side of what comes out, in pixels."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the picture's area."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width to height."""
    channels: int = 3
    """Channels to convert to: 1, 3, or 4 with alpha."""
    on_damaged: Literal["stop", "skip"] = "stop"
    """What to do about a picture that cannot be decoded: stop, or warn and take the next one in training."""

    def __post_init__(self):
        check_fields(self)
        _check(self)
        for name, high in (("scale", 1.0), ("ratio", math.inf)):
            low_end, high_end = getattr(self, name)
            if not 0 < low_end <= high_end <= high:
                raise InputError(name, f"{getattr(self, name)} is no range above 0" + " and up to 1" * (high == 1))

    def open(self) -> RandomlyCropped:
        return RandomlyCropped(source=open_source(self.source), crop=self)

    def middle(self, width: int, height: int) -> Box:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def box(self, width: int, height: int, random: np.random.Generator) -> Box:
        """The crop of a picture of this size; where none fits, the largest in the middle whose ratio is allowed."""
        (smallest, largest), (narrow, wide) = self.scale, self.ratio
        for _ in range(ATTEMPTS):
            # Only raw doubles are drawn: numpy may change how it makes other numbers of them.
            area, aspect, across, down = random.random(4)
            area = width * height * (smallest + (largest - smallest) * area)
            aspect = narrow * (wide / narrow) ** aspect
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
                return left, top, left + w, top + h
        w, h = min(width, round(height * wide)), min(height, round(width / narrow))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cropped:
    """Pictures decoded and cropped in the middle: `image` is uint8 [size, size, channel]; other fields stay."""

    source: Any
    """The opened source of encoded pictures."""
    crop: CenterCropped | RandomCropped
    """What is cut out."""
    damaged: set[int] = dataclasses.field(default_factory=set, repr=False)
    """Pictures met so far, by this process, that cannot be decoded and are skipped."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels, where the source knows them."""
        return getattr(self.source, "classes", None)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The middle; a black picture where it is damaged and skipped, which an evaluation leaves out."""
        example = self.source[index]
        array = self._decode(example, index, self.crop.middle)
        if array is None:
            array = np.zeros((self.crop.size, self.crop.size, self.crop.channels), np.uint8)
        return {**example, "image": array}

    def _decode(self, example: Mapping[str, Any], index: int, choose: Callable[[int, int], Box]) -> np.ndarray | None:
        """The crop of an encoded picture, or None where it cannot be decoded and is skipped."""
        try:
            return decode(_encoded(example), choose, self.crop.size, self.crop.channels)
        except Damaged as error:
            where = getattr(self.source, "where", lambda index: f"the picture of example {index}")(index)
            what = f"{where} cannot be decoded: {error}"
            if self.crop.on_damaged == "stop":
                raise InputError("image", what, 'repair or delete it, or on_damaged="skip"') from error
            self._skip(index, what)
            return None

    def _skip(self, index: int, what: str) -> None:
        """Counts a damaged picture; tells of the first, the tenth, the hundredth and so on."""
        if index in self.damaged:
            return
        self.damaged.add(index)
        count = len(self.damaged)
        if count == 10 ** round(math.log10(count)):
            _log.warning("skipped: %s; damaged pictures met by this process so far: %d", what, count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomlyCropped(Cropped):
    """Pictures decoded and cropped at random in training; in the middle in evaluations."""

    crop: RandomCropped
    """What is cut out."""

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Any]:
        """The example with a crop that is drawn; for a damaged one that is skipped the next one stands in."""
        for step in range(len(self)):
            number = (index + step) % len(self)
            example = self.source[number]
            array = self._decode(example, number, lambda width, height: self.crop.box(width, height, random))
            if array is not None:
                return {**example, "image": array}
        raise InputError("image", f"none of the {len(self)} pictures can be decoded")


class Damaged(Exception):
    """A picture that cannot be decoded, and why."""


def decode(encoded: bytes, choose: Callable[[int, int], Box], size: int, channels: int) -> np.ndarray:
    """The part of an encoded picture that `choose(width, height)` says, as uint8 [size, size, channel]."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
            left, top, right, bottom = choose(width, height)
            # JPEG is decoded at a fraction of its size, as long as the crop keeps `size` pixels each way.
            image.draft(None, (math.ceil(width * size / (right - left)), math.ceil(height * size / (bottom - top))))
            x, y = image.width / width, image.height / height
            # Rounding must not take it past the edge.
            box = (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))
            return images.to_array(image, channels, (size, size), box)
    except UnidentifiedImageError as error:
        raise Damaged("not an image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Damaged(str(error)) from error


def _encoded(example: Mapping[str, Any]) -> bytes:
    content = example.get("image")
    if not isinstance(content, bytes):
        found = "no 'image'" if content is None else f"'image' as {type(content).__name__}"
        raise InputError("source", f"gives {found}, not an encoded picture", "decode=False in ImageFolder or Tfds")
    return content


def _check(crop: CenterCropped | RandomCropped) -> None:
    images.check_channels(crop.channels)
    if crop.size < 1:
        raise InputError("size", f"{crop.size} pixels", "1 or more")
