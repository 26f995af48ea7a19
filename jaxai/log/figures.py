"""Charts as values: functions from numbers to SVG text or pixels, with Matplotlib and none of its global state.

The foreground is one reserved near-black that `svg` turns into `currentColor`, so that a page in dark colours shows
light lines and text; pixels are drawn on white.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxai.log import format

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOREGROUND = "#010203"
COLORS = ("#3b7ddd", "#e8743b", "#2fa36b", "#b35cc4", "#d6455d", "#1fa3b8", "#a88a1f", "#7a7f8a")
"""Readable on white and on near-black."""

MAX_POINTS = 500
MAX_COUNTED_CLASSES = 20


def curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, axis: str = "step") -> Figure:
    """`metric` over steps for the records of each named run: one line for training and one for each evaluation.

    `axis` says what a record's `step` counts. With one run the colour tells the split; with several it tells the run,
    and the line style tells the split.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(6.0, 3.4)
    lines = [
        (run, split, *_points(records, split, metric))
        for run, records in runs.items()
        for split in dict.fromkeys(str(record["split"]) for record in records if metric in record)
    ]
    splits = list(dict.fromkeys(split for _, split, _, _ in lines))
    for run, split, steps, values in lines:
        color = list(runs).index(run) if len(runs) > 1 else splits.index(split)
        axes.plot(
            steps,
            values,
            label=f"{run}, {split}" if len(runs) > 1 else split,
            color=COLORS[color % len(COLORS)],
            linewidth=1.2 if split == "train" else 2.0,
            linestyle="-" if len(runs) == 1 else ("--", "-", ":", "-.")[splits.index(split) % 4],
            marker="o" if split != "train" and len(steps) <= 30 else None,
            markersize=4,
        )
    if _spans_decades([values for *_, values in lines]):
        axes.set_yscale("log")
    axes.set_xlabel(axis)
    axes.set_title(format.label(metric), loc="left", fontsize=11, color=FOREGROUND)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if axes.get_yscale() == "linear" and axes.get_ylim()[1] >= 1000:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(color=FOREGROUND, alpha=0.12, linewidth=0.8)
    if lines:
        columns = 4 if len(runs) == 1 else 2
        figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5, labelcolor=FOREGROUND)
    return figure


def confusion(matrix: np.ndarray, classes: Sequence[str] | None = None) -> Figure:
    """Heat map of counts [true, predicted]; the colour is the root of the share of the row, so rare mistakes show."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    matrix = np.asarray(matrix)
    num = len(matrix)
    names = [str(index) for index in range(num)] if classes is None else [_shorten(name) for name in classes]
    shade = np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    size = min(max(0.42 * num + 1.6, 3.6), 9.0)
    figure, axes = _axes(size, size)
    ramp = LinearSegmentedColormap.from_list("share", [to_rgba(COLORS[0], 0.0), to_rgba(COLORS[0], 1.0)])
    if num <= MAX_COUNTED_CLASSES:
        axes.pcolormesh(shade, cmap=ramp, vmin=0, vmax=1, edgecolors=to_rgba(FOREGROUND, 0.08), linewidth=0.5)
        for true, predicted in np.argwhere(matrix):
            color = "white" if shade[true, predicted] > 0.5 else FOREGROUND
            text = f"{matrix[true, predicted]:,}"
            axes.text(predicted + 0.5, true + 0.5, text, ha="center", va="center", fontsize=8, color=color)
        ticks = np.arange(num)
    else:
        axes.imshow(shade, cmap=ramp, vmin=0, vmax=1, interpolation="nearest", extent=(0, num, num, 0))
        ticks = np.unique(np.linspace(0, num - 1, MAX_COUNTED_CLASSES).astype(int))
    axes.set(xlim=(0, num), ylim=(num, 0), aspect="equal", xlabel="predicted", ylabel="true")
    axes.set_xticks(ticks + 0.5, [names[tick] for tick in ticks], rotation=90 if max(map(len, names)) > 3 else 0)
    axes.set_yticks(ticks + 0.5, [names[tick] for tick in ticks])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def image_grid(images: np.ndarray, captions: Sequence[str], num_columns: int = 6) -> Figure:
    """uint8 images [num, height, width, channel] in rows, each with its caption under it."""
    from matplotlib.figure import Figure

    num_columns = max(min(num_columns, len(images)), 1)
    num_rows = max(math.ceil(len(images) / num_columns), 1)
    figure = Figure(figsize=(1.5 * num_columns, 1.8 * num_rows), layout="constrained")
    for place, (image, caption) in enumerate(zip(images, captions, strict=True), start=1):
        axes = figure.add_subplot(num_rows, num_columns, place)
        axes.imshow(_drawable(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlabel(_plain(caption), fontsize=8, color=FOREGROUND)
        axes.set(xticks=[], yticks=[])
    return figure


def tiled(images: np.ndarray, num_columns: int = 8) -> np.ndarray:
    """uint8 images [num, height, width, channel], or [row, column, ...], as one picture, white between them."""
    if images.ndim == 4:
        num_columns = max(min(num_columns, len(images)), 1)
        short = -len(images) % num_columns
        blank = np.full((short, *images.shape[1:]), 255, np.uint8)
        images = np.concatenate([images, blank]).reshape(-1, num_columns, *images.shape[1:])
    rows, columns, height, width, channel = images.shape
    padded = np.full((rows, height + 1, columns, width + 1, channel), 255, np.uint8)
    padded[:, :-1, :, :-1] = images.transpose(0, 2, 1, 3, 4)
    return padded.reshape(rows * (height + 1), columns * (width + 1), channel)[:-1, :-1]


def svg(figure: Figure) -> str:
    """The figure as one `<svg>` element for inlining: transparent, its foreground the page's text colour."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    figure.set_facecolor("none")
    # Text stays text; the fixed salt makes the same figure the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "jaxai"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(FOREGROUND, "currentColor")


def pixels(figure: Figure, dots_per_inch: int = 100) -> np.ndarray:
    """The figure on white as uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dots_per_inch)
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png(image: np.ndarray) -> bytes:
    """A uint8 image [height, width, channel] as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_drawable(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def _drawable(image: np.ndarray) -> np.ndarray:
    image = np.ascontiguousarray(image)
    if image.ndim == 2 or image.shape[-1] in (3, 4):
        return image
    return image[..., :3] if image.shape[-1] > 4 else image[..., 0]


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(FOREGROUND)
    axes.tick_params(colors=FOREGROUND, labelsize=8.5, which="both")
    axes.xaxis.label.set_color(FOREGROUND)
    axes.yaxis.label.set_color(FOREGROUND)
    return figure, axes


def _points(records: Sequence[Mapping[str, Any]], split: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values in step order; above `MAX_POINTS` the means of equal shares of them."""
    points = sorted((r["step"], r[metric]) for r in records if r["split"] == split and metric in r)
    steps, values = np.array(points, float).reshape(-1, 2).T
    if len(steps) > MAX_POINTS:
        steps, values = (np.array([part.mean() for part in np.array_split(x, MAX_POINTS)]) for x in (steps, values))
    return steps, values


def _spans_decades(values: list[np.ndarray]) -> bool:
    everything = np.concatenate([np.empty(0), *values])
    finite = everything[np.isfinite(everything)]
    return bool(finite.size) and finite.min() > 0 and finite.max() / finite.min() > 100


def _shorten(name: str, length: int = 18) -> str:
    return _plain(name if len(name) <= length else name[: length - 1] + "…")


def _plain(text: str) -> str:
    """Matplotlib reads text between dollar signs as mathematics."""
    return text.replace("$", r"\$")
