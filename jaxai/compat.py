"""What differs between the JAX versions that jaxai runs on, and the process-wide switches that a run sets."""

from __future__ import annotations

import os
from pathlib import Path

import jax


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
