"""Seals: they list exactly what lies in the folder, and notice when it, or they themselves, change."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from jaxai.core.errors import InputError
from jaxai.training import seal
from jaxai.training.checkpoint import CheckpointFolder

FILES = {"a": b"one", "inner/b": b"two" * 1000, "inner/deep/c": b""}
FACTS = {"step": 7, "position": 84, "experiment": "e" * 64, "finite": True}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "7"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    seal.write(folder, **FACTS)
    return folder


def refused(folder, **options):
    with pytest.raises(InputError) as raised:
        seal.verify(folder, **options)
    assert "\n" not in str(raised.value)
    return raised.value.field


def test_a_seal_lists_exactly_the_files_and_facts(folder):
    expected = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()}
    assert seal.verify(folder) == seal.read(folder) == seal.Seal(**FACTS, files=expected)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "inner", "seal.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_named(folder, name):
    (folder / name).unlink()
    assert refused(folder, contents=False) == str(folder / name)


def test_other_bytes_are_seen_by_contents_only(folder):
    (folder / "a").write_bytes(b"onf")
    assert refused(folder) == str(folder / "a")
    assert seal.verify(folder, contents=False).step == 7


def test_another_size_or_one_more_file_needs_no_contents(folder):
    (folder / "inner" / "new").write_bytes(b"")
    assert refused(folder, contents=False) == str(folder / "inner" / "new")
    (folder / "inner" / "new").unlink()
    os.truncate(folder / "inner" / "b", 2999)
    assert refused(folder, contents=False) == str(folder / "inner" / "b")


def test_a_link_is_refused_even_to_the_same_bytes(folder, tmp_path):
    (folder / "a").rename(tmp_path / "outside")
    (folder / "a").symlink_to(tmp_path / "outside")
    assert refused(folder, contents=False) == str(folder / "a")
    (folder / "a").unlink()
    (tmp_path / "outside").rename(folder / "a")
    folder.rename(tmp_path / "real")
    folder.symlink_to(tmp_path / "real")
    assert refused(folder) == str(folder)


def test_a_seal_notices_that_it_was_changed(folder):
    data = json.loads((folder / "seal.json").read_text())
    for field, value in {"position": 85, "finite": False, "experiment": "f", "files": {}}.items():
        (folder / "seal.json").write_text(json.dumps({**data, "seal": {**data["seal"], field: value}}))
        assert refused(folder) == str(folder / "seal.json")


def test_a_seal_is_of_one_step(folder):
    folder.rename(folder.with_name("8"))
    assert refused(folder.with_name("8")) == str(folder.with_name("8") / "seal.json")


def test_a_seal_says_that_parameters_are_not_finite(folder):
    (folder / "seal.json").unlink()
    seal.write(folder, **{**FACTS, "finite": False})
    assert not seal.read(folder).finite
    assert refused(folder) == str(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"a": NaN', "\ud800", "[" * 100_000, '{"seal": {}}'])
def test_what_is_no_seal_is_one_line(folder, text):
    (folder / "seal.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert refused(folder) == str(folder / "seal.json")


@pytest.mark.parametrize(
    "change", [{"files": []}, {"files": {"a": [1]}}, {"files": {"a": [1e999, ""]}}, {"position": None}, {"version": 2}]
)
def test_a_seal_of_other_types_is_one_line(folder, change):
    body = json.loads((folder / "seal.json").read_text())["seal"] | change
    (folder / "seal.json").write_text(json.dumps({"seal": body, "sha256": seal._checksum(body)}))
    assert refused(folder) == str(folder / "seal.json")


def test_what_is_no_small_regular_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", seal.MAX_BYTES + 1)
    for name in ("pipe", "large", "absent"):
        with pytest.raises(InputError, match=name):
            seal.read_json(tmp_path / name)


def test_walking_stops_after_so_many_files(folder):
    assert len(seal.walk(folder, at_most=4)) == 4
    with pytest.raises(InputError, match="more than 3 files"):
        seal.walk(folder, at_most=3)


def test_a_step_that_is_deleted_while_it_is_read_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "3" / "state").mkdir(parents=True)
    (tmp_path / "3" / "part").write_bytes(b"bytes")
    seal.write(tmp_path / "3", step=3, position=0, experiment="", finite=True)
    walk = seal.walk

    def walk_and_lose(folder, at_most=None):
        found = walk(folder, at_most)
        (folder / "part").unlink()
        return found

    monkeypatch.setattr(seal, "walk", walk_and_lose)
    with pytest.raises(InputError, match="part: cannot be read: No such file"):
        CheckpointFolder(tmp_path).check(3)
