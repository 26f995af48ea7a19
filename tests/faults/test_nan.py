"""Numbers that are none, put into a run at random: no checkpoint holds one, and each policy does what it says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxai
from jaxai.core import tree
from jaxai.core.errors import DivergedError
from jaxai.training import seal
from jaxai.training.spikes import Spikes
from tests.faults.poison import BATCH, KINDS, START, examples, poisoned

pytestmark = pytest.mark.faults

STEPS, EVERY = 24, 3
NUM = 60 * BATCH
#: What the step itself sees, by its loss and gradient; the rest shows in the state that it leaves.
SEEN = [kind for kind in KINDS if kind.startswith(("loss", "gradient"))]
LEFT = [kind for kind in KINDS if kind.startswith(("update", "state"))]


@dataclasses.dataclass
class Trail:
    """What a run did, as far as its caller sees."""

    batches: list[int] = dataclasses.field(default_factory=list)
    """Numbers of the batches that the last state has learned from."""
    states: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
    """The state after each step that still counts, from the first of this process on."""
    backs: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Steps from which, and to which, it went back."""
    error: DivergedError | None = None

    @property
    def final(self) -> dict[str, bytes]:
        return {name: array.tobytes() for name, array in self.states[-1].items()}


def follow(experiment: jaxai.Experiment, folder: Path | None, cut: int | None = None) -> Trail:
    """Runs it, to its end or until `cut` steps after it went back."""
    trail, consumed, since = Trail(), 0, None
    try:
        for info in jaxai.steps(experiment, folder):
            before = len(trail.batches)
            if consumed == 0 and info.step > 1:
                trail.batches = list(range(info.step - 1))
                trail.states = [{}] * (info.step - 1)
                consumed = before = info.step - 1
            if info.step != before + 1:
                trail.backs.append((before, info.step - 1))
                del trail.batches[info.step - 1 :], trail.states[info.step - 1 :]
                since = 0
            trail.batches.append(consumed)
            trail.states.append({n: np.asarray(jax.device_get(x)) for n, x in tree.flatten(info.state).items()})
            consumed += 1
            if since is not None:
                since += 1
                if since == cut:
                    break
    except DivergedError as error:
        trail.error = error
    return trail


def nonfinite_in(folder: Path) -> list[str]:
    """The arrays of sealed checkpoints that hold what is no number, read from their bytes."""
    found = []
    for sealed in folder.glob("checkpoints/*/seal.json"):
        if not seal.read(sealed.parent).finite:
            found.append(str(sealed))
        for header in sealed.parent.glob("state/*/.zarray"):
            dtype = np.dtype(json.loads(header.read_text())["dtype"])
            parts = [part for part in header.parent.iterdir() if part != header and dtype.kind == "f"]
            arrays = {part: np.frombuffer(part.read_bytes(), dtype) for part in parts}
            found += [str(part) for part, array in arrays.items() if not np.isfinite(array).all()]
    return found


def saved(folder: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in folder.glob("checkpoints/*/seal.json"))


def first_bad(kind: str, batch: int) -> int:
    """The batch that breaks the state; an average breaks one later than its parameter begins to leave it."""
    return batch + (kind == "update beyond an average")


def last_good(batch: int) -> int:
    """The newest step that is saved before batch number `batch` is learned from."""
    return batch // EVERY * EVERY


def draw(number: int, kinds: list[str], least: int = 0) -> tuple[str, int, str]:
    rng = np.random.default_rng([number, len(kinds)])
    # Strides through the kinds, so that few numbers draw unlike ones.
    stride = {10: 3, 6: 5, 4: 3}[len(kinds)]
    kind, batch = kinds[number * stride % len(kinds)], int(rng.integers(least, STEPS - 1))
    return kind, batch, f"injection {number}: {kind} in batch {batch}"


def test_stop_ends_with_the_last_good_checkpoint_named(scale, figure, tmp_path):
    """On whatever is not finite the run ends with exit code 4, and what was saved before is there and good."""
    num, bad_files = scale(4, 40), []
    for number in range(num):
        kind, batch, said = draw(number, SEEN + LEFT)
        folder = tmp_path / str(number)
        trail = follow(poisoned(examples(NUM, number, {batch: kind})), folder)
        assert trail.error is not None, said
        assert trail.error.exit_code == 4
        line, good = str(trail.error), last_good(first_bad(kind, batch))
        what = "loss or gradient" if kind in SEEN else "a parameter"
        assert line.startswith(f"training: {what} became nan or infinite by step "), f"{said}: {line}"
        assert (f"; the last good checkpoint is step {good:,} (" in line) == bool(good), f"{said}: {line}"
        assert saved(folder) == list(range(EVERY, good + 1, EVERY)), said
        bad_files += nonfinite_in(folder)
        assert not bad_files, said
    figure("nan, stop", f"{num} injected: {num} ended with exit code 4, {len(bad_files)} checkpoints not finite")


def test_skip_leaves_that_step_out_and_no_other(scale, figure, tmp_path):
    """The state after a bad step is the state before it, bit for bit but for its number; the run ends as ever."""
    num, bad_files = scale(2, 20), []
    for number in range(num):
        kind, batch, said = draw(number, SEEN)
        folder = tmp_path / str(number)
        source = examples(NUM, number, {batch: kind, (batch + 7) % STEPS: kind})
        trail = follow(poisoned(source, on_nonfinite="skip"), folder)
        assert trail.error is None, f"{said}: {trail.error}"
        left_out = []
        for step in range(1, STEPS):
            before, after = trail.states[step - 1], trail.states[step]
            same = [name for name in after if name == "step" or before[name].tobytes() == after[name].tobytes()]
            left_out += [step] if len(same) == len(after) else []
            assert int(after["step"]) == int(before["step"]) + 1
        assert set(left_out) | {0} == {batch, (batch + 7) % STEPS} | {0}, said
        assert float(trail.states[-1]["params/far"]) == np.float32(START)
        assert saved(folder) == list(range(EVERY, STEPS + 1, EVERY)), said
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        assert sum(line.get("nonfinite_steps", 0) for line in lines) == 2, said
        bad_files += nonfinite_in(folder)
        assert not bad_files, said
    figure("nan, skip", f"{2 * num} injected: {2 * num} steps left out, {len(bad_files)} checkpoints not finite")


def test_skip_does_not_save_what_no_skipping_can_mend(scale, figure, tmp_path):
    """A parameter, an average or a state that is not finite although loss and gradient were."""
    num, bad_files = scale(1, 10), []
    for number in range(num):
        kind, batch, said = draw(number, LEFT)
        trail = follow(poisoned(examples(NUM, number, {batch: kind}), on_nonfinite="skip"), tmp_path / str(number))
        assert trail.error is not None, said
        bad_files += nonfinite_in(tmp_path / str(number))
        assert not bad_files, said
    figure("nan, skip, in the state itself", f"{num} injected: {len(bad_files)} checkpoints not finite")


def test_roll_back_returns_to_a_good_step_and_skips_the_data(scale, figure, tmp_path):
    """The run ends after all its steps, as one ends whose data never held what was skipped: bit for bit.

    And one cut after it went back, then resumed, ends the same.
    """
    num, skipped, bad_files = scale(4, 40), 0, []
    for number in range(num):
        kind, batch, said = draw(number, SEEN + LEFT, least=EVERY)
        source, folder = examples(NUM, number, {batch: kind}), tmp_path / str(number)
        policy = jaxai.RollBack(deviations=1e6)
        whole = follow(poisoned(source, roll_back=policy), folder / "whole")
        assert whole.error is None, f"{said}: {whole.error}"
        assert len(whole.backs) == 1, f"{said}: {whole.backs}"
        assert whole.backs[0][1] == last_good(first_bad(kind, batch)), f"{said}: {whole.backs}"
        assert len(whole.batches) == STEPS
        assert first_bad(kind, batch) not in whole.batches, said
        skipped += whole.batches[-1] + 1 - STEPS
        kept = np.concatenate([np.arange(b * BATCH, (b + 1) * BATCH) for b in whole.batches])
        clean = jaxai.data.source.Arrays({name: array[kept] for name, array in source.arrays.items()})
        assert follow(poisoned(clean), None).final == whole.final, said
        cut = follow(poisoned(source, roll_back=policy), folder / "cut", cut=1 + number % 2)
        resumed = follow(poisoned(source, roll_back=policy), folder / "cut")
        assert resumed.error is None, f"{said}: {resumed.error}"
        assert len(cut.states) < STEPS, said
        assert resumed.final == whole.final, f"{said}: cut at step {len(cut.states)}"
        for part in ("whole", "cut"):
            bad_files += nonfinite_in(folder / part)
            assert saved(folder / part) == list(range(EVERY, STEPS + 1, EVERY)), said
        assert not bad_files, said
    figure(
        "nan, roll-back",
        f"{num} injected: {num} finished after skipping {skipped} batches, as did {num} cut and resumed (bitwise),"
        f" {len(bad_files)} checkpoints not finite",
    )


@pytest.mark.parametrize("times", [1, 3])
def test_no_more_roll_backs_than_allowed(tmp_path, times):
    """Also where the run is cut and resumed between them: what was counted is saved."""
    source = examples(NUM, times, {7 + 9 * i: "loss nan" for i in range(3)})
    experiment = poisoned(source, roll_back=jaxai.RollBack(at_most=times, deviations=1e6))
    for folder, cut in ((tmp_path / "whole", None), (tmp_path / "cut", 5))[times == 1 :]:
        trails = [follow(experiment, folder, cut)]
        while cut is not None and trails[-1].error is None and len(trails[-1].states) < STEPS:
            trails.append(follow(experiment, folder, cut))
            assert len(trails) < 9
        if times == 3:
            assert trails[-1].error is None
            assert len(trails[-1].states) == STEPS
        else:
            assert f"and it came {times + 1} times" in str(trails[-1].error)
            assert trails[-1].error.exit_code == 4
        assert nonfinite_in(folder) == []


def test_with_nothing_to_go_back_to_the_run_has_diverged(tmp_path):
    trail = follow(poisoned(examples(NUM, 0, {1: "loss nan"}), roll_back=jaxai.RollBack()), tmp_path)
    assert "no checkpoint to go back to" in str(trail.error)
    assert saved(tmp_path) == []


def test_a_spike_rolls_back_and_its_data_are_skipped(scale, figure, tmp_path):
    """A finite loss far above those before: seen once there is something to compare with, and never learned from."""
    num, seen = scale(2, 20), 0
    for number in range(num):
        batch = int(np.random.default_rng(number).integers(10, STEPS))
        said = f"spike {number} in batch {batch}"
        source = examples(NUM, number, {batch: "spike"})
        trail = follow(poisoned(source, roll_back=jaxai.RollBack(deviations=12.0)), tmp_path / str(number))
        assert trail.error is None, f"{said}: {trail.error}"
        assert len(trail.backs) == 1, f"{said}: {trail.backs}"
        assert trail.backs[0][1] <= batch, f"{said}: {trail.backs}"
        assert trail.backs[0][1] in range(EVERY, STEPS, EVERY), said
        assert batch not in trail.batches, said
        assert len(trail.batches) == STEPS
        seen += 1
    figure("loss spikes", f"{num} injected: {seen} seen, gone back from, their data skipped")


def test_ordinary_noise_is_no_spike(scale, figure):
    """Losses that fall along a power law, with the noise that means of fifty steps have: none is a spike."""
    runs, intervals, false = scale(200, 5_000), 0, []
    for number in range(runs):
        rng, spikes = np.random.default_rng(number), Spikes(jaxai.RollBack())
        steps = np.arange(1, 301)
        losses = (0.2 + 3 * steps**-0.5) * (1 + 0.05 * rng.standard_normal(len(steps)))
        false += [(number, i) for i, loss in enumerate(losses) if spikes.seen(float(loss))]
        intervals += len(losses)
    figure("no loss spikes", f"{intervals:,} intervals of {runs:,} noisy runs: {len(false)} taken for a spike")
    assert not false, f"runs and intervals: {false[:20]}"


def test_a_good_checkpoint_in_the_middle_of_an_interval_is_gone_back_to(tmp_path):
    """What is not finite is known to have come after a save that was looked at, however rarely the run logs."""
    experiment = poisoned(examples(NUM, 7, {7: "loss nan"}), log_every=jaxai.Steps(8), roll_back=jaxai.RollBack())
    trail = follow(experiment, tmp_path)
    assert trail.error is None, str(trail.error)
    assert [to for _, to in trail.backs] == [6]


def test_something_to_go_back_to_is_kept_until_the_interval_is_judged(tmp_path):
    """A save within an interval that turns out to spike must not replace the one from before it."""
    experiment = poisoned(
        examples(NUM, 7, {31: "spike"}),
        duration=jaxai.Steps(36),
        log_every=jaxai.Steps(4),
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(5)),
        roll_back=jaxai.RollBack(deviations=12.0),
    )
    trail = follow(experiment, tmp_path)
    assert trail.error is None, str(trail.error)
    assert [to for _, to in trail.backs] == [25]


def test_a_step_left_out_is_no_spike(tmp_path):
    """With `skip`, an interval whose only step is left out has no loss to judge."""
    experiment = poisoned(
        examples(NUM, 7, {16: "loss nan"}),
        log_every=jaxai.Steps(1),
        on_nonfinite="skip",
        roll_back=jaxai.RollBack(deviations=12.0),
    )
    trail = follow(experiment, tmp_path)
    assert trail.error is None, str(trail.error)
    assert trail.backs == []
