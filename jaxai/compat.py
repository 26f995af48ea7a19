"""What differs between the JAX versions that jaxai runs on, and the process-wide switches that a run sets."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax

from jaxai.core.errors import InputError

_log = logging.getLogger("jaxai")
_within_a_form: ContextVar[bool] = ContextVar("within_a_form", default=False)


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


def multiplies_bfloat16() -> bool:
    """Whether any product of bfloat16 can give float32 on the device in use; on CPUs JAX 0.7 has none for one row."""
    return jax.__version_info__ >= (0, 8) or jax.default_backend() != "cpu"


def sums_by_library() -> bool:
    """Whether a sum, with the operation before it, is a call of a library that reads from memory: on CPUs, of late."""
    return jax.__version_info__ >= (0, 8) and jax.default_backend() == "cpu"


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


def pretend_devices(count: int) -> None:
    """Has JAX see `count` CPU devices and no others; raises InputError where it has looked for devices already."""
    from jax._src import xla_bridge  # whether backends exist yet has no public name

    if xla_bridge.backends_are_initialized():
        raise InputError("--devices", "JAX is in use already in this process", "in a process of its own")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)  # stronger than XLA_FLAGS


def be_deterministic() -> None:
    """Has XLA choose deterministic kernels on GPUs, and cut them for a fixed number of threads on CPUs.

    By default there are as many threads as cores or devices, whichever are more, and XLA splits the sums of larger
    convolutions among them. Raises InputError if a GPU is in use without; of a CPU, warns.
    """
    from jax._src import xla_bridge  # whether backends exist yet has no public name

    flag, threads = "--xla_gpu_deterministic_ops=true", "8"
    flags = os.environ.get("XLA_FLAGS", "").split()
    if not xla_bridge.backends_are_initialized():
        os.environ["XLA_FLAGS"] = " ".join([*flags, *([] if flag in flags else [flag])])
        os.environ["PJRT_NPROC"] = threads
    elif jax.default_backend() == "gpu" and flag not in flags:
        what = "the GPU is in use already, without deterministic operations"
        raise InputError("reproducible", what, f"set XLA_FLAGS={flag} before starting")
    elif jax.default_backend() == "cpu" and os.environ.get("PJRT_NPROC") != threads:
        _log.warning(
            "jaxai: warning: reproducible: JAX is in use already: another number of devices may give other bits"
            " (set PJRT_NPROC=%s before starting)",
            threads,
        )


def replace_lowering(
    primitive: Any, platform: str, choose: Callable[[list[Any], Any, dict[str, Any], int], Callable[..., Any] | None]
) -> None:
    """Has JAX lower `primitive` on `platform` as the function that `choose` gives, or as ever where it gives None.

    `choose(abstract arguments, abstract result, parameters, number of devices that the compiler cuts the program for)`.
    What such a function is made of is lowered as ever.
    """
    from jax._src import sharding_impls  # the contexts have no public names
    from jax._src.interpreters import mlir  # nor has the table of rules

    table = mlir._platform_specific_lowerings[platform]
    found = table[primitive] if primitive in table else mlir._lowerings[primitive]
    usual: Any = getattr(found, "rule", found)

    def num_parts(context: Any) -> int:
        if isinstance(context, sharding_impls.SPMDAxisContext):
            return 1 if set(context.manual_axes) == set(context.mesh.axis_names) else context.mesh.size
        return getattr(context, "num_devices", None) or 1

    def rule(ctx: Any, *args: Any, **params: Any) -> Any:
        form = None
        if not _within_a_form.get():
            form = choose(list(ctx.avals_in), ctx.avals_out[0], params, num_parts(ctx.module_context.axis_context))
        if form is None:
            return usual(ctx, *args, **params)
        token = _within_a_form.set(True)
        try:
            return mlir.lower_fun(form, multiple_results=False)(ctx, *args)
        finally:
            _within_a_form.reset(token)

    mlir.register_lowering(primitive, rule, platform=platform)
