"""How transformers names the parameters of GPT-2; the language model puts `transformer.` before them."""

from __future__ import annotations

from jaxai.adapt.tables.table import Table


def _rules(prefix: str) -> tuple[tuple[str, str], ...]:
    layer = rf"{prefix}h.\1"
    return (
        ("tokens", f"{prefix}wte"),
        ("positions", f"{prefix}wpe"),
        (r"block(\d+)/norm(\d)", rf"{layer}.ln_\2"),
        (r"block(\d+)/attention/qkv", rf"{layer}.attn.c_attn"),
        (r"block(\d+)/attention/out", rf"{layer}.attn.c_proj"),
        (r"block(\d+)/mlp/dense1", rf"{layer}.mlp.c_fc"),
        (r"block(\d+)/mlp/dense2", rf"{layer}.mlp.c_proj"),
        ("norm", f"{prefix}ln_f"),
    )


#: Masks, and the output's copy of the table.
_IGNORED = (r"attn\.(masked_)?bias$", r"lm_head\.weight$")

INPUT = (1,)
TABLES = tuple(
    Table(layout=layout, rules=_rules(prefix), ignored=_IGNORED, turned=False)
    for layout, prefix in (("transformers", ""), ("transformers with a head", "transformer."))
)
