"""Keeps the memory that a step has freed, so that the next does not have to ask the system for it page by page."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

from jaxai.core.errors import InputError, did_you_mean

SWITCH = "JAXAI_ALLOCATOR"
_CHOICES = ("warm", "system")
#: glibc's parameters (malloc.h), each with a value.
_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: large buffers come from the heap, which keeps them, not from mappings of their own
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: the heap never shrinks
    (-2, 64 * 2**20),  # M_TOP_PAD: it grows in steps of 64 MiB
    (-8, 1),  # M_ARENA_MAX: all threads share one
)


@functools.cache
def keep_warm() -> bool:
    """Has glibc keep freed memory for the rest of this process; whether it could, which elsewhere it cannot.

    The environment variable `JAXAI_ALLOCATOR=system` leaves everything as it is. Raises InputError for another value.
    """
    chosen = os.environ.get(SWITCH, "warm")
    if chosen not in _CHOICES:
        raise InputError(SWITCH, f"is {chosen!r}", did_you_mean(chosen, _CHOICES))
    if chosen == "system" or sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, such as musl
        return False
    return min(mallopt(parameter, value) for parameter, value in _SETTINGS) == 1
