"""Reading an experiment: from the Python file that declares it, or from the JSON that a run wrote."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.variant import split_variant
from jaxai.experiment.declaration import Experiment
from jaxai.experiment.json import EXPERIMENT_MODULE, decode


def load(path: str | Path, allow: Sequence[str] = ()) -> Experiment:
    """The experiment that `path` declares: `get_config()` of a Python file, or a run's `config.json`.

    `FILE.py:NAME` is what the function NAME of the file gives, a variant of its experiment. `allow` names modules or
    experiment files, besides jaxai, flax and optax, whose classes JSON may construct.
    Raises InputError in one line for whatever is wrong with the file.
    """
    path, variant = split_variant(path)
    if path.is_dir() and (path / "config.json").exists():
        path = path / "config.json"
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.py"))
        raise InputError(str(path), "is a folder, and holds no run", f"such as {path / inside[0]}" if inside else "")
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise InputError(str(path), "no such file", did_you_mean(path.name, beside) if beside else "")
    if path.suffix == ".json":
        return _from_json(path, allow)
    if path.suffix != ".py":
        raise InputError(str(path), "is no experiment", "a .py file with get_config(), or a run's config.json")
    module = execute(path)
    experiment = _guarded(path, _function(path, module, variant))
    if not isinstance(experiment, Experiment):
        raise InputError(str(path), f"{variant}() gives {type(experiment).__name__}, not an Experiment")
    return experiment


def _function(path: Path, module: Any, name: str) -> Any:
    """The function `name` of the file, or InputError with the nearest name."""
    found = getattr(module, name, None)
    if not callable(found):
        fix = did_you_mean(name, [other for other in vars(module) if not other.startswith("_")])
        raise InputError(str(path), f"has no function {name}()", fix if "did" in fix else "")
    return found


def execute(path: Path) -> Any:
    """Runs a Python file that the user named, and gives it as a module: the only place that runs anybody's code."""
    name = EXPERIMENT_MODULE + path.stem
    loader = _AsItIs(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Registered, so that its classes can be found again by name; its folder, so that it can import its neighbours.
    sys.modules[name] = module
    # What it defines reaches worker processes by value: they cannot import it by its name.
    cloudpickle.register_pickle_by_value(module)
    if str(path.parent.resolve()) not in sys.path:
        sys.path.append(str(path.parent.resolve()))
    _guarded(path, lambda: loader.exec_module(module))
    return module


class _AsItIs(importlib.machinery.SourceFileLoader):
    """Compiles the file anew: bytecode, known by whole seconds, may be an older file's, and would be left beside it."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _guarded(path: Path, run: Any) -> Any:
    """`run()`, with its exceptions turned into one line that names the line of the file."""
    try:
        return run()
    except InputError as error:
        raise InputError(f"{path}: {error.field}", error.what, error.fix) from error
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}", f"SyntaxError: {error.msg}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise InputError(where, f"{type(error).__name__}: {error}") from error


def _from_json(path: Path, allow: Sequence[str]) -> Experiment:
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(str(path), f"is not readable JSON: {error}") from error
    names, live = [name for name in allow if split_variant(name)[0].suffix != ".py"], None
    for name in set(allow) - set(names):
        file, variant = split_variant(name)
        module = execute(file)
        names.append(module.__name__)
        live = _guarded(path, getattr(module, variant)) if hasattr(module, variant) else live
    try:
        experiment = decode(data, names, live=live)
    except InputError as error:
        beside = sorted(path.parent.glob("*.py"))
        fix = error.fix.replace("RUN/NAME.py", str(beside[0])) if beside else error.fix
        raise InputError(f"{path}: {error.field}", error.what, fix) from error
    if not isinstance(experiment, Experiment):
        raise InputError(str(path), "is not an experiment's JSON")
    return experiment
