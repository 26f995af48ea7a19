"""`jaxai prepare NAME`: fetches the original files of a dataset, verifies them, writes what `tfds.data_source` reads.

The stock builders of tensorflow-datasets need TensorFlow for this. Ours takes their features, version and citation,
and the same keys, so that what is written has the same examples in the same order.
"""

from __future__ import annotations

import functools
import http.client
import importlib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.core.errors import InputError, did_you_mean
from jaxai.data.originals import ARCHIVES, COUNTS, FILES, OWN, Progress, collect, default_data_dir

#: Where the files are published: a folder for IDX files, the archive itself for CIFAR.
URLS = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
}

TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20


def prepare(
    name: str,
    *,
    data_dir: str | Path | None = None,
    source_path: str | Path | None = None,
    url: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Makes a dataset readable as `Tfds(name)`, and returns its folder; at once where it is there already.

    Args:
        name: mnist, fashion_mnist, cifar10, cifar100 (or one of `OWN`, which `Tfds` would prepare itself).
        data_dir: Folder of prepared datasets; default as for `Tfds`.
        source_path: Folder with the original files, gzipped or not, or the CIFAR archive, or the package of one of
            `OWN`, or a folder with its packages; nothing is downloaded.
        url: A mirror: the folder of the IDX files, or the CIFAR archive.
        progress: Called with a line of text at every advance.
    """
    from jaxai.data.builders import digits, writer

    directory = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    if name not in (*FILES, *OWN):
        raise InputError("NAME", f"cannot prepare {name!r}", did_you_mean(name, [*FILES, *OWN]))
    if source_path is not None and url is not None:
        raise InputError("--url", "excludes --from", "give one of them")
    say = progress or (lambda _: None)
    if name in OWN and url is not None:
        raise InputError("--url", f"{name} is not published at an address", "--from FILE")
    if name == digits.NAME:
        return digits.prepare(directory)
    if name in OWN:
        return importlib.import_module(f"jaxai.data.builders.{name}").prepare(directory, source_path, say)
    base = _stock_builder(name)
    final = directory / name / str(base.VERSION)
    if writer.is_prepared(final):
        say(f"{final}: already prepared")
        return final
    contents = _contents(name, directory, source_path, url or URLS[name], say)
    splits, label_names = _examples(name, contents)
    say(f"{final}: writing")
    builder = writer.local_builder(base, name, splits)
    return writer.write(builder, directory, label_names)


def _stock_builder(name: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder_cls(name)


def _contents(name: str, directory: Path, source_path: str | Path | None, url: str, say: Progress) -> dict[str, bytes]:
    if source_path is not None:
        path = Path(source_path).expanduser()
        if not path.exists():
            raise InputError("--from", f"{path} does not exist")
        return collect(name, path, say)
    from jaxai.data.builders import writer

    with writer.scratch(directory) as folder:
        _download_all(name, url, folder, say)
        return collect(name, folder, say)


def _download_all(name: str, url: str, folder: Path, say: Progress) -> None:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InputError("--url", f"{url!r} is not an http address", "for files on this machine: --from PATH")
    if name in ARCHIVES:
        file = ARCHIVES[name][0]
        limit = sum(spec.size or 0 for spec in FILES[name].values()) + _CHUNK
        _download(url + file if url.endswith("/") else url, folder / file, limit, say)
        return
    for file, spec in FILES[name].items():
        _download(f"{url.rstrip('/')}/{file}.gz", folder / f"{file}.gz", (spec.size or 0) + _CHUNK, say)


def _download(url: str, path: Path, limit: int, say: Progress) -> None:
    """Streams `url` to `path`; an answer that ends early, or is longer than the data could be, is refused."""
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, path.open("wb") as file:
            length = answer.headers.get("Content-Length")
            total = f" of {int(length) / 1e6:.1f}" if length else ""
            while chunk := answer.read(_CHUNK):
                received += file.write(chunk)
                say(f"{path.name}: {received / 1e6:.1f}{total} MB")
                if received > limit:
                    raise InputError(url, f"sends more than {limit} bytes: not the published file")
        if length and received != int(length):
            raise InputError(url, f"ended after {received} of {length} bytes", "try again, or another --url")
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        fix = "try another --url, or download by hand and give --from PATH"
        raise InputError(url, f"cannot be downloaded: {reason}", fix) from error


def _examples(name: str, contents: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The examples of every split, and the names of the classes that come with the files."""
    from jaxai.data.builders import cifar, idx

    if name in ARCHIVES:
        arrays, names = cifar.read(name, contents), cifar.label_names(name, contents)
        make = functools.partial(cifar.examples, name)
    else:
        arrays, names, make = idx.read(contents), {}, idx.examples
    for split, counts in COUNTS[name].items():
        found = tuple(np.bincount(arrays[split]["label"], minlength=len(counts)).tolist())
        if found != counts:
            what = f"the {split} labels are not those of {name}: examples of each class {found[:10]}..."
            raise InputError(name, what, f"published: {counts[:10]}...")
    return {split: functools.partial(make, split, values) for split, values in arrays.items()}, names
