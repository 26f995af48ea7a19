"""The declaration Tfds, on the dataset that the package carries."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import open_source, read
from jaxai.data.tfds import Tfds


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("tfds")
    open_source(Tfds("digits", data_dir=str(path)))
    return str(path)


def test_reads_the_numeric_fields(folder):
    declared = Tfds("digits", split="test", data_dir=folder)
    assert repr(declared) == f"Tfds(name='digits', split='test', data_dir={folder!r}, fields=None, decode=True)"
    source = open_source(declared)
    assert len(source) == 360
    assert source.classes == tuple("0123456789")
    batch = read(source, [5, 0])
    assert batch["image"].shape == (2, 8, 8, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["image"][1], source[0]["image"])


@pytest.mark.parametrize(
    ("split", "length"), [("train[:80%]", 1150), ("train[80%:]", 287), ("test+train[:100]", 460), ("all", 1797)]
)
def test_slices(folder, split, length):
    assert len(open_source(Tfds("digits", split=split, data_dir=folder))) == length


def test_slices_meet_without_overlap(folder):
    whole, head, tail = (
        read(source := open_source(Tfds("digits", split=split, data_dir=folder)), range(len(source)))["image"]
        for split in ("train", "train[:80%]", "train[80%:]")
    )
    np.testing.assert_array_equal(np.concatenate([head, tail]), whole)


def test_fields_and_versions(folder):
    assert set(read(open_source(Tfds("digits", fields=("label",), data_dir=folder)), [0])) == {"label"}
    assert len(open_source(Tfds("digits:1.0.0", data_dir=folder))) == 1437


def test_the_data_dir_comes_from_the_variable(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "new"))
    assert len(open_source(Tfds("digits"))) == 1437
    assert (tmp_path / "new/digits/1.0.0").is_dir()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mnits"}, "train.name: 'mnits' is not a dataset (did you mean 'mnist'?)"),
        ({"name": "digit"}, "train.name: 'digit' is not a dataset (did you mean 'digits'?)"),
        ({"name": "mnist"}, "train.name: 'mnist' is not prepared in {} (prepare it: jaxai prepare mnist)"),
        ({"name": "digits:9.0.0"}, "train.name: 'digits:9.0.0' is not prepared in {} (prepared: digits/1.0.0)"),
        (
            {"name": "imdb_reviews"},
            "train.name: 'imdb_reviews' is not prepared in {} "
            "(prepare it: tfds build imdb_reviews --file_format=array_record)",
        ),
        ({"split": "trian"}, "train.split: digits has no split 'trian' (did you mean 'train'?)"),
        ({"split": "train+tset"}, "train.split: digits has no split 'tset' (did you mean 'test'?)"),
        ({"split": "train[:80"}, "train.split: 'train[:80' cannot be read: "),
        ({"split": "train[:0]"}, "train.split: 'train[:0]' of digits has no examples"),
        ({"fields": ("imag",)}, "train.fields: digits has no field 'imag' (did you mean 'image'?)"),
    ],
)
def test_refuses(folder, changes, message):
    with pytest.raises(InputError) as error:
        open_source(Tfds(**{"name": "digits", "data_dir": folder, **changes}), "train")
    assert str(error.value).startswith(message.format(folder))
    assert "\n" not in str(error.value)


def test_a_dataset_without_random_access_is_refused(folder, tmp_path):
    shutil.copytree(f"{folder}/digits", tmp_path / "digits")
    info = tmp_path / "digits/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(InputError) as error:
        open_source(Tfds("digits", data_dir=str(tmp_path)), "train")
    assert str(error.value).startswith("train.name: digits is prepared as tfrecord, which has no random access")


def test_neither_tensorflow_nor_output(tmp_path):
    """A first use in a fresh process: prepares, reads, prints nothing, imports neither TensorFlow nor JAX."""
    code = (
        "import sys; from jaxai.data import tfds, source\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"opened = source.open_source(tfds.Tfds('digits', data_dir={str(tmp_path)!r}))\n"
        "source.read(opened, range(64))\n"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
