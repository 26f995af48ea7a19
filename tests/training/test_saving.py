"""Saving: a step counts once its seal is on disk, older ones go only then, and every failure is told."""

from __future__ import annotations

import threading

import jax.numpy as jnp
import pytest

import jaxai
from jaxai.core.errors import StorageError
from jaxai.training import saving, seal
from jaxai.training.checkpoint import saved_steps
from jaxai.training.saving import Job, Saver, check_space

STATE = {"w": jnp.arange(6.0), "step": jnp.int32(0)}


def job(step, keep=1):
    return Job(step, 12 * step, {"seed": 0}, {"history": []}, "digest", lambda steps: set(sorted(steps)[-keep:]))


@pytest.fixture
def saver(tmp_path):
    return Saver(tmp_path / "checkpoints", jaxai.Checkpoints())


def save(saver, *jobs):
    for each in jobs:
        saver.save(each, STATE)
    saver.wait()
    return saver.news()


def test_a_saved_step_is_sealed_and_told_once(saver):
    assert save(saver, job(3)) == ([3], [])
    assert saver.news() == ([], [])
    sealed = seal.verify(saver.folder / "3")
    assert (sealed.step, sealed.position, sealed.experiment, sealed.finite) == (3, 36, "digest", True)


def test_older_steps_go_once_the_newer_is_sealed(saver, monkeypatch):
    at_sealing, write = [], seal.write

    def watched(folder, **facts):
        at_sealing.append(saved_steps(saver.folder))
        write(folder, **facts)

    monkeypatch.setattr(seal, "write", watched)
    assert save(saver, job(1), job(2), job(3)) == ([1, 2, 3], [])
    assert at_sealing == [[], [1], [2]]
    assert saved_steps(saver.folder) == [3]
    assert [path.name for path in saver.folder.iterdir()] == ["3"]


def test_older_steps_stay_while_the_newer_is_not_whole(saver, monkeypatch):
    save(saver, job(1))
    write = seal.write

    def damaging(folder, **facts):
        write(folder, **facts)
        (folder / "meta" / "metadata").write_text("{}")

    monkeypatch.setattr(seal, "write", damaging)
    monkeypatch.setattr(saving.seal, "write", damaging)
    _, failures = save(saver, job(2))
    assert len(failures) == 1
    assert 1 in saved_steps(saver.folder)
    assert seal.verify(saver.folder / "1").step == 1


def test_a_save_that_fails_is_told_and_leaves_nothing(saver, monkeypatch):
    save(saver, job(1))
    write = seal.write

    def failing(folder, **facts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seal, "write", failing)
    saved, failures = save(saver, job(2))
    assert saved == []
    assert [str(failure) for failure in failures] == [
        f"{saver.folder}: step 2 cannot be saved: [Errno 28] No space left on device"
    ]
    assert [path.name for path in saver.folder.iterdir()] == ["1"]
    monkeypatch.setattr(seal, "write", write)
    assert save(saver, job(2)) == ([2], [])


def test_a_vanished_folder_is_not_made_again(saver):
    save(saver, job(1))
    saver.folder.rename(saver.folder.with_name("elsewhere"))
    saved, failures = save(saver, job(2))
    assert (saved, len(failures)) == ([], 1)
    assert "vanished" in str(failures[0])
    assert not saver.folder.exists()


def test_what_was_not_saved_to_its_end_does_not_count_at_the_start(saver, caplog):
    save(saver, job(1), job(2, keep=2))
    (saver.folder / "2" / "seal.json").unlink()
    (saver.folder / "3.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (saver.folder / "notes").mkdir()
    Saver(saver.folder, jaxai.Checkpoints())
    assert sorted(path.name for path in saver.folder.iterdir()) == ["1", "damaged-2", "notes"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert str(saver.folder / "2" / "seal.json") in warning


def test_a_damaged_step_is_set_aside_until_a_later_one_is_saved(saver, tmp_path):
    save(saver, job(1), job(2, keep=2))
    saver.set_aside(2)
    assert sorted(path.name for path in saver.folder.iterdir()) == ["1", "damaged-2"]
    (tmp_path / "outside").mkdir()
    (saver.folder / "damaged-3").symlink_to(tmp_path / "outside")
    (saver.folder / "damaged-by-hand").mkdir()
    assert save(saver, job(3)) == ([3], [])
    assert sorted(path.name for path in saver.folder.iterdir()) == ["3", "damaged-by-hand"]
    assert (tmp_path / "outside").is_dir()


def test_a_save_past_its_deadline_is_told_and_the_next_does_not_wait(tmp_path, monkeypatch):
    saver = Saver(tmp_path / "checkpoints", jaxai.Checkpoints(deadline=1.0))
    begun, over, write = threading.Event(), threading.Event(), seal.write

    def waiting(folder, **facts):
        begun.set()
        over.wait(60)
        write(folder, **facts)

    monkeypatch.setattr(seal, "write", waiting)
    saver.save(job(1), STATE)
    assert begun.wait(60)
    saver.wait()
    saved, failures = saver.news()
    assert (saved, len(failures)) == ([], 1)
    assert "not saved after 1 s" in str(failures[0])
    assert saver.news() == ([], [])
    saver.save(job(2), STATE)  # not saved either, and said so
    assert len(saver.news()[1]) == 1
    over.set()
    assert saver._thread is not None
    saver._thread.join(60)
    assert saver.news()[0] == [1]
    assert saved_steps(saver.folder) == [1]


def test_room_for_two_checkpoints_is_wanted_then_for_one(saver, monkeypatch):
    free = 10 * 2**20
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    check_space(saver.folder / "not" / "yet", free // 2)
    with pytest.raises(StorageError, match="10 MiB free, its checkpoints need 12 MiB"):
        check_space(saver.folder, 6 * 2**20)
    save(saver, job(1))
    check_space(saver.folder, 6 * 2**20)
    with pytest.raises(StorageError, match="need 11 MiB"):
        check_space(saver.folder, 11 * 2**20)


def test_a_folder_made_anew_while_saving_is_not_the_runs_own(saver, monkeypatch):
    """Half of the checkpoint went with the old folder: what is in the new one is not sealed."""
    save(saver, job(1))
    finish = saver._orbax.wait_until_finished

    def replaced():
        finish()
        if (saver.folder / "2").exists():
            saver.folder.rename(saver.folder.with_name("elsewhere"))
            (saver.folder / "2").mkdir(parents=True)

    monkeypatch.setattr(saver._orbax, "wait_until_finished", replaced)
    saved, failures = save(saver, job(2))
    assert (saved, len(failures)) == ([], 1)
    assert "vanished" in str(failures[0])
    assert seal.verify(saver.folder.with_name("elsewhere") / "1").step == 1
    assert saved_steps(saver.folder) == []
