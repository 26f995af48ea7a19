"""Models of text: published counts, padding, packing, caches, blocks."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models.attention import Dropout, random_bytes, rotate, sinusoids
from jaxai.models.bert import Bert, albert, bert, minilm
from jaxai.models.gpt2 import GPT2, gpt2
from jaxai.models.llama import Llama, llama
from jaxai.models.recurrent import RecurrentEncoder
from jaxai.models.seq2seq import Seq2Seq
from jaxai.models.textcnn import TextCNN
from jaxai.models.transformer import TransformerBlock

VOCAB = 20
TOKENS = np.random.default_rng(0).integers(1, VOCAB, (2, 8)).astype(np.int32)
DECODERS = {
    "gpt2": GPT2(vocab_size=VOCAB, dim=16, depth=2, num_heads=4, max_length=16),
    "llama": Llama(vocab_size=VOCAB, dim=16, depth=2, num_heads=4, num_kv_heads=2, hidden=24, max_length=16),
    "llama, tied": Llama(vocab_size=VOCAB, dim=16, depth=1, num_heads=2, hidden=24, max_length=16, tied=True),
}
SMALL = {"vocab_size": VOCAB, "dim": 8, "pad": 0, "num_classes": 3}
ENCODERS = {
    "bert": Bert(**SMALL, depth=2, num_heads=2),
    "bert, rotary": Bert(**SMALL, depth=1, num_heads=2, rotary=1e4),
    "bert, mean": Bert(**SMALL, depth=1, num_heads=2, pool="mean"),
    "albert": albert(**SMALL, depth=2, num_heads=2, embedding_dim=4),
    "lstm": RecurrentEncoder(**SMALL, features=6, depth=2),
    "gru, last": RecurrentEncoder(**SMALL, features=6, cell="gru", pool="last"),
    "lstm, one way, max": RecurrentEncoder(**SMALL, features=6, bidirectional=False, pool="max"),
    "textcnn": TextCNN(**SMALL, features=5),
}


def quick(function):
    """Compiled to run once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def started(model):
    tokens = (TOKENS, TOKENS) if isinstance(model, Seq2Seq) else (TOKENS,)
    return quick(functools.partial(model.init, train=False))(jax.random.key(0), *tokens)


@functools.cache
def applied(model, **settings):
    """`model.apply` with `settings`, compiled."""
    return quick(functools.partial(model.apply, **settings))


def apply(model, *arrays, **further):
    """Outputs with the parameters that it starts with."""
    return applied(model)(started(model), *arrays, **further)


def parameters(model, *tokens):
    variables = jax.eval_shape(model.init, jax.random.key(0), *tokens)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (bert("base"), 109_482_240),  # Devlin et al. as published, with the pooler
        (bert("mini"), 11_170_560),
        (albert(), 11_683_584),
        (minilm(), 22_565_376),
        (minilm(pool="token"), 22_713_216),
        (gpt2("small"), 124_439_808),
        (gpt2("medium"), 354_823_168),
        (gpt2("xl"), 1_557_611_200),
        (llama("2-7b"), 6_738_415_616),
        (llama("3-8b"), 8_030_261_248),
        (RecurrentEncoder(), 330_242),
        (TextCNN(), 439_502),
    ],
    ids=lambda value: None if isinstance(value, int) else type(value).__name__,
)
def test_parameter_count(model, count):
    assert parameters(model, TOKENS) == count


def test_parameter_count_of_the_transformer_of_2017():
    block = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512  # attention, feed-forward
    norms, cross = 2 * 2 * 512, 4 * (512 * 512 + 512) + 2 * 512
    assert parameters(Seq2Seq(), TOKENS, TOKENS) == 37_000 * 512 + 6 * (2 * (block + norms) + cross) == 63_082_496


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_padding_changes_nothing(name):
    model = ENCODERS[name]
    padded = np.pad(TOKENS[:, :5], ((0, 0), (0, 3)))
    logits = apply(model, padded)
    assert logits.shape == (2, 3)
    np.testing.assert_allclose(logits, apply(model, TOKENS[:, :5]), atol=1e-6)
    segments = (np.arange(8)[None] < np.array([[5], [5]])).astype(np.int32)
    other = np.where(segments > 0, padded, 7)  # what the padding says does not matter where segments say so
    np.testing.assert_allclose(apply(model, other, segments=segments), logits, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru, last", "lstm, one way, max", "textcnn"])
def test_padding_may_stand_at_the_beginning(name):
    model = ENCODERS[name]
    padded = np.pad(TOKENS[:, :5], ((0, 0), (3, 0)))
    logits = apply(model, padded)
    np.testing.assert_allclose(logits, apply(model, TOKENS[:, :5]), atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_without_a_head_it_gives_what_the_head_sees(name):
    model = ENCODERS[name]
    params = dict(started(model)["params"])
    head = params.pop("head")
    features = applied(model.clone(num_classes=0))({"params": params}, TOKENS)
    logits = features @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(apply(model, TOKENS), logits, atol=1e-6)


@pytest.mark.parametrize("name", ENCODERS)
def test_all_parameters_learn(name):
    model = ENCODERS[name]
    keys = {"dropout": jax.random.key(1)}
    weights = jnp.arange(6.0).reshape(2, 3)
    run = functools.partial(model.apply, train=True, rngs=keys)
    grads = quick(jax.grad(lambda v: jnp.sum(run(v, TOKENS) * weights)))(started(model))
    still = {path for path, leaf in tree.flatten(grads).items() if not np.any(leaf)}
    assert still <= {"params/types/embedding"}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_the_cache_gives_what_the_whole_text_gives(name):
    model = DECODERS[name]
    variables, whole = started(model), apply(model, TOKENS)
    # Prompts of six tokens and of four, which end together.
    prompt = np.concatenate([TOKENS[:1, :6], np.pad(TOKENS[1:, :4], ((0, 0), (2, 0)))])
    segments = np.array([[1] * 6, [0] * 2 + [1] * 4], np.int32)
    logits, cache = applied(model, cache_size=12, mutable=("cache",))(variables, prompt, segments=segments)
    np.testing.assert_allclose(logits[0], whole[0, :6], atol=1e-5)
    np.testing.assert_allclose(logits[1, 2:], whole[1, :4], atol=1e-5)
    for i in range(2):
        one = np.stack([TOKENS[0, 6 + i], TOKENS[1, 4 + i]])[:, None]
        logits, cache = applied(model, mutable=("cache",))({**variables, **cache}, one)
        np.testing.assert_allclose(logits[:, 0], np.stack([whole[0, 6 + i], whole[1, 4 + i]]), atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_packed_texts_do_not_see_each_other(name):
    model = DECODERS[name]
    row = np.concatenate([TOKENS[:1, :3], TOKENS[1:, :4], [[0]]], axis=1)
    segments = np.array([[1] * 3 + [2] * 4 + [0]], np.int32)
    positions = np.array([[0, 1, 2, 0, 1, 2, 3, 0]], np.int32)
    logits = apply(model, row, segments=segments, positions=positions)
    np.testing.assert_allclose(logits[:, :3], apply(model, TOKENS[:1, :3]), atol=1e-5)
    np.testing.assert_allclose(logits[:, 3:7], apply(model, TOKENS[1:, :4]), atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_token_sees_none_after_it(name):
    model = DECODERS[name]
    changed = TOKENS.copy()
    changed[:, 5] = TOKENS[:, 5] % (VOCAB - 1) + 1
    before, after = apply(model, TOKENS), apply(model, changed)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (np.abs(before - after)[:, 5:].max(axis=-1) > 0).all()


@pytest.mark.slow
def test_the_decoder_of_seq2seq_goes_on_in_its_cache():
    model = Seq2Seq(vocab_size=VOCAB, dim=16, depth=2, num_heads=2, hidden=24, pad=0)
    variables = started(model)
    source = np.concatenate([TOKENS[:, :5], np.array([[3, 4, 5], [0, 0, 0]])], axis=1).astype(np.int32)
    whole = apply(model, source, TOKENS)
    memory = applied(model, method="encode")(variables, source)
    segments = (source > 0).astype(np.int32)
    settings = {"method": "decode", "mutable": ("cache",)}
    begin, decode = applied(model, cache_size=9, **settings), applied(model, **settings)
    logits, cache = begin(variables, TOKENS[:, :3], memory, segments=segments)
    np.testing.assert_allclose(logits, whole[:, :3], atol=1e-5)
    for i in range(3, 6):
        logits, cache = decode({**variables, **cache}, TOKENS[:, i : i + 1], memory, segments=segments)
        np.testing.assert_allclose(logits[:, 0], whole[:, i], atol=1e-5)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda: started(Bert(**SMALL, depth=1, num_heads=2, max_length=7)), "8 tokens, but it has 7 positions"),
        (
            lambda: started(GPT2(vocab_size=VOCAB, dim=8, depth=1, num_heads=2, max_length=4)),
            "max_length of at least 8",
        ),
        (lambda: TextCNN().init(jax.random.key(0), np.ones((2, 3))), "needs token numbers"),
        (lambda: started(GPT2(vocab_size=VOCAB, dim=9, depth=1, num_heads=2)), "2 heads cannot share 9 features"),
        (lambda: started(DECODERS["gpt2"].clone(num_heads=3)), "3 heads cannot share 16"),
        (
            lambda: started(DECODERS["llama"].clone(num_kv_heads=3)),
            "num_kv_heads: 3 cannot be shared by 4 heads of queries",
        ),
        (
            lambda: DECODERS["gpt2"].apply(started(DECODERS["gpt2"]), TOKENS, cache_size=5, mutable=["cache"]),
            "prompt: is 8 tokens long, the cache 5",
        ),
        (lambda: bert("bass"), "base"),
        (lambda: gpt2("smal"), "small"),
        (lambda: llama("3-8"), "3-8b"),
    ],
)
def test_what_does_not_fit_is_named(run, says):
    with pytest.raises(InputError, match=says):
        run()


def test_a_token_beyond_the_vocabulary_is_nan():
    model = DECODERS["gpt2"]
    logits = apply(model, np.array([[1, VOCAB, 2]], np.int32))
    assert np.isnan(logits[0, 1:]).all()


def test_dropout_keeps_its_share_and_the_mean():
    x = jnp.ones((400, 500))
    y = Dropout(0.1).apply({}, x, True, rngs={"dropout": jax.random.key(0)})
    kept = 230 / 256  # of eight bits
    assert set(np.unique(y)) == {0.0, np.float32(1 / kept)}
    assert np.mean(y > 0) == pytest.approx(kept, abs=4 * np.sqrt(kept * (1 - kept) / x.size))
    np.testing.assert_array_equal(y, Dropout(0.1).apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    np.testing.assert_array_equal(x, Dropout(0.1).apply({}, x, False))
    np.testing.assert_array_equal(0 * x, Dropout(1.0).apply({}, x, True, rngs={"dropout": jax.random.key(0)}))


def test_random_bytes_of_mapped_keys_are_those_of_each():
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = jax.vmap(lambda key: random_bytes(key, (2, 5)))(keys)
    np.testing.assert_array_equal(mapped, np.stack([random_bytes(key, (2, 5)) for key in keys]))
    assert len(np.unique(mapped.reshape(3, -1), axis=0)) == 3


def test_random_bytes_are_uniform():
    counts = np.bincount(random_bytes(jax.random.key(1), (256_000,)), minlength=256)
    assert ((counts - 1000) ** 2 / 1000).sum() < 350  # chi-square of 255 degrees: 1 in 20,000 is above


@pytest.mark.slow
def test_attention_with_dropout_is_the_other_where_nothing_is_dropped():
    """The explicit form, with grouped queries, a mask and causality, at a rate that rounds to nothing but is not 0."""
    x = jax.random.normal(jax.random.key(0), (2, 6, 16))
    mask = np.arange(6)[None, None, None] < np.array([6, 4])[:, None, None, None]
    block = TransformerBlock(4, 24, 2, causal=True)
    variables = quick(block.init)(jax.random.key(1), x)
    dropping = block.clone(attention_dropout=1e-6)
    explicit = quick(lambda v, key: dropping.apply(v, x, True, mask, rngs={"dropout": key}))(
        variables, jax.random.key(2)
    )
    plain = quick(lambda v: block.apply(v, x, False, mask))(variables)
    np.testing.assert_allclose(explicit[:, :4], plain[:, :4], atol=1e-6)


def test_rotary_positions_make_products_depend_on_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def product(first, second):
        turned = (rotate(x, jnp.array([[place]]), 100.0) for x, place in ((q, first), (k, second)))
        return float(jnp.sum(next(turned) * next(turned)))

    assert product(3, 1) == pytest.approx(product(10, 8), abs=1e-5)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-2)
    np.testing.assert_array_equal(rotate(q, jnp.array([[0]]), 100.0), q)


def test_sines_are_the_papers():
    table = sinusoids(4, 6)
    assert table[3, 2] == pytest.approx(np.sin(3 / 10_000 ** (2 / 6)))
    assert table[3, 3] == pytest.approx(np.cos(3 / 10_000 ** (2 / 6)))
