"""What both sides run: models, batches and optimizers as plain numbers, so that neither can differ by mistake."""

from __future__ import annotations

from typing import Any, NamedTuple


class Workload(NamedTuple):
    """One race."""

    kind: str
    """Of model: `convnet`, `resnet`, `vit`, `mlp`, `gpt`, `bert`, `lstm`."""
    settings: dict[str, Any]
    """What the model takes, on both sides."""
    shape: tuple[int, ...]
    """Of an example: height, width, channels; or the tokens that the model sees."""
    batch_size: int
    optimizer: str | None
    """`sgd` (with momentum), `adam` or `adamw`; None for inference."""
    precision: str = "float32"
    """Of training."""

    @property
    def is_text(self) -> bool:
        return len(self.shape) == 1


def workloads(device: str, smoke: bool) -> dict[str, Workload]:
    """By name; the sizes for `cpu` or `gpu`, or tiny ones of the same kinds."""
    full = GPU if device == "gpu" else CPU
    return {name: _tiny(workload) for name, workload in full.items()} if smoke else full


_MNIST = {"features": (32, 64, 64), "dense": (64,), "padding": "VALID", "pool_last": False, "num_classes": 10}
_CIFAR = {"features": (64, 128), "dense": (512,), "padding": "SAME", "pool_last": True, "num_classes": 10}
_RESNET18 = {"stages": (2, 2, 2, 2), "block": "basic", "stem": "small", "features": 64, "num_classes": 10}
_RESNET50 = {"stages": (3, 4, 6, 3), "block": "bottleneck", "stem": "large", "features": 64, "num_classes": 1000}
_GPT = {"vocab_size": 262, "dim": 384, "depth": 6, "num_heads": 6, "max_length": 256}
_GPT2 = {"vocab_size": 50_257, "dim": 768, "depth": 12, "num_heads": 12, "max_length": 1024}
_BERT = {"vocab_size": 30_522, "dim": 256, "depth": 4, "num_heads": 4, "num_classes": 2}
_VIT = {"patch": 16, "dim": 768, "depth": 12, "num_heads": 12, "num_classes": 1000}
_LSTM = {"vocab_size": 262, "dim": 256, "features": 256, "depth": 2}

CPU = {
    "mnist_cnn": Workload("convnet", _MNIST, (28, 28, 1), 128, "adam"),
    "cifar_cnn": Workload("convnet", _CIFAR, (32, 32, 3), 64, "sgd"),
    "resnet18": Workload("resnet", _RESNET18, (32, 32, 3), 64, "sgd"),
    "resnet50": Workload("resnet", _RESNET50, (64, 64, 3), 16, "sgd"),
    "gpt": Workload("gpt", _GPT, (256,), 8, "adamw"),
    "bert": Workload("bert", _BERT, (128,), 16, None),
    "lstm": Workload("lstm", _LSTM, (128,), 32, "adam"),
    "mlp": Workload("mlp", {"features": (32,), "num_classes": 10}, (8, 8, 1), 64, "sgd"),
}
GPU = {
    "gpt2": Workload("gpt", _GPT2, (1024,), 16, "adamw", "bfloat16"),
    "resnet50": Workload("resnet", _RESNET50, (224, 224, 3), 128, "sgd", "bfloat16"),
    "vit": Workload("vit", _VIT, (224, 224, 3), 128, "adamw", "bfloat16"),
}

_TOKENS = {"vocab_size": 60, "dim": 8, "depth": 1}
_TINY: dict[str, dict[str, Any]] = {
    "convnet": {"features": (4, 4), "dense": (8,)},
    "resnet": {"stages": (1, 1), "features": 4},
    "vit": {"dim": 8, "depth": 1, "num_heads": 2},
    "mlp": {},
    "gpt": {**_TOKENS, "num_heads": 2, "max_length": 8},
    "bert": {**_TOKENS, "num_heads": 2},
    "lstm": {**_TOKENS, "features": 8},
}
"""By kind: what makes a model tiny."""


def _tiny(workload: Workload) -> Workload:
    shape = (8,) if workload.is_text else (min(workload.shape[0], 32), min(workload.shape[1], 32), workload.shape[2])
    settings = {**workload.settings, **_TINY[workload.kind]}
    return workload._replace(settings=settings, shape=shape, batch_size=4)
