"""Freed memory stays with the process, unless the switch says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

IS_GLIBC = sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names
PROBE = """
import ctypes, sys
from jaxai.core.allocator import keep_warm
print(keep_warm())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 200 * 2**20
address = libc.malloc(size)
ctypes.memset(address, 1, size)
libc.free(address)
print(int(open("/proc/self/statm").read().split()[1]) * 4096 > size)
"""


def probe(choice):
    environment = os.environ | {"JAXAI_ALLOCATOR": choice}
    return subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("choice", "kept"), [("warm", "True"), ("system", "False")])
def test_a_large_buffer_stays_mapped(choice, kept):
    """Where the C library is glibc; with another nothing is claimed."""
    found = probe(choice).stdout.split()
    assert found == [kept, kept] if IS_GLIBC else found[0] == "False"


def test_another_choice_is_refused():
    assert "JAXAI_ALLOCATOR: is 'worm' (did you mean 'warm'?)" in probe("worm").stderr
