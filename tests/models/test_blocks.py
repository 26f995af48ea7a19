"""Blocks that are computed again, and blocks that are one: the same numbers, less memory, a smaller program."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.adapt.weights import load_pretrained, to_published
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.tfds import Tfds
from jaxai.experiment.override import override
from jaxai.generation.beam import beam_search
from jaxai.generation.generator import generate
from jaxai.generation.sampling import Sampling
from jaxai.models import GPT2, Bert, Llama, ResNet, ViT, albert
from jaxai.models.attention import Dropout
from jaxai.models.blocks import stacked, through, unstacked
from jaxai.models.layers import StochasticDepth
from jaxai.models.transformer import TransformerBlock
from jaxai.parallel.placing import Placing
from jaxai.tasks import Classification

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 20, (2, 8)).astype(np.int32)
IMAGES = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
SMALL = {"vocab_size": 20, "dim": 16, "depth": 3, "max_length": 16}
MODELS = {
    "gpt2": (GPT2(**SMALL, num_heads=2, dropout=0.5), TOKENS),
    "llama": (Llama(**SMALL, num_heads=4, num_kv_heads=2, hidden=24), TOKENS),
    "bert": (Bert(**SMALL, num_heads=2, num_classes=3), TOKENS),
    "vit": (ViT(patch=4, dim=16, depth=3, num_heads=2, num_classes=3), IMAGES),
}
POLICIES = ("none", "dots", "dots_no_batch", "full")
KEYS = {"dropout": jax.random.key(1)}
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def quick(function):
    """Compiled to run once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def shapes(model, inputs):
    return jax.eval_shape(model.init, jax.random.key(0), inputs)


@functools.cache
def start(name):
    model, inputs = MODELS[name]
    return quick(model.init)(jax.random.key(0), inputs)


def loss(model, inputs, variables):
    outputs = model.apply(variables, inputs, True, rngs=KEYS, mutable=["batch_stats"])[0]
    return jnp.sum(jnp.sin(outputs))


def program(model, inputs, variables):
    return jax.jit(jax.grad(functools.partial(loss, model, inputs))).lower(variables).as_text()


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_what_is_computed_again_gives_the_same_and_drops_the_same(scan):
    model, inputs = MODELS["gpt2"]
    variables = stacked(start("gpt2")) if scan else start("gpt2")
    results = [
        quick(jax.value_and_grad(functools.partial(loss, model.clone(remat=policy, scan=scan), inputs)))(variables)
        for policy in POLICIES
    ]
    for result in results[1:]:
        jax.tree.map(close, result, results[0])


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_less_is_kept_the_more_is_computed_again(name, scan):
    model, inputs = MODELS[name]
    model = model.clone(scan=scan)
    variables = shapes(model, inputs)

    def num_bytes(policy):
        backward = lambda v: jax.vjp(functools.partial(loss, model.clone(remat=policy), inputs), v)[1]  # noqa: E731
        return tree.num_bytes(jax.eval_shape(backward, variables))

    kept = [num_bytes(policy) for policy in POLICIES]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 4


def test_convolutions_are_products_too():
    model = ResNet(stages=(1, 1), features=4, stem="small", num_classes=3)
    variables = shapes(model, IMAGES)
    programs = {policy: program(model.clone(remat=policy), IMAGES, variables) for policy in POLICIES}
    convolutions = {policy: text.count("stablehlo.convolution") for policy, text in programs.items()}
    assert convolutions["none"] == convolutions["dots"] < convolutions["dots_no_batch"] == convolutions["full"]
    assert programs["none"].count("stablehlo.maximum") < programs["dots"].count("stablehlo.maximum")


def test_the_program_computes_again_what_the_policy_says():
    model, inputs = MODELS["gpt2"]
    texts = [program(model.clone(remat=policy), inputs, shapes(model, inputs)) for policy in POLICIES]
    none, dots, dots_no_batch, full = (text.count("stablehlo.dot_general") for text in texts)
    assert none == dots < dots_no_batch < full
    activations = [text.count("stablehlo.tanh") for text in texts]
    assert activations == [3, 6, 6, 6]


@pytest.mark.parametrize("policy", ["dot", True])
def test_a_policy_that_there_is_not_is_refused(policy):
    with pytest.raises(InputError, match=r"remat: '?(dot|True)'? is unknown \("):
        shapes(ViT(patch=4, remat=policy), IMAGES)


def test_both_are_flags():
    experiment = Experiment(
        task=Classification(model=ViT()),
        train=Pipeline(source=Tfds("digits"), batch_size=8),
        optimizer=optim.sgd(0.1),
        duration=Steps(1),
    )
    model = override(experiment, ["--task.model.remat", "full", "--task.model.scan"]).task.model
    assert (model.remat, model.scan) == ("full", True)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_blocks_that_are_one_give_the_same_outputs_and_gradients(name):
    model, inputs = MODELS[name]
    model, variables = model.clone(**({"dropout": 0.0} if name == "gpt2" else {})), start(name)
    one = model.clone(scan=True)
    assert tree.size(shapes(one, inputs)) == tree.size(variables)
    assert jax.tree.map(jnp.shape, stacked(variables)) == jax.tree.map(jnp.shape, shapes(one, inputs))
    jax.tree.map(np.testing.assert_array_equal, unstacked(stacked(variables)), variables)

    def both(model):
        return quick(jax.value_and_grad(functools.partial(loss, model, inputs)))

    expected, found = both(model)(variables), both(one)(stacked(variables))
    jax.tree.map(close, (found[0], unstacked(found[1])), expected)


@pytest.mark.parametrize("remat", ["none", "full"])
def test_a_program_of_one_block_does_not_grow_with_the_depth(remat):
    def products(depth, scan):
        model, inputs = MODELS["gpt2"]
        model = model.clone(depth=depth, scan=scan, remat=remat)
        return program(model, inputs, shapes(model, inputs)).count("stablehlo.dot_general")

    assert products(2, True) == products(6, True) <= products(1, False) + 2
    assert products(6, False) > 2 * products(2, False)


class Numbered(nn.Module):
    """Writes one digit to the base of 4 for each number: whether it was kept."""

    drop: float = 0.0

    @nn.compact
    def __call__(self, x, drop=None):
        kept = StochasticDepth(self.drop)(jnp.ones_like(x), True, drop) > 0
        bias = self.param("bias", nn.initializers.normal(), x.shape)
        return 4 * x + (Dropout(0.5)(jnp.ones_like(x), True) > 0) + 2 * kept + 0 * bias


def test_each_layer_draws_its_own_masks_and_initial_values():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return through(Numbered, 3, True, x, drops=(0.0, 0.25, 0.75))

    drawn, variables = Model().init_with_output({"params": jax.random.key(0), **KEYS}, jnp.zeros((400, 4)))
    digits = np.asarray(drawn, int)[None] // 4 ** np.arange(2, -1, -1)[:, None, None] % 4
    kept = digits % 2
    np.testing.assert_allclose(kept.mean(axis=(1, 2)), 0.5, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(kept.reshape(3, -1)), np.eye(3), atol=0.1)
    assert (digits // 2 == (digits // 2)[:, :, :1]).all()
    np.testing.assert_allclose((digits // 2).mean(axis=(1, 2)), [1, 0.75, 0.25], atol=0.08)
    np.testing.assert_allclose(np.corrcoef(variables["params"]["blocks"]["bias"].reshape(3, -1)), np.eye(3), atol=0.1)


def test_a_rate_that_only_the_step_knows():
    x = np.ones((1000, 2, 3), np.float16)
    draw = lambda rate: StochasticDepth(0.0).apply({}, x, True, rate, rngs=KEYS)  # noqa: E731
    values, counts = np.unique(jax.jit(draw)(jnp.array(0.25)), return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-3)
    assert counts[0] / x.size == pytest.approx(0.25, abs=0.05)
    np.testing.assert_array_equal(StochasticDepth(0.0).apply({}, x, False, jnp.array(0.25)), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_blocks_that_are_one_go_on_in_a_cache_and_write_the_same(name):
    model, variables = MODELS[name][0].clone(scan=True), stacked(start(name))
    whole = quick(model.apply)(variables, TOKENS)
    first, state = model.apply(variables, TOKENS[:, :5], cache_size=8, mutable=["cache"])
    second, _ = model.apply({**variables, **state}, TOKENS[:, 5:], mutable=["cache"])
    close(np.concatenate([first, second], axis=1), whole)
    prompts, sampling = [[1, 2, 3], [4]], Sampling(max_new_tokens=4)
    texts = [generate(*both, prompts, sampling) for both in ((model, variables), (MODELS[name][0], start(name)))]
    jax.tree.map(np.testing.assert_array_equal, *texts)
    beams = beam_search(model, variables, prompts, num_beams=2, max_new_tokens=4)
    expected = beam_search(MODELS[name][0], start(name), prompts, num_beams=2, max_new_tokens=4)
    np.testing.assert_allclose(beams.scores, expected.scores, rtol=1e-5)


def test_stacked_parameters_lie_on_a_mesh_as_those_of_each_block():
    model = GPT2(vocab_size=64, dim=16, depth=4, num_heads=2, max_length=32)
    mesh = jax.sharding.AbstractMesh((2, 2), ("fsdp", "tensor"))

    def places(scan):
        variables = shapes(model.clone(scan=scan), TOKENS)
        found = Placing(mesh, (), None).shardings(variables)  # type: ignore[arg-type]
        return {path: tuple(sharding.spec) for path, sharding in tree.flatten(found).items()}

    one, apart = places(True), places(False)
    for path, place in apart.items():
        if "block0/" in path:
            assert one[path.replace("block0", "blocks")] == (None, *place)
        elif "/block" not in path:
            assert one[path] == place
    assert one["params/blocks/attention/out/kernel"] == (None, "tensor", "fsdp")


@pytest.mark.slow
def test_optimizers_see_the_parameters_of_each_block():
    draw = lambda key, leaf: jax.random.normal(jax.random.key(key), leaf.shape)  # noqa: E731
    block = shapes(TransformerBlock(2, 8), jnp.zeros((1, 4, 4)))["params"]
    keys = jax.tree.unflatten(jax.tree.structure(block), range(len(jax.tree.leaves(block))))
    apart = {f"block{i}": jax.tree.map(lambda key, leaf, i=i: draw(key + 100 * i, leaf), keys, block) for i in range(2)}
    for optimizer in (optim.adamw(0.1, weight_decay=0.5), optim.muon(0.1, weight_decay=0.5)):

        def update(params, optimizer=optimizer):
            chain = optimizer.build(10, lambda duration: 1)
            return quick(lambda params: chain.update(params, chain.init(params), params)[0])(params)

        jax.tree.map(close, unstacked(update(stacked(apart))), update(apart))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: shapes(albert(scan=True), TOKENS), "scan: is for blocks with parameters of their own"),
        (lambda: load_pretrained(GPT2(scan=True), {}), r"model: published names are of one block each.*scan=False"),
        (lambda: to_published(GPT2(scan=True), {"params": {"blocks": {"bias": 0}}}), "model: published names are"),
    ],
)
def test_what_blocks_that_are_one_cannot_do_is_one_line(act, words):
    with pytest.raises(InputError, match=words):
        act()
