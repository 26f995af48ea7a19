"""Prefixes and prompts: closed forms, with padding, packing, a cache, rotary positions and rematerialization."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.efficient import Adapted, Prefix, Prompt
from jaxai.core import tree
from jaxai.generation.generator import generate
from jaxai.generation.sampling import Sampling
from jaxai.models.attention import Attention, begin_or_continue, same_segment
from jaxai.models.bert import Bert
from jaxai.models.transformer import TransformerBlock
from jaxai.tasks import Classification
from jaxai.tasks.language_model import LanguageModel
from tests.adapt.efficient.small import FAST, GPT, IMAGES, KEY, TEXT, VIT, VOCABULARY, layers_of, learned

NUM = 3
PROMPT = Prompt(rules=(("^block0/", NUM),))
PREFIX = Prefix(rules=(("attention/", NUM),))
TASKS = {
    name: Adapted(task=LanguageModel(model=GPT), adapters=(a,)) for name, a in [("prompt", PROMPT), ("prefix", PREFIX)]
}
TOKENS = TEXT["tokens"]
BATCH, LENGTH = TOKENS.shape
SEGMENTS = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 2, 2, 2, 2], [1, 1, 1, 2, 3, 3]])


@pytest.fixture(scope="module")
def variables():
    return {name: learned(task, TEXT) for name, task in TASKS.items()}


def run(task: Adapted, variables: Any, *args: Any, model: Any = GPT, **kwargs: Any) -> Any:
    """What the model gives, adapted."""

    def apply(variables, *args):
        with task.applied():
            return model.apply(task.inner(variables), *args, **kwargs)

    return jax.jit(apply, compiler_options=FAST)(variables, *args)


def attend(query, key, value, mask):
    """Attention of queries [length, head, feature] in NumPy."""
    scores = np.einsum("qhf,khf->hqk", query, key) / np.sqrt(query.shape[-1])
    weights = np.exp(scores) * mask
    return np.einsum("hqk,khf->qhf", weights / weights.sum(axis=-1, keepdims=True), value)


@pytest.mark.parametrize("causal", [False, True])
def test_a_prefix_is_keys_and_values_before_the_texts(causal):
    rng = np.random.default_rng(0)
    attention = Attention(num_heads=4, num_kv_heads=2, causal=causal)
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    mask = same_segment(jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    inner = jax.eval_shape(lambda: attention.init(KEY, x))["params"]
    params = {
        "block": jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), dict(inner)),
    }
    block = TransformerBlock(4, 8, num_kv_heads=2, causal=causal)
    places = PREFIX.init(KEY, layers_of(block, x), "rules")
    own = {name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in places["attention"].items()}
    assert {name: leaf.shape for name, leaf in own.items()} == {"key": (NUM, 4), "value": (NUM, 4)}
    with nn.intercept_methods(PREFIX.interceptor()):
        found = attention.apply({"params": {**params["block"], "prefix": own}}, x, mask=mask)
    p = params["block"]
    query = (x @ p["query"]["kernel"] + p["query"]["bias"][None, None]).reshape(2, 5, 4, 2)
    kv = (np.tensordot(x, p["kv"]["kernel"], 1) + p["kv"]["bias"][None, None]).reshape(2, 5, 2, 2, 2)
    for row in range(2):
        key, value = (
            np.repeat(np.concatenate([own[name].reshape(NUM, 2, 2), kv[row, :, i]]), 2, axis=1)
            for i, name in enumerate(("key", "value"))
        )
        seen = np.asarray(mask[row, 0]) & (np.tri(5, dtype=bool) if causal else True)
        looks = np.concatenate([np.ones((5, NUM), bool), seen], axis=1)
        expected = attend(query[row], key, value, looks).reshape(5, 8) @ p["out"]["kernel"] + p["out"]["bias"][None]
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-4)


def test_a_prompt_is_vectors_before_the_embedded_text(variables):
    """By hand: the same blocks on the longer sequence."""
    params = variables["prompt"]["params"]
    base, vectors = params["base"], params["adapters"]["block0"]["prompt"]["vectors"]
    block = TransformerBlock(2, 32, causal=True, epsilon=1e-5, activation="gelu_tanh")

    def by_hand():
        x = base["tokens"]["embedding"][TOKENS] + base["positions"]["embedding"][:LENGTH][None]
        x = jnp.concatenate([jnp.broadcast_to(vectors, (BATCH, *vectors.shape)), x], axis=1)
        for i in range(2):
            x = block.apply({"params": base[f"block{i}"]}, x)
        x = nn.LayerNorm(epsilon=1e-5).apply({"params": base["norm"]}, x[:, NUM:])
        return x @ base["tokens"]["embedding"].T

    found = run(TASKS["prompt"], variables["prompt"], TOKENS)
    np.testing.assert_allclose(found, jax.jit(by_hand, compiler_options=FAST)(), atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_texts_that_share_a_row_are_as_if_alone(name, variables):
    """Each sees the prompt or prefix, none the others or the padding."""
    task, own = TASKS[name], variables[name]
    positions = np.array([[0, 1, 2, 3, 0, 0], [0, 1, 0, 1, 2, 3], [0, 1, 2, 0, 0, 1]])
    apply = lambda tokens, segments, positions: run(task, own, tokens, model=_Described(segments, positions))  # noqa: E731
    together = apply(TOKENS, SEGMENTS, positions)
    rows = np.zeros_like(TOKENS)
    alone_segments, places = np.zeros_like(TOKENS), []
    for row, (number, segment) in enumerate([(0, 1), (1, 2), (2, 3)]):
        place = np.flatnonzero(SEGMENTS[number] == segment)
        rows[row, : len(place)], alone_segments[row, : len(place)] = TOKENS[number, place], 1
        places.append((number, place))
    alone = apply(rows, alone_segments, np.broadcast_to(np.arange(LENGTH), rows.shape))
    for row, (number, place) in enumerate(places):
        np.testing.assert_allclose(together[number, place], alone[row, : len(place)], atol=1e-5)


class _Described:
    """A model with what is said of its tokens filled in."""

    def __init__(self, segments, positions):
        self.further = {"segments": jnp.asarray(segments), "positions": jnp.asarray(positions)}

    def apply(self, variables, tokens, **kwargs):
        return GPT.apply(variables, tokens, **self.further, **kwargs)


@pytest.mark.parametrize("name", TASKS)
def test_a_cache_holds_what_the_whole_gives(name, variables):
    """Prompts of several lengths, padded at their beginning, are read at once and then go on token by token."""
    task, own = TASKS[name], variables[name]
    segments = np.array([[0, 0, 1, 1, 1, 1], [1] * 6, [0, 1, 1, 1, 1, 1]])

    def whole(variables):
        with task.applied():
            positions = jnp.maximum(jnp.cumsum(segments, axis=1) - 1, 0)
            return GPT.apply(task.inner(variables), TOKENS, segments=segments, positions=positions)

    def in_parts(variables):
        with task.applied():
            plain = task.inner(variables)
            first, state = GPT.apply(plain, TOKENS[:, :3], segments=segments[:, :3], cache_size=8, mutable=["cache"])
            outs = [first]
            for place in (slice(3, 4), slice(4, 6)):
                out, state = GPT.apply({**plain, **state}, TOKENS[:, place], mutable=["cache"])
                outs.append(out)
        return jnp.concatenate(outs, axis=1), state

    expected = jax.jit(whole, compiler_options=FAST)(own)
    found, state = jax.jit(in_parts, compiler_options=FAST)(own)
    np.testing.assert_allclose(found[segments > 0], expected[segments > 0], atol=1e-5)
    sizes = {leaf.shape[2] for path, leaf in tree.flatten(state).items() if path.endswith(("/key", "/value"))}
    assert sizes == {8 + NUM if name == "prompt" else 8}


@pytest.mark.parametrize("pool", ["mean", "token"])
@pytest.mark.parametrize("adapter", [PROMPT, PREFIX], ids=["prompt", "prefix"])
def test_padding_of_an_encoder_changes_nothing(adapter, pool):
    """What learned tokens come to is not pooled, and they do not look at padding."""
    model = Bert(vocab_size=VOCABULARY, dim=8, depth=2, num_heads=2, max_length=9, pool=pool, num_classes=2, pad=0)
    task = Adapted(task=Classification(model=model, inputs="tokens"), adapters=(adapter,))
    tokens = 1 + TOKENS % (VOCABULARY - 1)
    variables = learned(task, {"tokens": tokens, "label": np.zeros(BATCH, np.int32), "index": np.arange(BATCH)})
    short = run(task, variables, tokens, model=model)
    padded = run(task, variables, np.pad(tokens, ((0, 0), (0, 3))), model=model)
    np.testing.assert_allclose(padded, short, atol=1e-5)
    without = jax.tree.map(lambda leaf: -leaf, variables["params"]["adapters"])
    other = run(task, {"params": {**variables["params"], "adapters": without}}, tokens, model=model)
    assert np.abs(np.asarray(other) - np.asarray(short)).max() > 1e-3


class Rotary(nn.Module):
    """Blocks with rotary positions and nothing else."""

    @nn.compact
    def __call__(self, x, segments=None, positions=None, cache_size=None):
        is_token = jnp.ones(x.shape[:2], bool) if segments is None else segments > 0
        decoding = begin_or_continue(self, is_token, cache_size)
        slots, mask, positions = decoding or (None, None, positions)
        for i in range(2):
            x = TransformerBlock(2, 8, causal=True, rotary=100.0, name=f"block{i}")(x, False, mask, positions, slots)
        return x


def test_rotary_positions_of_a_prompt_come_before_the_texts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    params = jax.eval_shape(lambda: Rotary().init(KEY, x))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), params)
    vectors = rng.normal(size=(NUM, 8)).astype(np.float32)
    prompted = {"params": {**params, "block0": {**params["block0"], "prompt": {"vectors": vectors}}}}

    def compare(params, prompted):
        longer = jnp.concatenate([jnp.broadcast_to(vectors, (2, NUM, 8)), x], axis=1)
        expected = Rotary().apply({"params": params}, longer)[:, NUM:]
        with nn.intercept_methods(PROMPT.interceptor()):
            whole = Rotary().apply(prompted, x)
            first, state = Rotary().apply(prompted, x[:, :2], cache_size=5, mutable=["cache"])
            second, _ = Rotary().apply({**prompted, **state}, x[:, 2:], mutable=["cache"])
        return expected, whole, jnp.concatenate([first, second], axis=1)

    expected, whole, parts = jax.jit(compare, compiler_options=FAST)(params, prompted)
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(parts, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [PROMPT, PREFIX], ids=["prompt", "prefix"])
def test_rematerialized_blocks_give_the_same_loss_and_gradients(adapter):
    results = []
    for remat in ("none", "full"):
        task = Adapted(task=Classification(model=VIT.clone(remat=remat)), adapters=(adapter,))
        own = learned(task, IMAGES)["params"]
        value = lambda p, task=task: task.loss({"params": p}, IMAGES, KEY, True).total  # noqa: E731
        results.append(jax.jit(jax.value_and_grad(value), compiler_options=FAST)(own))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *results)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(results[0][1]["adapters"]))


def test_a_prompt_that_later_blocks_have_too_is_replaced_there():
    """As deep prompt tuning: then what came out of the first is of no account after the second."""
    deep = Adapted(task=LanguageModel(model=GPT), adapters=(Prompt(rules=(("block", NUM),)),))
    own = learned(deep, TEXT)
    params, block = own["params"], TransformerBlock(2, 32, causal=True, epsilon=1e-5, activation="gelu_tanh")

    def by_hand():
        base = params["base"]
        x = base["tokens"]["embedding"][TOKENS] + base["positions"]["embedding"][:LENGTH][None]
        for i in range(2):
            vectors = params["adapters"][f"block{i}"]["prompt"]["vectors"]
            x = jnp.concatenate([jnp.broadcast_to(vectors, (BATCH, *vectors.shape)), x], axis=1)
            x = block.apply({"params": base[f"block{i}"]}, x)[:, NUM:]
        x = nn.LayerNorm(epsilon=1e-5).apply({"params": base["norm"]}, x)
        return x @ base["tokens"]["embedding"].T

    np.testing.assert_allclose(run(deep, own, TOKENS), jax.jit(by_hand, compiler_options=FAST)(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_generation_goes_on_as_the_whole_would(name, variables):
    """Greedy, from prompts of two lengths, against the whole text read anew for each token."""
    task, own = TASKS[name], variables[name]
    prompts = [[1, 4, 2], [3, 7, 5, 9, 2]]
    greedy = Sampling(max_new_tokens=4, temperature=0.0)
    with task.applied():
        found = generate(GPT.clone(max_length=128), _longer(task.inner(own)), prompts, greedy)
    for prompt, new in zip(prompts, found, strict=True):
        text = list(prompt)
        for _ in range(4):
            logits = run(task, own, jnp.asarray([text]))
            text.append(int(jnp.argmax(logits[0, -1])))
        assert text == [*prompt, *new]


def _longer(variables: Any) -> Any:
    """With as many positions as there is room made for."""
    positions = variables["params"]["positions"]["embedding"]
    padded = np.pad(positions, ((0, 128 - len(positions)), (0, 0)))
    return {**variables, "params": {**variables["params"], "positions": {"embedding": padded}}}
