"""Durability: what the system calls of a run say was on the disk before the run said that it was saved."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess

import pytest

from .small import STEPS

pytestmark = pytest.mark.faults

CALLS = "openat,fsync,fdatasync,rename,renameat,renameat2,write,pwrite64,writev,pwritev,ftruncate"
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+).*")
_BEGINS = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDS = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+).*")


@dataclasses.dataclass(frozen=True)
class Call:
    """A system call of any thread."""

    name: str
    arguments: str
    result: int
    begins: int
    """Line of the trace at which it began."""
    ends: int
    """Line at which it had returned."""

    @property
    def path(self) -> str:
        """What its file descriptor stands for."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        return found[1] if found else ""

    @property
    def paths(self) -> list[str]:
        """The paths among its arguments."""
        return re.findall(r'"([^"]*)"', self.arguments)


def parse(trace: str) -> list[Call]:
    """The calls that returned, by when they did."""
    calls, waiting = [], {}
    for number, line in enumerate(trace.splitlines()):
        if match := _BEGINS.match(line):
            waiting[match[1]] = (match[3], number)
        elif match := _ENDS.match(line):
            begun, at = waiting.pop(match[1])
            calls.append(Call(match[2], begun + match[3], int(match[4]), at, number))
        elif match := _CALL.match(line):
            calls.append(Call(match[2], match[3], int(match[4]), number, number))
    return calls


def test_a_step_is_on_disk_before_it_is_said_to_be_saved(starter, tmp_path, figure):
    """Files, then folders, then the seal, its name, and the step's name: each synced, in this order, before "saved"."""
    run, gate, log = tmp_path / "run", tmp_path / "gate", tmp_path / "trace"
    os.mkfifo(gate)
    process = starter.start("tests.faults.small:run", str(run), str(gate), {})
    command = ["strace", "-f", "-y", "-s", "64", "-o", str(log), "-e", f"trace={CALLS}", "-p", str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            gate.write_text("go")
            assert process.wait(120) == 0, process.said()
        finally:
            process.send(signal.SIGKILL)
    calls = [call for call in parse(log.read_text()) if call.result >= 0]
    synced = [call for call in calls if call.name in ("fsync", "fdatasync")]
    num_files = num_folders = 0

    def sync(path: object, after: int, before: int) -> Call:
        """A sync of `path` that began after and had returned before these lines."""
        found = [call for call in synced if call.path == str(path) and after < call.begins and call.ends < before]
        assert found, f"{path} is not synced between lines {after} and {before} of the trace"
        return found[-1]

    def renamed(source: object, target: object) -> Call:
        (found,) = [
            call for call in calls if call.name.startswith("rename") and call.paths == [str(source), str(target)]
        ]
        return found

    for step in STEPS:
        checkpoints, folder = run / "checkpoints", run / "checkpoints" / str(step)
        said = next(c.begins for c in calls if c.name == "write" and f'"step {step}: saved' in c.arguments)
        committed = renamed(f"{folder}.orbax-checkpoint-tmp", folder)
        sealed = renamed(folder / "seal.json.tmp", folder / "seal.json")
        assert committed.ends < sealed.begins <= sealed.ends < said
        opened = next(c for c in calls if c.name == "openat" and c.paths == [f"{folder}/seal.json.tmp"])
        for path in folder.rglob("*"):
            if path.name == "seal.json":
                continue
            at = sync(path, committed.ends, opened.begins)
            later = [c for c in calls if c.path == str(path) and "write" in c.name and c.ends > at.begins]
            assert not later, f"{path} is written after it was synced"
            num_files, num_folders = num_files + path.is_file(), num_folders + path.is_dir()
        sync(folder, committed.ends, opened.begins)
        at = sync(folder / "seal.json.tmp", opened.ends, sealed.begins)
        written = [c for c in calls if c.path == f"{folder}/seal.json.tmp" and "write" in c.name]
        assert written
        assert max(c.ends for c in written) < at.begins
        at = sync(folder, sealed.ends, said)
        sync(checkpoints, at.ends, said)
        num_folders += 2
    assert num_files > 20 * len(STEPS)
    figure("synced before saved", f"{num_files} files and {num_folders} folders of {len(STEPS)} steps, seal after all")


def test_the_parser_sees_calls_that_overlap():
    """A call ends where it returns, not where it began."""
    trace = (
        "7 fsync(3</a> <unfinished ...>\n"
        '8 rename("/x", "/y") = 0\n'
        "7 <... fsync resumed>) = 0\n"
        "8 fsync(4</b>) = -1 EIO (Input/output error) (INJECTED)\n"
    )
    rename, first, second = parse(trace)
    assert (first.path, first.begins, first.ends, first.result) == ("/a", 0, 2, 0)
    assert (rename.paths, rename.ends) == (["/x", "/y"], 1)
    assert (second.path, second.result) == ("/b", -1)
