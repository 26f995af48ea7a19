"""Names of the Vision Transformers."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

_TIMM = (
    (r"patch_embed/proj", "patch_embed.proj"),
    (r"class_token", "cls_token"),
    (r"positions", "pos_embed"),
    (r"block(\d+)/norm(\d)", r"blocks.\1.norm\2"),
    (r"block(\d+)/attention/qkv", r"blocks.\1.attn.qkv"),
    (r"block(\d+)/attention/out", r"blocks.\1.attn.proj"),
    (r"block(\d+)/mlp/dense(\d)", r"blocks.\1.mlp.fc\2"),
    (r"head", "head"),
)
_BLOCK = r"encoder.layers.encoder_layer_\1"

INPUT = (224, 224, 3)
TABLES = (
    Table(layout="timm", rules=(*_TIMM, (r"norm", "norm"))),
    # Where it normalizes after taking the mean.
    Table(layout="timm mean", rules=(*_TIMM, (r"norm", "fc_norm"))),
    Table(
        layout="torchvision",
        rules=(
            (r"patch_embed/proj", "conv_proj"),
            (r"class_token", "class_token"),
            (r"positions", "encoder.pos_embedding"),
            (r"block(\d+)/norm(\d)", rf"{_BLOCK}.ln_\2"),
            (r"block(\d+)/attention/qkv", rf"{_BLOCK}.self_attention.in_proj_"),
            (r"block(\d+)/attention/out", rf"{_BLOCK}.self_attention.out_proj"),
            (r"block(\d+)/mlp/dense1", rf"{_BLOCK}.mlp.0"),
            (r"block(\d+)/mlp/dense2", rf"{_BLOCK}.mlp.3"),
            (r"norm", "encoder.ln"),
            (r"head", "heads.head"),
        ),
    ),
)
