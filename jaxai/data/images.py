"""Decodes image files and PIL images to uint8 arrays of one size and number of channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxai.core.errors import InputError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def check_channels(channels: int, field: str = "channels") -> None:
    """Refuses a number of channels that no image has."""
    if channels not in _MODES:
        raise InputError(field, f"{channels} is not a number of channels", "1 (grey), 3 (colour) or 4 (and alpha)")


def to_array(
    image: Any,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """A PIL image as uint8 `[height, width, channel]`.

    Args:
        image: A PIL image of any mode.
        channels: Channels to convert to; default: 1 for grey images, 4 for ones with alpha, otherwise 3.
        size: Height and width to resize to, by area-aware bilinear filtering.
        box: Left, top, right and bottom of the part to resize; default: the whole.
    """
    from PIL import Image

    if channels is None:
        grey = image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16")
        channels = 1 if grey else 4 if image.mode in ("RGBA", "LA", "PA") else 3
    if image.mode.startswith("I"):  # 16-bit grey: the conversion to "L" would clip it at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode != _MODES[channels]:  # even so it would copy
        image = image.convert(_MODES[channels])
    if size is not None and (box is not None or image.size != (size[1], size[0])):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array
