"""Names of the ResNets for ImageNet; timm's are torchvision's."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

INPUT = (224, 224, 3)
TABLES = (
    Table(
        layout="torchvision",
        rules=(
            (r"conv1", "conv1"),
            (r"norm1", "bn1"),
            (r"layer(\d)_(\d+)/conv(\d)", r"layer\1.\2.conv\3"),
            (r"layer(\d)_(\d+)/norm(\d)", r"layer\1.\2.bn\3"),
            (r"layer(\d)_(\d+)/shortcut_conv", r"layer\1.\2.downsample.0"),
            (r"layer(\d)_(\d+)/shortcut_norm", r"layer\1.\2.downsample.1"),
            (r"head", "fc"),
        ),
    ),
)
