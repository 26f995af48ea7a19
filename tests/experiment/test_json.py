"""Experiments to and from JSON: what can be written reads back as it was, and what cannot says so in one line."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from hypothesis import given
from hypothesis import strategies as st

from jaxai import Best, Call, Checkpoints, Epochs, Experiment, Mesh, Minutes, Pipeline, Steps, optim
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.source import Arrays
from jaxai.data.tfds import Tfds
from jaxai.experiment.json import decode, differences, encode
from jaxai.models import MLP, ConvNet
from jaxai.tasks import Classification


class Mine(nn.Module):
    """A module from outside."""

    width: int = 4
    dtype: object = jnp.bfloat16


def make(**changed) -> Experiment:
    fields = {
        "task": Classification(
            model=ConvNet(features=(8, 16)), augment=(RandomCrop(), Normalize()), class_weights=(0.5,) * 10
        ),
        "train": Pipeline(source=Tfds("digits", split="train[:80%]"), cache=True),
        "evals": {"test": Pipeline(source=Tfds("digits", split="test"))},
        "optimizer": optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Steps(5)), decay=(("kernel", 1.0),)),
        "duration": Epochs(1.5),
        "checkpoint": Checkpoints(every=Minutes(3)),
        "best": Best(metric="test/loss", mode="min"),
        "parallel": Mesh(rules=(("head", None), ("kernel", 1))),
        "freeze": ("Conv_0",),
        "ema": 0.99,
    }
    return Experiment(**{**fields, **changed})


def through_json(value, **options):
    return decode(json.loads(json.dumps(encode(value))), **options)


def test_an_experiment_reads_back():
    assert through_json(make()) == make()
    assert through_json(make(optimizer=Call(optax.adam, learning_rate=0.1))).optimizer == Call(
        optax.adam, learning_rate=0.1
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text() | st.sampled_from(["$class", "$dict", "$call", "$duration", "$live"])
VALUES = st.recursive(
    SCALARS
    | st.floats(1e-3, 1e6).map(Epochs)
    | st.integers(1, 10**9).map(Steps)
    | st.sampled_from([MLP(features=(3,), dropout=0.1), RandomCrop(padding=2), Call(optax.trace, decay=0.9)]),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_every_value_reads_back(value):
    assert through_json(value) == value
    assert differences(encode(value), encode(through_json(value))) == []


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("int8"), jnp.bfloat16, jnp.float32, jnp.dtype("bfloat16")])
def test_dtypes(dtype):
    assert np.dtype(through_json(dtype)) == jnp.dtype(dtype)


def test_functions_are_named_where_users_find_them():
    assert encode(nn.Module) == {"$function": "flax.linen:Module"}
    assert through_json(optax.adam) is optax.adam
    assert encode(Call(optax.adam, learning_rate=0.1)) == {
        "$call": "optax:adam",
        "kwargs": {"$dict": {"learning_rate": 0.1}},
    }


def test_classes_from_outside_need_to_be_allowed():
    with pytest.raises(InputError, match=f"config: names '{__name__}:Mine'.*--allow {__name__.split('.')[0]}"):
        through_json(Mine())
    assert through_json(Mine(width=3), allow=[__name__]) == Mine(width=3, dtype=through_json(jnp.bfloat16))


@pytest.mark.parametrize("live", [np.zeros(3), object(), {1, 2}, b"bytes", lambda: 1])
def test_live_objects_cannot_be_rebuilt(live):
    data = json.loads(json.dumps(encode({"source": live})))
    with pytest.raises(InputError) as caught:
        decode(data, allow=[__name__])
    assert caught.value.field == "config.source"
    assert "\n" not in str(caught.value)


def test_arrays_are_told_apart_by_what_they_hold():
    one, two = (Arrays({"image": np.zeros((2, 3)), "label": np.array([0, label])}) for label in (1, 2))
    assert encode(one) == encode(Arrays(dict(one.arrays)))
    assert encode(one)["sha256"] != encode(two)["sha256"]
    experiment = make(train=Pipeline(source=one))
    assert differences(encode(experiment), encode(make(train=Pipeline(source=two))))[0][0] == "train.source.sha256"
    with pytest.raises(
        InputError, match=r"config\.train\.source: held a jaxai.*Arrays in memory, which JSON alone cannot"
    ):
        through_json(experiment)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"seed": 3}, [("seed", "0", "3")]),
        ({"duration": Steps(9)}, [("duration", "1.5epochs", "9steps")]),
        ({"ema": None}, [("ema", "0.99", "nothing")]),
        ({"freeze": ("a", "b")}, [("freeze", "['Conv_0']", "['a', 'b']")]),
        ({"freeze": ("a",)}, [("freeze.0", "Conv_0", "a")]),
        ({"parallel": Mesh(fsdp=2)}, [("parallel.fsdp", "1", "2"), ("parallel.rules", None, "[]")]),
        ({"optimizer": Call(optax.adam, learning_rate=0.1)}, [("optimizer", "Optimizer", "adam")]),
        ({"evals": {}, "best": None}, [("evals.test", "Pipeline", "nothing"), ("best", "Best", "nothing")]),
        ({"task": dataclasses.replace(make().task, model=MLP())}, [("task.model", "ConvNet", "MLP")]),
        ({"task": dataclasses.replace(make().task, class_weights=None)}, [("task.class_weights", None, "nothing")]),
    ],
)  # fmt: skip
def test_differences_name_the_fields(changed, found):
    got = differences(encode(make()), encode(make(**changed)))
    assert [(field, now) for field, _, now in got] == [(field, now) for field, _, now in found]
    assert all(before is None or before == was for (_, was, _), (_, before, _) in zip(got, found, strict=True))


def test_differences_look_into_calls_and_modules():
    old = make(optimizer=optim.adamw(1e-3, b1=0.9))
    new = make(optimizer=optim.adamw(1e-3, b1=0.8), task=dataclasses.replace(old.task, model=ConvNet(features=(8, 32))))
    assert differences(encode(old), encode(new)) == [
        ("task.model.features.1", "16", "32"),
        ("optimizer.update.b1", "0.9", "0.8"),
    ]
    assert differences(encode(jnp.float32), encode(jnp.bfloat16)) == [("", "float32", "bfloat16")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"$class": "os:system"}, "names 'os:system', which is not of jaxai, flax, optax (if you trust it: --allow"),
        ({"$class": "jaxai"}, "'jaxai' does not exist"),
        ({"$class": "jaxai:"}, "'jaxai:' does not exist"),
        ({"$class": "jaxai.experiment.load:importlib.import_module"}, "is not defined where it says"),
        ({"$class": "jaxai.core.call:Call", "fn": 3}, "cannot be rebuilt: "),
        ({"$class": 3}, "cannot be rebuilt"),
        ({"$class": "jaxai.models:MLP", "width": 3}, "cannot be rebuilt: "),
        ({"$function": "jaxai.cli:os.system"}, "is not defined where it says"),
        ({"$call": "os:system", "kwargs": {"$dict": {"command": "true"}}}, "which is not of jaxai.optim, optax"),
        ({"$call": "flax.io:rmtree", "kwargs": {"$dict": {"path": "/tmp/x"}}}, "which is not of jaxai.optim, optax"),
        ({"$call": "optax:adam"}, "cannot be rebuilt: 'kwargs'"),
        ({"$call": "optax:adam", "kwargs": {"$dict": {"lr": 1}}}, "adam: has no argument 'lr'"),
        ({"$dtype": "float31"}, "cannot be rebuilt"),
        ({"$duration": "4parsecs"}, "'4parsecs' is not a duration"),
        ({"$duration": 4}, "cannot be rebuilt"),
        ({"$dict": 4}, "cannot be rebuilt"),
        ({"$live": "numpy:ndarray"}, "held a numpy:ndarray in memory, which JSON alone cannot rebuild"),
        ({}, "has no $class"),
    ],
)  # fmt: skip
def test_what_cannot_be_rebuilt_says_where(data, says):
    with pytest.raises(InputError) as caught:
        decode({"$dict": {"a": [data]}})
    assert says in str(caught.value)
    assert str(caught.value).startswith("config.a.0: ") or "adam:" in says
