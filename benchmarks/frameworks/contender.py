"""A framework in a process of its own, with an interpreter of its own, on a terminal as a person would see it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frameworks.turns import Work

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """How a framework is started."""

    python: str
    """The interpreter that has it."""
    script: str
    """Its file in this folder."""
    arguments: tuple[str, ...] = ()
    """What the file is given first."""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of the environment, besides the parent's."""


class Contender:
    """A running framework: it trains an epoch when made, and further ones when called."""

    def __init__(self, side: Side, work: Work, caches: Path):
        self._folder = tempfile.TemporaryDirectory()
        answers, pipe = os.pipe()
        master, terminal = os.openpty()
        logs = Path(self._folder.name) / "logs"
        given = (*side.arguments, json.dumps(dataclasses.asdict(work)), str(pipe), str(logs))
        logs.mkdir()
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [side.python, str(FOLDER / side.script), *given],
            env={**environment(caches), **side.variables},
            stdin=subprocess.PIPE,
            stdout=terminal,
            stderr=terminal,
            pass_fds=(pipe,),
            text=True,
        )
        os.close(pipe)
        os.close(terminal)
        self._answers, self._said = os.fdopen(answers), b""
        # A full terminal would halt the child.
        threading.Thread(target=self._read, args=(master,), daemon=True).start()
        first = self._answer()
        self.first_epoch: float = time.perf_counter() - began
        """Seconds from the start of the process to the end of its first epoch."""
        self.num_parameters: int = first["parameters"]
        self.versions: dict[str, str] = first["versions"]
        self.processor: list[float] = []
        """Seconds of processor time, [call]."""

    def __call__(self, epochs: int = 1) -> float:
        """Seconds of further epochs, each with its validation."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        seconds, processor = self._answer()
        self.processor.append(processor)
        return seconds

    def close(self) -> None:
        """Ends the process, which has nothing to save."""
        self._process.kill()
        self._process.communicate()
        self._answers.close()
        self._folder.cleanup()

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            self._process.wait()
            said = self._said.decode(errors="replace")
            raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}:\n{said}")
        return json.loads(line)

    def _read(self, master: int) -> None:
        """Keeps the last of what the child says."""
        with open(master, "rb", buffering=0) as said:
            try:
                while part := said.read(65536):
                    self._said = (self._said + part)[-4096:]
            except OSError:  # how a terminal ends
                return


def environment(caches: Path) -> dict[str, str]:
    """The parent's, with `caches` for what jaxai compiles, and no cache of JAX's own, which nobody has by default."""
    theirs = ("JAX_COMPILATION_CACHE", "JAX_PERSISTENT_CACHE")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return variables | {"XDG_CACHE_HOME": str(caches), "TERM": "xterm-256color"}
