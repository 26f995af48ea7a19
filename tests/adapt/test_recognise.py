"""How samples are judged, with a classifier whose judgement is known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai import Experiment, Pipeline, Steps, optim, train
from jaxai.adapt import recognised, samples_recognised
from jaxai.core.errors import InputError
from jaxai.data.tfds import Tfds
from jaxai.models import Discriminator, Generator, SoftmaxRegression
from jaxai.tasks import GAN, Classification


@dataclasses.dataclass(frozen=True)
class Brightness:
    """Takes an image's class to be its first pixel, raw."""

    num_classes: int

    def predict(self, variables, inputs):
        return jax.nn.one_hot(inputs[:, 0, 0, 0], self.num_classes)


def image(*values):
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 2, 2, 1))


@pytest.mark.parametrize("scale", [1, 255])
def test_shares_counts_and_spread(scale):
    """Of bytes, or of what becomes those bytes when it is rounded."""
    images = image(0, 0, 1, 2, 2, 3)
    images = images if scale == 1 else images.astype(np.float32) / scale
    found = recognised(Brightness(5), {}, images, [0, 1, 1, 2, 2, 2])
    assert found.share == pytest.approx(4 / 6)
    assert found.by_class == pytest.approx({0: 1, 1: 0.5, 2: 2 / 3})
    assert found.predicted == {0: 2, 1: 1, 2: 2, 3: 1}
    assert found.spread == pytest.approx(np.mean([0, np.std([0, 1]), np.std([2, 2, 3])]) / 255)


def test_floats_outside_are_clipped():
    found = recognised(Brightness(256), {}, jnp.array([[[[-0.5]]], [[[1.5]]]]), [0, 255])
    assert found.share == 1


@pytest.mark.parametrize(("images", "labels"), [(image(0, 1), [0]), (np.zeros((0, 2, 2, 1), np.uint8), [])])
def test_labels_that_do_not_fit_are_named(images, labels):
    with pytest.raises(InputError, match=r"labels: shape .* for images"):
        recognised(Brightness(5), {}, images, labels)


@pytest.mark.slow
def test_of_two_runs(tmp_path):
    """Whatever one step has made of a generator, its samples are as many of each class as were asked for."""
    networks = {"generator": Generator(shape=(8, 8, 1), features=(4,)), "discriminator": Discriminator(features=(4,))}
    adam = optim.adam(1e-3)
    gan = Experiment(
        task=GAN(**networks, num_classes=10),
        train=Pipeline(source=Tfds(name="digits", split="train"), batch_size=8),
        optimizer=optim.Grouped(groups=(("^generator/", adam), ("^discriminator/", adam))),
        duration=Steps(1),
    )
    names = dataclasses.replace(gan, task=Classification(model=SoftmaxRegression()), optimizer=adam)
    for folder, experiment in (("gan", gan), ("names", names)):
        train(experiment, tmp_path / folder)
    found = samples_recognised(tmp_path / "gan", tmp_path / "names", each=3)
    assert sum(found.predicted.values()) == 30
    assert found.share == pytest.approx(np.mean(list(found.by_class.values())))
    assert found.spread > 0
    assert samples_recognised(tmp_path / "gan", tmp_path / "names", each=3) == found
