"""A dataset prepared by tensorflow-datasets as a source; TensorFlow is never imported.

`digits`, `ihc_patches`, `lfw_faces`, `mnist_5k`, `oxygen_icons` and `photo_patches` are our own and make themselves,
all but the first of a package that they fetch; `mnist`, `fashion_mnist`, `cifar10` and `cifar100` are made by `jaxai
prepare`.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.originals import FILES, OWN, default_data_dir


@dataclasses.dataclass(frozen=True)
class Tfds:
    """One split of a prepared dataset: `Tfds("mnist", split="train[:80%]")`."""

    name: str
    """Name of the dataset, with `/config` and `:version` where it has them; those of `OWN` need no preparation."""
    _: dataclasses.KW_ONLY
    split: str = "train"
    """Split or slice of one, as tensorflow-datasets writes it: `test`, `train[:80%]`, `train[1000:2000]`."""
    data_dir: str | None = None
    """Folder of prepared datasets; default: the variable TFDS_DATA_DIR, else `~/tensorflow_datasets`."""
    fields: tuple[str, ...] | None = None
    """Fields to read; default: the numeric ones."""
    decode: bool = True
    """Without it images stay encoded, for `RandomCropped` and `CenterCropped` to decode."""

    def open(self, *texts: str) -> TfdsSource:
        """The split; `texts` are read besides the numeric fields where `fields` names none."""
        directory = default_data_dir() if self.data_dir is None else Path(self.data_dir).expanduser()
        base = re.split("[/:]", self.name)[0]
        if base in OWN:
            importlib.import_module(f"jaxai.data.builders.{base}").prepare(directory)
        builder = _find(self.name, directory)
        features = builder.info.features
        fields = _fields(features, self.fields, self.name, texts)
        skipped = [name for name in features if name not in fields]
        if not self.decode:
            skipped += _encoded(features, fields, self.name)
        return TfdsSource(
            source=_split(builder, self.split, skipped),
            fields=fields,
            classes=_classes(features, fields),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSource:
    """The opened split: random access to decoded examples."""

    source: Any
    """What `tfds.data_source` gives."""
    fields: tuple[str, ...]
    """Fields of an example."""
    classes: tuple[str, ...] | None
    """Names of the labels."""

    def __post_init__(self):
        logging.getLogger("absl").addFilter(_not_about_opencv)

    def __setstate__(self, state: dict[str, Any]):
        self.__dict__.update(state)
        self.__post_init__()  # in a worker process, where the logger is another

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._pick(self.source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self._pick(example) for example in self.source.__getitems__(indices)]

    def _pick(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {name: example[name] for name in self.fields}


def _find(name: str, directory: Path) -> Any:
    """The builder of a prepared dataset, read from its files alone: the dataset's own code is not imported."""
    import tensorflow_datasets as tfds
    from google.protobuf import json_format
    from tensorflow_datasets.core import read_only_builder, registered

    reason = ""
    try:
        return read_only_builder.builder_from_files(name, data_dir=str(directory))
    except (registered.DatasetNotFoundError, ValueError, OSError, json_format.ParseError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    base = re.split("[/:]", name)[0]
    prepared = {path.name for path in directory.glob("[!.]*") if path.is_dir()}
    known = {*OWN, *FILES, *tfds.list_builders(with_community_datasets=False)}
    if base not in known | prepared:
        raise InputError("name", f"{name!r} is not a dataset", did_you_mean(base, known | prepared))
    if base in prepared and base != name:
        made = sorted(str(path.parent.relative_to(directory)) for path in directory.glob(f"{base}/**/features.json"))
        raise InputError("name", f"{name!r} is not prepared in {directory}", f"prepared: {', '.join(made)}")
    if base in prepared and not list((directory / base).glob("*/dataset_info.json")):
        configs = sorted(path.parent.parent.name for path in (directory / base).glob("*/*/dataset_info.json"))
        if configs:
            raise InputError("name", f"{name!r} has several forms", " or ".join(f"{base}/{c}" for c in configs))
    if base in prepared and next((directory / base).rglob("dataset_info.json"), None):
        fix = f"delete {directory / base}, then: {_command(base)}"
        raise InputError("name", f"{name!r} in {directory} cannot be read: {reason}", fix)
    raise InputError("name", f"{name!r} is not prepared in {directory}", f"prepare it: {_command(base)}")


def _command(base: str) -> str:
    """What prepares a dataset: ourselves where we can, else tensorflow-datasets on a machine with TensorFlow."""
    return f"jaxai prepare {base}" if base in (*FILES, *OWN) else f"tfds build {base} --file_format=array_record"


def _not_about_opencv(record: logging.LogRecord) -> bool:
    return "OpenCV is not installed" not in str(record.msg)


def _fields(features: Any, wanted: tuple[str, ...] | None, name: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The fields to read, checked: those asked for, or all numeric ones and `texts`."""
    if wanted is None:
        numeric = sorted(field for field, feature in features.items() if _is_numeric(feature))
        if not numeric and not texts:
            raise InputError("fields", f"{name} has no numeric field", f"name some of: {', '.join(features)}")
        wanted = (*numeric, *texts)
    for field in wanted:
        if field not in features:
            raise InputError("fields", f"{name} has no field {field!r}", did_you_mean(field, features))
    return wanted


def _is_numeric(feature: Any) -> bool:
    info = feature.get_tensor_info()
    return hasattr(info, "np_dtype") and np.dtype(info.np_dtype).kind in "biuf"


def _encoded(features: Any, fields: tuple[str, ...], name: str) -> list[str]:
    """The fields that are kept as PNG or JPEG."""
    import tensorflow_datasets as tfds

    found = [field for field in fields if isinstance(features[field], tfds.features.Image)]
    if not found:
        raise InputError("decode", f"{name} holds no encoded images", "leave it at True")
    return found


def _classes(features: Any, fields: tuple[str, ...]) -> tuple[str, ...] | None:
    """Names of the labels: of the field `label`, else of the only field of classes."""
    labels = {field: tuple(features[field].names) for field in fields if hasattr(features[field], "int2str")}
    if "label" in labels:
        return labels["label"]
    return next(iter(labels.values())) if len(labels) == 1 else None


def _split(builder: Any, split: str, skipped: list[str]) -> Any:
    """Opens a split or slice, without decoding the fields to skip."""
    import tensorflow_datasets as tfds

    splits = list(builder.info.splits)
    for part in split.split("+"):
        base = part.strip().partition("[")[0]
        if base != "all" and base not in splits:
            raise InputError("split", f"{builder.name} has no split {base!r}", did_you_mean(base, splits))
    try:
        if builder.info.splits[split].num_examples == 0:
            raise InputError("split", f"{split!r} of {builder.name} has no examples")
        return builder.as_data_source(
            split=split, decoders={field: tfds.decode.SkipDecoding() for field in skipped} or None
        )
    except NotImplementedError as error:
        what = f"{builder.name} is prepared as {builder.info.file_format.value}, which has no random access"
        fix = f"delete {builder.data_dir}, then: {_command(builder.name)}"
        raise InputError("name", what, fix) from error
    except (ValueError, AssertionError) as error:
        what = f"{split!r} cannot be read: {str(error).strip().splitlines()[0]}"
        raise InputError("split", what, "for example train[:80%]") from error
