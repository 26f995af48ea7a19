"""Probes against scikit-learn, and the command on a run."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import jaxai
from jaxai.adapt.probe import Features, features, knn, linear_probe, pixels
from jaxai.cli import main
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.tfds import Tfds
from jaxai.models import MLP
from jaxai.tasks import Classification

from .small import FILE


def blobs(num: int, seed: int, num_features: int = 7) -> Features:
    """Four overlapping classes whose features differ in scale, one of them constant."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, num).astype(np.int32)
    centres = np.random.default_rng(99).normal(size=(4, num_features))
    x = (centres[labels] + rng.normal(0, 1.0, (num, num_features))) * np.logspace(-2, 2, num_features)
    x[:, 3] = 5.0
    return Features(x.astype(np.float32), labels)


@pytest.fixture(scope="module")
def data():
    return blobs(300, 0), blobs(200, 1)


@pytest.mark.slow
@pytest.mark.parametrize("l2", [1e-3, 0.1])
def test_the_linear_probe_is_scikit_learns_logistic_regression(data, l2):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = data
    scaler = StandardScaler().fit(train.features.astype(np.float64))
    theirs = LogisticRegression(C=1 / (l2 * 300), tol=1e-8, max_iter=10_000).fit(
        scaler.transform(train.features), train.labels
    )
    ours = linear_probe(train, test, l2)
    np.testing.assert_allclose(ours.kernel.T, theirs.coef_, atol=2e-3)
    # A constant added to all biases changes nothing.
    np.testing.assert_allclose(ours.bias - ours.bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    accuracy = theirs.score(scaler.transform(test.features), test.labels)
    assert ours.accuracy == pytest.approx(accuracy, abs=0.0051)
    assert 0.5 < accuracy < 1


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 20])
def test_knn_is_scikit_learns_with_the_same_weights(data, k):
    from sklearn.neighbors import KNeighborsClassifier

    train, test = data
    weights = lambda distances: np.exp((1 - distances) / 0.07)  # noqa: E731
    theirs = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(*train)
    assert knn(train, test, k) == pytest.approx(theirs.score(*test), abs=0.0051)


def test_the_nearest_outvote_the_many():
    """One neighbour at cosine 1 weighs e^(1 / 0.07) times as much as one at cosine 0."""
    train = Features(np.array([[1.0, 0], [0, 1], [0, 2], [0, 3]], np.float32), np.array([1, 0, 0, 0], np.int32))
    assert knn(train, Features(np.array([[5.0, 0.5]], np.float32), np.array([1], np.int32)), k=4) == 1
    assert knn(train, Features(np.array([[1.0, 1.1]], np.float32), np.array([0], np.int32)), k=4) == 1
    with pytest.raises(InputError, match="5 neighbours of 4 examples"):
        knn(train, train, k=5)


TASK = Classification(model=MLP(features=(5,), num_classes=4))


@pytest.mark.slow
def test_every_labelled_example_is_seen_once_and_in_order():
    x, labels = blobs(37, 0)
    labels[5] = -1
    reader = jaxai.Pipeline(source=Arrays({"image": x, "label": labels}), batch_size=16).open("train")
    variables = TASK.init(jax.random.key(0), reader.batch(0))
    seen, kept = features(TASK, variables, reader), np.arange(37) != 5
    np.testing.assert_array_equal(seen.labels, labels[kept])
    np.testing.assert_allclose(seen.features, TASK.embed(variables, x)[kept], rtol=1e-5)
    np.testing.assert_array_equal(pixels(TASK, reader).features, x[kept])


@pytest.mark.slow
def test_the_command_compares_a_run_with_itself_untrained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(FILE)
    assert main(["probe", "runs/small"]) == 2
    assert "runs/small: is no run folder" in capsys.readouterr().err
    assert main(["train", "small.py", "--display", "none"]) == 0
    capsys.readouterr()
    assert main(["probe", "runs/small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs/small, step 60"
    assert lines[1].split() == ["k-NN", "linear"]
    found = {line.rsplit(None, 2)[0]: [float(x) for x in line.rsplit(None, 2)[1:]] for line in lines[2:]}
    assert list(found) == ["test/encoder", "test/untrained", "test/raw inputs"]
    assert found["test/encoder"][0] > found["test/untrained"][0]
    assert min(found["test/encoder"]) > 0.85
    # Whole numbers of 200 examples, and those of the pixels known from elsewhere.
    reader = {name: Tfds("digits", split=split) for name, split in (("train", "train[:300]"), ("test", "test[:200]"))}
    raw = {n: pixels(TASK, jaxai.Pipeline(source=s, batch_size=50).open(n)) for n, s in reader.items()}
    assert found["test/raw inputs"][0] == pytest.approx(knn(raw["train"], raw["test"]), abs=1e-4)


def test_what_cannot_be_probed_is_named():
    source = Arrays({"image": np.zeros((4, 3), np.float32)})
    reader = jaxai.Pipeline(source=source, batch_size=2).open("train")
    with pytest.raises(InputError, match="train has no field 'label', which a probe learns"):
        pixels(TASK, reader)
    with pytest.raises(InputError, match="task: object has no method 'embed'"):
        features(object(), {}, reader)
    unlabelled = Arrays({"image": np.zeros((4, 3), np.float32), "label": np.full(4, -1)})
    with pytest.raises(InputError, match="train has no labelled example"):
        pixels(TASK, jaxai.Pipeline(source=unlabelled, batch_size=2).open("train"))
