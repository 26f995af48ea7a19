"""How transformers names the parameters of BERT and ALBERT; models with a head put `bert.` or `albert.` before them."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table


def _bert(prefix: str) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    layer = rf"{prefix}encoder.layer.\1"
    return (
        *_embeddings(prefix),
        (r"block(\d+)/attention/qkv", tuple(rf"{layer}.attention.self.{part}" for part in ("query", "key", "value"))),
        (r"block(\d+)/attention/out", rf"{layer}.attention.output.dense"),
        (r"block(\d+)/norm1", rf"{layer}.attention.output.LayerNorm"),
        (r"block(\d+)/mlp/dense1", rf"{layer}.intermediate.dense"),
        (r"block(\d+)/mlp/dense2", rf"{layer}.output.dense"),
        (r"block(\d+)/norm2", rf"{layer}.output.LayerNorm"),
        ("pooler", f"{prefix}pooler.dense"),
    )


def _albert(prefix: str) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    layer = f"{prefix}encoder.albert_layer_groups.0.albert_layers.0"
    return (
        *_embeddings(prefix),
        ("project", f"{prefix}encoder.embedding_hidden_mapping_in"),
        ("block/attention/qkv", tuple(f"{layer}.attention.{part}" for part in ("query", "key", "value"))),
        ("block/attention/out", f"{layer}.attention.dense"),
        ("block/norm1", f"{layer}.attention.LayerNorm"),
        ("block/mlp/dense1", f"{layer}.ffn"),
        ("block/mlp/dense2", f"{layer}.ffn_output"),
        ("block/norm2", f"{layer}.full_layer_layer_norm"),
        ("pooler", f"{prefix}pooler"),
    )


def _embeddings(prefix: str) -> tuple[tuple[str, str], ...]:
    return (
        ("tokens", f"{prefix}embeddings.word_embeddings"),
        ("positions", f"{prefix}embeddings.position_embeddings"),
        ("types", f"{prefix}embeddings.token_type_embeddings"),
        ("norm", f"{prefix}embeddings.LayerNorm"),
    )


_HEAD = (("head", "classifier"),)

INPUT = (1,)
TABLES = tuple(
    Table(
        layout=layout,
        rules=rules,
        ignored=(r"embeddings\.(position_ids|token_type_ids)$",),
        renamed=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    )
    for layout, rules in (
        ("transformers", _bert("")),
        ("transformers with a head", (*_bert("bert."), *_HEAD)),
        ("transformers' ALBERT", _albert("")),
        ("transformers' ALBERT with a head", (*_albert("albert."), *_HEAD)),
    )
)
