"""BYOL in closed form: its loss, whom its gradient reaches, and how the teacher moves."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.core.errors import InputError
from jaxai.data.augment import Normalize, RandomFlip
from jaxai.data.source import Arrays
from jaxai.models import ConvNet, Projector
from jaxai.tasks import BYOL
from jaxai.training.setup import set_up

IMAGES = np.random.default_rng(0).integers(0, 255, (6, 6, 6, 1)).astype(np.uint8)
BATCH = {"image": IMAGES, "index": np.arange(6, dtype=np.int32)}
TASK = BYOL(
    encoder=ConvNet(features=(4,), dense=(), num_classes=0, norm="batch"),
    projector=Projector(features=(8, 4)),
    predictor=Projector(features=(6, 4), norm="none"),
    augment=(RandomFlip(), Normalize()),
    decay=0.9,
)


@pytest.fixture(scope="module")
def variables():
    """With a teacher unlike the network."""
    made = jax.jit(TASK.init)(jax.random.key(0), BATCH)
    other = jax.jit(TASK.init)(jax.random.key(1), BATCH)
    return {**made, "teacher": other["teacher"]}


@pytest.fixture(scope="module")
def step(variables):
    """Loss, gradients and Out of a training batch."""

    def total(variables):
        out = TASK.loss(variables, BATCH, jax.random.key(2), train=True)
        return out.total, out

    (_, out), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(variables)
    return out, gradients


@pytest.mark.slow
def test_the_teacher_begins_as_the_network_without_predictor():
    made = jax.eval_shape(TASK.init, jax.random.key(0), BATCH)
    assert set(made["params"]) == {"encoder", "projector", "predictor"}
    assert set(made["teacher"]["params"]) == set(made["teacher"]["batch_stats"]) == {"encoder", "projector"}
    made = jax.jit(TASK.init)(jax.random.key(0), BATCH)
    for name in ("encoder", "projector"):
        chex.assert_trees_all_equal(made["teacher"]["params"][name], made["params"][name])


@pytest.mark.slow
def test_no_gradient_reaches_the_teacher(step):
    _, gradients = step
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients["teacher"]))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients["params"]["predictor"]))
    assert np.any(gradients["params"]["encoder"]["Conv_0"]["kernel"])


@pytest.mark.slow
def test_the_teacher_moves_a_tenth_of_the_way(variables, step):
    out, _ = step
    for name, moved in out.model_state["teacher"]["params"].items():
        teacher, online = variables["teacher"]["params"][name], variables["params"][name]
        want = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, teacher, online)
        chex.assert_trees_all_close(moved, want, rtol=1e-6, atol=1e-7)
    statistics = out.model_state["teacher"]["batch_stats"]["encoder"]["BatchNorm_0"]["mean"]
    assert not np.array_equal(statistics, variables["teacher"]["batch_stats"]["encoder"]["BatchNorm_0"]["mean"])
    assert jax.tree.structure(out.model_state) == jax.tree.structure(
        {name: values for name, values in variables.items() if name != "params"}
    )


@pytest.mark.slow
def test_the_sequence_of_teachers_is_that_of_the_paper():
    """The teacher at step k is decay * the one before + (1 - decay) * the parameters that step k begins with."""
    experiment = jaxai.Experiment(
        task=TASK,
        train=jaxai.Pipeline(source=Arrays({"image": IMAGES}), batch_size=6),
        optimizer=optim.sgd(0.3, momentum=0.0),
        duration=jaxai.Steps(3),
        parallel=jaxai.PMap(devices=1),
    )
    setup = set_up(experiment)
    state = jax.jit(setup.create)(setup.example)
    train_step = jax.jit(setup.train_step())
    kernel = lambda params: np.asarray(params["encoder"]["Conv_0"]["kernel"])  # noqa: E731
    teacher = kernel(state.params)
    for number in range(3):
        teacher = 0.9 * teacher + 0.1 * kernel(state.params)
        state, _ = train_step(state, setup.reader.batch(number))
        np.testing.assert_allclose(kernel(state.model_state["teacher"]["params"]), teacher, rtol=1e-5, atol=1e-7)
    assert np.abs(kernel(state.params) - teacher).max() > 1e-4


@pytest.mark.slow
def test_the_loss_is_two_minus_two_cosines_both_ways(variables):
    """In evaluation, where each part can be computed by itself."""
    mask = np.array([1, 1, 1, 1, 0, 0], np.float32)
    loss = jax.jit(TASK.loss, static_argnames="train")
    out = loss(variables, {**BATCH, "mask": mask}, jax.random.key(2), train=False)
    # Mirrored or not: both views of every image, in all four combinations.
    views = jnp.asarray(np.stack([IMAGES, IMAGES[:, :, ::-1]])) / 127.5 - 1
    parts = lambda of, name: {kind: values[name] for kind, values in of.items() if name in values}  # noqa: E731
    online, taught = [], []
    for view in views:
        features = TASK.encoder.apply(parts(variables, "encoder"), view)
        projection = TASK.projector.apply(parts(variables, "projector"), features)
        online.append(TASK.predictor.apply(parts(variables, "predictor"), projection))
        features = TASK.encoder.apply(parts(variables["teacher"], "encoder"), view)
        taught.append(TASK.projector.apply(parts(variables["teacher"], "projector"), features))
    online, taught = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (np.array(online), np.array(taught)))
    first, second = np.split(np.asarray(out.outputs), 2)
    total = 0.0
    for row in range(4):
        a, b = (
            int(np.argmax([online[side, row] @ x[row] / np.linalg.norm(x[row]) for side in (0, 1)]))
            for x in (first, second)
        )
        total += 4 - 2 * online[a, row] @ taught[b, row] - 2 * online[b, row] @ taught[a, row]
    assert float(out.total) == pytest.approx(total, rel=1e-4)
    assert float(out.weight) == 4
    assert out.model_state == {}


@pytest.mark.slow
def test_alike_networks_and_views_cost_nothing():
    task = BYOL(
        encoder=ConvNet(features=(4,), dense=(), num_classes=0),
        projector=Projector(features=(4,)),
        predictor=Identity(),
        augment=(Normalize(),),
    )
    made = task.init(jax.random.key(0), BATCH)
    out = jax.jit(task.loss, static_argnames="train")(made, BATCH, jax.random.key(1), train=True)
    assert float(out.total) == pytest.approx(0, abs=1e-5)
    assert set(out.model_state) == {"teacher"}
    chex.assert_trees_all_close(out.model_state["teacher"]["params"]["encoder"], made["params"]["encoder"])


class Identity(Projector):
    """Predicts what it sees, by one parameter that is 1."""

    def setup(self):
        self.one = self.param("one", lambda _: jnp.ones(()))

    def __call__(self, inputs, train=False):
        return inputs * self.one


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"decay: must be 0 to 1, is 1\.5"):
        BYOL(encoder=TASK.encoder, augment=(), decay=1.5)
    task = BYOL(encoder=TASK.encoder, augment=(), predictor=Projector(features=(8, 3)))
    with pytest.raises(InputError, match="predictor: predicts 3 of 64 features"):
        jax.eval_shape(task.init, jax.random.key(0), BATCH)


@pytest.mark.slow
def test_the_teacher_stays_in_float32_where_the_model_computes_in_bfloat16(variables):
    """What a checkpoint holds must not change its type, nor may a hundredth of a step be rounded away."""
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables["params"])
    loss = jax.jit(TASK.loss, static_argnames="train")
    out = loss({**variables, "params": half}, BATCH, jax.random.key(2), train=True)
    state = {name: values for name, values in variables.items() if name != "params"}
    chex.assert_trees_all_equal_shapes_and_dtypes(out.model_state, state)
    exact = loss(variables, BATCH, jax.random.key(2), train=True)
    assert float(out.total) == pytest.approx(float(exact.total), rel=0.05)
