"""One self-contained HTML page about one run or several side by side: no script, and no request to anywhere.

Every text of a run is escaped, and the page's content security policy forbids the browser to load or execute
anything, so that a class name or a configuration value can never be more than text.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from jaxai.log import figures, format
from jaxai.log.writer import headline_names

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LOWER_IS_BETTER = {
    *("loss", "error", "perplexity", "mse", "mae", "rmse", "cer", "wer", "fid", "bits", "brier", "ece", "seconds")
}
HIGHER_IS_BETTER = {
    *("accuracy", "precision", "recall", "f1", "auc", "bleu", "psnr", "ssim", "iou", "ndcg", "mrr", "second")
}
DYNAMICS = ("learning_rate", "gradient_norm", "examples_per_second", "tokens_per_second", "mfu", "data_wait")
"""Metrics about the training itself, drawn after those about the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mistake:
    """An example that the model got wrong."""

    image: np.ndarray | None
    """uint8 [height, width, channel]."""
    label: str
    prediction: str
    confidence: float
    """The probability given to `prediction`, 0 to 1."""
    index: int
    """The example's place in its split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunReport:
    """What a run left behind, as the report wants it."""

    name: str
    folder: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The resolved experiment as JSON."""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    results: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Final metrics; nested mappings are joined by slashes."""
    records: Sequence[Mapping[str, Any]] = ()
    """What `jaxai.log.read_jsonl` returns."""
    axis: str = "step"
    """What the `step` of a record counts."""
    confusions: Mapping[str, tuple[np.ndarray, Sequence[str] | None]] = dataclasses.field(default_factory=dict)
    """Counts [true, predicted] and class names by evaluation."""
    mistakes: Mapping[str, Sequence[Mistake]] = dataclasses.field(default_factory=dict)
    """By evaluation, the worst first."""
    pictures: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(default_factory=dict)
    """By evaluation and name: uint8 [num, height, width, channel], or [row, column, height, width, channel]."""
    experiment_source: str | None = None
    """The experiment's Python file."""


def render(runs: Sequence[RunReport]) -> str:
    """The page; the first run is the one that the others are read against."""
    title = " · ".join(run.name for run in runs)
    sections = [_header(runs), _results(runs), _curves(runs), _pictures(runs), _confusions(runs), _mistakes(runs)]
    sections += [_configuration(runs), _sources(runs), _environment(runs)]
    style = resources.files("jaxai.log").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def better(name: str) -> Callable[[Iterable[float]], float] | None:
    """`max` or `min`, whichever is the better value of the metric `name`; None where its name does not tell."""
    words = set(re.split(r"[^a-z0-9]+", name.lower().rsplit("/", 1)[-1]))
    if words & HIGHER_IS_BETTER:
        return max
    return min if words & LOWER_IS_BETTER else None


def _header(runs: Sequence[RunReport]) -> str:
    heading = " <span class=soft>and</span> ".join(_text(run.name) for run in runs)
    folders = "".join(f'<p class="soft">{_text(run.folder)}</p>' for run in runs if run.folder)
    tiles = ""
    if len(runs) == 1:
        numbers = {n: v for n, v in flatten(runs[0].results).items() if better(n) and _is_number(v)}
        tiles = "".join(
            f"<li><b>{_text(_value(name, value))}</b><span>{_text(_metric(name))}</span></li>"
            for name, value in list(numbers.items())[:5]
        )
    return (
        f"<header><h1>{heading}</h1>{folders}" + (f'<ul class="headline">{tiles}</ul>' if tiles else "") + "</header>"
    )


def _results(runs: Sequence[RunReport]) -> str:
    results = [flatten(run.results) for run in runs]
    rows = []
    for name in _union(results):
        values = [result.get(name) for result in results]
        best = _best(name, values)
        cells = [
            f"<td{' class=best' if value is not None and value == best else ''}>{_text(_value(name, value))}</td>"
            for value in values
        ]
        rows.append(f"<tr><th>{_text(_metric(name))}</th>{''.join(cells)}</tr>")
    return _section("Results", _table(["metric", *(run.name for run in runs)], rows, "numbers")) if rows else ""


def _best(name: str, values: Sequence[Any]) -> float | None:
    choose = better(name)
    numbers = [value for value in values if _is_number(value) and math.isfinite(value)]
    if choose is None or len(numbers) < 2 or len(set(numbers)) < 2:
        return None
    return choose(numbers)


def _curves(runs: Sequence[RunReport]) -> str:
    records = dict(zip(_unique_names(runs), (run.records for run in runs), strict=True))
    train = {name: [record for record in of if record["split"] == "train"] for name, of in records.items()}
    names = dict.fromkeys(name for of in records.values() for record in of for name in headline_names(record))
    drawn = [figures.curves(records, name, runs[0].axis) for name in names if name not in DYNAMICS]
    drawn += [figures.curves(train, name) for name in DYNAMICS if name in names]
    charts = "".join(f'<figure class="chart">{figures.svg(figure)}</figure>' for figure in drawn)
    return _section("Learning curves", f'<div class="charts">{charts}</div>') if charts else ""


def _confusions(runs: Sequence[RunReport]) -> str:
    charts = []
    for run in runs:
        for split, (matrix, classes) in run.confusions.items():
            caption = f"{run.name}, {split}" if len(runs) > 1 else split
            picture = figures.svg(figures.confusion(matrix, classes))
            charts.append(
                f'<figure class="chart"><figcaption>{_text(caption)}: {int(np.sum(matrix)):,} examples, '
                f"{int(np.trace(matrix)):,} right</figcaption>{picture}</figure>"
            )
    return _section("Confusion", f'<div class="matrices">{"".join(charts)}</div>') if charts else ""


def _pictures(runs: Sequence[RunReport]) -> str:
    parts = []
    for run in runs:
        for split, named in run.pictures.items():
            for name, images in named.items():
                caption = f"{run.name}, {split}: {name}" if len(runs) > 1 else f"{split}: {name}"
                grid = figures.tiled(np.asarray(images))
                zoom = max(1, min(4, 720 // grid.shape[1]))
                parts.append(
                    f'<figure class="pictures"><figcaption>{_text(caption)}</figcaption>'
                    f'<img alt="{_text(caption)}" width="{grid.shape[1] * zoom}" src="{_source(grid)}"></figure>'
                )
    return _section("Pictures", "".join(parts)) if parts else ""


def _source(image: np.ndarray) -> str:
    """An image within the page."""
    return f"data:image/png;base64,{base64.b64encode(figures.png(image)).decode('ascii')}"


def _mistakes(runs: Sequence[RunReport]) -> str:
    parts = []
    for run in runs:
        for split, mistakes in run.mistakes.items():
            if mistakes:
                heading = f"{run.name}, {split}" if len(runs) > 1 else split
                pictures = "".join(map(_mistake, mistakes))
                parts.append(f'<h3>{_text(heading)}</h3><div class="mistakes">{pictures}</div>')
    return _section("Worst mistakes", "".join(parts)) if parts else ""


def _mistake(mistake: Mistake) -> str:
    picture = ""
    if mistake.image is not None:
        picture = f'<img alt="example {mistake.index}" src="{_source(mistake.image)}">'
    return (
        f"<figure>{picture}<figcaption>true <b>{_text(mistake.label)}</b><br>"
        f'predicted <span class="wrong">{_text(mistake.prediction)}</span> {mistake.confidence:.1%}<br>'
        f'<span class="soft">example {mistake.index:,}</span></figcaption></figure>'
    )


def _configuration(runs: Sequence[RunReport]) -> str:
    parts = []
    if len(runs) > 1:
        parts.append(_differences([flatten(run.config) for run in runs], [run.name for run in runs]))
    parts += [
        f'<details><summary>{_text(run.name)}</summary><div class="tree">{_tree(run.config)}</div></details>'
        for run in runs
        if run.config
    ]
    return _section("Configuration", "".join(parts)) if any(run.config for run in runs) else ""


def _differences(values: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    missing = object()
    rows = []
    for name in _union(values):
        found = [value.get(name, missing) for value in values]
        if any(value != found[0] for value in found):
            cells = "".join(f"<td>{'—' if value is missing else _text(_scalar(value))}</td>" for value in found)
            rows.append(f"<tr><th>{_text(name)}</th>{cells}</tr>")
    if not rows:
        return '<p class="soft">The runs have the same configuration.</p>'
    return "<h3>What differs</h3>" + _table(["field", *names], rows)


def _tree(value: Any) -> str:
    items = value.items() if isinstance(value, Mapping) else ((f"{i}", part) for i, part in enumerate(value))
    lines = []
    for key, part in items:
        shown = _tree(part) if _is_nested(part) else " " + _text(_scalar(part))
        lines.append(f'<li><span class="key">{_text(key)}</span>:{shown}</li>')
    return f"<ul>{''.join(lines)}</ul>"


def _sources(runs: Sequence[RunReport]) -> str:
    parts = [
        f"<details><summary>{_text(run.name)}</summary><pre>{_text(run.experiment_source)}</pre></details>"
        for run in runs
        if run.experiment_source
    ]
    return _section("Experiment", "".join(parts)) if parts else ""


def _environment(runs: Sequence[RunReport]) -> str:
    environments = [flatten(run.environment) for run in runs]
    rows = [
        f"<tr><th>{_text(_metric(name))}</th>"
        + "".join(f"<td>{_text(_scalar(values.get(name, '')))}</td>" for values in environments)
        + "</tr>"
        for name in _union(environments)
    ]
    return _section("Environment", _table(["", *(run.name for run in runs)], rows)) if rows else ""


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings, and lists that hold mappings, as one mapping with slash-joined names."""
    flat = {}
    for key, part in value.items():
        if _is_nested(part):
            inner = part if isinstance(part, Mapping) else {str(place): item for place, item in enumerate(part)}
            flat.update(flatten(inner, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = part
    return flat


def _is_nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value)


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _table(headings: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _union(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _unique_names(runs: Sequence[RunReport]) -> list[str]:
    names = [run.name for run in runs]
    return [f"{name} {names[: at + 1].count(name)}" if names.count(name) > 1 else name for at, name in enumerate(names)]


def _metric(name: str) -> str:
    return format.label(name).replace("/", " / ") if "per_second" not in name else format.label(name)


def _value(name: str, value: Any) -> str:
    if value is None:
        return "—"
    return format.value(name.rsplit("/", 1)[-1], value) if _is_number(value) else _scalar(value)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return html.escape(str(value))
