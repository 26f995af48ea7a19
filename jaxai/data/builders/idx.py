"""Reads the IDX files of MNIST and its kin, the format described at yann.lecun.com/exdb/mnist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxai.core.errors import InputError

SPLITS = {"train": "train", "test": "t10k"}


def parse(content: bytes, file: str) -> np.ndarray:
    """An IDX file of unsigned bytes as an array: two zero bytes, type 8, number of dimensions, sizes, values."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        raise InputError(file, f"begins with {content[:4].hex()}: not an IDX file of unsigned bytes")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=content[3], offset=4))
    start = 4 + 4 * len(shape)
    if len(content) - start != np.prod(shape, dtype=object):
        raise InputError(file, f"says it holds {list(shape)} bytes, and holds {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read(contents: Mapping[str, bytes]) -> dict[str, dict[str, np.ndarray]]:
    """Images `[example, 28, 28]` and labels `[example]` of both splits."""
    return {split: _split(contents, prefix) for split, prefix in SPLITS.items()}


def _split(contents: Mapping[str, bytes], prefix: str) -> dict[str, np.ndarray]:
    images_file, labels_file = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images, labels = parse(contents[images_file], images_file), parse(contents[labels_file], labels_file)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InputError(images_file, f"has shape {list(images.shape)}, not [{len(images)}, 28, 28]")
    if labels.shape != images.shape[:1]:
        raise InputError(labels_file, f"has {labels.size} labels for {len(images)} images")
    return {"image": images, "label": labels}


def examples(split: str, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Examples as the stock builder makes them; the key is the position in the file."""
    from PIL import Image

    del split
    for index, (image, label) in enumerate(zip(arrays["image"], arrays["label"], strict=True)):
        yield index, {"image": Image.fromarray(image), "label": int(label)}
