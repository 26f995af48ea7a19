"""The experiment file that the bad inputs are variations of, and how its lines are judged."""

from __future__ import annotations

import dataclasses

PRELUDE = '''\
import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax

from jaxai import Best, Call, Checkpoints, EarlyStopping, Epochs, Experiment, Mesh, Minutes, Pipeline, PMap, Steps
from jaxai import optim
from jaxai.adapt import Pretrained
from jaxai.data.augment import CutMix, Grey, Normalize, RandomCrop
from jaxai.data.crops import CenterCropped, RandomCropped
from jaxai.data.folder import ImageFolder
from jaxai.data.source import Arrays
from jaxai.data.subset import PartlyLabelled, Subset
from jaxai.data.tfds import Tfds
from jaxai.models import AlexNet, LeNet, MobileNetV2, SoftmaxRegression
from jaxai.models.resnet import resnet
from jaxai.tasks import Classification


def data(num=24, **changed):
    """Twenty-four pictures of 4 x 4 pixels in three classes."""
    arrays = {"image": np.arange(num * 16, dtype=np.uint8).reshape(num, 4, 4, 1), "label": np.arange(num) % 3}
    return Arrays({name: value for name, value in {**arrays, **changed}.items() if value is not None})


def at(index, value, dtype=np.int32, num=24):
    """Zeros, but for one example."""
    array = np.zeros(num, dtype)
    array[index] = value
    return array


def pictures(index=None, value=np.nan, size=4):
    """Floating-point pictures, one of them wrong."""
    array = np.ones((24, size, size, 1), np.float32)
    if index is not None:
        array[index, 1, 2] = value
    return array


def pipe(source=None, **fields):
    return Pipeline(source=data() if source is None else source, **{"batch_size": 8, **fields})


def task(**fields):
    return Classification(**{"model": SoftmaxRegression(num_classes=3), **fields})


def experiment(**changed):
    fields = dict(task=task(), train=pipe(), evals={"test": pipe()}, optimizer=optim.sgd(0.1), duration=Steps(6))
    return Experiment(**{**fields, "parallel": PMap(devices=1), **changed})


class Odd:
    """A dataset of which one example is not like the others."""

    def __init__(self, give):
        self.give = give

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return self.give() if index == 20 else {"image": np.zeros((4, 4, 1), np.uint8), "label": 1}


class Cube(nn.Module):
    """Gives logits of one dim too many."""

    @nn.compact
    def __call__(self, inputs, train=False):
        return nn.Dense(3)(inputs)


class NoLoss:
    def init(self, key, batch):
        return {"params": {}}


'''


@dataclasses.dataclass(frozen=True)
class Case:
    """A mistake, and what the line about it must say."""

    given: str
    """The mistake, in the form of its table."""
    says: tuple[str, ...]
    """Texts that the line holds, in this order: first the field or file, last the useful hint."""

    def __str__(self) -> str:
        return " ".join(self.given.split())[:70]


def case(given: str, *says: str) -> Case:
    return Case(given, says)


def experiment_file(fields: str) -> str:
    """A file whose experiment differs from a good one in `fields`, written as keyword arguments."""
    return f"{PRELUDE}def get_config():\n    return experiment({fields})\n"


def check_line(code: int, printed: str, says: tuple[str, ...], exit_code: int = 2) -> str:
    """Asserts that `printed` is one line of an error that says all of `says` in order; gives the line."""
    assert "Traceback" not in printed, printed
    lines = printed.splitlines()
    assert len(lines) == 1, printed
    assert lines[0].startswith("jaxai: error: "), printed
    assert code == exit_code
    rest = lines[0]
    for text in says:
        assert text in rest, f"{text!r} is not, or not in this place, in {lines[0]!r}"
        rest = rest[rest.index(text) + len(text) :]
    return lines[0]
