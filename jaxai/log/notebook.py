"""The display of a notebook: a bar and a growing table of evaluations, updated in place; needs no widgets."""

from __future__ import annotations

import contextvars
import html
import threading
from collections.abc import Callable, Mapping
from typing import Any

from jaxai.log import format
from jaxai.log.progress import ASIDE, FINISHED, Progress
from jaxai.log.writer import headline_names

NUM_SHOWN = 20
"""Evaluations and notes kept in view; all of them are in the run's files."""


class NotebookDisplay:
    """One output cell that a background thread draws anew about three times a second.

    `show(html)` displays a page once and returns `update(html)`; it is IPython's unless given.
    """

    def __init__(self, show: Callable[[str], Callable[[str], None]] | None = None, seconds: float = 0.3):
        self._show, self._seconds = show or _ipython_show, seconds
        self._progress = Progress()
        self._rows: list[Mapping[str, Any]] = []
        self._notes: list[str] = []
        self._thread: threading.Thread | None = None
        self._done = threading.Event()
        self._update: Callable[[str], None] = _discard
        self._drawn = ""

    def start(self, title: str, start_step: int, total_steps: int) -> None:
        self.close()
        self._progress.begin(title, start_step, total_steps)
        self._rows, self._notes = [], []
        self._drawn = self._page()
        self._update = self._show(self._drawn)
        self._done = threading.Event()
        # A copied context keeps the drawing in the cell that started the run.
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._draw_until_done,), daemon=True
        )
        self._thread.start()

    def advance(self, step: int) -> None:
        self._progress.step = step

    def status(self, text: str) -> None:
        self._progress.status(text)

    def record(self, record: Mapping[str, Any]) -> None:
        self._progress.record(record)
        if record["split"] != "train":
            self._rows = [*self._rows, dict(record)]

    def note(self, text: str) -> None:
        self._notes = [*self._notes, text]

    def finish(self, text: str) -> None:
        self._progress.status(FINISHED)
        self.note(text)
        self.close()

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._done.set()
            thread.join()
            self._draw()

    def _draw_until_done(self) -> None:
        while not self._done.wait(self._seconds):
            self._draw()

    def _draw(self) -> None:
        page = self._page()
        if page != self._drawn:
            self._drawn = page
            self._update(page)

    def _page(self) -> str:
        progress = self._progress
        left = progress.seconds_left()
        parts = [f"{progress.step:,}/{progress.total:,}", f"{progress.fraction:.0%}"]
        parts += [f"{format.clock(left)} left"] if left else []
        train = progress.latest.get("train", {})
        now = [progress.doing()] if progress.state else []
        now += [
            f"{format.label(name)} {format.value(name, train[name])}"
            for name in headline_names(train)
            if name not in ASIDE
        ]
        lines = [
            f"<div><b>{html.escape(progress.title)}</b> "
            f'<progress value="{progress.step}" max="{max(progress.total, 1)}" '
            f'style="width:20em;vertical-align:middle"></progress> {" · ".join(parts)}</div>',
            f"<div>{html.escape(' · '.join([*now, *progress.footer()]))}</div>",
            _table(self._rows[-NUM_SHOWN:]),
            *(f"<div>{html.escape(note)}</div>" for note in self._notes[-NUM_SHOWN:]),
        ]
        return '<div style="font-variant-numeric:tabular-nums">' + "\n".join(lines) + "</div>"


def _table(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in headline_names(row)))
    head = "".join(f"<th>{html.escape(text)}</th>" for text in ["step", "evaluation", *map(format.label, names)])
    body = ""
    for row in rows:
        cells = [f"{row['step']:,}", str(row["split"])]
        cells += [format.value(name, row[name]) if name in row else "" for name in names]
        body += "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _ipython_show(page: str) -> Callable[[str], None]:
    from IPython.core.display import HTML
    from IPython.display import display

    handle = display(HTML(page), display_id=True)
    if handle is None:  # IPython without a kernel has nothing to update
        return _discard
    return lambda page: handle.update(HTML(page))


def _discard(page: str) -> None:
    del page
