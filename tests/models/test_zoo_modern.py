"""MobileNetV2, ResNets, ViTs, ConvNeXt and Airbench: published parameter counts, names, and what their parts do."""

from __future__ import annotations

import functools
import io
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxai.adapt.tables import convnext as convnext_tables
from jaxai.adapt.tables import mobilenet_v2 as mobilenet_v2_tables
from jaxai.adapt.tables import resnet as resnet_tables
from jaxai.adapt.tables import vit as vit_tables
from jaxai.adapt.weights import load_pretrained
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data import packages
from jaxai.models import Airbench, ConvNeXt, MobileNetV2, ResNet, ViT
from jaxai.models.airbench import identity_first, whitening_kernel
from jaxai.models.layers import DepthwiseConv, StochasticDepth, drop_rates
from jaxai.models.mobilenet_v2 import channels
from jaxai.models.resnet import Block, cifar_resnet, resnet, wide_resnet
from jaxai.models.vit import PatchEmbed, vit

COUNTS = {
    "mobilenet_v2": (MobileNetV2(), 3_504_872),
    "mobilenet_v2 half as wide": (MobileNetV2(width=0.5), 1_968_680),
    "mobilenet_v2 1.4": (MobileNetV2(width=1.4), 6_108_776),
    "resnet18": (resnet(18), 11_689_512),
    "resnet34": (resnet(34), 21_797_672),
    "resnet50": (resnet(50), 25_557_032),
    "resnet101": (resnet(101), 44_549_160),
    "resnet152": (resnet(152), 60_192_808),
    "wide_resnet50_2": (resnet(50, width=2), 68_883_240),
    "vit_tiny": (vit("tiny"), 5_717_416),
    "vit_small": (vit("small"), 22_050_664),
    "vit_base": (vit("base"), 86_567_656),
    "vit_base patch 32": (vit("base", patch=32), 88_224_232),
    "vit_large": (vit("large"), 304_326_632),
    "convnext_tiny": (ConvNeXt(), 28_589_128),
    "convnext_small": (ConvNeXt(stages=(3, 3, 27, 3)), 50_223_688),
}
CIFAR_COUNTS = {
    # The paper's table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million.
    "resnet20": (cifar_resnet(20), 269_722),
    "resnet32": (cifar_resnet(32), 464_154),
    "resnet44": (cifar_resnet(44), 658_586),
    "resnet56": (cifar_resnet(56), 853_018),
    "resnet110": (cifar_resnet(110), 1_727_962),
    "resnet20 option B": (cifar_resnet(20, shortcut="projection"), 272_474),
    # He et al. 2016b: 1.7 million. Zagoruyko and Komodakis 2016, table 4: 36.5 and 11.0 million.
    "resnet164": (
        cifar_resnet(164, block="bottleneck", preactivation=True, shortcut="projection"),
        1_703_258,
    ),
    "wrn_28_10": (wide_resnet(28, 10), 36_479_194),
    "wrn_16_8": (wide_resnet(16, 8), 10_961_370),
}
SMALL = {
    "mobilenet_v2": MobileNetV2(num_classes=3, width=0.1, dropout=0.5),
    "resnet": ResNet(num_classes=3, stages=(1, 2), features=4, block="bottleneck", stochastic_depth=0.5),
    "preactivation": ResNet(num_classes=3, stages=(1, 1), features=4, preactivation=True, stem="small"),
    "option A": cifar_resnet(8, num_classes=3, features=4, stages=(1, 1), stochastic_depth=0.5),
    "vit": ViT(num_classes=3, patch=4, dim=8, depth=1, num_heads=2, dropout=0.1, stochastic_depth=0.5),
    "vit mean": ViT(num_classes=3, patch=4, dim=8, depth=1, num_heads=2, pool="mean"),
    "convnext": ConvNeXt(num_classes=3, stages=(1, 1), features=(8, 12), stochastic_depth=0.5, layer_scale=1.0),
    "airbench": Airbench(num_classes=3, widths=(32, 8), tta=True),
}
DRAWING = ["mobilenet_v2", "option A", "vit", "convnext"]
X = np.random.default_rng(0).normal(size=(6, 16, 16, 3)).astype(np.float32)


def shapes(model, side):
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    return jax.eval_shape(model.init, keys, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))


@functools.cache
def variables_of(name):
    """Variables away from where they start, drawn without compiling anything."""
    rng = np.random.default_rng(0)
    return tree.map_paths(lambda path, leaf: drawn(rng, path, leaf.shape), shapes(SMALL[name], 16))


def drawn(rng, path, shape):
    around = 1 if path.endswith(("/scale", "/var")) else 0
    return np.float32(around + rng.uniform(-0.3, 0.3, shape))


def once(fn, *args):
    """`fn(*args)`, compiled in a hurry."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(fn).lower(*args).compile(options)(*args)


@pytest.mark.parametrize(
    ("model", "side", "count"),
    [(m, 224, c) for m, c in COUNTS.values()] + [(m, 32, c) for m, c in CIFAR_COUNTS.values()],
    ids=[*COUNTS, *CIFAR_COUNTS],
)
def test_parameter_count(model, side, count):
    params = shapes(model, side)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count
    assert params["head"]["kernel"].shape[-1] == model.num_classes


def test_airbench_has_the_papers_1_97_million():
    variables = shapes(Airbench(), 32)
    sizes = {name: sum(math.prod(a.shape) for a in jax.tree.leaves(variables[name])) for name in variables}
    assert sizes == {"params": 1_971_352, "whitening": 288, "batch_stats": 2 * 1_152}


@pytest.mark.parametrize(
    ("model", "module"),
    [
        (MobileNetV2(), mobilenet_v2_tables),
        (resnet(18), resnet_tables),
        (resnet(152), resnet_tables),
        (vit("tiny"), vit_tables),
        (vit("tiny", pool="mean"), vit_tables),
        (ConvNeXt(), convnext_tables),
    ],
)
def test_every_parameter_has_a_published_name_of_its_own(model, module):
    paths = [path.partition("/")[2] for path in tree.flatten(shapes(model, 224))]
    for table in module.TABLES:
        names = [name for path in paths for name in table.names(path) or ()]
        assert len(set(names)) == len(paths)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_one_logit_a_class_and_bfloat16_in_bfloat16_out(name):
    variables = variables_of(name)
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = variables | {"params": tree.cast(variables["params"], dtype)}
        for train in (False, True):
            apply = functools.partial(SMALL[name].apply, train=train, mutable=["batch_stats"])
            logits, _ = jax.eval_shape(
                lambda v, x, apply=apply: apply(v, x, rngs={"dropout": jax.random.key(0)}), cast, X.astype(dtype)
            )
            assert (logits.shape, logits.dtype) == ((6, 3), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_without_a_head_it_gives_what_the_head_would_see(name):
    variables, model = variables_of(name), SMALL[name]
    encoder = variables | {"params": {k: v for k, v in variables["params"].items() if k != "head"}}
    logits, features = once(
        lambda v, e, x: (model.apply(v, x), model.clone(num_classes=0).apply(e, x)), variables, encoder, X
    )
    head = variables["params"]["head"]
    scale = 1 / 9 if name == "airbench" else 1
    np.testing.assert_allclose(
        (features @ head["kernel"] + head.get("bias", np.zeros(3))[None]) * scale, logits, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWING)
def test_dropout_and_stochastic_depth_draw_from_their_key_in_training_only(name):
    def train(variables, key):
        return SMALL[name].apply(variables, X, train=True, rngs={"dropout": key}, mutable=["batch_stats"])[0]

    keys = jax.vmap(jax.random.key)(np.array([0, 0, 1]))
    first, again, other = once(jax.vmap(train, (None, 0)), variables_of(name), keys)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["option A", "vit"])
def test_remat_has_the_same_parameters_and_gradients(name):
    variables = variables_of(name)

    def grads(model):
        def loss(params):
            apply = functools.partial(model.apply, variables | {"params": params}, X, train=True)
            return jnp.sum(jnp.square(apply(rngs={"dropout": jax.random.key(1)}, mutable=["batch_stats"])[0]))

        return once(jax.grad(loss), variables["params"])

    ours, again = grads(SMALL[name]), grads(SMALL[name].clone(remat="full"))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), ours, again)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "stride", "shape"), [(3, 1, (7, 5)), (3, 2, (7, 5)), (3, 2, (8, 4)), (7, 1, (9, 2))])
def test_depthwise_convolution_is_flaxs_on_cpu_and_elsewhere(size, stride, shape, monkeypatch):
    x = np.random.default_rng(0).normal(size=(2, *shape, 6)).astype(np.float32)
    stock = nn.Conv(6, (size, size), stride, padding=size // 2, feature_group_count=6)
    ours = DepthwiseConv(size, stride)
    params = jax.tree.map(lambda leaf: leaf + 0.1, stock.init(jax.random.key(1), x))
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, params)

    def values_and_gradients(apply):
        def values(params, x):
            value, pull = jax.vjp(apply, params, x)
            return value, pull(jnp.sin(jnp.arange(float(value.size))).reshape(value.shape))

        return once(values, params, x)

    expected = values_and_gradients(stock.apply)
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        jax.tree.map(close, values_and_gradients(ours.apply), expected)


def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean():
    x = jnp.ones((4000, 2, 3))
    module = StochasticDepth(0.25)
    dropped = np.asarray(module.apply({}, x, True, rngs={"dropout": jax.random.key(0)}))
    of_example = dropped[:, 0, 0]
    np.testing.assert_array_equal(dropped, np.broadcast_to(of_example[:, None, None], x.shape))
    np.testing.assert_allclose(sorted(set(of_example.tolist())), [0, 4 / 3])
    assert abs(of_example.mean() - 1) < 0.04
    np.testing.assert_array_equal(module.apply({}, x, False), x)


def test_later_blocks_are_dropped_more_often():
    """Huang et al. 2016, equation 4: 1 - l / L (1 - p) of block l survives."""
    np.testing.assert_allclose(drop_rates(0.5, 4), [0.125, 0.25, 0.375, 0.5])


def test_widths_are_rounded_to_multiples_of_8_but_never_down_by_more_than_a_tenth():
    given = [3.2, 16, 24 * 0.35, 32 * 0.35, 24 * 1.4, 44.1, 1280 * 1.4]
    assert [channels(count) for count in given] == [8, 16, 8, 16, 32, 48, 1792]


@pytest.mark.slow
@pytest.mark.parametrize("preactivation", [False, True])
def test_zero_init_starts_blocks_as_the_identity(preactivation):
    block = Block(
        inside=4,
        features=4,
        kind="basic",
        stride=1,
        preactivation=preactivation,
        activated=False,
        shortcut="projection",
        zero_init=True,
        drop=0.0,
    )
    x = np.abs(X[..., :1] * np.ones(4, np.float32))
    y, _ = jax.jit(block.init_with_output, static_argnums=2)(jax.random.key(0), x, True)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(20), "depth: there is no ResNet-20 .one of 18, 34, 50, 101, 152"),
        (lambda: cifar_resnet(18), "depth: a ResNet for CIFAR cannot have 18 layers .6 n . 2"),
        (lambda: cifar_resnet(163, block="bottleneck"), "163 layers .9 n . 2"),
        (lambda: wide_resnet(27, 10), "depth: a wide ResNet cannot have 27 layers .6 n . 4"),
        (lambda: vit("smal"), "size: there is no ViT of size 'smal' .did you mean 'small'"),
    ],
)
def test_sizes_that_do_not_exist(make, message):
    with pytest.raises(InputError, match=message):
        make()


class TestViT:
    model = ViT(num_classes=3, patch=4, dim=8, depth=1, num_heads=2, pool="none")

    @functools.cached_property
    def variables(self):
        rng = np.random.default_rng(0)
        return tree.map_paths(lambda path, leaf: drawn(rng, path, leaf.shape), shapes(self.model, 16))

    def test_patches_are_read_row_by_row(self):
        kernel = self.variables["params"]["patch_embed"]["proj"]["kernel"]
        embed = {"params": self.variables["params"]["patch_embed"]}
        tokens = PatchEmbed(patch=4, dim=8).apply(embed, X)
        assert tokens.shape == (6, 16, 8)
        patch = X[:, 4:8, 8:12].reshape(6, -1)
        np.testing.assert_allclose(
            tokens[:, 6] - embed["params"]["proj"]["bias"][None], patch @ kernel.reshape(-1, 8), atol=1e-5
        )

    @pytest.mark.slow
    def test_it_sees_only_the_patches_to_keep(self):
        apply = jax.jit(lambda x: self.model.apply(self.variables, x, False, np.tile([[5, 2, 11]], (6, 1))))
        tokens = apply(X)
        assert tokens.shape == (6, 3, 3)
        elsewhere = X.copy()
        elsewhere[:, :4, :4] += 1  # patch 0
        np.testing.assert_array_equal(apply(elsewhere), tokens)
        elsewhere[:, 4:8, 4:8] += 1  # patch 5
        assert not np.allclose(apply(elsewhere), tokens)

    @pytest.mark.slow
    def test_keeping_all_patches_in_another_order_only_orders_the_tokens(self):
        order = np.random.default_rng(0).permutation(16)
        keep = np.tile(order[None], (6, 1))
        apply = self.model.apply
        shuffled, tokens = once(lambda v, x: (apply(v, x, False, keep), apply(v, x)), self.variables, X)
        np.testing.assert_allclose(shuffled, tokens[:, order], atol=1e-5)

    def test_another_image_size_is_refused(self):
        with pytest.raises(InputError, match="ViT inputs: images of 64 tokens, but its positions were made for 16"):
            jax.eval_shape(self.model.apply, self.variables, np.zeros((1, 32, 32, 3), np.float32))

    def test_images_that_are_no_whole_patches_are_refused(self):
        with pytest.raises(InputError, match="ViT inputs: images of 18 x 16 are not whole patches of 4 x 4"):
            jax.eval_shape(self.model.init, jax.random.key(0), np.zeros((1, 18, 16, 3), np.float32))

    def test_heads_share_the_features_equally(self):
        with pytest.raises(InputError, match="num_heads: 3 heads cannot share 8 features"):
            jax.eval_shape(self.model.clone(num_heads=3).init, jax.random.key(0), X)


def convolve(x, kernel, padding):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


class TestAirbench:
    def test_whitened_patches_are_uncorrelated_with_either_sign(self):
        images = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype(np.float32)
        images[:, 1:] += images[:, :-1]  # neighbours are alike
        kernel = whitening_kernel(images)
        assert kernel.shape == (2, 2, 3, 24)
        x = convolve(images, kernel, "VALID")
        np.testing.assert_allclose(x[..., :12], -x[..., 12:], atol=1e-4)
        flat = np.asarray(x[..., :12], np.float64).reshape(-1, 12)
        np.testing.assert_allclose(flat.T @ flat / len(flat), np.eye(12), atol=0.01)
        scale = np.linalg.norm(np.asarray(kernel).reshape(12, 24), axis=0)
        assert (np.diff(scale[:12]) > 0).all()  # the largest eigenvalue first

    def test_flat_images_do_not_blow_up(self):
        assert np.abs(whitening_kernel(np.zeros((1, 4, 4, 3), np.float32))).max() <= 1 / math.sqrt(5e-4) + 1e-3

    def test_convolutions_start_with_identity_filters(self):
        y = convolve(X, identity_first(jax.random.key(0), (3, 3, 3, 5)), "SAME")
        np.testing.assert_array_equal(y[..., :3], X)
        assert np.std(y[..., 3:]) > 0.1

    @pytest.mark.slow
    def test_tta_is_the_mean_over_mirror_images_in_evaluation(self):
        model = SMALL["airbench"]

        def both(variables, x):
            one = model.clone(tta=False)
            return model.apply(variables, x), (one.apply(variables, x) + one.apply(variables, x[:, :, ::-1])) / 2

        ours, expected = once(both, variables_of("airbench"), X)
        np.testing.assert_allclose(ours, expected, atol=1e-6)

    @pytest.mark.slow
    def test_training_moves_averages_but_not_the_whitening(self):
        variables = variables_of("airbench")
        apply = functools.partial(SMALL["airbench"].apply, train=True, mutable=["batch_stats", "whitening"])
        _, state = once(apply, variables, X)
        jax.tree.map(np.testing.assert_array_equal, state["whitening"], variables["whitening"])
        assert np.abs(state["batch_stats"]["group1_norm1"]["mean"]).max() > 0


PHOTOS = packages.Packaged(
    dataset="skimage_photos",
    tool="pip",
    package="scikit-image==0.26.0",
    pattern=r"skimage/data/((?:chelsea|coffee)\.png)$",
    sha256="172334c295f01905e8d47bd5cd0564bb9615ced39966e51657e29877f80c6a7b",
)


def imagenet(content):
    """[1, 224, 224, 3]: the short side scaled to 256, the middle 224 x 224, normalized."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)[None] / 255
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return (pixels - mean) / std


@pytest.mark.slow
def test_published_weights_name_what_is_in_a_photo():
    photos = packages.collect(PHOTOS, None, print)
    images = np.concatenate([imagenet(photos[name]) for name in ("chelsea.png", "coffee.png")])
    loaded = load_pretrained(MobileNetV2(), "mobilenet_v2")
    logits = once(MobileNetV2().apply, loaded.variables, images)
    assert np.argmax(logits, axis=-1).tolist() == [285, 967]  # Egyptian cat, espresso
