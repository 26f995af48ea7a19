"""Names of the ConvNeXts."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

_STAGES = range(4)
#: torchvision counts stages and what shrinks the image between them alike.
_BLOCK, _SHRINK = [2 * stage + 1 for stage in _STAGES], [2 * stage for stage in _STAGES]

INPUT = (224, 224, 3)
TABLES = (
    Table(
        layout="torchvision",
        rules=(
            (r"stem_conv", "features.0.0"),
            (r"stem_norm", "features.0.1"),
            *(
                (f"stage{stage}_{part}", f"features.{_SHRINK[stage]}.{name}")
                for stage in _STAGES
                for part, name in (("norm", "0"), ("conv", "1"))
            ),
            *(
                (rf"stage{stage}_block(\d+)/{part}", rf"features.{_BLOCK[stage]}.\1.{name}")
                for stage in _STAGES
                for part, name in (
                    ("conv", "block.0"),
                    ("norm", "block.2"),
                    ("mlp/dense1", "block.3"),
                    ("mlp/dense2", "block.5"),
                    ("layer_scale", "layer_scale"),
                )
            ),
            (r"norm", "classifier.0"),
            (r"head", "classifier.2"),
        ),
        shapes=((r"layer_scale$", (-1, 1, 1)),),
    ),
    Table(
        layout="timm",
        rules=(
            (r"stem_conv", "stem.0"),
            (r"stem_norm", "stem.1"),
            (r"stage(\d)_norm", r"stages.\1.downsample.0"),
            (r"stage(\d)_conv", r"stages.\1.downsample.1"),
            (r"stage(\d)_block(\d+)/conv", r"stages.\1.blocks.\2.conv_dw"),
            (r"stage(\d)_block(\d+)/norm", r"stages.\1.blocks.\2.norm"),
            (r"stage(\d)_block(\d+)/mlp/dense(\d)", r"stages.\1.blocks.\2.mlp.fc\3"),
            (r"stage(\d)_block(\d+)/layer_scale", r"stages.\1.blocks.\2.gamma"),
            (r"norm", "head.norm"),
            (r"head", "head.fc"),
        ),
    ),
)
