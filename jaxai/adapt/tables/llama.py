"""How transformers names the parameters of Llama; the language model puts `model.` before them."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table


def _rules(prefix: str) -> tuple[tuple[str, str | tuple[str, ...]], ...]:
    layer = rf"{prefix}layers.\1"
    return (
        ("tokens", f"{prefix}embed_tokens"),
        (r"block(\d+)/norm1", rf"{layer}.input_layernorm"),
        (r"block(\d+)/norm2", rf"{layer}.post_attention_layernorm"),
        (r"block(\d+)/attention/qkv", tuple(rf"{layer}.self_attn.{part}_proj" for part in "qkv")),
        (r"block(\d+)/attention/query", rf"{layer}.self_attn.q_proj"),
        (r"block(\d+)/attention/kv", tuple(rf"{layer}.self_attn.{part}_proj" for part in "kv")),
        (r"block(\d+)/attention/out", rf"{layer}.self_attn.o_proj"),
        (r"block(\d+)/mlp/dense1", (rf"{layer}.mlp.gate_proj", rf"{layer}.mlp.up_proj")),
        (r"block(\d+)/mlp/dense2", rf"{layer}.mlp.down_proj"),
        ("norm", f"{prefix}norm"),
    )


INPUT = (1,)
TABLES = tuple(
    Table(layout=layout, rules=rules, ignored=(r"rotary_emb\.inv_freq$",))
    for layout, rules in (
        ("transformers with a head", (*_rules("model."), ("head", "lm_head"))),
        ("transformers", _rules("")),
    )
)
