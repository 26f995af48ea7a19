"""Distillation in closed form: what the student learns from labels, from answers and from hidden states."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.data.augment import RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import MLP, ConvNet
from jaxai.tasks import Classification
from jaxai.tasks.distillation import Distill
from jaxai.tasks.language_model import LanguageModel
from jaxai.training.initial import FromRun
from jaxai.training.setup import set_up
from tests.tasks.small_text import Encoder, Table, jit

RNG = np.random.default_rng(0)
TEXT = {
    "tokens": RNG.integers(0, 11, (6, 5)).astype(np.int32),
    "segments": np.where(np.arange(5) < RNG.integers(2, 6, (6, 1)), 1, 0).astype(np.int32),
    "label": RNG.integers(0, 3, 6).astype(np.int32),
    "index": np.arange(6, dtype=np.int32),
}
KEY = jax.random.key(0)
#: Logits of three classes for two inputs.
TASK = Distill(
    task=Classification(model=Table(vocab_size=2, num_classes=3), inputs="kind"),
    teacher=Table(vocab_size=2, num_classes=3),
    temperature=3.0,
    share=0.7,
)
STUDENT = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]], np.float32)
TEACHER = np.array([[3.0, 1.0, -2.0], [0.0, 1.0, 4.0]], np.float32)
KINDS = {
    "kind": np.array([0, 1, 1], np.int32), "label": np.array([0, 1, 2], np.int32), "index": np.arange(3)
}  # fmt: skip
TABLES = {"params": {"student": {"table": STUDENT}, "teacher": {"table": TEACHER}}}


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_the_loss_is_hintons():
    out = jit(lambda v, b: TASK.loss(v, b, KEY, True))(TABLES, KINDS)
    z, t = STUDENT[KINDS["kind"]], TEACHER[KINDS["kind"]]
    hard = -np.log(softmax(z)[np.arange(3), KINDS["label"]])
    p, q = softmax(t / 3), softmax(z / 3)
    apart = (p * (np.log(p) - np.log(q))).sum(-1)
    assert float(out.total) == pytest.approx((0.3 * hard + 0.7 * 9 * apart).sum(), rel=1e-5)
    assert float(out.weight) == 3
    assert out.metrics["divergence"].compute() == pytest.approx(apart.mean(), rel=1e-5)


def test_gradients_reach_the_student_alone():
    """Of the logits it is T (q - p) times the share, as of the softened cross-entropy times T^2."""
    soft = dataclasses.replace(TASK, share=1.0)
    gradient = jit(jax.grad(lambda v: soft.loss(v, KINDS, KEY, True).total))(TABLES)["params"]
    each = 3 * (softmax(STUDENT / 3) - softmax(TEACHER / 3)) * np.array([[1], [2]])
    np.testing.assert_allclose(gradient["student"]["table"], each, rtol=1e-4)
    np.testing.assert_array_equal(gradient["teacher"]["table"], 0)


@pytest.mark.oracle
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_and_gradients_are_those_of_pytorch(temperature):
    """Cross-entropy, and T^2 times `kl_div` of softened answers."""
    import torch
    from torch.nn import functional

    task = dataclasses.replace(TASK, temperature=temperature)
    table = torch.tensor(STUDENT, requires_grad=True)
    kinds, labels = torch.from_numpy(KINDS["kind"]).long(), torch.from_numpy(KINDS["label"]).long()
    log_q = functional.log_softmax(table[kinds] / temperature, dim=-1)
    log_p = functional.log_softmax(torch.tensor(TEACHER)[kinds] / temperature, dim=-1)
    soft = functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    expected = 0.3 * functional.cross_entropy(table[kinds], labels, reduction="sum") + 0.7 * temperature**2 * soft
    expected.backward()
    found, gradient = jit(jax.value_and_grad(lambda v: task.loss(v, KINDS, KEY, True).total))(TABLES)
    assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient["params"]["student"]["table"], table.grad, rtol=1e-4, atol=1e-6)


def test_evaluations_are_of_the_student_alone():
    evaluate = jit(lambda v: TASK.loss(v, KINDS, KEY, False))
    alone = jit(lambda v: TASK.task.loss(v, KINDS, KEY, False))({"params": {"table": STUDENT}})
    out = evaluate(TABLES)
    assert float(out.total) == pytest.approx(float(alone.total), rel=1e-6)
    assert set(out.metrics) == set(alone.metrics)
    np.testing.assert_allclose(TASK.predict(TABLES, KINDS["kind"]), softmax(STUDENT[KINDS["kind"]]), rtol=1e-5)


HIDDEN = Distill(
    task=Classification(model=Encoder(num_classes=3, pool="token"), inputs="tokens", further=("segments",)),
    teacher=Encoder(num_classes=3, pool="token", dim=8, depth=2),
    hidden=(("tokens", "tokens"), ("block0", "block1")),
    hidden_weight=0.5,
)


@pytest.fixture(scope="module")
def variables():
    return jit(lambda: HIDDEN.init(KEY, TEXT))()


def hidden_states(model, params, paths):
    """What modules give, by Flax's own means of looking."""
    _, seen = jit(lambda p: model.apply(
        {"params": p}, TEXT["tokens"], segments=TEXT["segments"], capture_intermediates=True
    ))(params)  # fmt: skip
    return [np.asarray(seen["intermediates"][path]["__call__"][0]) for path in paths]


@pytest.mark.slow
def test_hidden_states_are_projected_and_compared_token_by_token(variables):
    params = variables["params"]
    assert set(params) == {"student", "teacher", "projections"}
    assert params["projections"]["0"]["kernel"].shape == (6, 8)
    total, gradient = jit(jax.value_and_grad(lambda v: HIDDEN.loss(v, TEXT, KEY, True).total))(variables)
    mine = hidden_states(HIDDEN.task.model, params["student"], ("tokens", "block0"))
    theirs = hidden_states(HIDDEN.teacher, params["teacher"], ("tokens", "block1"))
    counted, expected = TEXT["segments"] > 0, 0.0
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        dense = jax.tree.map(np.asarray, params["projections"][str(i)])
        errors = np.square(a @ dense["kernel"] + dense["bias"] - b).mean(-1)
        expected += sum(errors[row][counted[row]].mean() for row in range(6))
    without = dataclasses.replace(HIDDEN, hidden_weight=0.0)
    rest = jit(lambda v: without.loss(v, TEXT, KEY, True))(variables)
    assert float(total - rest.total) == pytest.approx(0.5 * expected, rel=1e-4)
    assert rest.metrics["hidden_loss"].compute() == pytest.approx(expected / 6, rel=1e-4)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient["params"]["teacher"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["params"]["projections"]))
    assert np.any(gradient["params"]["student"]["tokens"]["embedding"])


@pytest.mark.slow
def test_tokens_of_a_language_model_weigh_as_in_its_own_loss():
    """Also of hidden states, of which there is one for each prediction."""
    inner = LanguageModel(model=Encoder(num_classes=11))
    task = Distill(task=inner, teacher=Encoder(num_classes=11, dim=4), share=0.5, hidden=(("block0", "block0"),))
    variables = jit(lambda: task.init(KEY, TEXT))()
    out = jit(lambda v, b: task.loss(v, b, KEY, True))(variables, TEXT)
    parts = [{"params": variables["params"][name]} for name in ("student", "teacher")]
    seen, further = TEXT["tokens"][:, :-1], {"segments": TEXT["segments"][:, :-1]}
    z, t = (
        np.asarray(jit(model.apply)(part, seen, **further))
        for model, part in zip((inner.model, task.teacher), parts, strict=True)
    )
    p, q = softmax(t / 2), softmax(z / 2)
    apart = (p * (np.log(p) - np.log(q))).sum(-1)[TEXT["segments"][:, 1:] > 0]
    assert out.metrics["divergence"].compute() == pytest.approx(apart.mean(), rel=1e-4)
    assert float(out.weight) == len(apart) == int(out.metrics["hidden_loss"].weight)
    alone = jit(lambda v: inner.loss(v, TEXT, KEY, True))(parts[0])
    hidden = float(out.metrics["hidden_loss"].total)
    assert float(out.total) == pytest.approx(0.5 * float(alone.total) + 0.5 * 4 * apart.sum() + hidden, rel=1e-4)


@pytest.mark.slow
def test_both_see_the_same_augmented_example_and_statistics_of_the_teacher_stay(tmp_path):
    """A student that starts as its teacher does not differ from it, wherever the flip is drawn."""
    images = RNG.integers(0, 255, (8, 4, 4, 1)).astype(np.uint8)
    model = ConvNet(features=(4,), dense=(), num_classes=3)
    task = Distill(task=Classification(model=model), teacher=model, augment=(RandomFlip(),))
    batch = {"image": images, "label": np.arange(8) % 3, "index": np.arange(8)}
    variables = jit(lambda: task.init(KEY, batch))()
    same = {"params": dict.fromkeys(("student", "teacher"), variables["params"]["student"])}
    out = jit(lambda v: task.loss(v, batch, KEY, True))(same)
    assert out.metrics["divergence"].compute() == pytest.approx(0, abs=1e-6)
    normed = Distill(task=Classification(model=MLP(features=(), num_classes=3)), teacher=model.clone(norm="batch"))
    variables = jit(lambda: normed.init(KEY, batch))()
    state = jit(lambda v: normed.loss(v, batch, KEY, True))(variables).model_state
    jax.tree.map(np.testing.assert_array_equal, state, {"batch_stats": variables["batch_stats"]})


@pytest.mark.slow
def test_a_run_learns_from_the_run_of_a_frozen_teacher(tmp_path):
    fields = {name: values for name, values in TEXT.items() if name != "index"}
    first = jaxai.Experiment(
        task=dataclasses.replace(HIDDEN.task, model=HIDDEN.teacher),
        train=jaxai.Pipeline(source=Arrays(fields), batch_size=6),
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(1),
        parallel=jaxai.PMap(devices=1),
    )
    taught = jaxai.train(first, tmp_path / "teacher", display="none").variables["params"]
    start = FromRun(
        run=str(tmp_path / "teacher"), rename=(("^", "teacher/"),), new=("^student/", "^projections/")
    )  # fmt: skip
    second = dataclasses.replace(
        first, task=HIDDEN, start_from=start, freeze=("^teacher/",), optimizer=optim.adamw(1e-2, weight_decay=0.1)
    )
    learned = jaxai.train(second, display="none").variables["params"]
    jax.tree.map(np.testing.assert_array_equal, learned["teacher"], taught)


def test_the_teacher_is_in_evaluation_mode(variables):
    """Its dropout draws nothing; the student's does."""

    def totals(task):
        return [
            float(jit(lambda v, k: task.loss(v, TEXT, k, True).total)(variables, jax.random.key(i))) for i in (1, 2)
        ]

    plain = totals(HIDDEN)
    assert totals(dataclasses.replace(HIDDEN, teacher=HIDDEN.teacher.clone(dropout=0.5))) == plain
    dropping = dataclasses.replace(HIDDEN.task, model=HIDDEN.task.model.clone(dropout=0.5))
    first, second = totals(dataclasses.replace(HIDDEN, task=dropping))
    assert first != second


def test_nothing_of_a_frozen_teacher_is_trained():
    """It has no gradients and no moments; those of the others are two each, and two step counters."""
    fields = {name: values for name, values in TEXT.items() if name != "index"}
    experiment = jaxai.Experiment(
        task=HIDDEN,
        train=jaxai.Pipeline(source=Arrays(fields), batch_size=6),
        optimizer=optim.adamw(1e-2),
        duration=jaxai.Steps(1),
        parallel=jaxai.PMap(devices=1),
        freeze=("^teacher/",),
    )
    state = set_up(experiment).abstract_state
    assert set(state.params) == {"student", "projections"}
    assert set(state.frozen) == {"teacher"}
    assert tree.size(state.opt_state) == 2 * tree.size(state.params) + 2


def test_what_cannot_teach_is_named(variables):
    with pytest.raises(InputError, match=r"task\.hidden: Encoder has no module 'blok0' \(did you mean 'block0'"):
        jax.eval_shape(dataclasses.replace(HIDDEN, hidden=(("blok0", "block0"),)).init, KEY, TEXT)
    other = dataclasses.replace(TASK, teacher=Table(vocab_size=2, num_classes=4))
    tables = {"params": {**TABLES["params"], "teacher": {"table": np.zeros((2, 4), np.float32)}}}
    with pytest.raises(InputError, match=r"task\.teacher: answers \[3, 4\], the student \[3, 3\]"):
        other.loss(tables, KINDS, KEY, True)
    short = dataclasses.replace(HIDDEN, hidden=(("block0", "head"),))
    held = jax.eval_shape(short.init, KEY, TEXT)
    with pytest.raises(InputError, match=r"task\.hidden\.0: block0 gives \[6, 5, 6\], head \[6, 3\]"):
        jax.eval_shape(lambda v: short.loss(v, TEXT, KEY, True), held)
    with pytest.raises(InputError, match="temperature: must be positive"):
        dataclasses.replace(TASK, temperature=0.0)
    with pytest.raises(InputError, match="share: must be 0 to 1"):
        dataclasses.replace(TASK, share=1.5)
    with pytest.raises(InputError, match=r"task\.task: .* has no model"):
        Distill(task=TASK, teacher=TASK.teacher)
    with pytest.raises(InputError, match="token 0 of example 0 is 77"):
        HIDDEN.check(variables, {**TEXT, "tokens": np.full((6, 5), 77)})
