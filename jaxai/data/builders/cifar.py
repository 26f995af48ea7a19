"""Reads the binary version of CIFAR-10 and CIFAR-100, the format described at cs.toronto.edu/~kriz/cifar.html."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxai.core.errors import InputError

PIXELS = 3 * 32 * 32
#: Names of the label bytes before each image.
LABELS = {"cifar10": ("label",), "cifar100": ("coarse_label", "label")}
#: The file that names the classes of each label.
NAMES = {
    "cifar10": {"label": ("batches.meta.txt", 10)},
    "cifar100": {"coarse_label": ("coarse_label_names.txt", 20), "label": ("fine_label_names.txt", 100)},
}


def read(name: str, contents: Mapping[str, bytes]) -> dict[str, dict[str, np.ndarray]]:
    """Images `[example, 32, 32, 3]` and labels `[example]` of both splits."""
    files = sorted(file for file in contents if file.endswith(".bin"))  # the archive has them in another order
    return {
        "train": _split(name, contents, [file for file in files if not file.startswith("test")]),
        "test": _split(name, contents, [file for file in files if file.startswith("test")]),
    }


def _split(name: str, contents: Mapping[str, bytes], files: list[str]) -> dict[str, np.ndarray]:
    labels = LABELS[name]
    records = [_records(contents[file], file, len(labels) + PIXELS) for file in files]
    table = np.concatenate(records)
    images = table[:, len(labels) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {"image": images, **{label: table[:, column] for column, label in enumerate(labels)}}


def _records(content: bytes, file: str, size: int) -> np.ndarray:
    if not content or len(content) % size:
        raise InputError(file, f"has {len(content)} bytes, not a multiple of {size}")
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def label_names(name: str, contents: Mapping[str, bytes]) -> dict[str, list[str]]:
    """The names of the classes of each label."""
    names = {}
    for label, (file, count) in NAMES[name].items():
        names[label] = [line for line in contents[file].decode("utf-8", "replace").split("\n") if line]
        if len(names[label]) != count:
            raise InputError(file, f"names {len(names[label])} classes, not {count}")
    return names


def examples(name: str, split: str, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Examples as the stock builder makes them; the key is the position in the files."""
    from PIL import Image

    for index, image in enumerate(arrays["image"]):
        labels = {label: int(arrays[label][index]) for label in LABELS[name]}
        yield (
            index,
            {"id": f"{split}_{index:05d}", "image": Image.fromarray(np.ascontiguousarray(image)), **labels},
        )
