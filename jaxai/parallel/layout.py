"""What the training loop asks of a way to be parallel.

A `Parallel` is a declaration, a field of the experiment. `lay_out()` binds it to the devices of this machine and gives
a `Layout`. Whatever the layout, the state has the same global shapes, so layouts restore each other's checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax

from jaxai.core.errors import InputError

State = Any
Batch = Any
Device = Any


class Layout(Protocol):
    """Devices, the placement of the state on them, and the compilation of steps for them."""

    devices: Sequence[Device]
    num_shards: int
    """Into how many equal parts a batch is cut."""
    axis: str | None
    """The axis bound inside a step, over which it has to sum; None where the compiler does so."""

    @property
    def share(self) -> tuple[int, int]:
        """Which share of a batch this process reads, and how many there are; processes may read the same."""
        ...

    def init(self, create: Callable[..., State], *args: Any) -> State:
        """The state that `create(*args)` makes, born where it will live."""
        ...

    def abstract(self, state: State) -> State:
        """`state` (concrete or abstract) as shapes and dtypes with the shardings that a restored state needs."""
        ...

    def saveable(self, state: State) -> State:
        """`state` as arrays that a checkpoint can hold."""
        ...

    def place(self, state: State) -> State:
        """A state restored onto `abstract` as steps take it."""
        ...

    def send(self, batch: Batch, dim: int = 0) -> Batch:
        """A batch, or this process's share, on its way to the devices as steps take it, which is cut in `dim`."""
        ...

    def replicate(self, data: Any) -> Any:
        """Arrays of the host, whole on every device."""
        ...

    def own_share(self, x: jax.Array) -> jax.Array:
        """Of `x` [batch, ...], whole on every device, what the device at hand works on; inside a step."""
        ...

    @property
    def for_use(self) -> Callable[[Any], Any] | None:
        """Inside a step, brings parameters together from the devices that store them; None where each has all."""
        ...

    def compile_step(self, step: Callable[..., tuple[State, Any]], dim: int = 0) -> Callable[..., tuple[State, Any]]:
        """The compiled `step(state, shared, batch)`; it consumes its state.

        Each device has all of `shared`, and its share of the batch that `send` gave, which is cut in `dim`.
        """
        ...

    def lower_step(self, step: Callable[..., Any], state: State, shared: Any, batch: Batch, dim: int = 0) -> Any:
        """What `compile_step` compiles for these arguments, of which arrays may be abstract: a `jax.stages.Lowered`."""
        ...

    def compile_evaluation(self, step: Callable[[Any, Batch, Any], Any]) -> Callable[[Any, Batch, Any], Any]:
        """The compiled evaluation step `(variables, host batch, sums) -> sums`; it consumes its sums."""
        ...


class Parallel(Protocol):
    """A way to be parallel, as a value."""

    def lay_out(self, mapped: bool = False) -> Layout:
        """Binds to the devices; `mapped` asks that a batch is cut by an axis bound inside the step.

        Raises InputError where the devices do not fit.
        """
        ...


def all_devices() -> list[Device]:
    """The job's devices, process by process: so a process's share of a batch is one slice."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def choose_devices(num_devices: int | None, field: str) -> list[Device]:
    """The first `num_devices` of this job's devices, or all."""
    devices = all_devices()
    if num_devices is None:
        return devices
    if not 1 <= num_devices <= len(devices):
        raise InputError(field, f"{num_devices} devices are asked for, {len(devices)} are here", f"1 to {len(devices)}")
    if jax.process_count() > 1 and num_devices < len(devices):
        what = f"{num_devices} of {len(devices)} devices leave some of {jax.process_count()} processes without"
        raise InputError(field, what, "several processes use all")
    return devices[:num_devices]


def in_lockstep(devices: Sequence[Device], compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Lets one call finish before the next is dispatched, where that is needed.

    Several CPU devices in one process share one pool of threads; collectives of steps in flight at once can wait for
    each other's threads for ever. Real accelerators have queues of their own and are left alone.
    """
    if len(devices) == 1 or devices[0].platform != "cpu":
        return compiled
    return lambda *args: jax.block_until_ready(compiled(*args))
