"""How torchvision names the parameters of GoogLeNet."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

INPUT = (224, 224, 3)

TABLES = (
    Table(
        layout="torchvision",
        rules=(
            ("head", "fc"),
            (r"(aux\d)/dense", r"\1.fc1"),
            (r"(aux\d)/head", r"\1.fc2"),
            (r"(\w+)/(branch\d)_(\d)/(\w+)", r"\1.\2.\3.\4"),
            (r"(\w+)/(branch1|conv)/(\w+)", r"\1.\2.\3"),
            (r"(conv\d)/(\w+)", r"\1.\2"),
        ),
    ),
)
