"""Floating-point operations of a step, and the share of what the devices could do that they come to."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.interpreters import partial_eval

#: What a device of a kind (the beginning of JAX's name for it) does at most in bfloat16, dense, FLOP/s, by its maker's
#: data sheet. Of TPU v2 and v3 a device is one of a chip's two cores. V100 and T4 have float16 instead.
PEAKS: tuple[tuple[str, float], ...] = (
    ("NVIDIA B200", 2250e12),
    ("NVIDIA H200", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H100", 989e12),
    ("NVIDIA A100", 312e12),
    ("NVIDIA L40S", 362e12),
    ("NVIDIA L4", 121e12),
    ("Tesla V100", 125e12),
    ("Tesla T4", 65e12),
    ("TPU v6 lite", 918e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5e", 197e12),
    ("TPU v5p", 459e12),
    ("TPU v5", 459e12),
    ("TPU v4", 275e12),
    ("TPU v3", 61.5e12),
    ("TPU v2", 22.5e12),
)


def peak(devices: Sequence[Any]) -> float | None:
    """FLOP/s of all `devices` at most; None where a kind is not known."""
    found = [next((most for kind, most in PEAKS if device.device_kind.startswith(kind)), None) for device in devices]
    return None if None in found else sum(most for most in found if most is not None)


def model_flops(fn: Callable[..., Any], *args: Any) -> float:
    """Multiplications and additions in the products and convolutions of `fn(*args)`, traced abstractly.

    As model FLOPs utilization counts them (Chowdhery et al. 2022, "PaLM", appendix B), loops as often as they run; what
    nothing needs is left out, what remat computes again is not. XLA's own analysis has what stands in a loop once.
    """
    made = jax.make_jaxpr(fn)(*args).jaxpr
    return _count(partial_eval.dce_jaxpr(made, [True] * len(made.outvars))[0])


def _count(jaxpr: Any) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        if eqn.primitive.name == "dot_general":
            total += _of_product(eqn)
        elif eqn.primitive.name == "conv_general_dilated":
            total += _of_convolution(eqn)
        inner = [_count(sub) for sub in _inner(eqn)]
        total += times * (max(inner, default=0.0) if eqn.primitive.name == "cond" else sum(inner))
    return total


def _inner(eqn: Any) -> list[Any]:
    found = []
    for name, value in eqn.params.items():
        if name == "cond_jaxpr":  # of a loop, which counts
            continue
        for each in value if isinstance(value, (tuple, list)) else (value,):
            each = getattr(each, "jaxpr", each)
            if hasattr(each, "eqns"):
                found.append(each)
    return found


def _of_product(eqn: Any) -> float:
    (over, _), _ = eqn.params["dimension_numbers"]
    lhs = eqn.invars[0].aval.shape
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(lhs[dim] for dim in over)


def _of_convolution(eqn: Any) -> float:
    """Of every place of the window, also over padding."""
    spec, kernel = eqn.params["dimension_numbers"].rhs_spec, eqn.invars[1].aval.shape
    # Its second dim has the features that one output sums over, whatever the groups.
    summed = math.prod(kernel[dim] for dim in spec[1:])
    # Between the values of what is stretched, as in the gradient of a strided one, lie zeros.
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * summed / math.prod(eqn.params["lhs_dilation"])


class Utilization:
    """What a rate of steps comes to: tokens a second, and the share of the devices' peak (`mfu`) where that is known.

    Counting takes as long as tracing does, so a thread does it while the step is compiled.
    """

    def __init__(self, count: Callable[[], float], devices: Sequence[Any], tokens: int | None):
        self._count, self._peak, self._tokens = count, peak(devices), tokens
        self._flops: float | None = None

    def start(self) -> None:
        if self._peak is not None:
            threading.Thread(target=self._run, name="jaxai flops", daemon=True).start()

    def _run(self) -> None:
        self._flops = self._count()

    def rates(self, steps_per_second: float) -> dict[str, float]:
        """By name, for a record."""
        found = {}
        if self._tokens is not None:
            found["tokens_per_second"] = steps_per_second * self._tokens
        if self._flops is not None and self._peak is not None:
            found["mfu"] = steps_per_second * self._flops / self._peak
        return found
