"""Names of MobileNetV2."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table
from jaxai.models.mobilenet_v2 import STAGES

#: timm counts blocks within their stage.
_IN_STAGE = [(stage, i) for stage, (_, _, repeats, _) in enumerate(STAGES) for i in range(repeats)]
_TIMM_PARTS = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
#: The first block does not expand.
_TIMM_FIRST = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}

INPUT = (224, 224, 3)
TABLES = (
    Table(
        layout="torchvision",
        rules=(
            (r"stem/conv", "features.0.0"),
            (r"stem/norm", "features.0.1"),
            (r"block1/depthwise/conv", "features.1.conv.0.0"),
            (r"block1/depthwise/norm", "features.1.conv.0.1"),
            (r"block1/project/conv", "features.1.conv.1"),
            (r"block1/project/norm", "features.1.conv.2"),
            (r"block(\d+)/expand/conv", r"features.\1.conv.0.0"),
            (r"block(\d+)/expand/norm", r"features.\1.conv.0.1"),
            (r"block(\d+)/depthwise/conv", r"features.\1.conv.1.0"),
            (r"block(\d+)/depthwise/norm", r"features.\1.conv.1.1"),
            (r"block(\d+)/project/conv", r"features.\1.conv.2"),
            (r"block(\d+)/project/norm", r"features.\1.conv.3"),
            (r"last/conv", "features.18.0"),
            (r"last/norm", "features.18.1"),
            (r"head", "classifier.1"),
        ),
    ),
    Table(
        layout="timm",
        rules=(
            (r"stem/conv", "conv_stem"),
            (r"stem/norm", "bn1"),
            *(
                (f"block{number}/{part}/{layer}", f"blocks.{stage}.{i}.{name}")
                for number, (stage, i) in enumerate(_IN_STAGE, start=1)
                for part, names in (_TIMM_FIRST if number == 1 else _TIMM_PARTS).items()
                for layer, name in zip(("conv", "norm"), names, strict=True)
            ),
            (r"last/conv", "conv_head"),
            (r"last/norm", "bn2"),
            (r"head", "classifier"),
        ),
    ),
)
