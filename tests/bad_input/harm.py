"""Run folders harmed in what keeps them safe: seals, checkpoints, the lock; and places that cannot be written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from jaxai.training import lock
from tests.bad_input.runs import TRAIN, case

Harm = Callable[[Path], object]
EVALUATE = "evaluate run --step 4"
SEAL, DATA, BIAS = "seal.json", "data/metadata", "state/params.head.bias/.zarray"


def in_4(harm: Harm) -> Harm:
    """Harm to the step 4 alone."""
    return lambda run: harm(run / "checkpoints" / "4")


def in_both(harm: Harm) -> Harm:
    return lambda run: [harm(run / "checkpoints" / step) for step in ("2", "4")]


def flip(name: str) -> Harm:
    def change(step: Path) -> None:
        content = bytearray((step / name).read_bytes())
        content[len(content) // 2] ^= 0x10
        (step / name).write_bytes(content)

    return change


def write(name: str, text: str) -> Harm:
    return lambda step: (step / name).write_text(text)


def unlink(name: str) -> Harm:
    return lambda step: (step / name).unlink()


def append(name: str) -> Harm:
    return lambda step: (step / name).write_bytes((step / name).read_bytes() + b" ")


def link(name: str) -> Harm:
    """A link in place of a file, to what the file was."""

    def change(step: Path) -> None:
        (step / name).rename(step.parent / "elsewhere")
        (step / name).symlink_to(step.parent / "elsewhere")

    return change


def folder_for(name: str) -> Harm:
    """A folder in place of a file."""

    def change(place: Path) -> None:
        (place / name).unlink(missing_ok=True)
        (place / name).mkdir()

    return change


def file_for(name: str) -> Harm:
    """A file in place of a folder."""

    def change(place: Path) -> None:
        shutil.rmtree(place / name)
        (place / name).write_text("a file")

    return change


def reseal(change: Callable[[dict], object]) -> Harm:
    """Changes what a seal says, with a checksum that fits."""

    def harm(step: Path) -> None:
        body = json.loads((step / SEAL).read_text())["seal"]
        change(body)
        checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        (step / SEAL).write_text(json.dumps({"sha256": checksum, "seal": body}))

    return harm


def sealed(name: str, changed: dict) -> Harm:
    """Changes fields of a JSON file of a checkpoint, with a seal that fits."""

    def harm(step: Path) -> None:
        path = step / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        reseal(lambda body: body["files"].update({name: [path.stat().st_size, digest]}))(step)

    return harm


def hold() -> Harm:
    """The lock of a process that lives: this one, as another thread would have taken it."""
    return lambda run: (run / "lock").write_text(json.dumps(lock._myself() | {"since": "yesterday"}))


STEP_4 = {
    "seal empty": (SEAL, "is damaged: it is not readable JSON", write(SEAL, "")),
    "seal a list": (SEAL, "is damaged: it is not a JSON object", write(SEAL, "[]")),
    "seal flipped": (SEAL, "is damaged: ", flip(SEAL)),
    "seal of another form": (SEAL, "version 1, step 4 is expected", reseal(lambda body: body.update(version=2))),
    "seal of another step": (SEAL, "version 1, step 4 is expected", reseal(lambda body: body.update(step=2))),
    "seal without its files": (SEAL, "is damaged: KeyError: 'files'", reseal(lambda body: body.pop("files"))),
    "seal without a position": (SEAL, "is damaged: TypeError", reseal(lambda body: body.update(position=None))),
    "meta flipped": ("meta/metadata", "its contents are not what was written", flip("meta/metadata")),
    "position flipped": (DATA, "its contents are not what was written", flip(DATA)),
    "array flipped": ("state/step/0", "its contents are not what was written", flip("state/step/0")),
    "a file longer": (DATA, "bytes, ", append(DATA)),
    "a file gone": ("_CHECKPOINT_METADATA", "the file is missing", unlink("_CHECKPOINT_METADATA")),
    "a file more": ("state/more", "the file is not part of the checkpoint", write("state/more", "")),
    "a link": (DATA, "is damaged: it is a link", link(DATA)),
    "a pipe": ("state/pipe", "it is no regular file", lambda step: os.mkfifo(step / "state" / "pipe")),
    "a header's shape": (BIAS, "is damaged: ", sealed(BIAS, {"shape": [-1]})),
    "a header's type": (BIAS, "is damaged: ", sealed(BIAS, {"dtype": "|O"})),
    "a header's compressor": (BIAS, "is damaged: ", sealed(BIAS, {"compressor": {"id": "zlib"}})),
    "a header's parts": ("state/params.head.bias", "parts are declared", sealed(BIAS, {"chunks": [1]})),
}

RUNS = [
    case("seal of 4 missing", EVALUATE, "--step: 4 is not kept in run", "kept: 2", damage=in_4(unlink(SEAL))),
    case("no seal at all", "evaluate run", "run: has no checkpoint yet", damage=in_both(unlink(SEAL))),
    *(
        case(f"step 4: {name}", EVALUATE, f"run/checkpoints/4/{file}", says, damage=in_4(harm))
        for name, (file, says, harm) in STEP_4.items()
    ),
    case(
        "not finite",
        EVALUATE,
        "run/checkpoints/4: holds parameters that are not finite",
        damage=in_4(reseal(lambda body: body.update(finite=False))),
    ),
    case(
        "of another experiment",
        TRAIN,
        "run/checkpoints/4: is a checkpoint of another experiment",
        "--run",
        damage=in_both(reseal(lambda body: body.update(experiment="0" * 64))),
    ),
    case(
        "of other data",
        TRAIN,
        "seed: the checkpoint was trained with 7, this is 0",
        "--run",
        damage=in_both(sealed(DATA, {"fingerprint": {"seed": 7}})),
    ),
    case(
        "another shape",
        EVALUATE,
        "run/checkpoints/4",
        "params/head/bias is float32[9] in the checkpoint, float32[10] in the experiment",
        damage=in_4(
            lambda step: [
                (step / "state/params.head.bias/0").write_bytes(bytes(36)),
                sealed(BIAS, {"shape": [9], "chunks": [9]})(step),
                reseal(
                    lambda body: body["files"].update(
                        {"state/params.head.bias/0": [36, hashlib.sha256(bytes(36)).hexdigest()]}
                    )
                )(step),
            ]
        ),
    ),
    case("in use", TRAIN, f"run: is in use by process {os.getpid()} on ", " since yesterday", damage=hold()),
    case("config a folder", TRAIN, "run/config.json: is not readable JSON", damage=folder_for("config.json")),
    case(
        "started from a flipped one",
        "train digits_run.py --run other --start-from run",
        "run/checkpoints/",
        "its contents are not what was written",
        damage=in_both(flip("state/params.head.kernel/0.0")),
    ),
]

#: Places that cannot be written, where they were good before: exit code 3.
STORAGE = [
    case("lock a folder", TRAIN, "run/lock: cannot be written: Is a directory", damage=folder_for("lock")),
    case("checkpoints a file", TRAIN, "run/checkpoints: the folder cannot be saved", damage=file_for("checkpoints")),
    case("metrics a folder", TRAIN, "run/metrics.jsonl: cannot be written", damage=folder_for("metrics.jsonl")),
    case("environment a folder", TRAIN, "run/environment.json: cannot", damage=folder_for("environment.json")),
    case("experiment a folder", TRAIN, "run/digits_run.py: cannot be written", damage=folder_for("digits_run.py")),
    case("tensorboard a file", TRAIN, "run/tensorboard: cannot be written", damage=file_for("tensorboard")),
    case("results a folder", TRAIN, "run/results.json: cannot be written", damage=folder_for("results.json")),
]
