"""Trains one step and says so: what `startup.py` times. Usage: first_step.py digits|NAME, a function of `workloads`."""

from __future__ import annotations

import sys
from pathlib import Path


def main(name: str) -> None:
    import jax

    import jaxai

    if name == "digits":
        experiment = jaxai.load(Path(__file__).parent.parent / "experiments" / "digits_convnet.py")
    else:
        import workloads

        experiment = getattr(workloads, name)()
    info = next(jaxai.steps(experiment))
    jax.block_until_ready(info.state)
    print("stepped", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
