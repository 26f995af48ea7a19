"""Language modelling against numpy, over uneven batches, and on several devices against one."""

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

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.models.gpt2 import GPT2
from jaxai.tasks.language_model import LanguageModel
from jaxai.training.evaluate import make_eval_step
from tests.tasks.small_text import Table, jit

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(7, 7)).astype(np.float32)
TASK = LanguageModel(model=Table(vocab_size=7, num_classes=7))
VARIABLES = {"params": {"table": TABLE}}
TOKENS = RNG.integers(0, 7, (10, 8)).astype(np.int32)
#: Two texts a row, of any lengths, and padding at the end.
CUTS = np.sort(RNG.integers(1, 9, (10, 2)), axis=1)
SEGMENTS = np.where(np.arange(8) < CUTS[:, :1], 1, np.where(np.arange(8) < CUTS[:, 1:], 2, 0)).astype(np.int32)
BYTES = RNG.integers(1, 5, (10, 8)).astype(np.int32)
KEY = jax.random.key(0)


def batch(rows=slice(None), **fields):
    index = np.arange(10, dtype=np.int32)[rows]
    return {"tokens": TOKENS[rows], "segments": SEGMENTS[rows], "num_bytes": BYTES[rows], "index": index, **fields}


def by_hand(rows):
    """Nats, hits and bytes of each predicted token, in plain loops."""
    log_p = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
    found = []
    for row in rows:
        for t in range(7):
            if SEGMENTS[row, t] > 0 and SEGMENTS[row, t] == SEGMENTS[row, t + 1]:
                now, then = TOKENS[row, t : t + 2]
                found.append((-log_p[now, then], log_p[now].argmax() == then, BYTES[row, t + 1]))
    return np.array(found).T


loss = jit(lambda v, b: TASK.loss(v, b, KEY, True))
evaluate = jit(make_eval_step(TASK, 0, "float32"))


def test_predicts_each_token_of_a_text_from_the_one_before_it():
    nats, hits, num_bytes = by_hand(range(10))
    out = loss(VARIABLES, batch())
    assert float(out.weight) == len(nats)
    assert float(out.total) == pytest.approx(nats.sum(), rel=1e-5)
    measured = metrics.compute(out.metrics)
    assert measured["perplexity"] == pytest.approx(np.exp(nats.mean()), rel=1e-5)
    assert measured["accuracy"] == pytest.approx(hits.mean())
    assert measured["bits_per_byte"] == pytest.approx(nats.sum() / np.log(2) / num_bytes.sum(), rel=1e-5)


def test_without_segments_a_row_is_one_text():
    bare = {name: values for name, values in batch().items() if name in ("tokens", "index")}
    log_p = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
    out = loss(VARIABLES, bare)
    assert float(out.weight) == 70
    assert float(out.total) == pytest.approx(-log_p[TOKENS[:, :-1], TOKENS[:, 1:]].sum(), rel=1e-5)
    assert set(out.metrics) == {"perplexity", "accuracy"}


def test_an_evaluation_of_uneven_batches_is_that_of_all_tokens():
    """The last batch is padded with an example whose tokens there are none of."""
    rows = [0, 1, 2, 3, 4, 5, 6]
    first = batch(slice(0, 4), mask=np.ones(4, np.float32))
    mask, wrong = np.array([1, 1, 1, 0], np.float32), TOKENS[4:8].copy()
    wrong[3] = 99
    parts = [first, batch(slice(4, 8), mask=mask, tokens=wrong)]
    values = metrics.compute(metrics.merge(*(evaluate(VARIABLES, each) for each in parts)))
    nats, hits, num_bytes = by_hand(rows)
    assert values["loss"] == pytest.approx(nats.mean(), rel=1e-5)
    assert values["perplexity"] == pytest.approx(np.exp(nats.mean()), rel=1e-5)
    assert values["bits_per_byte"] == pytest.approx(nats.sum() / np.log(2) / num_bytes.sum(), rel=1e-5)
    assert values["accuracy"] == pytest.approx(hits.mean())
    means = [np.exp(by_hand(part)[0].mean()) for part in (rows[:4], rows[4:])]
    assert abs(np.mean(means) - values["perplexity"]) > 1e-3


@pytest.mark.slow
def test_a_model_with_positions_sees_packed_texts_as_if_alone():
    """Losses and gradients of two texts in a row are those of two rows."""
    task = LanguageModel(model=GPT2(vocab_size=7, dim=8, depth=1, num_heads=2, max_length=6))
    tokens, index = TOKENS[:1, :7], np.zeros(1, np.int32)
    packed = {"tokens": tokens, "index": index, "segments": np.array([[1, 1, 1, 2, 2, 2, 2]]),
              "positions": np.array([[0, 1, 2, 0, 1, 2, 3]])}  # fmt: skip
    rows = np.array([[*tokens[0, :3], 0], tokens[0, 3:]])
    apart = {"tokens": rows, "index": np.arange(2), "segments": np.array([[1, 1, 1, 0], [1, 1, 1, 1]])}
    variables = jit(lambda: task.init(KEY, packed))()
    gradients = jit(jax.value_and_grad(lambda v, b: task.loss(v, b, KEY, True).total))
    (one, mine), (two, theirs) = gradients(variables, packed), gradients(variables, apart)
    assert float(one) == pytest.approx(float(two), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mine, theirs)
    logits = jit(task.predict)(variables, tokens[:, :6])
    np.testing.assert_allclose(logits, task.model.apply(variables, tokens[:, :6]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.oracle
def test_the_loss_of_gpt2_is_transformers():
    import torch

    from tests.oracle import transformers

    settings = {"vocab_size": 7, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings)).eval()
    task = LanguageModel(model=GPT2(vocab_size=7, dim=8, depth=1, num_heads=2, max_length=8))
    held = {name: value.detach().numpy() for name, value in theirs.transformer.named_parameters()}

    def pair(name, kind="kernel"):
        both = {kind: held[f"{name}.weight"], "bias": held[f"{name}.bias"]}
        return {leaf: x.reshape(*x.shape[:-1], 3, -1) for leaf, x in both.items()} if name.endswith("c_attn") else both

    block = {
        "norm1": pair("h.0.ln_1", "scale"),
        "attention": {"qkv": pair("h.0.attn.c_attn"), "out": pair("h.0.attn.c_proj")},
        "norm2": pair("h.0.ln_2", "scale"),
        "mlp": {"dense1": pair("h.0.mlp.c_fc"), "dense2": pair("h.0.mlp.c_proj")},
    }
    tables = {"tokens": {"embedding": held["wte.weight"]}, "positions": {"embedding": held["wpe.weight"]}}
    params = {**tables, "block0": block, "norm": pair("ln_f", "scale")}
    length = np.array([8, 8, 6, 5, 3])
    segments = (np.arange(8) < length[:, None]).astype(np.int32)
    out = jit(lambda v, b: task.loss(v, b, KEY, True))(
        {"params": params}, {"tokens": TOKENS[:5], "segments": segments, "index": np.arange(5)}
    )
    labels = torch.tensor(np.where(segments > 0, TOKENS[:5], -100), dtype=torch.long)
    want = theirs(torch.tensor(TOKENS[:5]), attention_mask=torch.tensor(segments), labels=labels).loss.item()
    assert float(out.total / out.weight) == pytest.approx(want, rel=1e-5)


@pytest.mark.experiments
def test_several_devices_measure_what_one_does():
    """Steps, gradients and padded evaluations of rows of uneven lengths, under PMap and Mesh of eight devices."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    asked = ["PMap(devices=1)", "PMap()", "Mesh()"]
    command = [sys.executable, str(Path(__file__).parent / "text_runner.py"), *asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    one, *others = [json.loads(line) for line in done.stdout.splitlines()]
    evaluation = one["evaluation"]
    assert evaluation["perplexity"] == pytest.approx(np.exp(evaluation["loss"]), rel=1e-6)
    for other in others:
        for mine, theirs in zip(one["steps"], other["steps"], strict=True):
            assert theirs == pytest.approx(mine, rel=1e-5)
        assert other["evaluation"] == pytest.approx(evaluation, rel=1e-5)
        for name, values in one["params"].items():
            np.testing.assert_allclose(other["params"][name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_cannot_be_modelled_is_named():
    check = TASK.check
    with pytest.raises(InputError, match=r"tokens: the data has no field 'tokens'"):
        check({}, {"text": TOKENS, "index": np.arange(10)})
    with pytest.raises(InputError, match=r"task\.tokens: 'tokens' is float32\[8\] an example"):
        check({}, {"tokens": TOKENS.astype(np.float32), "index": np.arange(10)})
    with pytest.raises(InputError, match=r"task\.tokens: 'tokens' has one token an example"):
        check({}, {"tokens": TOKENS[:, :1], "index": np.arange(10)})
    wrong = TOKENS.copy()
    wrong[2, 3] = 7
    with pytest.raises(InputError, match=r"tokens: token 3 of example 2 is 7, the model has a vocabulary of 7"):
        check({}, {"tokens": wrong, "index": np.arange(10)})
    short = LanguageModel(model=GPT2(vocab_size=7, dim=8, depth=1, num_heads=2, max_length=4))
    with pytest.raises(InputError, match="sequences of 7 tokens, but it has 4 positions"):
        jax.eval_shape(short.init, KEY, {"tokens": jnp.asarray(TOKENS), "index": jnp.arange(10)})
