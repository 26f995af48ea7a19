"""SimCLR against a plain double loop, and on several devices against one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.adapt import FromRun
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize, RandomCrop, RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import MLP, ConvNet, Projector
from jaxai.tasks import Classification, SimCLR, simclr

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1)).astype(np.uint8)
TASK = SimCLR(
    encoder=ConvNet(features=(4,), dense=(), num_classes=0, norm="batch"),
    projector=Projector(features=(8, 4)),
    augment=(RandomCrop(padding=2), Normalize()),
)

nt_xent = jax.jit(simclr.nt_xent)


def make_batch(**fields):
    return {"image": IMAGES, "index": np.arange(6, dtype=np.int32), **fields}


@pytest.fixture(scope="module")
def variables():
    return jax.jit(TASK.init)(jax.random.key(0), make_batch())


def double_loop(first, second, temperature):
    """Chen et al. 2020, algorithm 1, in float64."""
    z = np.concatenate([first, second]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    num, losses, hits = len(first), [], []
    for i in range(2 * num):
        positive = (i + num) % (2 * num)
        exponentials = {k: np.exp(z[i] @ z[k] / temperature) for k in range(2 * num) if k != i}
        losses.append(-np.log(exponentials[positive] / sum(exponentials.values())))
        hits.append(max(exponentials, key=exponentials.get) == positive)
    return (np.array(losses[:num]) + np.array(losses[num:])) / 2, hits


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_is_that_of_a_double_loop(temperature):
    first, second = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    second += 1.5 * first
    losses, hits = nt_xent(first, second, jnp.ones(5), temperature)
    want, want_hits = double_loop(first, second, temperature)
    np.testing.assert_allclose(losses, want, rtol=2e-5)
    np.testing.assert_array_equal(hits, want_hits)
    assert 0 < sum(want_hits) < 10


def test_padding_is_no_candidate():
    first, second = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    losses, hits = nt_xent(first, second, jnp.array([1.0, 1.0, 1.0, 0.0, 0.0]), 0.3)
    want, want_hits = double_loop(first[:3], second[:3], 0.3)
    np.testing.assert_allclose(losses[:3], want, rtol=2e-5)
    np.testing.assert_array_equal([*hits[:3], *hits[5:8]], want_hits)
    assert np.isfinite(losses).all()


def test_views_that_are_alike_and_unlike_all_others_cost_nothing():
    z = jnp.eye(4)
    losses, hits = nt_xent(z, z, jnp.ones(4), 0.01)
    np.testing.assert_allclose(losses, 0, atol=1e-5)
    assert hits.all()
    everything_alike, _ = nt_xent(jnp.ones((4, 3)), jnp.ones((4, 3)), jnp.ones(4), 0.5)
    np.testing.assert_allclose(everything_alike, np.log(7), rtol=1e-5)


@pytest.mark.slow
def test_the_loss_is_that_of_the_projections_of_two_views(variables):
    loss = jax.jit(TASK.loss, static_argnames="train")
    out = loss(variables, make_batch(), jax.random.key(1), train=True)
    first, second = np.split(np.asarray(out.outputs), 2)
    assert np.abs(first - second).max() > 1e-3
    assert float(out.total) == pytest.approx(double_loop(first, second, 0.5)[0].sum(), rel=1e-4)
    assert float(out.weight) == 6
    assert set(out.model_state["batch_stats"]) == {"encoder", "projector"}
    assert not np.array_equal(loss(variables, make_batch(), jax.random.key(2), train=True).outputs, out.outputs)
    # Padding counts in nothing, though views are drawn in evaluation too.
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    padded = loss(variables, make_batch(mask=mask), jax.random.key(1), train=False)
    whole = loss(variables, {n: x[:4] for n, x in make_batch().items()}, jax.random.key(1), train=False)
    assert float(padded.total) == pytest.approx(float(whole.total), rel=1e-5)
    assert float(padded.weight) == 4
    assert int(padded.metrics["contrastive_accuracy"].weight) == 8
    assert padded.model_state == {}


@pytest.mark.slow
def test_embed_gives_the_encoders_features_of_raw_inputs(variables):
    features = jax.jit(TASK.embed)(variables, IMAGES)
    encoder = {collection: parts["encoder"] for collection, parts in variables.items()}
    want = TASK.encoder.apply(encoder, (IMAGES / np.float32(255) - 0.5) / 0.5, train=False)
    np.testing.assert_allclose(features, want, rtol=1e-5, atol=1e-5)
    assert features.shape == (6, 4 * 4 * 4)


@pytest.mark.slow
def test_pictures_are_pairs_of_views_without_normalization():
    task = SimCLR(encoder=MLP(num_classes=0), augment=(RandomFlip(probability=1.0), Normalize(mean=(9.0,))))
    pictures = task.pictures({}, make_batch(), jax.random.key(0))["views"]
    np.testing.assert_array_equal(pictures, np.concatenate([IMAGES[:, :, ::-1]] * 2, axis=2))
    assert task.pictures({}, {"image": np.zeros((2, 5)), "index": np.arange(2)}, jax.random.key(0)) == {}


@pytest.mark.slow
def test_a_classifier_starts_from_the_encoder_of_a_run(tmp_path):
    def experiment(task, **fields):
        source = Arrays({"image": IMAGES, "label": np.arange(6) % 3})
        train = jaxai.Pipeline(source=source, batch_size=6)
        return jaxai.Experiment(
            task=task, train=train, optimizer=optim.adam(1e-3), duration=jaxai.Steps(1), parallel=jaxai.PMap(devices=1),
            **fields,
        )  # fmt: skip

    learned = jaxai.train(experiment(TASK), tmp_path / "run", display="none").variables
    start = FromRun(run=str(tmp_path / "run"), rename=(("^encoder/", ""),), unused=("^projector/",), new=("^head/",))
    task = Classification(model=TASK.encoder.clone(num_classes=3), augment=(Normalize(),))
    first = next(iter(jaxai.steps(experiment(task, start_from=start, freeze=("Conv",))))).state.variables()
    np.testing.assert_array_equal(first["params"]["Conv_0"]["kernel"], learned["params"]["encoder"]["Conv_0"]["kernel"])


@pytest.mark.slow
def test_several_devices_contrast_the_whole_batch():
    """Losses, gradients and padded evaluations of one device, under PMap and Mesh."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).parent / "runner.py"), "PMap(devices=1)", "PMap()", "Mesh()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    one, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert one["steps"][0]["gradient_norm"] > 1e-3
    for other in others:
        for mine, theirs in zip(one["steps"], other["steps"], strict=True):
            assert theirs == pytest.approx(mine, rel=1e-5)
        assert other["evaluation"] == pytest.approx(one["evaluation"], rel=1e-5)
        for name, values in one["params"].items():
            np.testing.assert_allclose(other["params"][name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_cannot_be_contrasted_is_named():
    with pytest.raises(InputError, match="temperature: must be positive"):
        SimCLR(encoder=MLP(num_classes=0), augment=(), temperature=0.0)
    with pytest.raises(InputError, match=r"augment\.0: int is no augmentation"):
        SimCLR(encoder=MLP(num_classes=0), augment=(3,))
    with pytest.raises(InputError, match="no field 'image', only audio"):
        TASK.init(jax.random.key(0), {"audio": IMAGES, "index": np.arange(6)})
    with pytest.raises(InputError, match="batch_size: has one example"):
        TASK.check({}, {"image": IMAGES[:1], "index": np.arange(1)})

    class Maps(MLP):
        def __call__(self, inputs, train=False):
            return inputs

    with pytest.raises(InputError, match=r"encoder: must give features .*num_classes=0"):
        SimCLR(encoder=Maps(), augment=()).init(jax.random.key(0), make_batch())


def test_a_batch_cut_into_virtual_shards_is_refused():
    """Reproducible sums see a sixteenth of the batch at a time, where nothing can be compared with the rest."""
    from jaxai.parallel.gather import gather
    from jaxai.parallel.tree_sum import tree_sum

    x = jnp.arange(16.0)
    with pytest.raises(InputError, match=r"reproducible: .* compares the examples .*\(reproducible=False"):
        tree_sum(lambda part: jnp.sum(gather(part)), x, 16, None, 1)
    np.testing.assert_array_equal(gather(x), x)  # and only there
