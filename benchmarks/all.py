"""Runs the benchmarks that tell where jaxai stands on this processor, and rewrites the table of README.md.

Two at a time, each on a core of its own, or they would take twice as long: what is compared, is within one of them. The
table has the figures of every file in results/, also of those that are run by hand. 20 minutes, on an otherwise idle
machine; `--table` only rewrites the table, `--smoke` only shows that all run.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
LANES = (("versus_torch", "overhead"), ("versus_frameworks", "time_to_accuracy", "scaling"))
"""What runs one after the other on a core."""
BY_HAND = ("input", "startup", "checkpoint", "reproducible", "decode", "finetune", "text")
"""What the table has besides."""
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
HEAD = "| file | figure | median | quartiles | target | |\n|---|---|---:|---:|---:|---|\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="only rewrite the table")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes; the table stays")
    given = parser.parse_args()
    if not given.table:
        cores = sorted(os.sched_getaffinity(0))
        with concurrent.futures.ThreadPoolExecutor(min(len(cores), len(LANES))) as pool:
            futures = [
                pool.submit(run, lane, cores[at % len(cores)], smoke=given.smoke) for at, lane in enumerate(LANES)
            ]
            for future in futures:
                future.result()
    if not given.smoke:
        page = FOLDER / "README.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


def run(lane: Sequence[str], core: int, *, smoke: bool) -> None:
    """Runs benchmarks on one core, and prints what each printed when it is done."""
    for name in lane:
        began = time.monotonic()
        command = ["taskset", "-c", str(core), sys.executable, str(FOLDER / f"{name}.py")]
        options = ["--smoke"] if smoke else ["--rounds", "7"]
        done = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
        print(f"{done.stdout}\n{name}: {time.monotonic() - began:.0f} s", flush=True)


def table() -> str:
    """All figures of results/, a row each."""
    rows = []
    for name in (*itertools.chain(*LANES), *BY_HAND):
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
