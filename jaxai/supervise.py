"""`jaxai train --restarts N`: runs the same command in a child process, and starts it again when it did not end well.

What a restart can mend is a crash, a preemption of the child, a lost or stuck peer. Bad input, a full disk, divergence
and the user's own Ctrl-C it cannot.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from jaxai.core.errors import InputError

FINAL = (0, 2, 3, 4, 130)
"""Exit codes that a restart does not change."""
MAX_FUTILE = 3
"""Crashes in a row, without a step saved between, after which a restart is refused."""


def supervise(command: Sequence[str], folder: Path, restarts: int) -> int:
    """Runs `command` until it ends well, at most `restarts` times again; gives its exit code.

    SIGTERM and SIGINT are passed on, and end the supervision once the child has saved and left.
    """
    if restarts < 0:
        raise InputError("--restarts", f"must not be negative, is {restarts}")
    told: list[int] = []
    waiting: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        told.append(number)
        waiting.append(number)
        send()

    def send() -> None:
        while child is not None and waiting:
            child.send_signal(waiting.pop())

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        futile = 0
        for attempt in range(restarts + 1):
            newest = _newest(folder)
            # A session of its own: the terminal's Ctrl-C reaches it once, through this process.
            child = subprocess.Popen(command, start_new_session=True)
            send()  # what came before there was a child to send it to
            code = child.wait()
            child = None
            code = code if code >= 0 else 128 - code
            if code in FINAL or told:
                return code
            futile = 0 if _newest(folder) != newest else futile + 1
            why = f"ended with exit code {code}"
            if futile == MAX_FUTILE:
                _say(f"{why}, {futile} times in a row without saving a step: not started again")
                return code
            if attempt == restarts:
                _say(f"{why}: no restart is left")
                return code
            pause = 2**futile - 1
            _say(f"{why}: restart {attempt + 1} of {restarts}" + (f" in {pause} s" if pause else ""))
            time.sleep(pause)
            if told:
                return 128 + told[0]
        raise AssertionError("the last attempt returns")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def child_command(arguments: Sequence[str]) -> list[str]:
    """The command line of the child: the same without `--restarts`."""
    kept = list(arguments)
    for i, argument in enumerate(kept):
        if argument == "--restarts":
            del kept[i : i + 2]
            break
        if argument.startswith("--restarts="):
            del kept[i]
            break
    return [sys.executable, "-m", "jaxai", *kept]


def _newest(folder: Path) -> int:
    """The newest saved step, by its seal; -1 where there is none."""
    steps = [-1]
    for seal in folder.glob("checkpoints/*/seal.json"):
        try:
            steps.append(int(json.loads(seal.read_text())["seal"]["step"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(steps)


def _say(text: str) -> None:
    print(f"jaxai: the run {text}", file=sys.stderr, flush=True)
