"""Writes a dataset as ArrayRecord files in the layout of tensorflow-datasets: whole or not at all, and in silence."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils

from jaxai.core.errors import StorageError

#: Makes the (key, example) pairs of one split; the key decides where tensorflow-datasets shuffles it to.
Examples = Callable[[], Iterable[tuple[int, Mapping[str, Any]]]]


_STALE = 24 * 3600  # seconds


def local_builder(base: type, name: str, splits: Mapping[str, Examples]) -> type:
    """A builder with the info of `base` (its features, version, citation) that takes its examples from `splits`."""

    def split_generators(self: Any, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(examples) for split, examples in splits.items()}

    def generate_examples(self: Any, examples: Examples) -> Iterable[tuple[int, Mapping[str, Any]]]:
        del self
        return examples()

    members = {"name": name, "_split_generators": split_generators, "_generate_examples": generate_examples}
    # `type(base)` because builders have a metaclass; `skip_registration` because the stock name is taken.
    return type(base)(f"Local{base.__name__}", (base,), members, skip_registration=True)


def write(builder: type, data_dir: Path, label_names: Mapping[str, list[str]] | None = None) -> Path:
    """Prepares `builder` under `data_dir` and returns `data_dir/name/version`.

    It is made in a temporary folder beside its final place and renamed, so a failure or a kill leaves nothing
    under the final name, and of two processes that do so at once one wins and both find it complete.
    """
    with scratch(data_dir) as temporary:
        with quiet():
            made = builder(data_dir=str(temporary), file_format="array_record")
            for field, names in (label_names or {}).items():
                made.info.features[field].names = names
            # Otherwise a copy of the stock dataset in Google's bucket could be taken instead of these examples.
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            made.download_and_prepare(download_config=config)
        relative = Path(made.data_dir).relative_to(temporary)
        final = data_dir / relative
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(made.data_dir).replace(final)
        except OSError:
            if not is_prepared(final):
                raise
        return final


@contextlib.contextmanager
def scratch(data_dir: Path) -> Iterator[Path]:
    """A temporary folder under `data_dir`, gone afterwards; so are those that a kill left there a day or more ago."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".jaxai-", dir=data_dir))
    except OSError as error:
        raise StorageError(str(data_dir), f"cannot be written: {error.strerror}", "set TFDS_DATA_DIR") from error
    try:
        yield made
    finally:
        for folder in data_dir.glob(".jaxai-*"):
            with contextlib.suppress(OSError):  # another process may be removing it
                if folder == made or time.time() - folder.stat().st_mtime > _STALE:
                    shutil.rmtree(folder)


def is_prepared(directory: Path) -> bool:
    """Whether a version folder is complete: it only ever appears whole, with its `dataset_info.json`."""
    return (directory / "dataset_info.json").is_file()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps tensorflow-datasets from printing, logging below errors and drawing bars, for as long as it works."""
    logger = logging.getLogger("absl")
    level, bars = logger.level, tqdm_utils._active
    logger.setLevel(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        tfds.display_progress_bar(bars)
