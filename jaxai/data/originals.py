"""The original files of MNIST, Fashion-MNIST and CIFAR: their published digests, and reading them whole and verified.

The digests of the decompressed IDX files were each found in three or more independent public projects; that of a
CIFAR archive is the one tensorflow-datasets publishes. A file without a digest is held to its exact length, to its
format and to the number of examples of every class.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import logging
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from jaxai.core.errors import InputError

Progress = Callable[[str], None]
#: For what happens without being asked for, such as fetching a dataset on first use.
SAY: Progress = logging.getLogger("jaxai").info


@dataclasses.dataclass(frozen=True)
class Spec:
    """What the content of a file has to be."""

    sha256: str | None
    """Digest of the content, where it is published."""
    size: int | None
    """Length in bytes, where it is fixed."""


def _idx(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, Spec]:
    return {
        "train-images-idx3-ubyte": Spec(train_images, 16 + 60_000 * 784),
        "train-labels-idx1-ubyte": Spec(train_labels, 8 + 60_000),
        "t10k-images-idx3-ubyte": Spec(test_images, 16 + 10_000 * 784),
        "t10k-labels-idx1-ubyte": Spec(test_labels, 8 + 10_000),
    }


#: The files of each dataset, decompressed.
FILES: dict[str, dict[str, Spec]] = {
    "mnist": _idx(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": _idx(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "cifar10": {
        **{f"data_batch_{number}.bin": Spec(None, 10_000 * 3073) for number in range(1, 6)},
        "test_batch.bin": Spec("8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b", 10_000 * 3073),
        "batches.meta.txt": Spec(None, None),
    },
    "cifar100": {
        "train.bin": Spec(None, 50_000 * 3074),
        "test.bin": Spec(None, 10_000 * 3074),
        "fine_label_names.txt": Spec(None, None),
        "coarse_label_names.txt": Spec(None, None),
    },
}

#: The archives the CIFAR files come in, compressed.
ARCHIVES: dict[str, tuple[str, Spec]] = {
    "cifar10": (
        "cifar-10-binary.tar.gz",
        Spec("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170_052_171),
    ),
    "cifar100": (
        "cifar-100-binary.tar.gz",
        Spec("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168_513_733),
    ),
}

#: Examples of each class in each split.
COUNTS: dict[str, dict[str, tuple[int, ...]]] = {
    "mnist": {
        "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    },
    "fashion_mnist": {"train": (6000,) * 10, "test": (1000,) * 10},
    "cifar10": {"train": (5000,) * 10, "test": (1000,) * 10},
    "cifar100": {"train": (500,) * 100, "test": (100,) * 100},
}

#: Datasets with a builder of their own, the module of that name in `builders`: they prepare themselves on first use.
OWN = (
    *("digits", "ihc_patches", "lfw_faces", "mnist_5k", "oxygen_icons", "photo_patches"),
    *("asterisk_prompts", "film_snippets", "kjv", "kjv_spanish", "movielens_100k", "product_snippets", "shakespeare"),
    *("shakespeare_excerpt", "spam_mails", "support_faq", "support_questions", "tweets", "tweets_excerpt"),
)

_TEXT_LIMIT = 1 << 16
_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError)


def default_data_dir() -> Path:
    """Where tensorflow-datasets keeps its datasets: TFDS_DATA_DIR, else `~/tensorflow_datasets`."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def collect(name: str, path: Path, progress: Progress) -> dict[str, bytes]:
    """The verified content of every file of a dataset, from a folder (searched in depth) or a CIFAR archive."""
    archive = _archive(name, path)
    if archive is not None:
        contents = _unpack(name, archive, progress)
    elif path.is_dir():
        contents = {file: _read(_find(path, file), spec) for file, spec in FILES[name].items()}
    else:
        wanted = "the archive or a folder" if name in ARCHIVES else "a folder"
        raise InputError("--from", f"{path} is not {wanted} with the files of {name}")
    for file, spec in FILES[name].items():
        _verify(file, contents[file], spec)
        progress(f"{file}: {'sha256 as published' if spec.sha256 else 'length as published'}")
    return contents


def digest_error(file: str, found: str, expected: str) -> InputError:
    """The refusal of a file that is not the published one."""
    what = f"has sha256 {found}, the published file has {expected}"
    return InputError(file, what, "it is damaged or another file: get it again")


def _archive(name: str, path: Path) -> Path | None:
    """The archive at `path` or in the folder `path`, if that is how the files are given."""
    if name not in ARCHIVES:
        return None
    if path.is_file():
        return path
    return next(iter(sorted(path.rglob(ARCHIVES[name][0]))), None) if path.is_dir() else None


def _unpack(name: str, archive: Path, progress: Progress) -> dict[str, bytes]:
    """Reads the wanted members without extracting anything to the disk."""
    _, spec = ARCHIVES[name]
    if archive.stat().st_size == spec.size:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if spec.sha256 is not None and found != spec.sha256:
            raise digest_error(archive.name, found, spec.sha256)
        progress(f"{archive.name}: sha256 as published")
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = Path(member.name).name
                stream = tar.extractfile(member) if file in FILES[name] and member.isfile() else None
                if stream is not None:
                    contents[file] = _limited(stream, FILES[name][file])
    except _BROKEN as error:
        raise InputError(archive.name, f"cannot be unpacked: {error}", "get it again") from error
    for file in FILES[name]:
        if file not in contents:
            raise InputError(archive.name, f"has no {file}", f"it is not the binary version of {name}")
    return contents


def _find(folder: Path, file: str) -> Path:
    """A file in a folder under its own name, with a dot for its second dash (as some mirrors do), or gzipped."""
    dotted = file.replace("-idx", ".idx")
    for candidate in (file, f"{file}.gz", dotted, f"{dotted}.gz"):
        found = sorted(path for path in folder.rglob(candidate) if path.is_file())
        if found:
            return found[0]
    raise InputError(file, f"is not in {folder}, gzipped or not")


def _read(path: Path, spec: Spec) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _limited(stream, spec)
    except _BROKEN as error:
        raise InputError(str(path), f"cannot be read: {error}", "get it again") from error


def _limited(stream: IO[bytes] | io.BufferedIOBase, spec: Spec) -> bytes:
    """The content, or one byte more than is allowed: a small file that unpacks without end is not followed."""
    return stream.read((_TEXT_LIMIT if spec.size is None else spec.size) + 1)


def _verify(file: str, content: bytes, spec: Spec) -> None:
    if spec.sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != spec.sha256:
            raise digest_error(file, found, spec.sha256)
    if spec.size is not None and len(content) != spec.size:
        more = "more than " if len(content) > spec.size else f"{len(content)} of "
        raise InputError(file, f"has {more}{spec.size} bytes", "get it again")
