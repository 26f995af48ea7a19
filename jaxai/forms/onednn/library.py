"""Finds oneDNN, compiles what calls it, and makes that known to XLA."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from jaxai import compat
from jaxai.core.errors import InputError, did_you_mean

SWITCH = "JAXAI_ONEDNN"
_CHOICES = ("auto", "off")
_SOURCE = Path(__file__).with_name("calls.cc")
_TARGETS = ("jaxai_convolution", "jaxai_product")
_log = logging.getLogger("jaxai")


@functools.cache
def is_ready() -> bool:
    """Whether XLA can call oneDNN from here on; if it is installed and cannot, says why.

    The environment variable `JAXAI_ONEDNN=off` goes without it. Raises InputError for another value.
    """
    chosen = os.environ.get(SWITCH, "auto")
    if chosen not in _CHOICES:
        raise InputError(SWITCH, f"is {chosen!r}", did_you_mean(chosen, _CHOICES))
    if chosen == "off" or sys.platform != "linux" or _file("onednn-devel", "dnnl.hpp") is None:
        return False
    try:
        _load()
    except (OSError, _Fault) as error:
        _log.info("jaxai: convolutions and products are XLA's, not oneDNN's: %s", error)
        return False
    return True


@functools.cache
def has_bfloat16() -> bool:
    """Whether oneDNN computes in bfloat16 on this processor: with AVX-512."""
    return "avx512bw" in Path("/proc/cpuinfo").read_text()


class _Fault(Exception):
    """Why oneDNN cannot be called."""


def _load() -> None:
    """Registers the calls; raises _Fault or OSError where that cannot be."""
    runtime = _file("intel-opencl-rt", "libintelocl.so")
    if runtime is not None:  # by which oneDNN finds the processor
        os.environ.setdefault("OCL_ICD_FILENAMES", str(runtime))
    library = ctypes.CDLL(str(_built()))
    library.jaxai_onednn_fault.restype = ctypes.c_char_p
    fault = library.jaxai_onednn_fault()
    if fault is not None:
        raise _Fault(fault.decode())
    for name in _TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")


def _built() -> Path:
    """`calls.cc` as a library, compiled unless it is in the cache folder."""
    header, shared = _file("onednn-devel", "dnnl.hpp"), _file("onednn", "libdnnl.so")
    if header is None or shared is None:
        raise _Fault("the wheel onednn is not complete")
    # The runtime libraries lie beside oneDNN, which is found by the older kind of path for those that it needs too.
    options = ["-O2", "-std=c++17", "-shared", "-fPIC", "-w"]
    options += [f"-I{header.parent}", f"-I{jax.ffi.include_dir()}", f"-L{shared.parent}", "-ldnnl"]
    options += [f"-Wl,--disable-new-dtags,-rpath,{shared.parent}", "-Wl,--allow-shlib-undefined"]
    versions = [importlib.metadata.version(name) for name in ("jaxlib", "onednn")]
    key = hashlib.sha256("\0".join([_SOURCE.read_text(), *versions, *options]).encode()).hexdigest()[:32]
    folder = compat.cache_folder() / "onednn"
    built = folder / f"{key}.so"
    if built.exists():
        return built
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise _Fault("there is no C++ compiler (install g++, or set CXX)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / built.name
        command = [compiler, str(_SOURCE), "-o", str(made), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _Fault(f"{compiler} fails: {(done.stderr.strip().splitlines() or ['no output'])[0][:200]}")
        made.replace(built)  # other processes may do the same
    return built


def _file(distribution: str, name: str) -> Path | None:
    """A file of an installed distribution, by its name; the outermost, where folders repeat it."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(each.locate())).resolve() for each in files if each.name == name]
    return min(found, key=lambda path: len(path.parts), default=None)
