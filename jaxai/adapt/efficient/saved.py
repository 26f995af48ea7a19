"""What adaptation has learned, apart from the base: taken out, kept in a small file, put on again, or merged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.adapt.efficient.adapted import Adapted
from jaxai.adapt.efficient.places import placed
from jaxai.adapt.files import read_metadata, read_weights, write_safetensors
from jaxai.core import tree
from jaxai.core.errors import InputError, did_you_mean
from jaxai.experiment.json import decode, encode


@dataclasses.dataclass(frozen=True)
class Adapters:
    """Adapters with what they have learned; several go with one base, which is loaded once and never changed.

    films, mails = load_adapters("films.safetensors"), load_adapters("mails.safetensors")
    task, variables = films.put_on(classification, base)
    """

    adapters: tuple[Any, ...]
    """As in `Adapted`."""
    own: tuple[str, ...]
    """As in `Adapted`."""
    params: Mapping[str, Any]
    """The parameters `adapters/...` and `own/...`."""

    def put_on(self, task: Any, variables: Mapping[str, Any]) -> tuple[Adapted, dict[str, Any]]:
        """`task` adapted, with its variables: the arrays of `variables`, plain ones, and these.

        Raises InputError where the base lacks a module that has an adapter.
        """
        learned = tree.flatten(self.params.get("own", {}))
        kept = tree.map_paths(lambda path, _: path not in learned, variables["params"])
        base = tree.split(variables["params"], kept)[0]
        modules = {path[:i] for path in (*tree.flatten(base), *learned) for i, c in enumerate(path) if c == "/"}
        for adapter in self.adapters:
            for path in placed(self.params["adapters"], adapter.name).keys() - modules:
                raise InputError(f"adapters/{path}", "the base has no such module", did_you_mean(path, modules))
        task = Adapted(task=task, adapters=self.adapters, own=self.own)
        return task, {**variables, "params": {"base": base, **self.params}}


def extract(task: Adapted, variables: Mapping[str, Any]) -> Adapters:
    """What adaptation has learned, such as `extract(task, train(...).variables)`."""
    params = {name: part for name, part in variables["params"].items() if name != "base"}
    return Adapters(task.adapters, task.own, params)


def save_adapters(adapters: Adapters, path: str | Path) -> None:
    """Writes them as safetensors, declarations and all, without the base."""
    declared = {"adapters": encode(adapters.adapters), "own": encode(adapters.own)}
    arrays = {name: np.asarray(leaf) for name, leaf in tree.flatten(adapters.params).items()}
    write_safetensors(path, arrays, {"jaxai": json.dumps(declared)})


def load_adapters(path: str | Path) -> Adapters:
    """Undoes `save_adapters`."""
    declared = read_metadata(path).get("jaxai")
    if declared is None:
        raise InputError(str(path), "holds no adapters", "a file of jaxai.adapt.save_adapters")
    fields = {name: decode(value, field=str(path)) for name, value in json.loads(declared).items()}
    params: dict[str, Any] = {}
    for name, array in read_weights(path).items():
        *parts, leaf = name.split("/")
        node = params
        for part in parts:
            node = node.setdefault(part, {})
        node[leaf] = array
    return Adapters(params=params, **fields)


def merge(task: Adapted, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables with which the task inside does alone what it did with its adapters: LoRA's changes in the kernels."""
    params = dict(variables["params"])
    changes = params.pop("adapters", {})
    plain = tree.join(params.get("base", {}), params.get("own", {}))
    for i, adapter in enumerate(task.adapters):
        if not hasattr(adapter, "fold"):
            what = f"{type(adapter).__name__} cannot be merged into the base"
            raise InputError(f"task.adapters.{i}", what, "keep it with extract and save_adapters")
        found = {f"{path}/kernel": own for path, own in placed(changes, adapter.name).items()}
        plain = tree.map_paths(
            lambda path, leaf, adapter=adapter, found=found: adapter.fold(leaf, found[path]) if path in found else leaf,
            plain,
        )
    return {**variables, "params": plain}
