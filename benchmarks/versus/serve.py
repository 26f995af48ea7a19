"""The end of the pipe in a side's process: opens a workload and runs steps of its contenders, as it is asked to."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sizes import Workload, workloads

Run = Callable[[int], int]
"""Takes at least so many steps, waits until they are done, and says how many it took."""


class Opened(NamedTuple):
    """A workload, ready to run."""

    contenders: dict[str, Run]
    parameters: int
    """That are trained."""
    notes: list[str]
    """What there is to say about contenders that are not there."""


def serve(open_workload: Callable[[Workload, str, bool], Opened], versions: dict[str, str]) -> None:
    """Answers each line of standard input, a JSON object, by one; until there are no more.

    `{"open": name, "device": "cpu", "smoke": false}` gives the parameters, the names of contenders, and notes;
    `{"run": contender, "steps": 10}` the steps taken, at least so many, and the seconds.
    """
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    opened = None
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "open" in request:
            opened = None  # frees the last one first
            device, smoke = request["device"], request["smoke"]
            opened = open_workload(workloads(device, smoke)[request["open"]], device, smoke)
            answer = {**opened._asdict(), "contenders": list(opened.contenders), "versions": versions}
        else:
            assert opened is not None, "nothing is open"
            began = time.perf_counter()
            steps = opened.contenders[request["run"]](request["steps"])
            answer = {"steps": steps, "seconds": time.perf_counter() - began}
        print(json.dumps(answer), file=answers, flush=True)
