"""Experiments to and from JSON: every run writes the resolved experiment and can be rebuilt from it.

Only values are written: dataclasses (Flax modules are dataclasses) by class name and fields, `Call`s by function name,
durations as text. Reading back constructs nothing but dataclasses and functions that *live* in an allowed module: the
name in the file is looked up, and what is found must say itself that it was defined there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from jaxai.core import duration
from jaxai.core.call import Call, public_name
from jaxai.core.errors import InputError

ALLOWED = ("jaxai", "flax", "optax")
#: Where a function may live that is called when the experiment is set up: `flax.io.rmtree` must not be one.
CALLED = ("jaxai.optim", "optax")
EXPERIMENT_MODULE = "jaxai_experiment_"
_FLAX_PRIVATE = {"parent", "name"}


def encode(value: Any) -> Any:
    """`value` as JSON-able data; live objects (arrays in memory) as a fingerprint that cannot be rebuilt."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, duration.Duration):
        return {"$duration": str(value)}
    if isinstance(value, Call):
        return {"$call": public_name(value.fn), "kwargs": encode(value.kwargs)}
    if isinstance(value, Mapping):
        return {"$dict": {str(key): encode(item) for key, item in value.items()}}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return {"$dtype": np.dtype(value).name}
    if isinstance(value, type) and isinstance(getattr(value, "dtype", None), np.dtype):
        return {"$dtype": value.dtype.name}  # jnp.bfloat16 and its kin are no numpy types
    arrays = getattr(value, "arrays", None)
    if isinstance(arrays, Mapping):
        return {"$live": public_name(type(value)), "sha256": _fingerprint(arrays)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"$class": public_name(type(value)), **{name: encode(getattr(value, name)) for name in _fields(value)}}
    if inspect.isroutine(value) or isinstance(value, type):
        return {"$function": public_name(value)}
    return {"$live": public_name(type(value))}


def decode(data: Any, allow: Sequence[str] = (), field: str = "config", live: Any = None) -> Any:
    """Undoes `encode`; raises InputError.

    `allow` names further modules whose classes may be constructed; `live` is an experiment, or a part of one, from
    whose same places objects are taken that JSON cannot rebuild, such as a dataset of the user's own class.
    """

    def inner(item: Any, name: Any) -> Any:
        return decode(item, allow, f"{field}.{name}", _part(live, name))

    if isinstance(data, list):
        return tuple(inner(item, i) for i, item in enumerate(data))
    if not isinstance(data, dict):
        return data
    try:
        if "$live" in data:
            if live is None or public_name(type(live)) != data["$live"]:
                what = f"held a {data['$live']} in memory, which JSON alone cannot rebuild"
                raise InputError(field, what, "if you trust the run's experiment file: --allow RUN/NAME.py")
            return live
        if "$duration" in data:
            return _duration(data["$duration"], field)
        if "$dict" in data:
            return {key: inner(item, key) for key, item in data["$dict"].items()}
        if "$dtype" in data:
            return np.dtype(data["$dtype"]).type
        if "$function" in data:
            return _find(data["$function"], allow, field)
        if "$call" in data:
            return Call(_find(data["$call"], allow, field, CALLED), **inner(data["kwargs"], "kwargs"))
        if "$class" not in data:
            raise InputError(field, "has no $class, so it cannot be rebuilt")
        fields = {name: inner(item, name) for name, item in data.items() if name != "$class"}
        return _find(data["$class"], allow, field, dataclass=True)(**fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(field, f"cannot be rebuilt: {error}") from error


def _part(whole: Any, name: Any) -> Any:
    """The field, entry or item called `name`, or None."""
    if isinstance(whole, Mapping):
        return whole.get(name)
    if isinstance(whole, (tuple, list)):
        return whole[name] if isinstance(name, int) and name < len(whole) else None
    return getattr(whole, str(name), None)


def differences(old: Any, new: Any, field: str = "") -> list[tuple[str, str, str]]:
    """(field, old, new) wherever two encoded experiments differ."""
    if isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new):
        names = [*old, *(name for name in new if name not in old)]
        hidden = ("$dict", "kwargs")
        inner = [differences(old.get(n), new.get(n), field if n in hidden else f"{field}.{n}") for n in names]
        return [difference for part in inner for difference in part]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{field}.{i}")]
    return [] if old == new else [(field.lstrip("."), short(old), short(new))]


def _duration(text: str, field: str) -> duration.Duration:
    try:
        return duration.parse(text)
    except InputError as error:
        raise InputError(field, f"{error.field} {error.what}", error.fix) from error


def _fields(value: Any) -> list[str]:
    private = _FLAX_PRIVATE if isinstance(value, nn.Module) else set()
    return [f.name for f in dataclasses.fields(value) if f.init and f.name not in private]


def _find(name: str, allow: Sequence[str], field: str, roots: Sequence[str] = ALLOWED, dataclass: bool = False) -> Any:
    module, _, qualname = name.partition(":")
    if not _allowed(module, (*roots, *allow)):
        own = module.startswith(EXPERIMENT_MODULE)
        fix = "--allow RUN/NAME.py" if own else f"--allow {module.split('.')[0]}"
        raise InputError(field, f"names {name!r}, which is not of {', '.join(roots)}", f"if you trust it: {fix}")
    try:
        found = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        raise InputError(field, f"{name!r} does not exist in the installed version") from None
    # `jaxai.cli:os.system` would pass a check of the written name alone.
    if not _allowed(getattr(found, "__module__", "") or "", (*roots, *allow)):
        raise InputError(field, f"{name!r} is not defined where it says")
    if dataclass and not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise InputError(field, f"{name!r} is not a dataclass")
    return found


def _allowed(module: str, roots: Sequence[str]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def _kind(data: dict[str, Any]) -> Any:
    """Equal for objects whose fields can be compared one by one: of one class, calls of one function, dictionaries."""
    marks = {name: value for name, value in data.items() if name.startswith("$") and name != "$dict"}
    return marks or None


def _fingerprint(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()


def short(value: Any) -> str:
    """Encoded data in a word."""
    if isinstance(value, dict):
        for kind in ("$duration", "$dtype", "$call", "$function", "$live", "$class"):
            if kind in value:
                return str(value[kind]).rpartition(":")[2]
    return "nothing" if value is None else str(value)
