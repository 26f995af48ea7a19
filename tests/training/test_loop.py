"""The loop: its order, evaluation of every example once, early stopping, retention, signals, what it reports."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

import jaxai
from jaxai import optim
from jaxai.data.pipeline import Reader
from jaxai.log import NullDisplay, read_jsonl
from jaxai.models import MLP
from jaxai.tasks import Classification
from jaxai.training.checkpoint import retain
from jaxai.training.history import Entry, best, patience_over
from jaxai.training.loop import Loop
from jaxai.training.watchdog import Watchdog

from .conftest import make_arrays

DIGITS = Path(__file__).parents[2] / "experiments" / "digits_convnet.py"


class Heard(NullDisplay):
    """A display that remembers everything it was told, in order."""

    def __init__(self):
        self.events: list[tuple] = []

    def advance(self, step):
        self.events.append(("step", step))

    def record(self, record):
        self.events.append((record["split"], record["step"]))

    def note(self, text):
        self.events.append(("note", text))

    def notes(self):
        return [text for kind, text in self.events if kind == "note"]


def listen(experiment, folder=None):
    display = Heard()
    with Loop(experiment, folder, display=display, writers=[], title="test") as loop:
        for _ in loop.steps():
            pass
    return loop, display


def test_the_order_is_evaluate_and_save_next_batch_step_log(tiny, tmp_path):
    experiment = tiny(checkpoint=jaxai.Checkpoints(every=jaxai.Steps(3), keep_last=3))
    _, display = listen(experiment, tmp_path)
    assert [event for event in display.events if event[0] != "note"] == [
        ("step", 1), ("step", 2), ("step", 3), ("train", 2), ("test", 3),
        ("step", 4), ("step", 5), ("train", 4), ("step", 6), ("train", 6), ("test", 6),
    ]  # fmt: skip
    # Saved in the background, and said so once it is.
    said = [event for event in display.events if "saved" in str(event[1])]
    assert said == [("note", "step 3: saved"), ("note", "step 6: saved")]
    assert display.events.index(said[0]) > display.events.index(("test", 3))


@pytest.mark.slow
@pytest.mark.parametrize(("num", "batch_size"), [(29, 12), (24, 12), (5, 12), (29, 1)])
def test_evaluation_is_exact_on_sizes_that_do_not_divide(tiny, num, batch_size):
    source = make_arrays(num, seed=3)
    evals = {"test": jaxai.Pipeline(source=source, batch_size=batch_size)}
    result = jaxai.train(tiny(evals=evals), display="none")
    probabilities = np.asarray(tiny().task.predict(result.variables, source.arrays["image"]))
    labels, guesses = source.arrays["label"], probabilities.argmax(-1)
    assert result.metrics["test/accuracy"] == pytest.approx(sklearn.accuracy_score(labels, guesses))
    loss = sklearn.log_loss(labels, probabilities, labels=[0, 1, 2])
    assert result.metrics["test/loss"] == pytest.approx(loss, rel=1e-5)
    for average in ("macro", "micro"):
        values = sklearn.precision_recall_fscore_support(
            labels, guesses, labels=[0, 1, 2], average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            assert result.metrics[f"test/{name}_{average}"] == pytest.approx(value)


def test_every_example_is_seen_once_an_epoch_and_batches_straddle_epochs(tiny):
    reader = tiny().train.open("train", seed=5)
    seen = np.concatenate([reader.batch(number)["index"] for number in range(25)])
    for epoch in range(6):
        assert sorted(seen[epoch * 50 : epoch * 50 + 50]) == list(range(50))
    assert not np.array_equal(seen[:50], seen[50:100])
    shares = [tiny().train.open("train", seed=5, process=p, num_processes=3).batch(7) for p in range(3)]
    whole = reader.batch(7)
    for name in whole:
        np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), whole[name])


class Slow:
    """A dataset of one's own: a length and an index."""

    def __init__(self, seconds: float = 0.0):
        self.arrays_, self.seconds = make_arrays(50), seconds

    def __len__(self):
        return 50

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return self.arrays_[index]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_reading_ahead_gives_the_same_batches_from_any_position(workers):
    pipeline = jaxai.Pipeline(source=Slow(), batch_size=12, workers=workers)
    reader = pipeline.open("train", seed=1)
    ahead = reader.batches(3 * 12)
    for number in range(3, 9):
        batch, expected = next(ahead), reader.batch(number)
        assert batch.keys() == {"image", "label", "index"}
        for name in batch:
            np.testing.assert_array_equal(batch[name], expected[name])


def test_waiting_for_data_is_said(tiny):
    experiment = tiny(train=jaxai.Pipeline(source=Slow(0.02), batch_size=12), duration=jaxai.Steps(8))
    _, display = listen(experiment)
    assert any("waiting for data" in note for note in display.notes())


def test_the_same_value_gives_the_same_numbers(tiny):
    first, second = (jaxai.train(tiny(), display="none") for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)
    other = jaxai.train(tiny(seed=1), display="none")
    assert other.metrics["test/loss"] != first.metrics["test/loss"]


@pytest.mark.parametrize("saved", [True, False])
def test_early_stopping_gives_the_best_weights(tiny, tmp_path, saved):
    """A learning rate that ruins the model after a good start: the result is the good start."""
    schedule = optim.WarmupSteps(peak=1e-2, boundaries=(jaxai.Steps(60),), factor=1e3)
    experiment = tiny(
        optimizer=optim.sgd(schedule),
        duration=jaxai.Steps(500),
        evaluate_every=jaxai.Steps(20),
        best=jaxai.Best(metric="test/loss", mode="min"),
        early_stopping=jaxai.EarlyStopping(patience=3),
        on_nonfinite="skip",
    )
    result = jaxai.train(experiment, tmp_path if saved else None, display="none")
    assert result.status == "stopped early"
    assert result.best_step is not None
    assert result.step == result.best_step + 3 * 20 < 500
    losses = {entry.step: entry.values["test/loss"] for entry in result.history}
    assert losses[result.best_step] == min(losses.values()) == result.metrics["test/loss"]
    source = experiment.evals["test"].source
    probabilities = np.asarray(experiment.task.predict(result.variables, source.arrays["image"]))
    assert sklearn.log_loss(source.arrays["label"], probabilities) == pytest.approx(min(losses.values()), rel=1e-4)
    if saved:
        kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
        assert kept == [result.best_step, result.step]
        again = jaxai.train(experiment, tmp_path, display="none")
        assert (again.status, again.step, again.best_step) == ("stopped early", result.step, result.best_step)


scores = st.one_of(st.floats(0, 1), st.sampled_from([float("nan"), float("inf"), 0.5]))


@given(st.dictionaries(st.integers(1, 50), scores, min_size=1), st.integers(1, 3), st.integers(0, 3))
def test_retention_keeps_the_newest_and_the_best(found, keep_last, keep_best):
    policy = jaxai.Checkpoints(keep_last=keep_last, keep_best=keep_best)
    by = jaxai.Best(metric="test/accuracy")
    kept = retain(list(found), found, policy, by)
    assert kept <= found.keys()
    assert set(sorted(found)[-keep_last:]) <= kept
    assert len(kept) <= keep_last + keep_best
    top = best([Entry(step, {"test/accuracy": found[step]}) for step in sorted(found)], by)
    if keep_best and top is not None:
        assert top in kept


def test_patience_counts_evaluations_without_improvement(tiny):
    experiment = tiny(
        best=jaxai.Best(metric="test/accuracy"), early_stopping=jaxai.EarlyStopping(patience=2, min_delta=0.01)
    )

    def over(*values):
        return patience_over([Entry(i, {"test/accuracy": v}) for i, v in enumerate(values)], experiment)

    assert not over(0.5, 0.6, 0.605)
    assert over(0.5, 0.6, 0.605, 0.609)
    assert not over(0.5, 0.6, 0.605, 0.62)
    assert over(0.5, float("nan"), float("nan"))


def test_the_loop_reports_a_recompilation(tiny, monkeypatch):
    display, phases = Heard(), []
    monkeypatch.setattr(Watchdog, "phase", lambda _, name: phases.append(name))
    with Loop(tiny(), None, display=display, writers=[], title="test") as loop:
        whole = loop.setup.reader.batches(0)
        sizes = [12] * 3 + [6] * 3
        changing = ({name: array[:size] for name, array in next(whole).items()} for size in sizes)
        monkeypatch.setattr(Reader, "batches", lambda *_: changing)
        for _ in loop.steps():
            pass
    assert [note for note in display.notes() if "recompiled" in note] == [
        "step 4: recompiled, because batch/image was uint8[12, 4, 4, 1], is uint8[6, 4, 4, 1]; "
        "batch/index was int32[12], is int32[6]; batch/label was int32[12], is int32[6]"
    ]
    trained = [name for name in phases if name in ("step", "compiling")]
    assert trained == [*["compiling"] * 2, "step", "step", "step", "compiling", "step", "step"], (
        "no step takes that long"
    )


def test_divergence_stops_and_keeps_the_last_good_step(tiny, tmp_path):
    experiment = tiny(
        optimizer=optim.sgd(optim.WarmupSteps(peak=1e-2, boundaries=(jaxai.Steps(30),), factor=1e30)),
        duration=jaxai.Steps(100),
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(10), keep_last=99),
    )
    with pytest.raises(jaxai.DivergedError, match="last good checkpoint is step 30"):
        jaxai.train(experiment, tmp_path, display="none")
    assert max(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == 30


def test_metrics_file_holds_every_record(tiny, tmp_path):
    result = jaxai.train(tiny(), tmp_path, display="none")
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert [(r["split"], r["step"]) for r in records] == [
        ("train", 2), ("test", 3), ("train", 4), ("train", 6), ("test", 6),
    ]  # fmt: skip
    for record in records:
        assert {"loss", "accuracy", "seconds", "examples_per_second"} <= record.keys() or record["step"] == 2
    assert records[-1]["loss"] == result.metrics["test/loss"]
    assert records[2]["learning_rate"] == pytest.approx(1e-2)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["metrics"] == dict(result.metrics)
    assert json.loads((tmp_path / "environment.json").read_text())["versions"]["jax"] == jax.__version__


SLOW_EXPERIMENT = """
import time
import numpy as np
import jaxai
from jaxai import optim
from jaxai.models import MLP
from jaxai.tasks import Classification

class Data:
    def __len__(self): return 64
    def __getitem__(self, index):
        time.sleep(0.002)
        return {"image": np.full((4, 4, 1), index, np.uint8), "label": index % 3}

def get_config():
    return jaxai.Experiment(
        task=Classification(model=MLP(features=(8,), num_classes=3)),
        train=jaxai.Pipeline(source=Data(), batch_size=8), optimizer=optim.adam(1e-3), duration=jaxai.Steps(100000),
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_leaves_and_resumes(tmp_path, number):
    (tmp_path / "slow.py").write_text(SLOW_EXPERIMENT)
    command = [sys.executable, "-m", "jaxai", "train", str(tmp_path / "slow.py"), "--run", str(tmp_path / "run")]
    process = subprocess.Popen([*command, "--display", "plain"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in process.stdout:
        if "train" in line and "loss" in line:
            break
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(60) == 128 + number
    (step,) = [int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert f"interrupted at step {step:,}; the same command resumes" in rest
    more = [*command, "--display", "plain", "--duration", f"{step + 3}steps", "--resume-anyway"]
    done = subprocess.run(more, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {step:,}" in done.stdout


@pytest.mark.slow
def test_a_second_signal_leaves_at_once(tmp_path):
    (tmp_path / "slow.py").write_text(
        SLOW_EXPERIMENT.replace("time.sleep(0.002)", "time.sleep(0.5 if index % 9 else 0)")
    )
    command = [sys.executable, "-m", "jaxai", "train", str(tmp_path / "slow.py"), "--run", str(tmp_path / "run")]
    process = subprocess.Popen([*command, "--display", "plain"], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in process.stdout:
        if "compiling" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


WHOLE_RUN = """
import sys
from jaxai.cli import main
experiment, run = sys.argv[1:]
tiny = ["--duration", "60steps", "--display", "plain"]
assert main(["train", experiment, "--run", run, *tiny]) == 0
assert main(["evaluate", run]) == 0
assert main(["report", run]) == 0
print([name for name in ("tensorflow", "torch", "keras") if name in sys.modules])
"""


class Collected:
    """A writer that keeps pictures."""

    def __init__(self):
        self.found = []

    def write(self, record):
        pass

    def confusion(self, step, split, matrix, classes):
        pass

    def images(self, step, split, name, images):
        self.found.append((step, split, name, images))

    def close(self):
        pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing(Classification):
    """Draws the probabilities of what it is shown, and something random."""

    def pictures(self, variables, batch, key):
        shades = self.predict(variables, batch["image"]) * 255
        noise = jax.random.randint(key, (2, 4, 4, 1), 0, 256)
        return {"shades": shades.astype(jnp.uint8)[..., None, None], "noise": noise.astype(jnp.uint8)}


def test_pictures_of_a_task_are_logged_after_each_evaluation(tiny):
    task = Drawing(model=MLP(features=(8,), num_classes=3))
    writer = Collected()
    result = jaxai.train(tiny(task=task), display="none", writers=[writer])
    drawn = {(step, name): images for step, split, name, images in writer.found if split == "test"}
    assert sorted(drawn) == [(3, "noise"), (3, "shades"), (6, "noise"), (6, "shades")]
    np.testing.assert_array_equal(drawn[3, "noise"], drawn[6, "noise"])  # so that progress shows
    batch = next(tiny().evals["test"].open("test").evaluation())
    expected = np.asarray(task.predict(result.variables, batch["image"]) * 255).astype(np.uint8)
    np.testing.assert_allclose(drawn[6, "shades"][..., 0, 0].astype(int), expected, atol=1)


@pytest.mark.slow
def test_a_whole_run_imports_neither_tensorflow_nor_torch(tmp_path):
    command = [sys.executable, "-c", WHOLE_RUN, str(DIGITS), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_run_is_reproduced_bit_for_bit_from_its_json(tmp_path):
    from jaxai.cli import main

    (tmp_path / "digits.py").write_text(DIGITS.read_text())
    changed = ["--duration", "20steps", "--optimizer.learning-rate.peak", "1e-3", "--log-every", "10steps"]
    changed += ["--optimizer.learning-rate.warmup", "5steps", "--display", "none"]
    assert main(["train", str(tmp_path / "digits.py"), "--run", str(tmp_path / "a"), *changed]) == 0
    config = str(tmp_path / "a" / "config.json")
    assert main(["train", config, "--run", str(tmp_path / "b"), "--display", "none"]) == 0

    def numbers(run):
        records = read_jsonl(tmp_path / run / "metrics.jsonl")
        return [
            {k: v for k, v in r.items() if k not in ("seconds", "examples_per_second", "data_wait")} for r in records
        ]

    assert numbers("a") == numbers("b")
    assert len(numbers("a")) >= 3
    assert (tmp_path / "a" / "config.json").read_text() == (tmp_path / "b" / "config.json").read_text()
