"""Facts about AlexNet, GoogLeNet, Inception-v3, the U-Net and the medical tutorials' network."""

from __future__ import annotations

import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models import AlexNet, ConvNet, GoogLeNet, InceptionV3, UNet, googlenet, inception_v3
from jaxai.models.layers import adaptive_average_pool
from jaxai.models.unet import time_embedding

#: Compiles in half the time; what it gives runs slower.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
COUNTS = {
    "alexnet": (AlexNet(), 224, 61_100_840),
    "googlenet": (GoogLeNet(), 224, 13_004_888),
    "googlenet without heads": (GoogLeNet(aux=False), 224, 6_624_904),
    "inception v3": (InceptionV3(), 299, 27_161_264),
    "inception v3 without head": (InceptionV3(aux=False), 299, 23_834_568),
    "medical cnn": (ConvNet(features=(32, 64, 128), dense=(128,), dropout=0.5, num_classes=2), 256, 16_870_850),
    "paper's u-net": (UNet(features=(64, 128, 256, 512, 1024), out_channels=2), 16, 31_037_698),
    "u-net": (UNet(), 16, 466_593 + 2 * 9 * 32),
}
#: Model, side of the smallest image, features.
SMALLEST = {
    "alexnet": (AlexNet(num_classes=3), 63, 4096),
    "googlenet": (GoogLeNet(num_classes=3), 15, 1024),
    "inception v3": (InceptionV3(num_classes=3, aux=False), 75, 2048),
}
DENOISER = UNet(features=(8, 16), out_channels=1, norm="group", time=True, num_classes=3, attention_heads=2)


def image(side, channels=3, batch=2, dtype=np.float32):
    return jax.ShapeDtypeStruct((batch, side, side, channels), dtype)


def abstract(model, x, **told):
    """Shapes of the variables, at no cost."""
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, **told), x)


def filled(model, x, **told):
    """Variables whose kernels are He normal, without compiling `init`."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if leaf.ndim > 1:
            fan_in = leaf.size // leaf.shape[-1]
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(math.sqrt(2 / fan_in))
        return np.full(leaf.shape, path.endswith(("scale", "var")), np.float32)

    return tree.map_paths(fill, abstract(model, x, **told))


def half(variables):
    return variables | {"params": tree.cast(variables["params"], jnp.bfloat16)}


@functools.cache
def small(name):
    """A model, its variables, images of its smallest size, and their logits."""
    model, side, _ = SMALLEST[name]
    variables = filled(model, image(side))
    x = np.random.default_rng(1).standard_normal((2, side, side, 3), np.float32)
    return model, variables, x, jit(model.apply)(variables, x)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    model, side, count = COUNTS[name]
    assert tree.size(abstract(model, image(side))["params"]) == count


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_image_works_and_a_smaller_one_says_so(name):
    model, side, _ = SMALLEST[name]
    assert jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], image(side)).shape == (2, 3)
    with pytest.raises(InputError, match=f"needs at least {side} x {side}"):
        abstract(model, image(side - 1))
    with pytest.raises(InputError, match=r"needs \[batch, height, width, channel"):
        abstract(model, jax.ShapeDtypeStruct((side, side, 3), np.float32))


@pytest.mark.parametrize("name", SMALLEST)
def test_the_encoder_has_no_head(name):
    model, side, width = SMALLEST[name]
    encoder = model.clone(num_classes=0)
    features, variables = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x), image(side))
    assert features.shape == (2, width)
    assert not {"head", "aux1", "aux2"} & set(variables["params"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_the_encoder_gives_what_the_head_sees(name):
    model, variables, x, logits = small(name)
    features = jit(model.clone(num_classes=0).apply)(variables, x)
    head = variables["params"]["head"]
    np.testing.assert_allclose(features @ head["kernel"] + head["bias"][None], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_bfloat16_in_bfloat16_out(name):
    model, variables, x, logits = small(name)
    half_logits = jit(model.apply)(half(variables), x.astype(jnp.bfloat16))
    assert half_logits.dtype == jnp.bfloat16
    np.testing.assert_allclose(half_logits.astype(np.float32), logits, atol=0.05 * np.abs(logits).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_only_training_draws_dropout_and_runs_in_bfloat16_too(name):
    model, side, _ = SMALLEST[name]
    variables = jax.eval_shape(half, abstract(model, image(side)))

    def run(variables, x, rngs, train):
        return model.apply(variables, x, train=train, rngs=rngs, mutable=["batch_stats", "auxiliary"])

    x = image(side, dtype=jnp.bfloat16)
    keys = {"dropout": jax.random.key(0)}
    logits, state = jax.eval_shape(functools.partial(run, rngs=keys, train=True), variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, state.get("auxiliary", {})))} == {jnp.dtype(jnp.bfloat16)}
    jax.eval_shape(functools.partial(run, rngs={}, train=False), variables, x)
    with pytest.raises(flax.errors.InvalidRngError):
        jax.eval_shape(functools.partial(run, rngs={}, train=True), variables, x)


@pytest.mark.slow
def test_dropout_draws_from_its_key():
    model, variables, x, logits = small("alexnet")

    @functools.partial(jit, static_argnums=2)
    def train(variables, key, dropout):
        return model.clone(dropout=dropout).apply(variables, x, train=True, rngs={"dropout": jax.random.key(key)})

    np.testing.assert_array_equal(train(variables, 0, 0.5), train(variables, 0, 0.5))
    assert not np.array_equal(train(variables, 0, 0.5), train(variables, 1, 0.5))
    np.testing.assert_allclose(train(variables, 0, 0.0), logits, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "side", "heads"), [(GoogLeNet(), 15, 2), (InceptionV3(), 299, 1)])
def test_auxiliary_heads_sow_their_logits_in_training_only(model, side, heads):
    variables = abstract(model, image(side))
    assert set(variables) == {"params", "batch_stats"}

    def run(model, train):
        def apply(variables, x):
            keys = {"dropout": jax.random.key(0)}
            return model.apply(variables, x, train=train, rngs=keys, mutable=["batch_stats", "auxiliary"])[1]

        return jax.eval_shape(apply, variables, image(side))

    state = run(model, train=True)
    assert [leaf.shape for leaf in state["auxiliary"]["logits"]] == [(2, 1000)] * heads
    assert jax.tree.map(jnp.shape, state["batch_stats"]) == jax.tree.map(jnp.shape, variables["batch_stats"])
    assert set(run(model, train=False)) == {"batch_stats"}
    assert set(run(model.clone(num_classes=0), train=True)) == {"batch_stats"}


@pytest.mark.slow
def test_the_auxiliary_head_of_inception_v3_names_the_size_that_it_needs():
    with pytest.raises(InputError, match=r"images of 298 x 298, its auxiliary head needs 299 x 299 .InceptionV3.aux"):
        abstract(InceptionV3(), image(298))
    variables = abstract(InceptionV3(num_classes=3), image(299))
    logits = jax.eval_shape(lambda v, x: InceptionV3(num_classes=3).apply(v, x), variables, image(75))
    assert logits.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "side", "blocks"),
    [
        (GoogLeNet(num_classes=3, aux=False), 15, {"inception3a": googlenet.BLOCKS["inception3a"]}),
        (InceptionV3(num_classes=3, aux=False), 75, inception_v3.BLOCKS[3:4]),
        (UNet(features=(4, 8), dropout=0.5), 8, None),
    ],
)
def test_rematerialization_changes_no_name_and_no_gradient(model, side, blocks, monkeypatch):
    if blocks:  # fewer, to compile sooner
        monkeypatch.setattr(inception_v3 if isinstance(model, InceptionV3) else googlenet, "BLOCKS", blocks)
    variables = filled(model, image(side))
    assert jax.tree.structure(variables) == jax.tree.structure(abstract(model.clone(remat="full"), image(side)))
    x = np.random.default_rng(1).standard_normal((2, side, side, 3), np.float32)

    def loss(model, params):
        given, keys = variables | {"params": params}, {"dropout": jax.random.key(0)}
        outputs, state = model.apply(given, x, train=True, rngs=keys, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(outputs)), state

    models = (model, model.clone(remat="full"))
    jaxprs = [str(jax.make_jaxpr(functools.partial(loss, m))(variables["params"])) for m in models]
    assert ["remat" in text or "checkpoint" in text for text in jaxprs] == [False, True]
    gradients = [jit(jax.grad(functools.partial(loss, m), has_aux=True))(variables["params"]) for m in models]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3 * np.abs(a).max()), *gradients)


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (1, 28, 28, 1), (3, 32, 16, 3)])
def test_the_unet_gives_an_output_a_pixel(shape):
    model = UNet(features=(4, 8, 16), out_channels=5)
    x = jax.ShapeDtypeStruct(shape, np.float32)
    outputs, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert outputs.shape == (*shape[:3], 5)
    assert set(variables) == {"params", "batch_stats"}
    assert set(abstract(model.clone(norm="group", groups=4), x)) == {"params"}


@pytest.mark.parametrize(
    ("model", "x", "told", "words"),
    [
        (UNet(), image(30), {}, "images of 30 x 30 .needs sides that are multiples of 4, or fewer features"),
        (UNet(features=(8, 8, 8, 8)), image(28), {}, "images of 28 x 28 .needs sides that are multiples of 8"),
        (UNet(), jax.ShapeDtypeStruct((4, 28, 28), np.float32), {}, r"needs \[batch, height, width, channel"),
        (UNet(), image(8), {"time": jnp.zeros(2)}, r"UNet time: is given to a model without .UNet\(time=True"),
        (UNet(time=True), image(8), {}, "UNet time: is missing .time=t"),
        (UNet(time=True), image(8), {"time": jnp.zeros(())}, r"UNet time: shape \(\) .needs \[batch"),
        (UNet(time=True), image(8), {"time": jnp.zeros(2), "label": jnp.zeros(2)}, "UNet label: is given to a model"),
        (UNet(num_classes=3), image(8), {}, "UNet num_classes: goes with time=True"),
        (UNet(features=(12, 16), norm="group"), image(8), {}, "UNet features.0: 12 do not make 8 groups"),
    ],
)
def test_the_unet_says_what_it_cannot_take(model, x, told, words):
    with pytest.raises(InputError, match=words):
        abstract(model, x, **told)


def test_the_time_embedding_is_the_published_formula():
    time = np.array([0, 1, 17, 999])
    i = np.arange(16)
    angles = time[:, None] * 10_000.0 ** (-i / 15)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    # Angles up to 999 have float32's steps of 6e-5.
    np.testing.assert_allclose(time_embedding(jnp.asarray(time), 32), expected, atol=2e-4)
    np.testing.assert_allclose(time_embedding(jnp.asarray(time / 1000, jnp.float32), 32), expected, atol=2e-4)


@pytest.fixture(scope="module")
def denoiser():
    """Variables of `DENOISER` with an output that is not zero, and its jitted apply."""
    told = {"time": jnp.zeros(4), "label": jnp.zeros(4, jnp.int32)}
    return filled(DENOISER, image(8, 1, 4), **told), jit(DENOISER.apply)


X = np.random.default_rng(2).standard_normal((4, 8, 8, 1), np.float32)
TIME = jnp.array([0.0, 0.25, 0.5, 1.0])


def test_the_denoiser_starts_at_an_output_of_zero_and_segmentation_does_not():
    def head(model, **told):
        return jit(lambda: model.init(jax.random.key(0), X, **told)["params"]["head"]["kernel"])()

    assert not head(DENOISER, time=TIME).any()
    assert np.std(head(UNet(features=(64, 8)))) == pytest.approx(1 / 8, rel=0.3)


@pytest.mark.slow
def test_the_denoiser_hears_time_and_class(denoiser):
    variables, apply = denoiser
    none = apply(variables, X, time=TIME)
    np.testing.assert_allclose(none, apply(variables, X, time=TIME, label=jnp.full(4, 3)), atol=1e-5)
    labelled = apply(variables, X, time=TIME, label=jnp.array([0, 1, 2, 0]))
    for other in (labelled, apply(variables, X, time=TIME[::-1])):
        assert (np.abs(other - none).max(axis=(1, 2, 3)) > 1e-3).all()


@pytest.mark.slow
def test_examples_of_the_denoiser_are_alone_and_bfloat16_stays(denoiser):
    variables, apply = denoiser
    label = jnp.array([0, 1, 2, 3])
    outputs = apply(variables, X, time=TIME, label=label)
    np.testing.assert_allclose(outputs[::-1], apply(variables, X[::-1], time=TIME[::-1], label=label[::-1]), atol=1e-4)
    half_outputs = apply(half(variables), X.astype(jnp.bfloat16), time=TIME, label=label)
    assert half_outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(half_outputs.astype(np.float32), outputs, atol=0.1 * np.abs(outputs).max())


@pytest.mark.slow
def test_gradients_reach_every_parameter_of_the_denoiser(denoiser):
    model, variables = DENOISER.clone(dropout=0.5), denoiser[0]

    @jit
    def gradient(params, key):
        def loss(params):
            keys = {"dropout": jax.random.key(key)}
            outputs = model.apply({"params": params}, X, True, time=TIME, label=jnp.array([0, 1, 2, 3]), rngs=keys)
            return jnp.mean((outputs - X) ** 2)

        return jax.grad(loss)(params)

    first, second = (tree.flatten(gradient(variables["params"], key)) for key in (0, 1))
    for path, leaf in first.items():
        # The bias of the keys moves all of a pixel's attention alike: it has no effect.
        assert float(jnp.abs(leaf).max()) > 1e-5 or path == "attention/attention/key/bias", path
    assert not np.array_equal(first["head/kernel"], second["head/kernel"])


def test_adaptive_average_pools_may_overlap():
    x = np.arange(5.0)[None, :, None, None] + np.zeros((1, 5, 3, 1))
    pooled = adaptive_average_pool(jnp.asarray(x), 3)
    np.testing.assert_allclose(pooled[0, :, 0, 0], [0.5, 2.0, 3.5])  # of 0-1, 1-3, 3-4
    np.testing.assert_array_equal(adaptive_average_pool(jnp.ones((1, 1, 1, 2)), 4), np.ones((1, 4, 4, 2)))
