"""Run folders that are damaged, or that belong to something else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

EXPERIMENT = """\
from jaxai import Best, Checkpoints, Experiment, Pipeline, PMap, Steps, optim
from jaxai.data.tfds import Tfds
from jaxai.models import SoftmaxRegression
from jaxai.tasks import Classification


def get_config():
    return Experiment(
        task=Classification(model=SoftmaxRegression()),
        train=Pipeline(source=Tfds("digits", split="train[:128]"), batch_size=32, cache=True),
        evals={"test": Pipeline(source=Tfds("digits", split="test[:64]"), batch_size=64, cache=True)},
        optimizer=optim.sgd(0.1),
        duration=Steps(4),
        evaluate_every=Steps(2),
        checkpoint=Checkpoints(every=Steps(2), keep_last=2),
        best=Best(metric="test/accuracy"),
        parallel=PMap(devices=1),
    )
"""


@dataclasses.dataclass(frozen=True)
class RunCase:
    """A damage to `run`, the finished run of `digits_run.py`, and a command that meets it."""

    name: str
    command: str
    says: tuple[str, ...]
    damage: Callable[[Path], object] = lambda run: None

    def __str__(self) -> str:
        return self.name


def case(name: str, command: str, *says: str, damage: Callable[[Path], object] = lambda run: None) -> RunCase:
    return RunCase(name, command, says, damage)


def edit(*changes: tuple[str, str]) -> Callable[[Path], object]:
    """Replaces texts of `config.json`, each of which must be there."""

    def change(run: Path) -> None:
        text = (run / "config.json").read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (run / "config.json").write_text(text)

    return change


def write(name: str, text: str | bytes) -> Callable[[Path], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda run: (run / name).write_bytes(data)


def unlink(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


def remove(name: str) -> Callable[[Path], object]:
    return lambda run: shutil.rmtree(run / name)


def halve(pattern: str) -> Callable[[Path], object]:
    """Truncates the largest of the files that match."""

    def truncate(run: Path) -> None:
        largest = max((path for path in run.glob(pattern) if path.is_file()), key=lambda path: path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])

    return truncate


def elsewhere(run: Path) -> None:
    """A run folder without its evaluations, as if it had been started without any."""
    data = json.loads((run / "config.json").read_text())
    data["evals"], data["best"] = {"$dict": {}}, None
    (run / "config.json").write_text(json.dumps(data))


def occupy(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()
    (run / "thesis.txt").write_text("years of work")


def in_place(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("a file")


TRAIN = "train digits_run.py --run run --display none"
SOFTMAX, TRACE = "jaxai.models:SoftmaxRegression", "optax:trace"

CASES = [
    case("a file in place of the folder", TRAIN, "run: cannot be written: File exists", "--run", damage=in_place),
    case(
        "a folder below a file",
        "train digits_run.py --run run/below",
        "run/below: cannot be written: Not a dir",
        "--run",
        damage=in_place,
    ),
    case("a folder of something else", TRAIN, "run: is not empty and holds no run", "--run", damage=occupy),
    case(
        "another experiment",
        TRAIN + " --seed 1 --train.batch-size 16",
        "run: holds a run of another experiment: seed 0 -> 1",
        "choose another folder with --run",
    ),
    case(
        "another experiment, insisting",
        TRAIN + " --seed 1 --duration 9steps --resume-anyway",
        "run: holds a run of another experiment: seed 0 -> 1 (choose another folder",
    ),
    case(
        "harmless fields",
        TRAIN + " --duration 9steps --log-every 3steps",
        "run: holds a run of another experiment: duration 4steps -> 9steps, log_every 50steps -> 3steps",
        "--resume-anyway to go on with it",
    ),
    *(
        case(
            f"checkpoints: {name}",
            TRAIN,
            f"run/checkpoints/4/{file}",
            "is damaged",
            "no other checkpoint is good",
            damage=lambda run, harm=harm: [harm(f"checkpoints/{step}")(run) for step in (2, 4)],
        )
        for name, file, harm in [
            ("no state", "state/", lambda step: remove(f"{step}/state")),
            ("no meta", "meta/", lambda step: remove(f"{step}/meta")),
            ("no position", "data/", lambda step: remove(f"{step}/data")),
            ("meta truncated", "meta/metadata", lambda step: halve(f"{step}/meta/metadata")),
            ("meta empty", "meta/metadata", lambda step: write(f"{step}/meta/metadata", "")),
            ("position truncated", "data/metadata", lambda step: write(f"{step}/data/metadata", '{"pos')),
            ("largest array truncated", "state/params.", lambda step: halve(f"{step}/state/params.*/*")),
            ("no array", "state/params.", lambda step: remove(f"{step}/state/params.head.kernel")),
            ("state description truncated", "state/_METADATA", lambda step: halve(f"{step}/state/_METADATA")),
            ("no state description", "state/_METADATA", lambda step: unlink(f"{step}/state/_METADATA")),
            ("no array description", "state/", lambda step: unlink(f"{step}/state/params.head.kernel/.zarray")),
            ("seal truncated", "seal.json", lambda step: halve(f"{step}/seal.json")),
        ]
    ),
    case(
        "checkpoint: evaluated",
        "evaluate run --step 4",
        "run/checkpoints/4/state/params.",
        "is damaged",
        damage=halve("checkpoints/4/state/params.*/*"),
    ),
    case(
        "checkpoint: started from",
        "train digits_run.py --run other --start-from run",
        "run/checkpoints/",
        "is damaged",
        damage=lambda run: [halve(f"checkpoints/{step}/state/params.*/*")(run) for step in (2, 4)],
    ),
    case(
        "started from another shape",
        "train digits_run.py --run other --start-from run --task.model.num-classes 12",
        "start_from: head/",
        "10] in run",
        "12] here",
    ),
    case(
        "a shape edited by hand",
        "evaluate run",
        "run/checkpoints/",
        "float32[10] in the checkpoint, float32[12] in the experiment",
        damage=edit(('"num_classes": 10', '"num_classes": 12')),
    ),
    case("step not kept", "evaluate run --step 3", "--step: 3 is not kept in run", "kept: 2, 4"),
    case("no checkpoint", "evaluate run", "run: has no checkpoint yet", damage=remove("checkpoints")),
    case("no checkpoint to report", "report run", "run: has no checkpoint yet", damage=remove("checkpoints")),
    case("nothing to evaluate", "evaluate run", "run: has no evaluations", damage=elsewhere),
    case("misspelled override", "evaluate run --evals.tset.batch-size 4", "--evals.tset.batch-size", "evals.test"),
    case("config truncated", "evaluate run", "run/config.json: is not readable JSON", damage=halve("config.json")),
    case("config truncated, resumed", TRAIN, "run/config.json: is not readable JSON", damage=halve("config.json")),
    case("config empty", "report run", "run/config.json: is not readable JSON", damage=write("config.json", "")),
    case("config binary", TRAIN, "run/config.json: is not readable JSON", damage=write("config.json", b"\xff\x00")),
    case("config a list", "evaluate run", "run/config.json: is not an experiment's", damage=write("config.json", "[]")),
    case(
        "config a list, resumed", TRAIN, "run/config.json: is not a JSON object", damage=write("config.json", "[1, 2]")
    ),
    case(
        "config without class",
        "evaluate run",
        "config: has no $class",
        damage=edit(('"$class": "jaxai:Experiment"', '"x": 1')),
    ),
    case(
        "config without a field",
        "train run/config.json",
        "config: cannot be rebuilt",
        "argument 'tusk'",
        damage=edit(('"task":', '"tusk":')),
    ),
    case(
        "an unknown class",
        "evaluate run",
        "config.task.model",
        "does not exist",
        damage=edit((SOFTMAX, "jaxai.models:Nothing")),
    ),
    *(
        case(
            f"a class from outside: {name}", "evaluate run", "config.task.model: ", *says, damage=edit((SOFTMAX, name))
        )
        for name, says in {
            "os:system": ("'os:system', which is not of jaxai, flax, optax", "--allow os"),
            "subprocess:Popen": ("'subprocess:Popen', which is not of", "--allow subprocess"),
            "builtins:eval": ("'builtins:eval', which is not of",),
            "jaxaix:Model": ("'jaxaix:Model', which is not of",),
            "jaxai.cli:os.system": ("'jaxai.cli:os.system' is not defined where it says",),
            "jaxai.cli:main": ("'jaxai.cli:main' is not a dataclass",),
            "jaxai.core.errors:InputError": ("is not a dataclass",),
            "jaxai_experiment_mine:Model": ("which is not of jaxai", "--allow run/digits_run.py"),
        }.items()
    ),
    *(
        case(
            f"a call from outside: {name}",
            "evaluate run",
            "config.optimizer.update: ",
            says,
            damage=edit((TRACE, name)),
        )
        for name, says in {
            "flax.io:rmtree": "'flax.io:rmtree', which is not of jaxai.optim, optax",
            "jaxai.experiment:load": "'jaxai.experiment:load', which is not of jaxai.optim, optax",
            "optax:tracee": "'optax:tracee' does not exist in the installed version",
            "optax.contrib:jax.jit": "'optax.contrib:jax.jit' does not exist in the installed version",
        }.items()
    ),
    case(
        "a duration that is none",
        "evaluate run",
        "config.duration: ",
        "'4parsecs' is not a duration",
        damage=edit(('"4steps"', '"4parsecs"')),
    ),
    case("results truncated", "evaluate run", "run/results.json: is not readable JSON", damage=halve("results.json")),
    case("results a list", "evaluate run", "run/results.json: is not", damage=write("results.json", "[]")),
    case("results truncated, report", "report run", "run/results.json: is not readable", damage=halve("results.json")),
    case("no metrics", "report run", "run/metrics.jsonl: there is no such file", damage=unlink("metrics.jsonl")),
    case(
        "a torn metric",
        "report run",
        "run/metrics.jsonl:1: is not a JSON",
        "remove",
        damage=write("metrics.jsonl", "{\n{}\n"),
    ),
    case("no environment", "report run", "run/environment.json: is not readable", damage=unlink("environment.json")),
    case(
        "report to nowhere", "report run --out no/page.html", "no/page.html: cannot be written: No such", "--out FILE"
    ),
]
