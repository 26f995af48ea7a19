"""How torchvision names the parameters of AlexNet."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

INPUT = (224, 224, 3)

TABLES = (
    Table(
        layout="torchvision",
        rules=(
            *((f"conv{i}", f"features.{j}") for i, j in enumerate((0, 3, 6, 8, 10), 1)),
            ("dense1", "classifier.1"),
            ("dense2", "classifier.4"),
            ("head", "classifier.6"),
        ),
    ),
)
