"""How torchvision names the parameters of Inception-v3; timm uses the same names."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

INPUT = (299, 299, 3)

TABLES = (
    Table(
        layout="torchvision",
        rules=(
            ("head", "fc"),
            ("AuxLogits/head", "AuxLogits.fc"),
            (r"(Conv2d_\w+)/(\w+)", r"\1.\2"),
            (r"(\w+)/(\w+)/(\w+)", r"\1.\2.\3"),
        ),
    ),
)
