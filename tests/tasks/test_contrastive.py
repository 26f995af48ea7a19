"""Retrieval by contrast: the loss against CLIP's of transformers, ranks by hand, and one device against several."""

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

from jaxai.core.errors import InputError
from jaxai.models import ViT
from jaxai.models.clip import DualEncoder, TextEncoder
from jaxai.tasks.contrastive import Contrastive, info_nce

RNG = np.random.default_rng(0)
MODEL = DualEncoder(
    query=ViT(patch=4, dim=8, depth=1, num_heads=2, num_classes=0),
    candidate=TextEncoder(vocab_size=12, dim=8, depth=1, num_heads=2, max_length=5, pad=0),
    dim=6,
)
TASK = Contrastive(model=MODEL, recall=(1, 2))
nce = jax.jit(info_nce)


def make_batch(**fields):
    rng = np.random.default_rng(1)
    return {
        "image": rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8),
        "tokens": rng.integers(1, 12, (6, 5)).astype(np.int32),
        "index": np.arange(6, dtype=np.int32),
        **fields,
    }


@pytest.fixture(scope="module")
def learned():
    return jax.jit(TASK.init)(jax.random.key(0), make_batch()), jax.jit(TASK.loss, static_argnames="train")


def vectors(num=5):
    queries, candidates = np.random.default_rng(2).normal(size=(2, num, 3)).astype(np.float32)
    return queries, candidates + queries


@pytest.mark.oracle
@pytest.mark.slow
def test_the_loss_is_clips_of_transformers(learned):
    import torch
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    variables, loss = learned
    out = loss(variables, make_batch(), jax.random.key(0), train=True)
    queries, candidates = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.asarray, out.outputs))
    want = image_text_contrastive_loss(torch.tensor(candidates @ queries.T / 0.07))
    assert float(out.total / out.weight) == pytest.approx(float(want), rel=1e-5)
    assert float(out.weight) == 6


def test_ranks_and_losses_by_hand():
    queries = np.array([[1.0, 0], [0, 1], [1, 1]], np.float32)
    candidates = np.array([[2.0, 0.2], [3, 0], [1, 1.1]], np.float32)  # the second's is where the first's should be
    losses, ranks, reverse = nce(queries, candidates, jnp.ones(3), 1.0)
    np.testing.assert_array_equal(ranks, [2, 3, 1])
    np.testing.assert_array_equal(reverse, [1, 3, 1])
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, candidates)]
    cosines = units[0] @ units[1].T
    log_p = [cosines - np.log(np.exp(cosines).sum(axis=axis, keepdims=True)) for axis in (1, 0)]
    np.testing.assert_allclose(losses, -(np.diag(log_p[0]) + np.diag(log_p[1])) / 2, rtol=1e-5)


def test_padding_is_no_candidate_and_equals_rank_last():
    queries, candidates = vectors()
    padded = nce(queries, candidates, jnp.array([1.0, 1, 1, 0, 0]), 5.0)
    alone = nce(queries[:3], candidates[:3], jnp.ones(3), 5.0)
    for each, want in zip(padded, alone, strict=True):
        np.testing.assert_allclose(each[:3], want, rtol=1e-5)
        assert np.isfinite(each).all()
    losses, ranks, reverse = nce(np.ones((4, 2)), np.ones((4, 2)), jnp.ones(4), 5.0)
    np.testing.assert_allclose(losses, np.log(4), rtol=1e-5)
    np.testing.assert_array_equal([ranks, reverse], np.full((2, 4), 4))


@pytest.mark.slow
def test_evaluations_report_both_ways_and_embeddings_agree(learned):
    variables, loss = learned
    batch = make_batch()
    out = loss(variables, batch, jax.random.key(0), train=False)
    cosines = np.asarray(jax.jit(TASK.embed)(variables, batch["image"])) @ np.asarray(
        jax.jit(TASK.embed_candidates)(variables, batch["tokens"]).T
    )
    ranks = [(cosines >= np.diag(cosines)[:, None]).sum(axis=1), (cosines >= np.diag(cosines)[None]).sum(axis=0)]
    for prefix, rank in zip(("", "reverse_"), ranks, strict=True):
        assert out.metrics[f"{prefix}mrr"].compute() == pytest.approx((1 / rank).mean())
        assert out.metrics[f"{prefix}recall@2"].compute() == pytest.approx((rank <= 2).mean())
    assert out.metrics["accuracy"].compute() == out.metrics["recall@1"].compute()


def test_the_scale_stops_at_a_hundred(learned):
    variables, loss = learned
    high = {"params": {**variables["params"], "log_scale": jnp.float32(9)}}
    assert loss(high, make_batch(), jax.random.key(0), train=True).metrics["scale"].compute() == pytest.approx(100)


@pytest.mark.experiments
def test_several_devices_contrast_the_whole_batch():
    """Contrastive and ranking: losses, gradients and padded evaluations of one device, under PMap and Mesh."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).parent / "pairs_runner.py"), "PMap(devices=1)", "PMap()", "Mesh()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for kind in ("contrastive", "ranking"):
        one, *others = [each for each in found if each["kind"] == kind]
        assert len(others) == 2
        assert one["steps"][0]["gradient_norm"] > 1e-3
        for other in others:
            for mine, theirs in zip(one["steps"], other["steps"], strict=True):
                assert theirs == pytest.approx(mine, rel=1e-4)
            assert other["evaluation"] == pytest.approx(one["evaluation"], rel=1e-4)
            for name, values in one["params"].items():
                np.testing.assert_allclose(other["params"][name], values, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contrastive(model=MODEL, recall=(0,)), "task.recall: recall at 0"),
        (lambda: TASK.check({}, make_batch(tokens=np.full((6, 5), 12))), "token 0 of example 0 is 12, .* of 12"),
        (lambda: TASK.check({}, {name: x[:1] for name, x in make_batch().items()}), "batch_size: has one example"),
        (
            lambda: TASK.init(jax.random.key(0), {"image": 0, "index": 0}),
            "task.candidate: the data has no field 'tokens'",
        ),
    ],
)
def test_what_cannot_be_contrasted_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
