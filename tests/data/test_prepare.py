"""Files in the true format of all four datasets, small, from a server on this machine to the stock reader."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import struct
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxai.core.errors import InputError
from jaxai.data import originals
from jaxai.data import prepare as room
from jaxai.data.originals import Spec
from jaxai.data.prepare import prepare

NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100")
TRAIN, TEST = 40, 20
IMAGES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
CLASSES = {"mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}


def arrays(name: str) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(NAMES.index(name))
    return {
        split: {
            "image": random.integers(0, 256, (count, *IMAGES[name]), dtype=np.uint8),
            "label": random.integers(0, CLASSES[name], count, dtype=np.uint8),
            "coarse_label": random.integers(0, 20, count, dtype=np.uint8),
        }
        for split, count in (("train", TRAIN), ("test", TEST))
    }


@functools.cache
def files(name: str) -> dict[str, bytes]:
    """The original files, as their authors describe the formats."""
    data, made = arrays(name), {}
    if name in ("mnist", "fashion_mnist"):
        for split, prefix in (("train", "train"), ("test", "t10k")):
            images, labels = data[split]["image"], data[split]["label"]
            made[f"{prefix}-images-idx3-ubyte"] = struct.pack(">4I", 2051, len(images), 28, 28) + images.tobytes()
            made[f"{prefix}-labels-idx1-ubyte"] = struct.pack(">2I", 2049, len(labels)) + labels.tobytes()
        return made

    def records(part, rows):
        heads = ("coarse_label", "label") if name == "cifar100" else ("label",)
        return b"".join(bytes([*(part[h][i] for h in heads), *part["image"][i].ravel()]) for i in rows)

    def lines(prefix, count):
        return "".join(f"{prefix}{number}\n" for number in range(count)).encode()

    if name == "cifar10":
        for batch in range(5):
            made[f"data_batch_{batch + 1}.bin"] = records(data["train"], range(batch * 8, batch * 8 + 8))
        made["test_batch.bin"] = records(data["test"], range(TEST))
        made["batches.meta.txt"] = lines("thing", 10) + b"\n"
    else:
        made["train.bin"], made["test.bin"] = (
            records(data[split], range(len(data[split]["label"]))) for split in ("train", "test")
        )
        made["fine_label_names.txt"], made["coarse_label_names.txt"] = lines("fine", 100), lines("coarse", 20)
    return made


@functools.cache
def tarball(name: str) -> bytes:
    """Members in reverse order and beside a file of no use, as in the real archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, content in [*reversed(files(name).items()), ("readme.html", b"hello")]:
            member = tarfile.TarInfo(f"cifar-batches-bin/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """The small files take the place of the published ones in the tables."""
    for name in NAMES:
        contents = files(name)
        specs = {
            file: Spec(digest(content), len(content)) if not file.endswith(".txt") else Spec(None, None)
            for file, content in contents.items()
        }
        monkeypatch.setitem(originals.FILES, name, specs)
        counts = {
            split: tuple(np.bincount(part["label"], minlength=CLASSES[name]).tolist())
            for split, part in arrays(name).items()
        }
        monkeypatch.setitem(originals.COUNTS, name, counts)
        if name in originals.ARCHIVES:
            packed = tarball(name)
            archive = originals.ARCHIVES[name][0]
            monkeypatch.setitem(originals.ARCHIVES, name, (archive, Spec(digest(packed), len(packed))))


@pytest.fixture
def server():
    """Serves the dict that it yields; a value that is a number cuts the answer after so many bytes."""
    served: dict[str, bytes] = {}
    cut: dict[str, int] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in served:
                self.send_error(404)
                return
            content = served[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: cut.get(self.path)])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", served, cut
        running.shutdown()


def serve(name: str, served: dict[str, bytes], root: str) -> str:
    """Puts the files of a dataset on the server; returns the address to give."""
    if name in originals.ARCHIVES:
        served["/archive.tar.gz"] = tarball(name)
        return f"{root}/archive.tar.gz"
    served.update({f"/data/{file}.gz": gzip.compress(content) for file, content in files(name).items()})
    return f"{root}/data"


def check(name: str, data_dir) -> None:
    """Every example as the stock library reads it, as a set: the library shuffles by key."""
    source = tfds.data_source(name, data_dir=data_dir)
    assert set(source) == {"train", "test"}
    for split, part in arrays(name).items():
        images = part["image"][..., None] if part["image"].ndim == 3 else part["image"].transpose(0, 2, 3, 1)
        expected = {image.tobytes(): index for index, image in enumerate(images)}
        found = set()
        for example in source[split]:
            assert example["image"].shape == images.shape[1:]
            index = expected[example["image"].tobytes()]
            found.add(index)
            assert example["label"] == part["label"][index]
            if name.startswith("cifar"):
                assert example["id"] == f"{split}_{index:05d}".encode()
            if name == "cifar100":
                assert example["coarse_label"] == part["coarse_label"][index]
        assert found == set(range(len(images)))


@pytest.mark.parametrize("name", NAMES)
def test_from_a_server_to_the_stock_reader(name, server, tmp_path, capfd):
    root, served, _ = server
    said = []
    folder = prepare(name, data_dir=tmp_path, url=serve(name, served, root), progress=said.append)
    stock = tfds.builder(name, data_dir=tmp_path)
    assert str(folder) == str(stock.data_path)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    check(name, tmp_path)
    assert any("sha256 as published" in line for line in said)
    assert prepare(name, data_dir=tmp_path, url="http://127.0.0.1:9/none") == folder


@pytest.mark.parametrize("kind", ["plain", "gzipped", "dotted"])
def test_from_a_folder(kind, tmp_path):
    inside = tmp_path / "MNIST/raw"
    inside.mkdir(parents=True)
    for file, content in files("mnist").items():
        file = file.replace("-idx", ".idx") if kind == "dotted" else file
        (inside / (f"{file}.gz" if kind == "gzipped" else file)).write_bytes(
            gzip.compress(content) if kind == "gzipped" else content
        )
    prepare("mnist", data_dir=tmp_path / "out", source_path=tmp_path)
    check("mnist", tmp_path / "out")


@pytest.mark.parametrize("kind", ["archive", "folder of archive", "unpacked", "recompressed"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_from_a_cifar_archive_or_folder(name, kind, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    archive = source / originals.ARCHIVES[name][0]
    if kind == "unpacked":
        for file, content in files(name).items():
            (source / file).write_bytes(content)
    else:
        packed = tarball(name)
        archive.write_bytes(gzip.decompress(packed) if kind == "recompressed" else packed)
    given = source if kind in ("unpacked", "folder of archive") else archive
    prepare(name, data_dir=tmp_path / "out", source_path=given)
    check(name, tmp_path / "out")


def test_the_names_of_the_classes(tmp_path):
    for name in ("cifar100", "fashion_mnist"):
        (tmp_path / name).mkdir()
        for file, content in files(name).items():
            (tmp_path / name / file).write_bytes(content)
        prepare(name, data_dir=tmp_path / "out", source_path=tmp_path / name)
    features = tfds.builder("cifar100", data_dir=tmp_path / "out").info.features
    assert features["label"].names[:2] == ["fine0", "fine1"]
    assert features["coarse_label"].names[19] == "coarse19"
    assert tfds.builder("fashion_mnist", data_dir=tmp_path / "out").info.features["label"].names[9] == "Ankle boot"


@pytest.mark.parametrize("name", NAMES)
def test_one_flipped_bit_is_refused_with_both_digests(name, server, tmp_path):
    root, served, _ = server
    url = serve(name, served, root)
    if name in originals.ARCHIVES:
        path, file = "/archive.tar.gz", originals.ARCHIVES[name][0]
        served[path] = served[path][:500] + bytes([served[path][500] ^ 1]) + served[path][501:]
        found, expected = digest(served[path]), originals.ARCHIVES[name][1].sha256
    else:
        file = "train-images-idx3-ubyte"
        content = files(name)[file]
        damaged = content[:-1] + bytes([content[-1] ^ 1])
        served[f"/data/{file}.gz"] = gzip.compress(damaged)
        found, expected = digest(damaged), digest(content)
    with pytest.raises(InputError) as error:
        prepare(name, data_dir=tmp_path, url=url)
    assert str(error.value).startswith(f"{file}: has sha256 {found}, the published file has {expected}")
    assert list(tmp_path.iterdir()) == []


def test_without_a_digest_length_format_and_counts_are_checked(tmp_path, monkeypatch):
    contents = files("mnist")
    specs = {file: Spec(None, len(content)) for file, content in contents.items()}
    monkeypatch.setitem(originals.FILES, "mnist", specs)

    def refused(file, content):
        for other, bytes_ in {**contents, file: content}.items():
            (tmp_path / other).write_bytes(bytes_)
        with pytest.raises(InputError) as error:
            prepare("mnist", data_dir=tmp_path / "out", source_path=tmp_path)
        assert not (tmp_path / "out/mnist").exists()
        return str(error.value)

    images, labels = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
    size = len(contents[images])
    assert refused(images, contents[images][:-1]).startswith(f"{images}: has {size - 1} of {size} bytes")
    assert refused(images, contents[images] + b"x").startswith(f"{images}: has more than {size} bytes")
    assert refused(images, b"PK" + contents[images][2:]).startswith(f"{images}: begins with 504b0803: not an IDX")
    wrong = bytes([(contents[labels][-1] + 1) % 10])
    assert refused(labels, contents[labels][:-1] + wrong).startswith("mnist: the test labels are not those of mnist")


@pytest.mark.parametrize(
    ("name", "path"), [("mnist", "/data/t10k-labels-idx1-ubyte.gz"), ("cifar10", "/archive.tar.gz")]
)
def test_an_interrupted_download_leaves_nothing(name, path, server, tmp_path):
    root, served, cut = server
    url = serve(name, served, root)
    cut[path] = 30
    with pytest.raises(InputError, match=rf"ended after 30 of {len(served[path])} bytes"):
        prepare(name, data_dir=tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []
    cut.clear()
    prepare(name, data_dir=tmp_path, url=url)
    check(name, tmp_path)


def test_a_stop_from_the_keyboard_leaves_nothing(server, tmp_path):
    root, served, _ = server
    for stop_at in ("labels", "writing"):

        def progress(line, stop_at=stop_at):
            if stop_at in line:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepare("mnist", data_dir=tmp_path, url=serve("mnist", served, root), progress=progress)
        assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_not_followed(server, tmp_path, monkeypatch):
    root, served, _ = server
    url = serve("mnist", served, root)
    monkeypatch.setattr(room, "_CHUNK", 1000)
    served["/data/train-images-idx3-ubyte.gz"] = bytes(100_000)
    with pytest.raises(InputError, match="sends more than 32376 bytes"):
        prepare("mnist", data_dir=tmp_path, url=url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "mnits"}, "NAME: cannot prepare 'mnits' (did you mean 'mnist'?)"),
        ({"source_path": "/x", "url": "http://x"}, "--url: excludes --from"),
        ({"source_path": "/not/there"}, "--from: /not/there does not exist"),
        ({"url": "file:///etc/passwd"}, "--url: 'file:///etc/passwd' is not an http address"),
        (
            {"url": "{root}/none"},
            "{root}/none/train-images-idx3-ubyte.gz: cannot be downloaded: Not Found (try another",
        ),
        ({"url": "http://127.0.0.1:9"}, "http://127.0.0.1:9/train-images-idx3-ubyte.gz: cannot be downloaded: "),
        ({"source_path": "{folder}"}, "train-images-idx3-ubyte: is not in {folder}, gzipped or not"),
        ({"source_path": "{folder}/broken.gz"}, "--from: {folder}/broken.gz is not a folder with the files of mnist"),
        ({"name": "cifar10", "source_path": "{folder}/broken.gz"}, "broken.gz: cannot be unpacked: "),
        ({"name": "cifar10", "source_path": "{folder}/cifar100.tgz"}, "cifar100.tgz: has no data_batch_1.bin"),
    ],
)
def test_refuses(options, message, server, tmp_path):
    root, folder = server[0], tmp_path / "in"
    folder.mkdir()
    (folder / "broken.gz").write_bytes(b"hello")
    (folder / "cifar100.tgz").write_bytes(tarball("cifar100"))
    options = {key: value.format(root=root, folder=folder) for key, value in {"name": "mnist", **options}.items()}
    with pytest.raises(InputError) as error:
        prepare(data_dir=tmp_path / "out", **options)
    assert str(error.value).startswith(message.format(root=root, folder=folder))


def test_a_broken_gzip_is_named(tmp_path):
    for file, content in files("mnist").items():
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content)[:-12])
    with pytest.raises(InputError) as error:
        prepare("mnist", data_dir=tmp_path / "out", source_path=tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/train-images-idx3-ubyte.gz: cannot be read: ")


def test_reading_in_a_fresh_process_is_silent_and_without_tensorflow(tmp_path):
    """tensorflow-datasets itself logs that OpenCV is missing at the first PNG."""
    for file, content in files("mnist").items():
        (tmp_path / file).write_bytes(content)
    prepare("mnist", data_dir=tmp_path, source_path=tmp_path)
    code = (
        "import pickle, sys; from jaxai.data import tfds, source\n"
        f"opened = source.open_source(tfds.Tfds('mnist', data_dir={str(tmp_path)!r}))\n"
        "batch = source.read(pickle.loads(pickle.dumps(opened)), range(40))\n"
        "assert batch['image'].shape == (40, 28, 28, 1)\n"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_digits_need_no_source(tmp_path):
    assert prepare("digits", data_dir=tmp_path) == tmp_path / "digits/1.0.0"


class TestPublished:
    """The real tables, which the fixture above replaces."""

    @pytest.fixture(autouse=True)
    def published(self):
        return None

    def test_the_numbers_of_examples(self):
        totals = {name: {split: sum(counts) for split, counts in originals.COUNTS[name].items()} for name in NAMES}
        assert totals == {
            "mnist": {"train": 60_000, "test": 10_000},
            "fashion_mnist": {"train": 60_000, "test": 10_000},
            "cifar10": {"train": 50_000, "test": 10_000},
            "cifar100": {"train": 50_000, "test": 10_000},
        }
        assert all(len(counts) == CLASSES[name] for name in NAMES for counts in originals.COUNTS[name].values())

    def test_addresses_and_archives_are_those_of_tensorflow_datasets(self):
        """Its table of downloads: address, length and sha256."""
        for name in NAMES:
            stock = tfds.builder_cls(name).url_infos
            if name in originals.ARCHIVES:
                _, spec = originals.ARCHIVES[name]
                info = stock[room.URLS[name]]
                assert (info.size, info.checksum) == (spec.size, spec.sha256)
            else:
                assert set(stock) == {f"{room.URLS[name]}{file}.gz" for file in originals.FILES[name]}
