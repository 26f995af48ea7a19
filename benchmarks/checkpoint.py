"""How long does saving 128 MiB of state hold training up, and how long until the state is safe on the disk?

Method: a state of 8 float32 arrays of 16 MiB, on the device, is saved by jaxai's checkpointer into a temporary folder
(`TMPDIR` chooses the disk) and waited for; in turns with it, the same bytes are written to one new file beside it in
plain blocks and fsynced. The stall is the time until the call to save returns and training would go on. What was
written is deleted between the rounds, untimed. Not pinned: saving works in the background.

Targets: a stall of at most 30 ms; durable in at most 1.4 times what writing and fsyncing the bytes takes.
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
        contenders = {"raw": saves.raw, "jaxai": saves.save}
        seconds = alternate(contenders, rounds=options.rounds, warm_up=2)
        saves.close()
    stalls = saves.stalls[-options.rounds :]
    millis = {name: [value * 1e3 for value in values] for name, values in seconds.items()}
    figures = [
        Figure(
            name="stall of training", unit="ms", values=[s * 1e3 for s in stalls], target=Target(sign="<=", bound=30)
        ),
        Figure(name="until durable", unit="ms", values=millis["jaxai"]),
        Figure(name="raw write and fsync", unit="ms", values=millis["raw"]),
        Figure(
            name="until durable, to raw",
            unit="x",
            values=ratios(millis, "jaxai", "raw"),
            target=Target(sign="<=", bound=1.4),
        ),
    ]
    report("checkpoint", options, figures, {"state_mib": ARRAYS * side * side * 4 / MIB, "arrays": ARRAYS})


class Saves:
    """The same state, written by both contenders into `folder`."""

    def __init__(self, folder: Path, side: int):
        import jax
        import jax.numpy as jnp

        from jaxai.training.checkpoint import Checkpointer
        from jaxai.training.state import TrainState

        params = {str(i): jax.random.normal(jax.random.key(i), (side, side)) for i in range(ARRAYS)}
        self._state = TrainState(step=jnp.int32(0), params=params, frozen={}, model_state={}, opt_state=(), ema=None)
        jax.block_until_ready(self._state)
        self._checkpointer = Checkpointer(folder / "checkpoints")
        self._file = folder / "raw"
        self._step = 0
        self.stalls: list[float] = []

    def save(self) -> float:
        """Seconds until durable; the stall is kept."""
        self._step += 1
        began = time.perf_counter()
        self._checkpointer.save(self._step, self._state, 0, {})
        self.stalls.append(time.perf_counter() - began)
        self._checkpointer.wait()
        seconds = time.perf_counter() - began
        self._checkpointer.delete_all_but(set())
        _settle()
        return seconds

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

    def close(self) -> None:
        self._checkpointer.close()


def _settle() -> None:
    """Lets the disk finish what one contender has left, so that the next does not pay for it."""
    os.sync()


if __name__ == "__main__":
    main()
