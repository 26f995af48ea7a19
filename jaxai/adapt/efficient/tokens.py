"""Learned tokens before those of the text: at a block's input, or as keys and values of its attention.

Both go with every model whose blocks are `jaxai.models.transformer.TransformerBlock`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxai.adapt.efficient.places import Interceptor, Layer, Own, Places, around, choose
from jaxai.core import rng
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.models.attention import Attention, Slots
from jaxai.models.transformer import TransformerBlock

_signature = inspect.signature(TransformerBlock.__call__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prefix:
    """Prefix tuning (Li and Liang 2021): learned keys and values that every token looks at besides the text's.

    They have no positions of their own (in a rotary model, they are as they are after rotation), need no place in the
    cache, and every segment sees them. The paper's network that makes them while training is left out.
    """

    rules: tuple[tuple[str, int], ...]
    """Ordered (regex, number of tokens) over the paths of attentions' kernels, such as `(("attention/", 16),)`."""
    std: float = 0.02
    """Deviation of the normal numbers that keys and values start as."""
    name: str = "prefix"
    """What its parameters are called."""

    def __post_init__(self):
        check_fields(self, "task.adapters.")

    def init(self, key: jax.Array, layers: Mapping[str, Layer], field: str) -> Places:
        """`key` and `value` [*stack, token, feature of all heads] by path of the attention."""
        places: Places = {}
        for layer, num in choose(self.rules, _within(Attention, layers, ("/qkv", "/kv"), field), field):
            attention = layer.path.rpartition("/")[0]
            shape = (2, *layer.stack, num, layer.outs[-1])
            keys, values = self.std * jax.random.normal(rng.stream(key, attention), shape)
            places[attention] = {"key": keys, "value": values}
        return places

    def interceptor(self) -> Interceptor:
        """What changes the attentions that have parameters of this adapter."""
        return around(self.name, self._apply, "attend")

    def _apply(self, own: Own, module: nn.Module, call: Any, args: Any, kwargs: Any) -> jax.Array:
        del module, kwargs
        query, key, value, mask, causal, train = args

        def before(tokens: jax.Array, more: jax.Array) -> jax.Array:
            more = more.astype(tokens.dtype).reshape(1, -1, *tokens.shape[2:])
            return jnp.concatenate([jnp.broadcast_to(more, (len(tokens), *more.shape[1:])), tokens], axis=1)

        if causal:
            past = jnp.tri(query.shape[1], key.shape[1], dtype=bool)[None, None]
            mask = past if mask is None else mask & past
        if mask is not None:
            mask = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (len(own["key"]), 0)), constant_values=True)
        return call(query, before(key, own["key"]), before(value, own["value"]), mask, False, train)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """Prompt tuning (Lester et al. 2021): learned vectors go through a stack of blocks before the tokens of the text.

    They enter at the chosen block, after embedding, and what becomes of them after the last is dropped: pooling,
    logits and the positions of the text are as without. Where later blocks are chosen too, theirs take the place of
    what came from the block before, as in deep visual prompt tuning (Jia et al. 2022).

    In a causal model each text looks back at them, also where several share a row; rotary positions go on before 0, and
    a cache holds them beside its tokens. In others they look at all tokens that are no padding: one text a row. Of an
    encoder-decoder, the encoder may have one.
    """

    rules: tuple[tuple[str, int], ...] = (("(^|/)block0/", 20),)
    """Ordered (regex, number of vectors) over the paths of attentions' kernels; a block has one prompt."""
    std: float = 0.02
    """Deviation of the normal numbers that they start as."""
    name: str = "prompt"
    """What its parameters are called."""

    def __post_init__(self):
        check_fields(self, "task.adapters.")

    def init(self, key: jax.Array, layers: Mapping[str, Layer], field: str) -> Places:
        """`vectors` [token, feature] by path of the block."""
        places: Places = {}
        found = _within(TransformerBlock, layers, ("/attention/qkv", "/attention/query"), field)
        for layer, num in choose(self.rules, found, field):
            block = layer.path.rpartition("/attention/")[0]
            if layer.stack:
                raise _cannot_leave(block)
            vectors = self.std * jax.random.normal(rng.stream(key, block), (num, *layer.ins))
            places[block] = {"vectors": vectors}
        return places

    def interceptor(self) -> Interceptor:
        """What changes blocks that have parameters of this adapter, and those after them in the same stack."""
        return _Stacks(self.name)


class _Stacks:
    """The interceptor of a prompt: carries its tokens from one block of a stack to the next."""

    def __init__(self, name: str):
        self.name = name
        self.prompts: dict[Any, jax.Array] = {}
        """[batch, token, feature] by stack: the scope of the call, and the blocks' path without their number."""

    def __call__(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        block = context.module
        is_call = isinstance(block, TransformerBlock) and context.method_name == "__call__"
        if not is_call or block.scope is None:
            return call(*args, **kwargs)
        stack = (block.scope.root, "/".join(block.path).rstrip("0123456789"))
        bound = _signature.bind(block, *args, **kwargs)
        bound.apply_defaults()
        given = {name: value for name, value in bound.arguments.items() if name != "self"}
        if block.has_variable("params", self.name):
            if block.scope.root.path:
                raise _cannot_leave("/".join(block.path))
            vectors = block.get_variable("params", self.name)["vectors"].astype(given["x"].dtype)
            self.prompts[stack] = jnp.broadcast_to(vectors, (len(given["x"]), *vectors.shape))
        if stack not in self.prompts:
            return call(*args, **kwargs)
        return self._run(block, call, given, stack)

    def _run(self, block: TransformerBlock, call: Any, given: dict[str, Any], stack: Any) -> jax.Array:
        """What the block makes of the text after the prompt, of which the text's is given on."""
        prompt, length = self.prompts[stack], given["x"].shape[1]
        num = prompt.shape[1]
        # In a cache the prompt is already there, but for the first call.
        begins = given["slots"] is None or not block.has_variable("cache", "attention")
        if given["mask"] is not None:
            given["mask"] = _mask(given["mask"], num, block.causal, begins)
        if given["slots"] is not None:
            if block.cross:  # whose cache is made before its first call
                raise InputError("task.adapters", "the decoder of an encoder-decoder cannot have a prompt", "Prefix")
            first, size = given["slots"]
            given["slots"] = Slots(first if begins else first + num, size + num)
        if not begins:
            return call(**given)
        if given["positions"] is None:
            given["positions"] = jnp.arange(length)[None]
        before = jnp.broadcast_to(jnp.arange(-num, 0)[None], (len(given["positions"]), num))
        given["positions"] = jnp.concatenate([before, given["positions"]], axis=1)
        if given["context_mask"] is not None:
            given["context_mask"] = jnp.concatenate([_rows(given["context_mask"], num), given["context_mask"]], axis=2)
        given["x"] = jnp.concatenate([prompt, given["x"]], axis=1)
        y = call(**given)
        self.prompts[stack] = y[:, :num]
        return y[:, num:]


def _mask(mask: jax.Array, num: int, causal: bool, begins: bool) -> jax.Array:
    """`mask` [batch, head, length, key] with `num` keys, and where the prompt goes in queries, before the text's."""
    seen = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (num, 0)), constant_values=True)
    if not begins:
        return seen
    text = jnp.zeros_like(_rows(mask, num)) if causal else _rows(mask, num)
    among = jnp.tri(num, dtype=bool) if causal else jnp.ones((num, num), bool)
    looks = jnp.concatenate([jnp.broadcast_to(among, (*text.shape[:3], num)), text], axis=-1)
    return jnp.concatenate([looks, seen], axis=2)


def _rows(mask: jax.Array, num: int) -> jax.Array:
    """`num` queries that look at all that any query of `mask` [batch, head, length, key] looks at."""
    return jnp.repeat(jnp.any(mask, axis=2, keepdims=True), num, axis=2)


def _within(kind: type, layers: Mapping[str, Layer], endings: tuple[str, ...], field: str) -> dict[str, Layer]:
    """The layers of modules of that kind whose paths end so."""
    found = {
        path: layer
        for path, layer in layers.items()
        if layer.path.endswith(endings) and any(issubclass(outer, kind) for outer in layer.within)
    }
    if not found:
        raise InputError(field, f"the model has no {kind.__module__}.{kind.__name__}", "Lora or Houlsby")
    return found


def _cannot_leave(block: str) -> InputError:
    what = f"{block} is transformed by flax as a whole, and a prompt cannot leave it"
    return InputError("task.adapters", what, 'TransformerBlock(remat="full") instead of nn.remat, and scan=False')
