"""PyTorch's model zoos, importable without torchvision's compiled operators: `from tests.oracle import timm`."""

from __future__ import annotations

import torch

# What torchvision's own compiled part would declare; models never call it.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402

__all__ = ["timm", "torchvision", "transformers"]
