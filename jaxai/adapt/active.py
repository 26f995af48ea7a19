"""Active learning: which examples to label next, and what that brings.

An experiment is trained on a few labelled rows of its own training data, then on more and more of them, each time from
scratch. After each round a strategy chooses, by the model just trained, the rows whose labels are asked for.

DIR/active.json                  what is compared    DIR/STRATEGY/chosen.json    rows in the order they were chosen
DIR/STRATEGY/LABELS/             a run folder        DIR/STRATEGY/curve.jsonl    a record a round; `step` counts labels
DIR/report.html                  the curves
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxai.core.errors import InputError, cannot_write, did_you_mean
from jaxai.data.pipeline import Reader
from jaxai.data.subset import Subset
from jaxai.experiment.declaration import Experiment
from jaxai.experiment.json import differences, encode
from jaxai.log import JsonlWriter
from jaxai.log.report import RunReport, render
from jaxai.training.folder import read_json, write_json
from jaxai.training.run import train
from jaxai.training.saved import open_run

STRATEGIES = ("entropy", "margin", "coreset", "random")


@dataclasses.dataclass(frozen=True)
class Curves:
    """What active learning came to."""

    records: Mapping[str, Sequence[Mapping[str, Any]]]
    """By strategy, a record a round and evaluation: `step` is the number of labels, `split` the evaluation."""
    signal: int | None = None
    """The signal that interrupted it, if one did; the same call goes on."""


def active_learning(
    experiment: Experiment,
    folder: str | Path,
    *,
    strategies: Sequence[str] = STRATEGIES,
    start: int = 50,
    add: int = 50,
    rounds: int = 6,
    source: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Curves:
    """Trains `experiment` on `start` labels of its training data and then on `add` more each round, by each strategy.

    All strategies begin with the same labels, drawn at random by the experiment's seed. Rounds that `folder` holds
    finished are not trained again. `source` is the experiment's file, kept with the runs.
    """
    folder, pool = Path(folder), experiment.train.open("train", seed=experiment.seed)
    _check(experiment, pool, strategies, start, start + add * (rounds - 1), add, rounds)
    _claim(folder, experiment, start, add)
    records: dict[str, list[dict[str, Any]]] = {}
    signal = None
    for strategy in strategies:
        records[strategy] = []
        counts = [start + add * number for number in range(rounds)]
        course = _Course(experiment, pool, strategy, folder / strategy, source)
        signal = course.run(counts, records[strategy], say)
        if signal is not None:
            break
    _report(folder, experiment, records)
    return Curves(records, signal)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """How undecided predictions [example, class] are: their entropy in nats, [example]."""
    return -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30)), axis=1)


def margin(probabilities: np.ndarray) -> np.ndarray:
    """How undecided predictions [example, class] are between the two likeliest: 1 - their difference, [example]."""
    top = np.sort(probabilities, axis=1)
    return 1 - (top[:, -1] - top[:, -2])


def coreset(embeddings: np.ndarray, labelled: np.ndarray, num: int) -> np.ndarray:
    """Rows [num] of `embeddings` [example, feature], each the farthest from those `labelled` and chosen before it.

    The greedy k-centre (Sener and Savarese 2018): no other choice can more than halve the largest distance of any row
    to its nearest chosen one.
    """
    x = embeddings.astype(np.float64)
    distances = np.full(len(x), np.inf)
    for row in labelled:
        distances = np.minimum(distances, np.sum(np.square(x - x[row]), axis=1))
    chosen = []
    for _ in range(num):
        # A row that is chosen is never chosen again, though others may lie on it.
        distances[[*labelled, *chosen]] = -1
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.sum(np.square(x - x[chosen[-1]]), axis=1))
    return np.array(chosen, np.int64)


@dataclasses.dataclass(frozen=True)
class _Course:
    """One strategy's rounds."""

    experiment: Experiment
    pool: Reader
    strategy: str
    folder: Path
    source: Path | None

    def run(self, counts: Sequence[int], records: list[dict[str, Any]], say: Callable[[str], None]) -> int | None:
        """Trains on so many labels in turn and appends to `records`; gives the signal that interrupted it, if any."""
        chosen, variables = self._chosen(counts[0]), None
        writer = JsonlWriter(self.folder / "curve.jsonl")
        try:
            for before, count in zip([0, *counts], counts, strict=False):
                if len(chosen) < count:
                    if variables is None:
                        variables = open_run(self._at(before), self._on(chosen[:before])).variables
                    chosen = np.concatenate([chosen, self._query(variables, chosen, count - len(chosen))])
                    write_json(self.folder / "chosen.json", {"rows": chosen.tolist()})
                results = self._at(count) / "results.json"
                variables = None
                if not results.exists():
                    result = train(self._on(chosen[:count]), self._at(count), display="none", source=self.source)
                    if result.signal is not None:
                        return result.signal
                    variables = result.variables
                metrics = read_json(results)["metrics"]
                for record in _records(metrics, count):
                    records.append(record)
                    writer.write(record)
                shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if "_" not in name)
                say(f"{self.strategy:<9}{count:>7,} labels  {shown}")
        finally:
            writer.close()
        return None

    def _chosen(self, start: int) -> np.ndarray:
        """The rows labelled so far, in the order they were chosen; the first ones are drawn at random."""
        path = self.folder / "chosen.json"
        if path.exists():
            return np.array(read_json(path)["rows"], np.int64)
        self.folder.mkdir(parents=True, exist_ok=True)
        chosen = _draw(_rows(self.pool), start, self.experiment.seed, "start")
        write_json(path, {"rows": chosen.tolist()})
        return chosen

    def _at(self, count: int) -> Path:
        return self.folder / str(count)

    def _on(self, rows: np.ndarray) -> Experiment:
        """The experiment on these rows of its training data alone."""
        train = self.experiment.train
        subset = Subset(train.source, tuple(map(int, np.sort(rows))))
        return dataclasses.replace(self.experiment, train=dataclasses.replace(train, source=subset))

    def _query(self, variables: Any, labelled: np.ndarray, num: int) -> np.ndarray:
        """The `num` rows to label next."""
        task, rows = self.experiment.task, _rows(self.pool)
        others = np.setdiff1d(rows, labelled)
        if self.strategy == "random":
            return _draw(others, num, self.experiment.seed, f"random/{len(labelled)}")
        if self.strategy == "coreset":
            seen = _see(task.embed, variables, self.pool, task)
            return rows[coreset(seen, np.searchsorted(rows, labelled), num)]
        score = entropy if self.strategy == "entropy" else margin
        undecided = score(_see(task.predict, variables, self.pool, task))[np.searchsorted(rows, others)]
        # Of equals the earlier row.
        return others[np.argsort(-undecided, kind="stable")[:num]]


def _see(fn: Callable[..., Any], variables: Any, pool: Reader, task: Any) -> np.ndarray:
    """`fn` of all rows of the pool in order, [example, feature]."""
    compiled, inputs = jax.jit(fn), getattr(task, "inputs", "image")
    parts = [np.asarray(compiled(variables, batch[inputs]))[batch["mask"] > 0] for batch in pool.evaluation()]
    seen = np.concatenate(parts)
    if seen.ndim != 2:
        raise InputError("task", f"gives {list(seen.shape[1:])} an example, not one row of numbers", "classification")
    return seen


def _rows(pool: Reader) -> np.ndarray:
    """The rows that can be labelled: all but damaged ones."""
    return np.setdiff1d(np.arange(pool.num_examples), np.array(list(getattr(pool.source, "damaged", ())), np.int64))


def _draw(rows: np.ndarray, num: int, seed: int, name: str) -> np.ndarray:
    """`num` of `rows` at random."""
    bits = np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))
    return np.random.RandomState(bits).permutation(rows)[:num]


def _records(metrics: Mapping[str, float], count: int) -> list[dict[str, Any]]:
    """A record an evaluation, of `{"test/accuracy": 0.9}`."""
    records: dict[str, dict[str, Any]] = {}
    for name, value in metrics.items():
        split, metric = name.split("/", 1)
        records.setdefault(split, {"step": count, "split": split})[metric] = value
    return list(records.values())


def _check(
    experiment: Experiment, pool: Reader, strategies: Sequence[str], start: int, most: int, add: int, rounds: int
) -> None:
    """Raises InputError for what cannot be compared, before anything is trained."""
    for name, value in (("start", start), ("add", add), ("rounds", rounds)):
        if value < 1:
            raise InputError(name, f"must be at least 1, is {value}")
    if not strategies or len(set(strategies)) < len(strategies):
        raise InputError("strategies", "must be some, each once", ", ".join(STRATEGIES))
    needs = {"entropy": "predict", "margin": "predict", "coreset": "embed"}
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise InputError("strategies", f"{strategy!r} is unknown", did_you_mean(strategy, STRATEGIES))
        method = needs.get(strategy)
        if method is not None and not callable(getattr(experiment.task, method, None)):
            raise InputError("task", f"{type(experiment.task).__name__} has no {method!r}, which {strategy} needs")
    if most > len(_rows(pool)):
        raise InputError("rounds", f"end with {most} labels, the training data have {len(_rows(pool))}", "fewer")
    if not experiment.evals:
        raise InputError("evals", "are none: there is nothing to compare strategies on", "evals={...}")


def _claim(folder: Path, experiment: Experiment, start: int, add: int) -> None:
    """Writes down what is compared in `folder`; raises InputError where it holds another comparison."""
    mine = {"experiment": encode(experiment), "start": start, "add": add}
    path = folder / "active.json"
    if path.exists():
        found = differences(read_json(path), mine)
        if found:
            listed = ", ".join(f"{field} {before} -> {now}" for field, before, now in found[:6])
            raise InputError(str(folder), f"holds another comparison: {listed}", "choose another folder with --run")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise InputError(str(folder), what, "choose another folder with --run") from error
    if not empty:
        raise InputError(str(folder), "is not empty and holds no comparison", "choose another folder with --run")
    write_json(path, mine)


def _report(folder: Path, experiment: Experiment, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes report.html: each metric over the number of labels, a line a strategy."""
    reports = [
        RunReport(
            name=strategy,
            folder=str(folder / strategy),
            config=encode(experiment),
            results={record["split"]: _metrics(record) for record in found if record["step"] == found[-1]["step"]},
            records=found,
            axis="labels",
        )
        for strategy, found in records.items()
        if found
    ]
    target = folder / "report.html"
    try:
        target.write_text(render(reports), encoding="utf-8")
    except OSError as error:
        raise cannot_write(target, error) from error


def _metrics(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("step", "split")}
