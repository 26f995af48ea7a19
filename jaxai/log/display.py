"""What a run shows while it trains: a live bar on a terminal, plain lines in a file, a table in a notebook.

The live bar goes to standard error and plain lines to standard output, so a pipe never carries control codes.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from jaxai.core.errors import InputError, did_you_mean
from jaxai.log import format
from jaxai.log.progress import COMPILING, FINISHED, Progress
from jaxai.log.writer import headline_names

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

KINDS = ("auto", "rich", "plain", "notebook", "none")


class Display(Protocol):
    """What the training loop tells the person watching."""

    def start(self, title: str, start_step: int, total_steps: int) -> None:
        """Begins a run of `total_steps` that is already at `start_step`."""
        ...

    def advance(self, step: int) -> None:
        """Says that `step` steps are done; called every step, so it only stores the number."""
        ...

    def status(self, text: str) -> None:
        """Says what the run is doing: `compiling`, `training`, `evaluating test`."""
        ...

    def record(self, record: Mapping[str, Any]) -> None:
        """Shows the metrics of a record."""
        ...

    def note(self, text: str) -> None:
        """Shows a line that stays: a checkpoint, a warning."""
        ...

    def finish(self, text: str) -> None:
        """Ends the run with a last line."""
        ...

    def close(self) -> None:
        """Gives the terminal back; may be called twice and after a failure."""
        ...


def make_display(kind: str = "auto") -> Display:
    """The display called `kind`; `auto` looks for a notebook, then a terminal, and else writes plain lines."""
    if kind not in KINDS:
        raise InputError("display", f"unknown display {kind!r}", did_you_mean(kind, KINDS))
    if kind == "auto":
        kind = _detect()
    if kind == "notebook":
        from jaxai.log.notebook import NotebookDisplay

        return NotebookDisplay()
    return {"rich": RichDisplay, "plain": PlainDisplay, "none": NullDisplay}[kind]()


def _detect() -> str:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and hasattr(shell, "kernel"):
        return "notebook"
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return "rich"
    return "plain"


class NullDisplay:
    """Shows nothing: for tests, and for every process but the first."""

    def start(self, title: str, start_step: int, total_steps: int) -> None: ...
    def advance(self, step: int) -> None: ...
    def status(self, text: str) -> None: ...
    def record(self, record: Mapping[str, Any]) -> None: ...
    def note(self, text: str) -> None: ...
    def finish(self, text: str) -> None: ...
    def close(self) -> None: ...


class PlainDisplay:
    """One aligned line a record, one a note, and one the first time the run does something new."""

    def __init__(self, file: TextIO | None = None):
        self._file = file
        self._total, self._split_width = "", len("train")
        self._seen: set[str] = set()

    def start(self, title: str, start_step: int, total_steps: int) -> None:
        self._total, self._seen = f"{total_steps:,}", set()
        resumed = f", from step {start_step:,}" if start_step else ""
        self._print(f"{title}: {self._total} steps{resumed}")

    def advance(self, step: int) -> None: ...

    def status(self, text: str) -> None:
        if text not in self._seen:
            self._seen.add(text)
            self._print(text)

    def record(self, record: Mapping[str, Any]) -> None:
        step, split = f"{record['step']:,}", str(record["split"])
        self._split_width = max(self._split_width, len(split))
        self._print(f"{step:>{len(self._total)}}/{self._total}  {split:<{self._split_width}}  {metrics_line(record)}")

    def note(self, text: str) -> None:
        self._print(text)

    def finish(self, text: str) -> None:
        self._print(text)

    def close(self) -> None: ...

    def _print(self, text: str) -> None:
        print(text, file=self._file, flush=True)


def metrics_line(record: Mapping[str, Any]) -> str:
    """`loss 0.1234  accuracy 0.9876  examples/s 12.35k`: the metrics of a record, values in columns."""
    parts = [f"{format.label(name)} {format.value(name, record[name]):>6}" for name in headline_names(record)]
    return "  ".join(parts).rstrip()


class RichDisplay:
    """A live bar with the latest metrics under it; evaluations and notes scroll by above it."""

    def __init__(self, console: Console | None = None):
        from rich.console import Console

        self._console = console or Console(stderr=True)
        self._progress = Progress()
        self._live: Any = None

    def start(self, title: str, start_step: int, total_steps: int) -> None:
        self.close()
        self._progress.begin(title, start_step, total_steps)
        from rich.live import Live

        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            redirect_stdout=sys.stdout.isatty(),  # what goes into a pipe must not be drawn on the terminal
        )
        atexit.register(self.close)
        self._live.start(refresh=True)

    def advance(self, step: int) -> None:
        self._progress.step = step

    def status(self, text: str) -> None:
        self._progress.status(text)

    def record(self, record: Mapping[str, Any]) -> None:
        self._progress.record(record)
        if record["split"] != "train":
            self._print(f"step {record['step']:,}  {record['split']}  {metrics_line(record)}")

    def note(self, text: str) -> None:
        self._print(text)

    def finish(self, text: str) -> None:
        self._progress.status(FINISHED)
        self.close()
        self._print(text)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self.close)
            live.stop()

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        progress, width = self._progress, self._console.width
        table = [_table(progress, width)] if progress.latest else []
        footer = Text("  ", no_wrap=True, overflow="ellipsis")
        footer.append(progress.doing(), style="cyan")
        for part in progress.footer():
            footer.append(f" · {part}", style="dim")
        return Group(_bar_line(progress, width), *table, footer)


def _bar_line(progress: Progress, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    left = progress.seconds_left()
    left_text = "" if left is None or left == 0 else f"{format.clock(left)} left"
    right = f"{progress.step:,}/{progress.total:,}  {progress.fraction:4.0%}  {left_text:>12}"
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    row.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 3, 8))
    row.add_column(ratio=1, min_width=8)
    row.add_column(no_wrap=True, justify="right")
    waiting = progress.state == COMPILING and progress.fraction == 0
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.step, pulse=waiting)
    row.add_row(Text(progress.title, style="bold"), bar, Text(right))
    return row


def _table(progress: Progress, width: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    headings, rows = progress.table()
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=True, header_style="dim", show_edge=False)
    used = 0
    for column, heading in enumerate(headings):
        cells = [row[column] for row in rows]
        used += 2 + max(map(len, [heading, *cells]))
        if used > width:  # the narrow terminal shows the first metrics; the file has all
            rows = [row[:column] for row in rows]
            break
        table.add_column(Text(heading), justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row), style=None if row[0] == "train" else "bold")
    return table
