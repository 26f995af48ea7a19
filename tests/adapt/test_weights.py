"""Published weights: strict loading, its account, and the way back."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.adapt import Pretrained, load_pretrained, save_pretrained
from jaxai.adapt.files import write_safetensors
from jaxai.adapt.weights import to_published
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.models import ConvNet, MobileNetV2
from jaxai.tasks import Classification

MODEL = MobileNetV2(num_classes=5, width=0.25)


@pytest.fixture(scope="module")
def variables():
    """All of them different, so that a swap shows."""
    abstract = jax.eval_shape(lambda: MODEL.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), abstract)


@pytest.fixture
def published(variables):
    return dict(to_published(MODEL, variables))


def test_the_round_trip_is_exact(variables, tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    save_pretrained(MODEL, variables, path)
    loaded = load_pretrained(MODEL, path)
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, variables))
    count = len(jax.tree.leaves(variables))
    line = f"{path}: torchvision names: loaded {count}, missing 0, unexpected 0, reshaped 0\n"
    assert capsys.readouterr().out == line
    assert sorted(loaded.loaded) == sorted(tree.flatten(variables))


@pytest.mark.slow
def test_new_parameters_start_anew_and_by_seed(published, variables):
    model = MODEL.clone(num_classes=3)
    with pytest.raises(InputError, match=r"head/bias is \[5\] in weights, \[3\] here \(new=\('head',\) starts it anew"):
        load_pretrained(model, published)
    first, again, other = (load_pretrained(model, published, new=("^head/",), seed=seed) for seed in (0, 0, 1))
    assert first.missing == ("params/head/bias", "params/head/kernel")
    kernels = [loaded.variables["params"]["head"]["kernel"] for loaded in (first, again, other)]
    assert kernels[0].shape[-1] == 3
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    first.variables["params"].pop("head")
    expected = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "head"}}
    assert jax.tree.all(jax.tree.map(np.array_equal, first.variables, expected))


def test_an_encoder_leaves_the_classifier_out(published):
    encoder = MODEL.clone(num_classes=0)
    with pytest.raises(InputError, match=r"also has 'classifier.1.(weight|bias)', which MobileNetV2 does not"):
        load_pretrained(encoder, published)
    loaded = load_pretrained(encoder, published, unused=("^classifier",))
    assert sorted(loaded.unexpected) == ["classifier.1.bias", "classifier.1.weight"]
    assert "head" not in loaded.variables["params"]


def test_dims_of_one_may_differ_and_are_told(published):
    published["classifier.1.weight"] = published["classifier.1.weight"][:, :, None, None]
    assert load_pretrained(MODEL, published).reshaped == ("params/head/kernel",)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (lambda w: w.pop("features.0.0.weight"), {}, "lacks 'features.0.0.weight' for"),
        (lambda w: w.update(extra=np.zeros(1)), {}, "also has 'extra'"),
        (lambda w: None, {"new": ("hat",)}, "new: rule 'hat' matches nothing"),
        (lambda w: None, {"unused": ("hat",)}, "unused: rule 'hat' matches nothing"),
        (lambda w: None, {"layout": "torchvison"}, "layout: 'torchvison' is unknown for MobileNetV2 (did you mean"),
        (lambda w: w.clear(), {}, "lacks"),
    ],
    ids=["missing", "unexpected", "new", "unused", "layout", "empty"],
)
def test_what_does_not_fit_is_named(published, change, options, says):
    change(published)
    with pytest.raises(InputError) as error:
        load_pretrained(MODEL, published, **options)
    assert says in str(error.value)


def test_weights_of_another_architecture_are_named_by_their_keys(tmp_path):
    path = tmp_path / "resnet.safetensors"
    write_safetensors(path, {"layer1.0.conv1.weight": np.zeros((8, 8, 3, 3)), "fc.weight": np.zeros((5, 8))})
    with pytest.raises(InputError, match=r"resnet.safetensors: lacks 'features\..* missing, 2 unexpected"):
        load_pretrained(MODEL, path)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (
            "mobilenet_v3",
            "weights: mobilenet_v3 is no file, nor the name of published weights (did you mean",
        ),
        (__file__, "is no file of weights"),
    ],
)
def test_files_that_are_none(weights, says):
    with pytest.raises(InputError) as error:
        load_pretrained(MODEL, weights)
    assert says in str(error.value)


def test_a_torn_file_and_a_model_without_a_table(tmp_path):
    path = tmp_path / "torn.safetensors"
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(InputError, match=r"torn.safetensors: cannot be read as safetensors"):
        load_pretrained(MODEL, path)
    with pytest.raises(InputError, match="no table of published names for ConvNet"):
        load_pretrained(ConvNet(), path)


@pytest.fixture
def experiment(variables, tmp_path):
    save_pretrained(MODEL, variables, tmp_path / "weights.safetensors")
    rng = np.random.default_rng(0)
    data = Arrays({"image": rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), "label": np.arange(8) % 3})
    return Experiment(
        task=Classification(model=MODEL.clone(num_classes=3)),
        train=Pipeline(source=data, batch_size=4),
        optimizer=optim.sgd(0.0),
        duration=Steps(1),
        start_from=Pretrained(model=MODEL, weights=str(tmp_path / "weights.safetensors"), new=("^head/",)),
        freeze=("^block", "^stem"),
        ema=0.9,
    )


@pytest.mark.slow
def test_an_experiment_starts_from_weights(experiment, variables):
    from jaxai.training.initial import initialize, load_start
    from jaxai.training.setup import set_up

    setup = set_up(experiment)
    arrays, line = load_start(setup.abstract_state, experiment.start_from)
    state = initialize(setup.layout.init(setup.create, setup.example), arrays)
    assert line.endswith("reshaped 0")
    assert "missing 2" in line
    found = tree.flatten(state.variables())
    given = tree.flatten(variables)
    assert found.keys() == given.keys()
    same = [path for path in given if np.array_equal(found[path], given[path])]
    assert sorted(given.keys() - set(same)) == ["params/head/bias", "params/head/kernel"]
