"""The halves of a batch add up to the whole: what accumulation and devices rest on, random augmentation included."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxai import metrics
from jaxai.data.augment import RandomFlip
from jaxai.models import MLP, SoftmaxRegression
from jaxai.tasks import (
    Calibrated,
    Classification,
    ClassificationHead,
    Ensemble,
    MultiTask,
    RegressionHead,
    Segmentation,
    Trades,
)
from jaxai.tasks.attacks import PGD

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
BATCH = {
    "image": IMAGES,
    "label": RNG.integers(0, 3, 12).astype(np.int32),
    "bright": (IMAGES.mean(axis=(1, 2, 3)) / 255).astype(np.float32),
    "mark": (IMAGES > 127).astype(np.uint8),
    "weight": RNG.uniform(0, 2, 12).astype(np.float32),
    "index": np.arange(12, dtype=np.int32) + 5,
}
KEY = jax.random.key(3)


class Pixelwise(nn.Module):
    """A linear classifier of each pixel from its neighbours."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        return nn.Conv(1, (3, 3), name="head")(inputs)


INNER = Classification(model=SoftmaxRegression(num_classes=3))
TASKS = {
    "trades": Trades(
        task=INNER, augment=(RandomFlip(),), attack=PGD(epsilon=0.1, steps=1), eval_attack=PGD(epsilon=0.1, steps=1)
    ),
    "multitask": MultiTask(
        encoder=MLP(features=(8,), num_classes=0),
        heads={"kind": ClassificationHead(field="label", num_classes=3), "bright": RegressionHead(field="bright")},
        weighting="uncertainty",
        augment=(RandomFlip(),),
    ),
    "ensemble": Ensemble(task=Classification(model=MLP(features=(4,), num_classes=3), augment=(RandomFlip(),)), size=2),
    "calibrated": Calibrated(task=INNER),
    "segmentation": Segmentation(model=Pixelwise(), target="mark", spatial=(RandomFlip(),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", TASKS)
def test_halves_add_up_to_the_whole(name, train):
    task = TASKS[name]
    variables = jax.tree.map(lambda x: x + 0.1, task.init(KEY, BATCH))

    @jax.jit
    def sums(batch):
        out = task.loss(variables, batch, KEY, train)
        return out.total, out.weight, dict(out.metrics)

    first, second = (sums({field: x[part] for field, x in BATCH.items()}) for part in (slice(6), slice(6, 12)))
    added, whole = metrics.merge(first, second), sums(BATCH)
    assert jax.tree.structure(added) == jax.tree.structure(whole)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), added, whole)
