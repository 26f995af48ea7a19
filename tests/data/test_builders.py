"""The embedded digits, and how datasets are written."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from jaxai.core.errors import InputError, StorageError
from jaxai.data.builders import digits, idx, writer


def test_the_embedded_digits_are_scikit_learns():
    images, labels = digits.load()
    original = load_digits()
    assert images.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(images[..., 0] / digits.SCALE, original.images)
    np.testing.assert_array_equal(labels, original.target)


def test_what_is_written_is_what_is_embedded(tmp_path):
    """Read with the stock library alone: every image and label, in the original order within each split."""
    folder = digits.prepare(tmp_path)
    assert folder == tmp_path / "digits/1.0.0"
    original = load_digits()
    test = digits.is_test(original.target)
    source = tfds.data_source("digits", data_dir=tmp_path)
    for split, chosen in (("train", ~test), ("test", test)):
        examples = source[split].__getitems__(range(len(source[split])))
        images = np.stack([example["image"] for example in examples])
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images[..., 0] / digits.SCALE, original.images[chosen])
        assert [example["label"] for example in examples] == original.target[chosen].tolist()


def test_the_split_is_stratified():
    labels = load_digits().target
    test = digits.is_test(labels)
    assert (test.sum(), (~test).sum()) == (360, 1437)
    share = np.bincount(labels[test]) / np.bincount(labels)
    assert share.min() > 0.195
    assert share.max() < 0.205


def test_nothing_is_written_twice(tmp_path):
    folder = digits.prepare(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert digits.prepare(tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.slow
def test_many_processes_at_once(tmp_path):
    # All are up and waiting before the first begins.
    code = """
import sys, time
from pathlib import Path
from jaxai.data.builders import digits
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
digits.prepare(folder / "data")
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    data = tmp_path / "data"
    assert len(tfds.data_source("digits", split="train", data_dir=data)) == 1437
    assert [path.name for path in data.iterdir()] == ["digits"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path, monkeypatch, error):
    def broken(*_):
        yield 0, {"image": np.zeros((8, 8, 1), np.uint8), "label": 0}
        raise error("stop")

    monkeypatch.setattr(digits.Digits, "_generate_examples", broken)
    with pytest.raises(error):
        digits.prepare(tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    assert digits.prepare(tmp_path).is_dir()


def test_a_kill_leaves_nothing_under_the_name(tmp_path):
    code = (
        "import os, signal; from pathlib import Path; from jaxai.data.builders import digits\n"
        "def killed(*_):\n"
        "    yield 0, {'image': digits.load()[0][0], 'label': 0}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "digits.Digits._generate_examples = killed\n"
        f"digits.prepare(Path({str(tmp_path)!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == -9
    assert not (tmp_path / "digits").exists()
    assert digits.prepare(tmp_path).is_dir()
    assert len(tfds.data_source("digits", split="test", data_dir=tmp_path)) == 360


def test_what_a_kill_left_a_day_ago_is_cleared(tmp_path):
    for name, age in ((".jaxai-old", 25 * 3600), (".jaxai-new", 60)):
        (tmp_path / name / "mnist").mkdir(parents=True)
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)
    digits.prepare(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"digits", ".jaxai-new"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        digits.prepare(tmp_path / "file" / "data")


def test_quiet_restores(capsys):
    with writer.quiet():
        print("hidden")
    print("shown")
    assert capsys.readouterr().out == "shown\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with : not an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "begins with 00000d01: not an IDX file"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "begins with 00000803: not an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03ab", "says it holds [3] bytes, and holds 2"),
        (b"\x00\x00\x08\x02\xff\xff\xff\xff\xff\xff\xff\xffab", "says it holds [4294967295, 4294967295] bytes"),
    ],
)
def test_idx_refuses(content, message):
    with pytest.raises(InputError) as error:
        idx.parse(content, "f")
    assert str(error.value).startswith(f"f: {message}")


def test_idx_reads_big_endian_sizes_row_by_row():
    array = idx.parse(b"\x00\x00\x08\x02\x00\x00\x00\x02\x00\x00\x00\x03abcdef", "f")
    assert array.tolist() == [[97, 98, 99], [100, 101, 102]]
