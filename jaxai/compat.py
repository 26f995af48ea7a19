"""What differs between the JAX versions that jaxai runs on, and the process-wide switches that a run sets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from jaxai.core.errors import InputError


def cache_folder() -> Path:
    """The user's cache folder for jaxai."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxai"


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, so that a second start skips compiling.

    Leaves alone whoever has configured JAX's own cache, by `jax_compilation_cache_dir` or its environment variable.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@contextlib.contextmanager
def coordinated_through(way: Callable[[str], str]) -> Iterator[None]:
    """Has JAX's client, if it is made meanwhile, reach the coordination service by `way(its address)`."""
    from jax._src import distributed  # `initialize` alone knows, of a cluster, where the service is

    library, name = vars(distributed)["_jax"], "get_distributed_runtime_client"
    make = getattr(library, name)
    setattr(library, name, lambda address, *args, **options: make(way(address), *args, **options))
    try:
        yield
    finally:
        setattr(library, name, make)


def process_number() -> int:
    """Which process of its job this is, before JAX tells: asked, it would start the devices."""
    from jax._src import distributed

    return distributed.global_state.process_id


def coordination() -> Any:
    """The client of the job's coordination service, a store of keys and values; None in a job of one process."""
    from jax._src import distributed  # the store has no public name in any version

    return distributed.global_state.client


def be_deterministic() -> None:
    """Has XLA choose deterministic kernels on GPUs; raises InputError if devices are in use without."""
    from jax._src import xla_bridge  # whether backends exist yet has no public name

    flag = "--xla_gpu_deterministic_ops=true"
    flags = os.environ.get("XLA_FLAGS", "")
    if flag in flags.split():
        return
    if not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
    elif jax.default_backend() == "gpu":
        what = "the GPU is in use already, without deterministic operations"
        raise InputError("reproducible", what, f"set XLA_FLAGS={flag} before starting")
