"""Runs restarted at random with other workers, batch sizes and processes: no example is repeated, none is skipped."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.core.errors import InputError
from jaxai.data.augment import RandomFlip
from jaxai.data.pipeline import Pipeline
from jaxai.data.source import Arrays
from jaxai.tasks import Out
from jaxai.training import seal
from jaxai.training.keeper import Keeper
from jaxai.training.setup import set_up
from tests.training.conftest import make_arrays

pytestmark = pytest.mark.faults


class Numbers:
    """A source without `batch`: it is read ahead, by threads or by processes."""

    def __init__(self, num: int):
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> dict:
        return {"number": np.int32(3 * index)}


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a run reads between two restarts."""

    num_steps: int
    batch_size: int
    num_processes: int
    workers: int
    cache: bool
    prefetch: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run with its restarts; data and seed stay, all else changes."""

    num_examples: int
    shuffle: bool
    in_memory: bool
    seed: int
    segments: tuple[Segment, ...]


def make_plan(rng: np.random.Generator, workers: bool) -> Plan:
    """A random plan; with `workers`, processes of their own read one of its two segments, which takes seconds each."""

    def segment(i: int) -> Segment:
        processes = int(rng.choice([1, 2] if workers else [1, 1, 2, 3, 4]))
        return Segment(
            num_steps=int(rng.integers(1, 8)),
            batch_size=processes * int(rng.integers(1, 13)),
            num_processes=processes,
            workers=int(rng.choice([1, 2])) if workers and i == last else 0,
            cache=bool(rng.random() < 0.3),
            prefetch=int(rng.integers(1, 6)),
        )

    last = int(rng.integers(2))
    return Plan(
        num_examples=int(rng.choice([1, 2, 7, 24, 50, 97, 300])),
        shuffle=bool(rng.random() < 0.75),
        in_memory=bool(rng.random() < 0.5) and not workers,
        seed=int(rng.integers(0, 2**31)),
        segments=tuple(segment(i) for i in range(2 if workers else int(rng.integers(2, 7)))),
    )


def follow(plan: Plan) -> np.ndarray:
    """The examples that a run of the plan sees, in order."""
    seen, position = [], 0
    numbers = {"number": 3 * np.arange(plan.num_examples, dtype=np.int32)}
    source = Arrays(numbers) if plan.in_memory else Numbers(plan.num_examples)
    for part in plan.segments:
        pipeline = Pipeline(
            source=source,
            batch_size=part.batch_size,
            shuffle=plan.shuffle,
            cache=part.cache and not part.workers,
            workers=part.workers,
            prefetch=part.prefetch,
        )
        streams = [
            pipeline.open("train", seed=plan.seed, process=i, num_processes=part.num_processes).batches(position)
            for i in range(part.num_processes)
        ]
        for _ in range(part.num_steps):
            for stream in streams:
                batch = next(stream)
                np.testing.assert_array_equal(batch["number"], 3 * batch["index"])
                seen.append(batch["index"])
        position += part.num_steps * part.batch_size
        for stream in streams:
            if part.workers:
                stream.close()  # ends its processes
    return np.concatenate(seen)


def sequence(num_examples: int, shuffle: bool, seed: int, length: int) -> np.ndarray:
    """The endless sequence of epochs, up to `length`: the order is a promise, so it is written down here again."""
    epochs = []
    for epoch in range(-(-length // num_examples)):
        stream = np.random.RandomState(np.random.Philox(np.random.SeedSequence([seed, epoch])))
        epochs.append(stream.permutation(num_examples) if shuffle else np.arange(num_examples))
    return np.concatenate(epochs)[:length]


@pytest.mark.parametrize("workers", [False, True], ids=["threads", "worker processes"])
def test_no_restart_plan_repeats_or_skips_an_example(scale, figure, workers):
    """The position is one integer: whatever changes at a restart, the sequence of examples is that of one epoch after
    another.
    """
    plans = scale(2, 40) if workers else scale(98, 960)
    examples = repeated = skipped = restarts = 0
    for number in range(plans):
        plan = make_plan(np.random.default_rng([number, workers]), workers)
        seen = follow(plan)
        for start in range(0, len(seen), plan.num_examples):
            epoch = seen[start : start + plan.num_examples]
            repeated += len(epoch) - len(np.unique(epoch))
            if len(epoch) == plan.num_examples:
                skipped += plan.num_examples - len(np.unique(epoch))
        said = f"plan {number}: {plan}"
        assert (repeated, skipped) == (0, 0), said
        np.testing.assert_array_equal(seen, sequence(plan.num_examples, plan.shuffle, plan.seed, len(seen)), said)
        restarts += len(plan.segments) - 1
        examples += len(seen)
    assert multiprocessing.active_children() == []
    assert examples > 20 * plans
    figure(
        f"restart plans, {'worker processes' if workers else 'threads'}",
        f"{plans} plans of {restarts:,} restarts, {examples:,} examples: {repeated} repeated, {skipped} skipped",
    )


NUM_EXAMPLES = 50


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Seen:
    """How often each example was seen; a metric."""

    count: jax.Array

    def compute(self) -> np.ndarray:
        return np.asarray(self.count)


@dataclasses.dataclass(frozen=True)
class Count:
    """Learns nothing much, and tells in its metrics which examples it has seen."""

    augment: tuple = ()

    def init(self, key, batch):
        return {"params": {"w": jnp.ones(())}}

    def loss(self, variables, batch, key, train):
        seen = jnp.zeros(NUM_EXAMPLES, jnp.int32).at[batch["index"]].add(1)
        num = jnp.float32(batch["index"].shape[0])
        return Out(variables["params"]["w"] * num, num, {}, {"seen": Seen(seen)})


def counting(batch_size: int, **changed) -> jaxai.Experiment:
    fields = {
        "task": Count(),
        "train": Pipeline(source=make_arrays(NUM_EXAMPLES), batch_size=batch_size),
        "optimizer": optim.sgd(1e-3),
        "duration": jaxai.Steps(20),
        "checkpoint": jaxai.Checkpoints(every=jaxai.Steps(1)),
        "parallel": jaxai.PMap(devices=1),
    }
    return jaxai.Experiment(**fields | changed)


def test_a_batch_size_changed_on_resume_goes_on_with_the_next_example(scale, figure, tmp_path):
    """Through the whole loop: what it trains on, before and after, is the sequence of epochs."""
    num_runs, checked = scale(3, 30), 0
    for number in range(num_runs):
        rng = np.random.default_rng(number)
        sizes = [int(size) for size in rng.choice([4, 6, 10, 16, 25], 3)]
        folder, position = tmp_path / str(number), 0
        expected = sequence(NUM_EXAMPLES, True, 0, 2000)
        for i, size in enumerate(sizes):
            stream = jaxai.steps(counting(size), folder, resume_anyway=True)
            for info in itertools.islice(stream, int(rng.integers(2, 6))):
                seen = np.bincount(expected[position : position + size], minlength=NUM_EXAMPLES)
                said = f"run {number}, sizes {sizes}, segment {i}, step {info.step}"
                np.testing.assert_array_equal(info.metrics()["seen"], seen, said)
                position += size
                checked += size
            # What was not saved is trained on again: the position is that of the newest checkpoint.
            stream.close()
            newest = max(int(path.parent.name) for path in folder.glob("checkpoints/*/seal.json"))
            position = seal.read(folder / "checkpoints" / str(newest)).position
    figure(
        "restart plans, whole runs", f"{num_runs} runs of {len(sizes)} batch sizes, {checked:,} examples as promised"
    )


def test_a_batch_size_changed_without_insisting_is_refused(tmp_path):
    list(itertools.islice(jaxai.steps(counting(4), tmp_path), 3))
    with pytest.raises(InputError, match=r"train\.batch_size 4 -> 10"):
        next(jaxai.steps(counting(10), tmp_path))


class OtherNumbers(Numbers):
    """Of another name, which is what a checkpoint knows of a source of one's own."""


def train(**fields):
    return lambda base: dataclasses.replace(base, train=dataclasses.replace(base.train, **fields))


OTHER_DATA = {
    "seed": lambda base: dataclasses.replace(base, seed=1),
    "train.source": train(source=OtherNumbers(NUM_EXAMPLES)),
    "train.source length": train(source=Numbers(NUM_EXAMPLES - 1)),
    "train.shuffle": train(shuffle=False),
    "train.batch_size": train(batch_size=10),
    "task.augment": lambda base: dataclasses.replace(base, task=Count(augment=(RandomFlip(),))),
}


def keeper(experiment: jaxai.Experiment, folder) -> Keeper:
    return Keeper(folder, set_up(experiment), None, lambda _: None)


@pytest.mark.parametrize("field", OTHER_DATA)
def test_a_position_in_other_data_is_refused_and_the_field_named(field, tmp_path):
    base = train(source=Numbers(NUM_EXAMPLES))(counting(4))
    other = OTHER_DATA[field](base)
    mine = json.loads(json.dumps(set_up(base).fingerprint()))
    keeper(base, tmp_path / "checkpoints").check_data(mine, False)
    for resume_anyway in (False, True):
        if (field, resume_anyway) == ("train.batch_size", True):
            keeper(other, tmp_path / "checkpoints").check_data(mine, True)
            continue
        with pytest.raises(InputError) as caught:
            keeper(other, tmp_path / "checkpoints").check_data(mine, resume_anyway)
        assert caught.value.field == field
        assert caught.value.what.startswith("the checkpoint was trained with ")
        assert "--run" in caught.value.fix


def test_a_checkpoint_of_other_data_is_never_gone_on_with(figure, tmp_path):
    """Though the configuration is the same, as where a file of the data was replaced, the loop refuses; nothing that
    was saved is touched.
    """
    base = train(source=Numbers(NUM_EXAMPLES))(counting(4, duration=jaxai.Steps(3)))
    assert list(jaxai.steps(base, tmp_path / "good"))[-1].step == 3
    refused = 0
    for field, change in OTHER_DATA.items():
        folder = tmp_path / field
        shutil.copytree(tmp_path / "good", folder)
        step = folder / "checkpoints" / "3"
        data = json.loads((step / "data" / "metadata").read_text())
        data["fingerprint"] = json.loads(json.dumps(set_up(change(base)).fingerprint()))
        (step / "data" / "metadata").write_text(json.dumps(data))
        sealed = seal.read(step)
        (step / seal.NAME).unlink()
        seal.write(step, step=3, position=sealed.position, experiment=sealed.experiment, finite=True)
        before = {path: path.read_bytes() for path in step.rglob("*") if path.is_file()}
        with pytest.raises(InputError) as caught:
            list(jaxai.steps(base, folder))
        assert caught.value.field == field
        refused += 1
        assert before == {path: path.read_bytes() for path in step.rglob("*") if path.is_file()}
    assert refused == len(OTHER_DATA)
    figure("checkpoints of other data", f"{refused} of {len(OTHER_DATA)} refused, each by the name of its field")
