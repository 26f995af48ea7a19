"""LoRA and bottleneck adapters: closed forms, where they are, and what they cost."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.adapt.efficient import Adapted, Houlsby, Lora
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.models import MLP, ConvNet
from jaxai.tasks import Classification
from jaxai.training.describe import describe, render
from jaxai.training.setup import set_up
from tests.adapt.efficient.small import CLASSIFICATION, FAST, IMAGES, KEY, VIT, Classifier, adapted, initial, learned

LORA = Lora(rules=(("conv", 2), ("head", 3)), alpha=6)
HOULSBY = Houlsby(rules=(("conv", 2), ("head", 3)))


def by_hand(params, images, lora=None, houlsby=None):
    """The logits of `Classifier`, in NumPy but for the convolution."""

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def bottleneck(name, y):
        if houlsby is None:
            return y
        own = houlsby[name]["houlsby"]
        inside = jax.nn.gelu(y @ own["down"]["kernel"] + own["down"]["bias"], approximate=False)
        return y + inside @ own["up"]["kernel"] + own["up"]["bias"]

    x = images.astype(np.float32) / 255
    y = conv(x, params["conv"]["kernel"]) + params["conv"]["bias"]
    if lora is not None:
        y += 6 / 2 * conv(x, lora["conv"]["lora"]["a"]) @ lora["conv"]["lora"]["b"]
    x = np.mean(np.maximum(bottleneck("conv", y), 0), axis=(1, 2))
    y = x @ params["head"]["kernel"] + params["head"]["bias"]
    if lora is not None:
        y += 6 / 3 * x @ lora["head"]["lora"]["a"] @ lora["head"]["lora"]["b"]
    return bottleneck("head", y)


@pytest.fixture(autouse=True)
def _let_numpy_promote():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("adapter", [LORA, HOULSBY], ids=["lora", "houlsby"])
def test_a_layer_gives_what_the_paper_says(adapter):
    task = Adapted(task=CLASSIFICATION, adapters=(adapter,))
    params = learned(task, IMAGES)["params"]
    expected = by_hand(params["base"], IMAGES["image"], **{adapter.name: params["adapters"]})
    np.testing.assert_allclose(adapted(task, {"params": params}, IMAGES), expected, atol=1e-5)


def test_lora_and_bottleneck_go_together():
    task = Adapted(task=CLASSIFICATION, adapters=(LORA, HOULSBY))
    params = learned(task, IMAGES)["params"]
    assert {*params["adapters"]["head"]} == {"lora", "houlsby"}
    expected = by_hand(params["base"], IMAGES["image"], params["adapters"], params["adapters"])
    np.testing.assert_allclose(adapted(task, {"params": params}, IMAGES), expected, atol=1e-5)


@pytest.mark.slow
def test_training_starts_at_the_base_and_moves():
    model = VIT.clone(depth=1)
    task = Adapted(task=Classification(model=model), adapters=(Lora(rules=(("", 2),)), Houlsby(rules=(("", 2),))))
    variables = initial(task, IMAGES)
    base = adapted(task.task, {"params": variables["params"]["base"]}, IMAGES)
    np.testing.assert_array_equal(adapted(task, variables, IMAGES), base)
    value = lambda p: task.loss({"params": p}, IMAGES, KEY, True).total  # noqa: E731
    gradient = tree.flatten(jax.jit(jax.grad(value), compiler_options=FAST)(variables["params"])["adapters"])
    moved = {path for path, g in gradient.items() if np.any(g)}
    # B and `up` have a gradient from the start, A and `down` once those are not zero any more.
    starts = {path for path in gradient if path.endswith(("lora/b", "up/kernel", "up/bias"))}
    assert moved == starts
    assert len(gradient) == 6 * (2 + 4)  # the patches, four layers of the block, the head


@pytest.mark.slow
def test_dropout_falls_on_what_lora_sees_in_training_only():
    task = Adapted(task=CLASSIFICATION, adapters=(dataclasses.replace(LORA, dropout=0.5),))
    params = learned(task, IMAGES)["params"]
    run = lambda train, key: task.loss({"params": params}, IMAGES, key, train).outputs  # noqa: E731
    without = by_hand(params["base"], IMAGES["image"], params["adapters"])
    np.testing.assert_allclose(run(False, KEY), without, atol=1e-5)
    keys = jax.random.split(KEY, 400)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: run(True, key)))(keys))
    assert np.std(drawn[:, 0, 0]) > 0.01
    # The head alone is linear in what is dropped, so that its mean over draws is the value without.
    head = Adapted(task=CLASSIFICATION, adapters=(Lora(rules=(("head", 3),), alpha=6, dropout=0.5),))
    params["adapters"].pop("conv")
    run = lambda key: head.loss({"params": params}, IMAGES, key, True).outputs  # noqa: E731
    drawn = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(KEY, 4000)))
    expected = by_hand({**params["base"]}, IMAGES["image"], {"head": params["adapters"]["head"], "conv": _none()})
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=4 * drawn.std() / np.sqrt(4000))


def _none():
    return {"lora": {"a": jnp.zeros((3, 3, 1, 2)), "b": jnp.zeros((2, 5))}}


def test_rank_r_on_a_dense_layer_trains_r_times_in_plus_out():
    task = Adapted(
        task=Classification(model=MLP(features=(64, 32), num_classes=3)),
        adapters=(Lora(rules=(("Dense_0", 0), ("Dense_[01]", 4), ("head", 2))),),
    )
    experiment = jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=Arrays({"image": IMAGES["image"], "label": IMAGES["label"]}), batch_size=4),
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(1),
        freeze=("^base/",),
        parallel=jaxai.PMap(devices=1),
    )
    found = describe(set_up(experiment))
    trained = 4 * (64 + 32) + 2 * (32 + 3)
    base = (64 + 1) * 64 + (64 + 1) * 32 + (32 + 1) * 3
    assert (found.num_trained, found.num_params) == (trained, base + trained)
    assert found.bytes_optimizer == 4 * (2 * trained + 2)  # two moments, two step counters
    assert f"parameters   {base + trained:,}" in render(found)
    assert f"trained {trained:,}" in render(found)
    rows = {path: is_trained for path, _, _, is_trained, _ in found.params}
    assert rows["adapters/Dense_1/lora/a"]
    assert not rows["base/Dense_1/kernel"]


class Odd(nn.Module):
    """Squares its kernel."""

    @nn.compact
    def __call__(self, inputs, train=False):
        return jnp.sum(inputs) * jnp.square(self.param("kernel", nn.initializers.ones, (1, 3)))


class Outer(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.ConvTranspose(4, (1, 1), transpose_kernel=True, name="turned")(inputs)
        return nn.Dense(3, name="head")(jnp.mean(x, axis=(1, 2))) + Odd(name="odd")(x)


@pytest.mark.parametrize(
    ("adapter", "model", "rules", "message"),
    [
        (Lora, Classifier(), (("haed", 2),), r"rule 'haed' matches no parameter \(nearest: head/kernel"),
        (Houlsby, Classifier(), (("haed", 2),), r"rule 'haed' matches no parameter \(nearest: head/kernel"),
        (Lora, Classifier(), (("bias", 2),), "rule 'bias' matches no parameter"),
        (Lora, Classifier(), (("hea[d", 2),), "rule 'hea.d' is not a regular expression"),
        (Lora, Classifier(), (("head", -1),), "rule 'head' must not be negative, is -1"),
        (Lora, Outer(), (("odd", 2),), r"odd, a Odd, is no linear layer with `use_bias` .*\('odd', 0\)"),
        (Houlsby, Outer(), (("turned", 2),), r"turned, a ConvTranspose, does not give \[1\] features"),
    ],
)
def test_what_cannot_be_adapted_is_refused(adapter, model, rules, message):
    task = Adapted(
        task=Classification(model=model), adapters=(Lora(rules=(("head", 1),), name="other"), adapter(rules=rules))
    )
    with pytest.raises(InputError, match=f"^task.adapters.1.rules: {message}"):
        jax.eval_shape(lambda: task.init(KEY, IMAGES))


def test_a_name_that_the_model_has_is_refused():
    task = Adapted(task=CLASSIFICATION, adapters=(Lora(rules=(("", 1),), name="conv"),))
    with pytest.raises(InputError, match=r"task.adapters.0.name: the model has a 'conv' of its own"):
        jax.eval_shape(lambda: task.init(KEY, IMAGES))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lora(rules=(("", 2),), dropout=1.0), "task.adapters.dropout: must be at least 0 and below 1, is 1.0"),
        (lambda: Lora(rules=("head",)), "task.adapters.rules"),
        (lambda: Adapted(task=CLASSIFICATION, adapters=(Lora,)), "task.adapters.0: is no adapter"),
        (lambda: Adapted(task=CLASSIFICATION, adapters=(LORA, LORA)), "task.adapters: two have the same name"),
        (lambda: Adapted(task=Classifier()), "task.task: Classifier is no task"),
    ],
)
def test_what_cannot_be_declared_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_collections_besides_the_parameters_stay_the_tasks():
    model = ConvNet(features=(4,), dense=(), norm="batch", num_classes=3)
    task = Adapted(task=Classification(model=model), adapters=(Lora(rules=(("", 2),)),))
    variables = learned(task, IMAGES)
    state = lambda task, v: jax.jit(lambda: task.loss(v, IMAGES, KEY, True).model_state, compiler_options=FAST)()  # noqa: E731
    without = jax.tree.map(np.zeros_like, variables["params"]["adapters"])
    base = variables["params"]["base"]
    found = state(task, {**variables, "params": {"base": base, "adapters": without}})
    assert found.keys() == {"batch_stats"}
    expected = state(task.task, {**variables, "params": base})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
