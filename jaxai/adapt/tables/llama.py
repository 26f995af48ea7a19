"""How transformers names the parameters of Llama."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table

_LAYER = r"model.layers.\1"

INPUT = (8,)
TABLES = (
    Table(
        layout="transformers",
        rules=(
            ("tokens", "model.embed_tokens"),
            (r"block(\d+)/norm1", rf"{_LAYER}.input_layernorm"),
            (r"block(\d+)/norm2", rf"{_LAYER}.post_attention_layernorm"),
            (r"block(\d+)/attention/qkv", tuple(rf"{_LAYER}.self_attn.{part}_proj" for part in "qkv")),
            (r"block(\d+)/attention/query", rf"{_LAYER}.self_attn.q_proj"),
            (r"block(\d+)/attention/kv", tuple(rf"{_LAYER}.self_attn.{part}_proj" for part in "kv")),
            (r"block(\d+)/attention/out", rf"{_LAYER}.self_attn.o_proj"),
            (r"block(\d+)/mlp/dense1", (rf"{_LAYER}.mlp.gate_proj", rf"{_LAYER}.mlp.up_proj")),
            (r"block(\d+)/mlp/dense2", rf"{_LAYER}.mlp.down_proj"),
            ("norm", "model.norm"),
            ("head", "lm_head"),
        ),
        ignored=(r"rotary_emb\.inv_freq$",),
    ),
)
