"""How long does saving 128 MiB of state hold training up, and how long until the state is on the disk, and sealed?

Method: a state of 8 float32 arrays of 16 MiB, on the device, is saved by jaxai into a temporary folder (`TMPDIR`
chooses the disk) and waited for; in turns with it, the same bytes are written to one new file beside it in plain blocks
and fsynced, and hashed in memory by sha256, which no seal can be faster than. The stall is the time until the call to
save returns and training would go on. The seal reads everything back, hashes and fsyncs it; then the step before is
deleted: both in the background, which is why nothing is pinned.

Targets: a stall of at most 30 ms; written in at most 1.4 times what writing and fsyncing the bytes takes; sealed in at
most 1 s a GB more.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Figure, Target, alternate, parse, ratios, report

MIB = 2**20
ARRAYS = 8


def main() -> None:
    options = parse(__doc__, rounds=15, cores=None)
    side = 256 if options.smoke else 2048
    with tempfile.TemporaryDirectory() as folder:
        saves = Saves(Path(folder), side)
        contenders = {"raw": saves.raw, "sha256": saves.sha256, "jaxai": saves.save}
        seconds = alternate(contenders, rounds=options.rounds, warm_up=2)
    stalls, seals, deletions = (of[-options.rounds :] for of in (saves.stalls, saves.seals, saves.deletions))
    seconds["saved"] = [whole - deletion for whole, deletion in zip(seconds["jaxai"], deletions, strict=True)]
    gigabytes = ARRAYS * side * side * 4 / 1e9
    seconds["written"] = [whole - seal for whole, seal in zip(seconds["saved"], seals, strict=True)]
    millis = {name: [value * 1e3 for value in values] for name, values in seconds.items()}
    figures = [
        Figure(
            name="stall of training", unit="ms", values=[s * 1e3 for s in stalls], target=Target(sign="<=", bound=30)
        ),
        Figure(name="until written", unit="ms", values=millis["written"]),
        Figure(name="until sealed: saved", unit="ms", values=millis["saved"]),
        Figure(name="then, to delete the step before", unit="ms", values=[s * 1e3 for s in deletions]),
        Figure(name="raw write and fsync", unit="ms", values=millis["raw"]),
        Figure(
            name="until written, to raw",
            unit="x",
            values=ratios(millis, "written", "raw"),
            target=Target(sign="<=", bound=1.4),
        ),
        Figure(
            name="the seal, a GB",
            unit="s",
            values=[seal / gigabytes for seal in seals],
            target=Target(sign="<=", bound=1),
        ),
        Figure(name="sha256 in memory, a GB", unit="s", values=[s / gigabytes for s in seconds["sha256"]]),
    ]
    report("checkpoint", options, figures, {"state_mib": ARRAYS * side * side * 4 / MIB, "arrays": ARRAYS})


class Saves:
    """The same state, written by both contenders into `folder`."""

    def __init__(self, folder: Path, side: int):
        import jax
        import jax.numpy as jnp

        from jaxai import Checkpoints
        from jaxai.training import saving, seal
        from jaxai.training.state import TrainState

        params = {str(i): jax.random.normal(jax.random.key(i), (side, side)) for i in range(ARRAYS)}
        self._state = TrainState(step=jnp.int32(0), params=params, frozen={}, model_state={}, opt_state=(), ema=None)
        jax.block_until_ready(self._state)
        self._saver = saving.Saver(folder / "checkpoints", Checkpoints())
        self._file = folder / "raw"
        self._step = 0
        self.stalls: list[float] = []
        self.seals = _time_calls(seal, "write")
        self.deletions = _time_calls(saving.Saver, "_retain")

    def save(self) -> float:
        """Seconds until saved and the step before deleted; the parts are kept."""
        from jaxai.training.saving import Job

        self._step += 1
        job = Job(self._step, 0, {}, {}, "", keep=lambda steps: set(steps[-1:]))
        began = time.perf_counter()
        self._saver.save(job, self._state)
        self.stalls.append(time.perf_counter() - began)
        self._saver.wait()
        seconds = time.perf_counter() - began
        saved, failures = self._saver.news()
        assert (saved, failures) == ([self._step], [])
        _settle()
        return seconds

    def sha256(self) -> float:
        """Seconds to hash the bytes of the arrays where they lie."""
        import hashlib

        import numpy as np

        arrays: list[Any] = [np.asarray(array) for array in self._state.params.values()]
        began = time.perf_counter()
        for array in arrays:
            hashlib.sha256(memoryview(array).cast("B")).hexdigest()
        return time.perf_counter() - began

    def raw(self) -> float:
        """Seconds to write the bytes of the arrays to a new file and to fsync it."""
        import numpy as np

        arrays: list[Any] = [np.asarray(array) for array in self._state.params.values()]
        began = time.perf_counter()
        with self._file.open("wb", buffering=0) as file:
            for array in arrays:
                file.write(memoryview(array).cast("B"))
            os.fsync(file.fileno())
        seconds = time.perf_counter() - began
        self._file.unlink()
        _settle()
        return seconds


def _time_calls(owner: Any, name: str) -> list[float]:
    """The list that grows by the seconds of every call of `owner`'s function from now on."""
    seconds: list[float] = []
    function = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> None:
        began = time.perf_counter()
        function(*args, **kwargs)
        seconds.append(time.perf_counter() - began)

    setattr(owner, name, timed)
    return seconds


def _settle() -> None:
    """Lets the disk finish what one contender has left, so that the next does not pay for it."""
    os.sync()


if __name__ == "__main__":
    main()
