"""A Hugging Face dataset as a source; the library is the caller's, and never imported here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data import images


@dataclasses.dataclass(frozen=True, eq=False)
class HuggingFace:
    """Wraps one split: `HuggingFace(datasets.load_dataset("mnist", split="train"))`."""

    dataset: Any
    """A `datasets.Dataset`."""
    _: dataclasses.KW_ONLY
    fields: tuple[str, ...] | None = None
    """Columns to read; default: all but those of text."""
    size: tuple[int, int] | None = None
    """Height and width to resize images to; default: as they are."""
    channels: int | None = None
    """Channels to convert images to; default: those of each image."""

    def open(self) -> HuggingFaceSource:
        if self.channels is not None:
            images.check_channels(self.channels)
        features = getattr(self.dataset, "features", None)
        if not isinstance(features, Mapping):
            known = ", ".join(map(str, self.dataset)) if isinstance(self.dataset, Mapping) else ""
            what = f"{type(self.dataset).__name__} is not a datasets.Dataset"
            raise InputError("dataset", what, f"pick a split: {known}" if known else "")
        for name in self.fields or ():
            if name not in features:
                raise InputError("fields", f"the dataset has no column {name!r}", did_you_mean(name, features))
        fields = self.fields or tuple(name for name, kind in features.items() if not _is_text(kind))
        labels = {name: tuple(features[name].names) for name in fields if hasattr(features[name], "int2str")}
        classes = labels.get("label") or (next(iter(labels.values())) if len(labels) == 1 else None)
        return HuggingFaceSource(declaration=self, fields=fields, classes=classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HuggingFaceSource:
    """The opened dataset; images become uint8 `[height, width, channel]`, other values stay."""

    declaration: HuggingFace
    """The dataset and how its images are converted."""
    fields: tuple[str, ...]
    """Columns of an example."""
    classes: tuple[str, ...] | None
    """Names of the labels."""

    def __len__(self) -> int:
        return len(self.declaration.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._convert(self.declaration.dataset[int(index)])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        columns = self.declaration.dataset[list(indices)]
        return [
            self._convert(dict(zip(self.fields, values, strict=True)))
            for values in zip(*(columns[name] for name in self.fields), strict=True)
        ]

    def _convert(self, example: Mapping[str, Any]) -> dict[str, Any]:
        from PIL import Image

        declaration = self.declaration
        return {
            name: images.to_array(value, declaration.channels, declaration.size)
            if isinstance(value := example[name], Image.Image)
            else value
            for name in self.fields
        }


def _is_text(kind: Any) -> bool:
    return getattr(kind, "dtype", None) in ("string", "large_string", "binary", "large_binary")
