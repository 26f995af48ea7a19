"""Runs the benchmarks that tell where jaxai stands on this processor, and rewrites the table of README.md.

The table has the figures of every file in results/, also of those that are run by hand. 20 minutes, on an idle machine;
`--table` only rewrites the table, `--smoke` only shows that all run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
RUN = ("overhead", "scaling", "versus_torch", "versus_frameworks", "time_to_accuracy")
"""What runs, in this order."""
BY_HAND = ("input", "startup", "checkpoint", "reproducible", "decode", "finetune", "text")
"""What the table has besides."""
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
HEAD = "| file | figure | median | quartiles | target | |\n|---|---|---:|---:|---:|---|\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="only rewrite the table")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; the table stays")
    given = parser.parse_args()
    for name in () if given.table else RUN:
        began = time.monotonic()
        command = [sys.executable, str(FOLDER / f"{name}.py"), *(["--smoke"] if given.smoke else ["--rounds", "7"])]
        subprocess.run(command, check=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    if not given.smoke:
        page = FOLDER / "README.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


def table() -> str:
    """All figures of results/, a row each."""
    rows = []
    for name in (*RUN, *BY_HAND):
        path = FOLDER / "results" / f"{name}.json"
        for figure in json.loads(path.read_text())["figures"] if path.exists() else ():
            low, high = figure["quartiles"]
            verdict = "" if figure["reached"] is None else "reached" if figure["reached"] else "**missed**"
            median = f"{written(figure['median'])} {figure['unit']}".strip()
            spread = f"{written(low)} .. {written(high)}"
            cells = (f"`{name}.py`", figure["name"], median, spread, figure["target"] or "", verdict)
            rows.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows)


def written(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1e4 else f"{number:,.4g}"


if __name__ == "__main__":
    main()
