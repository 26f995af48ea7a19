"""What was learned, merged into the base or kept apart from it."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.adapt.efficient import (
    Adapted,
    Houlsby,
    Lora,
    Prefix,
    Prompt,
    extract,
    load_adapters,
    merge,
    save_adapters,
)
from jaxai.adapt.files import write_safetensors
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.tasks import Classification
from jaxai.tasks.language_model import LanguageModel
from tests.adapt.efficient.small import CLASSIFICATION, GPT, IMAGES, TEXT, VIT, adapted, learned

LORA = Adapted(
    task=CLASSIFICATION, adapters=(Lora(rules=(("conv", 2), ("head", 3)), alpha=6, dropout=0.1),), own=("bias$",)
)
SEVERAL = {
    "prompted": Adapted(
        task=Classification(model=VIT),
        adapters=(Prompt(rules=(("^block0/", 2),)), Prefix(rules=(("attention/", 2),))),
        own=("^head/",),
    ),
    "bottleneck": Adapted(
        task=Classification(model=VIT), adapters=(Houlsby(rules=(("dense2", 2),)), Lora(rules=(("qkv", 2),)))
    ),
    "biases": Adapted(task=Classification(model=VIT), own=("bias$",)),
}


def test_merged_kernels_give_what_base_and_adapters_give():
    variables = learned(LORA, IMAGES)
    merged = merge(LORA, variables)
    assert tree.flatten(merged).keys() == tree.flatten(CLASSIFICATION.init(jax.random.key(0), IMAGES)).keys()
    expected = adapted(LORA, variables, IMAGES)
    np.testing.assert_allclose(adapted(CLASSIFICATION, merged, IMAGES), expected, atol=1e-5)
    without = {**variables["params"]["base"]["head"], **variables["params"]["own"]["head"]}
    assert not np.allclose(merged["params"]["head"]["kernel"], without["kernel"], atol=1e-2)


@pytest.mark.slow
def test_merging_is_exact_after_training(tmp_path):
    task = Adapted(task=LanguageModel(model=GPT), adapters=(Lora(rules=(("attention/|mlp/", 2),)),))
    source = Arrays({"tokens": TEXT["tokens"]})
    experiment = jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=source, batch_size=3),
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(20),
        freeze=("^base/",),
        parallel=jaxai.PMap(devices=1),
    )
    variables = jaxai.train(experiment, tmp_path, display="none").variables
    merged = merge(task, variables)
    base = adapted(task.task, {"params": variables["params"]["base"]}, TEXT)
    expected = adapted(task, variables, TEXT)
    assert np.abs(expected - base).max() > 0.01
    np.testing.assert_allclose(adapted(task.task, merged, TEXT), expected, atol=1e-5)


def test_adapters_alone_are_a_small_file_that_says_what_they_are(tmp_path):
    variables = learned(LORA, IMAGES)
    save_adapters(extract(LORA, variables), tmp_path / "lora.safetensors")
    loaded = load_adapters(tmp_path / "lora.safetensors")
    assert (loaded.adapters, loaded.own) == (LORA.adapters, LORA.own)
    expected = {name: part for name, part in variables["params"].items() if name != "base"}
    jax.tree.map(np.testing.assert_array_equal, dict(loaded.params), expected)
    numbers = tree.num_bytes(expected)
    assert numbers == 4 * (2 * (9 + 5) + 3 * (5 + 3) + 5 + 3)
    assert numbers < (tmp_path / "lora.safetensors").stat().st_size < numbers + 2000


def test_several_adapters_go_with_one_base(tmp_path):
    """Each gives what its own run gave, whatever was on before; the base is the same arrays throughout."""
    plain = learned(Classification(model=VIT), IMAGES)
    before = jax.tree.map(np.copy, plain)
    expected = {}
    for seed, (name, task) in enumerate(SEVERAL.items()):
        params = learned(task, IMAGES)["params"]
        params |= jax.tree.map(lambda leaf, seed=seed: leaf * (1 + seed), extract(task, {"params": params}).params)
        kept = tree.map_paths(lambda path, _, own=params.get("own", {}): path not in tree.flatten(own), plain["params"])
        own_run = {"params": {**params, "base": tree.split(plain["params"], kept)[0]}}
        expected[name] = adapted(task, own_run, IMAGES)
        save_adapters(extract(task, own_run), tmp_path / f"{name}.safetensors")
    by_name = {name: load_adapters(tmp_path / f"{name}.safetensors") for name in SEVERAL}
    assert not np.allclose(expected["prompted"], expected["bottleneck"], atol=1e-2)
    for name in ("prompted", "bottleneck", "biases", "prompted"):
        task, variables = by_name[name].put_on(Classification(model=VIT), plain)
        assert task == SEVERAL[name]
        np.testing.assert_array_equal(adapted(task, variables, IMAGES), expected[name])
        base = tree.flatten(variables["params"]["base"])
        assert all(base[path] is tree.flatten(plain["params"])[path] for path in base)
    jax.tree.map(np.testing.assert_array_equal, plain, before)


def test_adapters_of_another_base_are_refused():
    """Which would have no effect there."""
    task = Adapted(task=Classification(model=VIT), adapters=(Lora(rules=(("block1/attention/qkv", 2),)),))
    adapters = extract(task, learned(task, IMAGES))
    shallow = Classification(model=VIT.clone(depth=1))
    with pytest.raises(InputError, match=r"adapters/block1/attention/qkv: the base has no such module .*block0/att"):
        adapters.put_on(shallow, learned(shallow, IMAGES))
    with_head = dataclasses.replace(LORA, own=("^head/",))
    adapters = extract(with_head, learned(with_head, IMAGES))
    encoder = {"conv": learned(CLASSIFICATION, IMAGES)["params"]["conv"]}
    assert adapters.put_on(CLASSIFICATION, {"params": encoder})[1]["params"]["base"] == encoder  # the head is its own


def test_what_cannot_be_merged_or_loaded_is_refused(tmp_path):
    for name, kind in (("prompted", "Prompt"), ("bottleneck", "Houlsby")):
        with pytest.raises(InputError, match=f"task.adapters.0: {kind} cannot be merged into the base"):
            merge(SEVERAL[name], learned(SEVERAL[name], IMAGES))
    write_safetensors(tmp_path / "other.safetensors", {"x": np.zeros(2)})
    with pytest.raises(InputError, match=r"other.safetensors: holds no adapters"):
        load_adapters(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_adapters(tmp_path / "broken.safetensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_adapters(tmp_path / "none.safetensors")


def test_another_strength_goes_with_the_file(tmp_path):
    strong = dataclasses.replace(LORA, adapters=(dataclasses.replace(LORA.adapters[0], alpha=60.0),))
    variables = learned(strong, IMAGES)
    save_adapters(extract(strong, variables), tmp_path / "strong.safetensors")
    task, again = load_adapters(tmp_path / "strong.safetensors").put_on(CLASSIFICATION, merge(strong, variables))
    assert task.adapters[0].alpha == 60.0
    assert again["params"]["base"].keys() == {"conv", "head"}
