"""Which checkpoints stay: over streams of metrics of every kind the newest and the best finite one are never lost."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxai import Best, Checkpoints, Steps
from jaxai.training import history as past
from jaxai.training import seal
from jaxai.training.checkpoint import retain, saved_steps
from jaxai.training.saving import Job, Saver

pytestmark = pytest.mark.faults

METRIC = "test/score"
#: Few values, so that there are ties, and all that are no numbers.
SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.5, math.nan, math.inf, -math.inf, None, "missing"]),
    st.floats(width=32),
    st.integers(-3, 3),
)


@st.composite
def streams(draw, most=40):
    """Saves of a run: [(step, score)] with the policy that they are kept by."""
    least = draw(st.sampled_from([1, 10, 25]))
    gaps = draw(st.lists(st.tuples(st.integers(1, 7), SCORES), min_size=least, max_size=most))
    steps = np.cumsum([gap for gap, _ in gaps]).tolist()
    policy = Checkpoints(
        every=Steps(1), keep_last=draw(st.integers(1, 4)), keep_best=draw(st.one_of(st.just(1), st.integers(0, 4)))
    )
    best = draw(st.sampled_from([None, Best(metric=METRIC, mode="max"), Best(metric=METRIC, mode="min")]))
    every = draw(st.one_of(st.none(), st.integers(1, 12)))
    return [(step, score) for step, (_, score) in zip(steps, gaps, strict=True)], policy, best, every


def history_of(saves) -> list[past.Entry]:
    """The evaluations of the saves so far, through JSON and back as after a resume; None is what JSON makes of nan."""
    entries = [past.Entry(step, {METRIC: score}) for step, score in saves if score not in ("missing", None)]
    absent = [past.Entry(step, {"test/other": 1.0}) for step, score in saves if score == "missing"]
    resumed = past.from_json(past.to_json([*entries, *absent]))
    assert len(resumed) == len(entries) + len(absent)
    return resumed


def scores_of(saves, best: Best | None) -> dict[int, float | None]:
    return past.scores(history_of(saves), best) | {step: None for step, score in saves if score is None}


def finite_best(saves, best: Best) -> list[int]:
    """The steps with a finite score, best first, earlier ones first among equals."""
    sign = -1 if best.mode == "max" else 1
    finite = [(step, score) for step, score in saves if isinstance(score, (int, float)) and math.isfinite(score)]
    return [step for step, _ in sorted(finite, key=lambda entry: (sign * entry[1], entry[0]))]


def should_stay(saves, policy, best, every) -> set[int]:
    """What the policy promises, of all saves ever made."""
    steps = [step for step, _ in saves]
    stay = set(steps[-policy.keep_last :])
    if best is not None:
        stay |= set(finite_best(saves, best)[: policy.keep_best])
    for first in range(every, steps[-1] + 1, every) if every else ():
        stay |= set([step for step in steps if first <= step < first + every][:1])
    return stay


def test_the_newest_and_the_best_finite_are_always_kept(scale, figure):
    """Save after save, with what the saves before have deleted gone: what is left is what the policy says of them all.

    So the newest is there, the best finite so far is there, at most so many are, and none for a score that is none.
    """
    num, counted = scale(500, 10_000), dict.fromkeys(("streams", "saves", "deleted", "no number", "lost"), 0)

    @settings(max_examples=num, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(streams())
    def check(stream):
        saves, policy, best, every = stream
        on_disk: set[int] = set()
        for i, (step, score) in enumerate(saves):
            so_far = saves[: i + 1]
            before = on_disk | {step}
            on_disk = retain(sorted(before), scores_of(so_far, best), policy, best, every)
            said = f"{stream} after step {step}: {sorted(on_disk)}"
            chosen = past.best(history_of(so_far), best)
            lost = {step, chosen if chosen is not None and policy.keep_best else step} - on_disk
            counted["lost"] += len(lost)
            assert not lost, f"the newest or the best, {lost}, is gone: {said}"
            assert on_disk <= before, said
            assert on_disk == should_stay(so_far, policy, best, every), said
            milestones = step // every if every else 0
            assert len(on_disk) <= policy.keep_last + (policy.keep_best if best else 0) + milestones, said
            counted["saves"] += 1
            counted["deleted"] += len(before - on_disk)
            counted["no number"] += not isinstance(score, (int, float)) or not math.isfinite(score)
        counted["streams"] += 1

    check()
    assert counted["streams"] >= num
    assert min(counted["deleted"], counted["no number"]) > num / 10
    figure(
        "retention, streams of metrics",
        f"{counted['streams']:,} streams of {counted['saves']:,} saves ({counted['no number']:,} without a finite"
        f" metric), {counted['deleted']:,} deleted: newest and best finite lost {counted['lost']} times",
    )


def test_the_folders_on_disk_are_those_that_the_policy_keeps(scale, figure, tmp_path):
    """The same of real checkpoints: what is there is whole, and there is nothing else."""
    rng, num_saves, num_deleted = np.random.default_rng(3), 0, 0
    num_streams = scale(6, 60)
    kinds = [0.0, 1.0, 1.0, 0.5, math.nan, math.inf, -math.inf, None, "missing"]
    for number in range(num_streams):
        policy = Checkpoints(every=Steps(1), keep_last=int(rng.integers(1, 4)), keep_best=int(rng.integers(0, 4)))
        best = [None, Best(metric=METRIC), Best(metric=METRIC, mode="min")][rng.integers(3)]
        every = [None, 5, 9][rng.integers(3)]
        folder = tmp_path / str(number)
        saver, saves, step = Saver(folder, policy), [], 0
        for _ in range(8):
            step += int(rng.integers(1, 5))
            saves.append((step, kinds[rng.integers(len(kinds))]))
            scores = scores_of(saves, best)
            keep = lambda steps, s=scores, p=policy, b=best, e=every: retain(steps, s, p, b, e)  # noqa: E731
            job = Job(step, step * 8, {"seed": 0}, {"history": []}, "digest", keep)
            saver.save(job, {"w": jnp.full(3, step, jnp.float32)})
            if rng.random() < 0.2:
                saver.wait()
                saver = Saver(folder, policy)  # a restart in the middle
            num_saves += 1
        saver.wait()
        said = f"stream {number}: {saves}, {policy}, {best}, every {every}"
        assert saver.news()[1] == [], said
        stay = should_stay(saves, policy, best, every)
        assert set(saved_steps(folder)) == stay, said
        assert {path.name for path in folder.iterdir()} == set(map(str, stay)), said
        for kept in stay:
            assert seal.verify(folder / str(kept)).position == kept * 8, said
        num_deleted += len(saves) - len(stay)
    figure(
        "retention, on disk",
        f"{num_streams} streams of {num_saves} saves, {num_deleted} deleted: all kept ones whole, 0 lost, 0 left over",
    )
