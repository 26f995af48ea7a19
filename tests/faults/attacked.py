"""The process that reads hostile checkpoints: says of each what came of it, and what was opened on the way."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import resource
import shutil
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SECRET = 1234.5
"""The only value in the arrays outside."""
MAX_BYTES = 6 * 2**30
_IN_OPEN = 0x20


class Watch:
    """Whether anything in a folder tree is opened, by whatever thread or library."""

    def __init__(self, folder: Path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        self._folders = {}
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            number = libc.inotify_add_watch(self._descriptor, os.fsencode(inner), _IN_OPEN)
            assert number >= 0, os.strerror(ctypes.get_errno())
            self._folders[number] = inner
        self.opened()

    def opened(self) -> list[str]:
        """What has been opened since this was last asked."""
        found = []
        try:
            while data := os.read(self._descriptor, 65536):
                while data:
                    number, _, _, length = struct.unpack_from("iIII", data)
                    name = data[16 : 16 + length].rstrip(b"\0").decode()
                    found.append(str(self._folders[number] / name))
                    data = data[16 + length :]
        except BlockingIOError:
            pass
        return found


def attack(base: str, names: list[str]) -> int:
    """A job: the cases `names` on copies of the run `base`/run; a line of JSON before and after each."""
    from jaxai.training.initial import initialize, load_start
    from jaxai.training.keeper import digest
    from jaxai.training.setup import set_up

    from . import hostile, planting
    from .small import bits, make_experiment

    def started(state: Any, run: Path) -> Any:
        return initialize(state, load_start(state, str(run))[0]).params

    folder, secret, run = Path(base), Path(base) / "secret", Path(base) / "now"
    setup = set_up(make_experiment())
    planting.DIGEST, planting.MARKER = digest(setup.config), f"{base}/marker"
    true_state = bits(resume(folder / "run", setup).state)
    fresh = setup.layout.init(setup.create, setup.example)
    true_params = bits(started(fresh, folder / "run"))
    watch = Watch(secret)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MAX_BYTES, resource.RLIM_INFINITY))
    for name in names:
        print(json.dumps({"begins": name}), flush=True)
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(folder / "run", run)
        hostile.CASES[name](run / "checkpoints" / "3", secret)
        watch.opened()
        said: dict[str, Any] = {"case": name}
        began, before = time.monotonic(), _reset_peak()
        for way, read, true in (
            ("resume", lambda: resume(run, setup).state, true_state),
            ("params", lambda: started(fresh, run), true_params),
        ):
            said[way] = tried(read, lambda loaded, true=true: bits(loaded) == true)
        if "true" in said["resume"] and name.startswith(("data: ", "meta: ")):
            said["resume"] = tried(lambda: go_on(run), lambda losses: bool(np.isfinite(losses).all()))
        said |= {
            "seconds": time.monotonic() - began,
            "megabytes": (_peak() - before) // 2**10,
            "opened": watch.opened(),
            "marker": Path(planting.MARKER).exists(),
        }
        print(json.dumps(said), flush=True)
    return 0


def evaluate(name: str, run: str, secret: str) -> int:
    """A job: `jaxai evaluate` of a run after a case."""
    from jaxai import __main__

    from . import hostile

    hostile.CASES[name](Path(run) / "checkpoints" / "3", Path(secret))
    file = Path(f"{run}_experiment.py")
    file.write_text("from tests.faults.small import make_experiment as get_config\n")
    sys.argv = ["jaxai", "evaluate", run, "--allow", str(file)]
    return __main__.main()


def tried(read: Callable[[], Any], is_true: Callable[[Any], bool]) -> dict[str, Any]:
    """What reading came to: the refusal's line, an error that is none, or whether what was loaded is the truth."""
    from jaxai.core import tree
    from jaxai.core.errors import JaxaiError

    try:
        loaded = read()
    except JaxaiError as error:
        return {"refused": str(error), "kind": type(error).__name__}
    except BaseException as error:
        return {"broke": f"{type(error).__name__}: {error}"[:500]}
    secret = any((np.asarray(leaf) == SECRET).any() for leaf in tree.flatten(loaded).values())
    return {"true": is_true(loaded), "secret": bool(secret)}


def resume(run: Path, setup: Any) -> Any:
    """What a run started again goes on from."""
    from jaxai.training.keeper import Keeper

    restored = Keeper(run / "checkpoints", setup, None, lambda _: None).newest()
    if restored is None:
        from jaxai.core.errors import InputError

        raise InputError(str(run), "has no checkpoint: the run begins anew")
    return restored


def go_on(run: Path) -> list[float]:
    """The losses of the steps to the end."""
    import jaxai

    from .small import make_experiment

    return [float(info.metrics()["loss"]) for info in itertools.islice(jaxai.steps(make_experiment(), run), 6)]


def _reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most memory resident so far, in KiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
