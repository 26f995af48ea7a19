"""Masked language modelling against plain numpy, and BERT's two losses against transformers'."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jaxai
from jaxai import metrics, optim
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.text.masking import MaskTokens
from jaxai.models import MLP
from jaxai.models.bert import Bert
from jaxai.tasks import Classification
from jaxai.tasks.masked_language_model import MaskedLanguageModel
from jaxai.training.initial import FromRun
from tests.tasks.small_text import Encoder, jit

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(8, 17, (6, 1))
BATCH = {
    "tokens": RNG.integers(1, 11, (6, 16)).astype(np.int32),
    "segments": (np.arange(16) < LENGTHS).astype(np.int32),
    "types": (np.arange(16) >= LENGTHS // 2).astype(np.int32),
    "label": RNG.integers(0, 2, 6).astype(np.int32),
    "index": np.arange(6, dtype=np.int32),
}
TASK = MaskedLanguageModel(
    encoder=Encoder(dropout=0.1), augment=(MaskTokens(mask=0, vocab_size=11, rate=0.3),), next_sentence=True
)
DENSE = dataclasses.replace(TASK, max_chosen=16)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def variables():
    made = jit(lambda: TASK.init(KEY, BATCH))()
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(KEY, x.shape), made)


def measure(task, variables, batch=BATCH, train=False):
    return jit(lambda v, b: task.loss(v, b, KEY, train))(variables, batch)


def test_parameters_are_those_of_an_encoder_and_heads(variables):
    params = variables["params"]
    assert set(params) == {"encoder", "head", "next"}
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes["head"] == {
        "dense": {"kernel": (6, 6), "bias": (6,)}, "norm": {"scale": (6,), "bias": (6,)}, "bias": (11,)
    }  # fmt: skip
    assert shapes["next"] == {
        "pooler": {"kernel": (6, 6), "bias": (6,)}, "dense": {"kernel": (6, 2), "bias": (2,)}
    }  # fmt: skip


@pytest.mark.slow
def test_losses_by_hand(variables):
    """Of the masked batch, in numpy: dense, GELU, norm, table; pooler and two logits."""
    out = measure(DENSE, variables)
    masked = jit(lambda b: DENSE._masked(b, KEY, False))(BATCH)
    p = jax.tree.map(np.asarray, variables["params"])
    further = {name: BATCH[name] for name in ("segments", "types")}
    x = np.asarray(jit(TASK.encoder.apply)({"params": p["encoder"]}, masked["tokens"], **further), np.float64)
    y = x @ p["head"]["dense"]["kernel"] + p["head"]["dense"]["bias"]
    y = y * scipy.special.ndtr(y)
    y = (y - y.mean(-1, keepdims=True)) / y.std(-1, keepdims=True) * p["head"]["norm"]["scale"]
    logits = (y + p["head"]["norm"]["bias"]) @ p["encoder"]["tokens"]["embedding"].T + p["head"]["bias"]
    nats = -np.take_along_axis(scipy.special.log_softmax(logits, -1), BATCH["tokens"][..., None], -1)[..., 0]
    pooled = np.tanh(x[:, 0] @ p["next"]["pooler"]["kernel"] + p["next"]["pooler"]["bias"])
    answers = pooled @ p["next"]["dense"]["kernel"] + p["next"]["dense"]["bias"]
    next_nats = -scipy.special.log_softmax(answers, -1)[np.arange(6), BATCH["label"]]
    chosen = np.asarray(masked["chosen"])
    assert 10 < chosen.sum() < 40
    assert float(out.weight) == chosen.sum()
    assert float(out.total) == pytest.approx((nats * chosen).sum() + (next_nats * chosen.sum(1)).sum(), rel=1e-4)
    measured = metrics.compute(out.metrics)
    assert measured["perplexity"] == pytest.approx(np.exp((nats * chosen).sum() / chosen.sum()), rel=1e-4)
    assert measured["next_loss"] == pytest.approx(next_nats.mean(), rel=1e-4)
    assert measured["next_accuracy"] == pytest.approx((answers.argmax(-1) == BATCH["label"]).mean())
    right = logits.argmax(-1) == BATCH["tokens"]
    assert measured["accuracy"] == pytest.approx(right[chosen > 0].mean())


@pytest.mark.slow
def test_only_chosen_tokens_are_computed_with_the_same_result(variables):
    """Loss and gradients are those of logits of all tokens."""
    few = dataclasses.replace(TASK, max_chosen=9)
    results = []
    for task in (DENSE, few):
        out = jit(jax.value_and_grad(lambda v, t=task: (o := t.loss(v, BATCH, KEY, True)).total / o.weight))
        results.append(out(variables))
    (dense, dense_gradient), (gathered, gathered_gradient) = results
    assert float(gathered) == pytest.approx(float(dense), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), dense_gradient, gathered_gradient)
    assert measure(few, variables).outputs.shape == (6, 9, 11)


@pytest.mark.slow
def test_what_is_chosen_beyond_the_most_is_left_out(variables):
    chosen = np.asarray(jit(lambda b: DENSE._masked(b, KEY, False))(BATCH)["chosen"])
    two = measure(dataclasses.replace(TASK, max_chosen=2), variables)
    assert float(two.weight) == np.minimum(chosen.sum(1), 2).sum() < chosen.sum()


def test_how_many_are_computed_follows_from_the_rate():
    """Four standard deviations above the mean, of which one in 30,000 examples has more."""
    task = dataclasses.replace(TASK, augment=(MaskTokens(mask=0, vocab_size=11),))
    assert task._num_predicted(128) == 36
    assert task._num_predicted(4) == 4
    assert scipy.stats.binom.sf(36, 128, 0.15) < 1 / 20_000
    assert dataclasses.replace(task, max_chosen=20)._num_predicted(128) == 20
    # Whole words come in lumps, of which there may be many more.
    words = dataclasses.replace(task, augment=(MaskTokens(mask=0, vocab_size=11, whole_words=True),))
    assert words._num_predicted(128) == 128


@pytest.mark.slow
def test_padding_counts_nowhere(variables):
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    spoiled = {**BATCH, "mask": mask, "segments": np.where(mask[:, None] > 0, BATCH["segments"], 0).astype(np.int32)}
    padded = measure(TASK, variables, spoiled)
    whole = measure(TASK, variables, {name: values[:4] for name, values in BATCH.items()})
    assert float(padded.total) == pytest.approx(float(whole.total), rel=1e-5)
    assert metrics.compute(padded.metrics) == pytest.approx(metrics.compute(whole.metrics), rel=1e-5)


def test_predicts_what_stands_in_a_text_as_it_is(variables):
    fields = {name: BATCH[name] for name in ("tokens", "segments", "types")}
    logits = jit(TASK.predict)(variables, fields)
    assert logits.shape == (6, 16, 11)
    unmasked = dataclasses.replace(TASK, augment=(_Nothing(),), next_sentence=False, max_chosen=16)
    np.testing.assert_allclose(measure(unmasked, variables).outputs, logits, rtol=1e-5)


class _Nothing:
    """Chooses all tokens and changes none."""

    def __call__(self, batch, keys, train):
        return batch | {"targets": batch["tokens"], "chosen": jnp.ones(batch["tokens"].shape)}


class _Third:
    """Chooses and masks every third token of the first eight, of which none is padding."""

    def __call__(self, batch, keys, train):
        chosen = jnp.broadcast_to(jnp.isin(jnp.arange(16), jnp.array([1, 4, 7]))[None], (6, 16))
        return batch | {
            "tokens": jnp.where(chosen, 0, batch["tokens"]), "targets": batch["tokens"], "chosen": chosen * 1.0
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.oracle
def test_losses_and_gradients_are_those_of_berts_pre_training():
    """Of transformers, with its random weights, where each example has as many masked tokens."""
    import torch

    from tests.oracle import transformers

    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=11, max_position_embeddings=16, **sizes)
    torch.manual_seed(0)
    theirs = transformers.BertForPreTraining(config).eval()
    # Or the padding token, which is the mask here, would get no gradient.
    theirs.bert.embeddings.word_embeddings.padding_idx = None
    for value in theirs.parameters():
        value.data = 0.4 * torch.randn_like(value)
    held = dict(theirs.named_parameters())
    task = dataclasses.replace(
        TASK, encoder=Bert(vocab_size=11, dim=8, depth=2, num_heads=2, max_length=16, pool="none"), augment=(_Third(),)
    )
    params = bert_params({name: value.detach().numpy() for name, value in held.items()})
    value_and_grad = jit(
        jax.value_and_grad(lambda p: (o := task.loss({"params": p}, BATCH, KEY, False)).total / o.weight)
    )
    loss, gradient = value_and_grad(params)
    masked = _Third()({"tokens": BATCH["tokens"]}, None, False)
    labels = np.where(masked["chosen"] > 0, BATCH["tokens"], -100)
    want = theirs(
        input_ids=torch.tensor(np.array(masked["tokens"])).long(),
        attention_mask=torch.tensor(BATCH["segments"]),
        token_type_ids=torch.tensor(BATCH["types"]).long(),
        labels=torch.tensor(labels).long(),
        next_sentence_label=torch.tensor(BATCH["label"]).long(),
    ).loss
    want.backward()
    assert float(loss) == pytest.approx(want.item(), rel=1e-4)
    wanted = bert_params({name: value.grad.numpy() for name, value in held.items()})
    assert jax.tree.structure(gradient) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-3), gradient, wanted)


def bert_params(held):
    """Parameters of `BertForPreTraining` of two blocks, by transformers' names, in the places that they have here."""

    def dense(*names):
        kernel = np.stack([held[f"{name}.weight"].T for name in names], axis=1)
        bias = np.stack([held[f"{name}.bias"] for name in names])
        return {"kernel": kernel, "bias": bias} if len(names) > 1 else {"kernel": kernel[:, 0], "bias": bias[0]}

    def norm(name):
        return {"scale": held[f"{name}.weight"], "bias": held[f"{name}.bias"]}

    def block(i):
        at = f"bert.encoder.layer.{i}"
        return {
            "attention": {
                "qkv": dense(*(f"{at}.attention.self.{name}" for name in ("query", "key", "value"))),
                "out": dense(f"{at}.attention.output.dense"),
            },
            "norm1": norm(f"{at}.attention.output.LayerNorm"),
            "mlp": {"dense1": dense(f"{at}.intermediate.dense"), "dense2": dense(f"{at}.output.dense")},
            "norm2": norm(f"{at}.output.LayerNorm"),
        }

    tables = {"tokens": "word", "positions": "position", "types": "token_type"}
    encoder = {n: {"embedding": held[f"bert.embeddings.{t}_embeddings.weight"]} for n, t in tables.items()}
    encoder |= {"norm": norm("bert.embeddings.LayerNorm"), "block0": block(0), "block1": block(1)}
    at = "cls.predictions"
    head = {"dense": dense(f"{at}.transform.dense"), "norm": norm(f"{at}.transform.LayerNorm")}
    return {
        "encoder": encoder,
        "head": {**head, "bias": held[f"{at}.bias"]},
        "next": {"pooler": dense("bert.pooler.dense"), "dense": dense("cls.seq_relationship")},
    }


@pytest.mark.slow
def test_a_classifier_starts_from_the_encoder_of_a_run(tmp_path):
    fields = {name: values for name, values in BATCH.items() if name != "index"}
    pretrain = jaxai.Experiment(
        task=TASK,
        train=jaxai.Pipeline(source=Arrays(fields), batch_size=6),
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(2),
        parallel=jaxai.PMap(devices=1),
    )
    learned = jaxai.train(pretrain, tmp_path / "run", display="none").variables["params"]["encoder"]
    task = Classification(
        model=Encoder(num_classes=2, pool="token"), inputs="tokens", further=("segments", "types")
    )  # fmt: skip
    unused = ("^head/", "^next/")
    start = FromRun(run=str(tmp_path / "run"), rename=(("^encoder/", ""),), unused=unused, new=("^head/",))
    frozen = ("^tokens/", "^types/", "^block0/")
    tuned = dataclasses.replace(pretrain, task=task, start_from=start, freeze=frozen)
    first = next(iter(jaxai.steps(tuned))).state
    assert set(first.params) == {"head"}
    jax.tree.map(np.testing.assert_array_equal, dict(first.frozen), dict(learned))


def test_what_cannot_be_learned_is_named(variables):
    with pytest.raises(InputError, match=r"task\.augment: gives no 'targets'"):
        dataclasses.replace(TASK, augment=()).init(KEY, BATCH)
    with pytest.raises(InputError, match=r'task\.encoder: must give features \[batch, length, dim\].*pool="none"'):
        jax.eval_shape(dataclasses.replace(TASK, encoder=Encoder(pool="token")).init, KEY, BATCH)
    with pytest.raises(InputError, match="label: is 2 in example 1, the task has 2 classes"):
        TASK.check(variables, {**BATCH, "label": np.array([0, 2, 0, 0, 0, 0])})
    with pytest.raises(InputError, match="the data has no field 'label'"):
        TASK.check(variables, {name: x for name, x in BATCH.items() if name != "label"})
    with pytest.raises(InputError, match="token 0 of example 0 is 50"):
        TASK.check(variables, {**BATCH, "tokens": np.full((6, 16), 50)})
    beyond = dataclasses.replace(TASK, augment=(MaskTokens(mask=0, vocab_size=12),))
    with pytest.raises(InputError, match=r"augment: MaskTokens draws from 12 tokens, .* of 11 \(vocab_size=11\)"):
        beyond.check(variables, BATCH)
    with pytest.raises(InputError, match="max_chosen: must be at least 1"):
        dataclasses.replace(TASK, max_chosen=0)
    with pytest.raises(InputError, match=r"augment\.0: int is no augmentation"):
        dataclasses.replace(TASK, augment=(1,), encoder=MLP(num_classes=0))
