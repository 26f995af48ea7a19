"""The command line. Parsing imports nothing heavy, so `jaxai --help` is instant; commands import what they need."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxai.core.errors import InputError, JaxaiError, did_you_mean
from jaxai.core.variant import split_variant

DATASETS = (
    "digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "ihc_patches", "lfw_faces", "mnist_5k", "oxygen_icons",
    "photo_patches", "asterisk_prompts", "film_snippets", "kjv", "kjv_spanish", "movielens_100k", "product_snippets",
    "shakespeare", "shakespeare_excerpt", "spam_mails", "support_faq", "support_questions", "tweets", "tweets_excerpt",
)  # fmt: skip
EXIT_CODES = (
    "exit codes: 0 done, 2 bad input, 3 storage, 4 diverged, 75 try again, 130 and 143 interrupted after saving"
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are the one line that every error of jaxai is."""

    def error(self, message: str) -> NoReturn:
        raise InputError("command line", message, f"{self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        return _run([argument for argument in arguments if argument != "--debug"], arguments)
    except JaxaiError as error:
        if debug:
            raise
        print(f"jaxai: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("jaxai: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has left; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str], as_given: list[str]) -> int:
    parser, commands = _parser()
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in commands:
        raise InputError(first, "no such command", did_you_mean(first, commands))
    known, overrides = parser.parse_known_args(arguments)
    if not hasattr(known, "run"):
        parser.print_help()
        return 0
    if overrides and not known.takes_overrides:
        raise InputError(overrides[0], f"is not an option of jaxai {first}", f"jaxai {first} --help")
    target = known.file if hasattr(known, "file") else getattr(known, "folder", None)
    if overrides and target is not None and arguments.index(overrides[0]) < arguments.index(target):
        raise InputError(overrides[0], "stands before the experiment or run that it belongs to", "that comes first")
    known.overrides, known.as_given = overrides, as_given
    return known.run(known)


def _parser() -> tuple[_Parser, set[str]]:
    parser = _Parser(
        prog="jaxai",
        description="Train, resume, evaluate and report experiments written as small typed Python files.",
        epilog=EXIT_CODES + ". Every command takes --debug, which shows the traceback of an error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], text: str, overrides: bool = False) -> _Parser:
        made = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False, add_help=not overrides, usage=None
        )
        made.set_defaults(run=run, takes_overrides=overrides)
        return made

    train = command("train", _train, "train an experiment, or resume it where its run folder has it", True)
    describe = command("describe", _describe, "check an experiment and print what it comes to; computes nothing", True)
    for made in (train, describe):
        text = "experiment file (.py; FILE.py:NAME for a variant), or a run's config.json"
        made.add_argument("file", nargs="?", metavar="FILE", help=text)
        made.add_argument("-h", "--help", action="store_true", help="this help, and every field of FILE as an option")
        _add_allow(made)
    train.add_argument("--run", dest="folder", metavar="DIR", help="run folder (default: runs/NAME of FILE)")
    train.add_argument("--display", default="auto", metavar="KIND", help="auto, rich, plain, notebook or none")
    train.add_argument("--wandb", metavar="PROJECT", help="log to this Weights & Biases project too")
    train.add_argument("--resume-anyway", action="store_true", help="resume although harmless fields differ")
    train.add_argument("--restarts", type=int, metavar="N", help="start again after a crash or preemption, N times")
    text = "exit 75 when a step takes longer, and than 20 times the median (default: 60; 0 never does)"
    train.add_argument("--watchdog", type=float, default=60.0, metavar="SECONDS", help=text)
    text = "this is one process of several; a cluster says which (SLURM, Kubernetes, Cloud TPU), or these do:"
    train.add_argument("--distributed", action="store_true", help=text)
    train.add_argument("--coordinator", metavar="HOST:PORT", help="where the first process can be reached")
    train.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    train.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0")

    evaluate = command("evaluate", _evaluate, "evaluate a run's best checkpoint on all its evaluations", True)
    evaluate.add_argument("folder", metavar="RUN", help="run folder")
    evaluate.add_argument("-h", "--help", action="help", help="this help")
    evaluate.add_argument("--step", type=int, help="the checkpoint to evaluate (default: the best, else the newest)")
    _add_allow(evaluate)

    text = "print what a run's encoder knows of the classes, beside the same encoder untrained and the raw inputs"
    probe = command("probe", _probe, text)
    probe.add_argument("folder", metavar="RUN", help="run folder")
    _add_allow(probe)

    text = "train on more and more labels, chosen by each strategy, and draw the accuracy they bring"
    active = command("active", _active, text, True)
    active.add_argument("file", metavar="FILE", help="experiment file (.py), whose training data are the pool")
    active.add_argument("-h", "--help", action="help", help="this help")
    active.add_argument("--run", dest="folder", metavar="DIR", help="folder of the runs (default: runs/NAME_active)")
    text = "entropy, margin, coreset, random (default: all)"
    active.add_argument("--strategies", nargs="+", metavar="NAME", help=text)
    for name, default, text in (
        ("start", 50, "labels of the first round, drawn at random"),
        ("add", 50, "labels that each further round adds"),
        ("rounds", 6, "how many rounds"),
    ):
        active.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    _add_allow(active)

    report = command("report", _report, "write one self-contained HTML page about one run or several")
    report.add_argument("folders", nargs="+", metavar="RUN", help="run folder")
    report.add_argument("--out", metavar="FILE", help="where to write it (default: report.html in the first RUN)")
    _add_allow(report)

    prepare = command("prepare", _prepare, "bring a dataset into the form that tensorflow-datasets reads")
    prepare.add_argument("name", metavar="NAME", help=", ".join(DATASETS))
    where = prepare.add_mutually_exclusive_group()
    where.add_argument("--from", dest="path", metavar="PATH", help="folder or file with the original files")
    where.add_argument("--url", help="where to download the original files from")
    prepare.add_argument("--data-dir", metavar="DIR", help="folder of prepared datasets")

    new = command("new", _new, "write a commented experiment file to start from")
    new.add_argument("file", metavar="FILE", help="the file to write; it must not exist")
    return parser, set(commands.choices)


def _add_allow(parser: _Parser) -> None:
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="MODULE",
        help="module or experiment file whose classes a config.json may construct besides jaxai's, flax's and optax's",
    )


def _version() -> str:
    from jaxai import __version__

    return f"jaxai {__version__}"


def _load(known: Any) -> Any:
    from jaxai.experiment import load
    from jaxai.experiment.override import override

    if known.file is None:
        _missing_file()
    experiment = load(known.file, known.allow)
    return override(experiment, [*known.overrides, *(["--help"] if known.help else [])])


def _missing_file() -> NoReturn:
    raise InputError("FILE", "is missing", "such as experiments/digits_convnet.py")


def _help(command: str) -> int:
    parser, _ = _parser()
    actions = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    actions.choices[command].print_help()
    print("\nEvery field of the experiment is an option as well: jaxai", command, "FILE --help lists them.")
    return 0


def _train(known: Any) -> int:
    if known.help:
        _help("train")
        if known.file is None:
            return 0
        print()
    if known.file is None:
        _missing_file()
    source, variant = split_variant(known.file)
    folder = Path(known.folder) if known.folder else _default_folder(source, variant)
    if known.restarts is not None and not known.help:
        from jaxai.supervise import child_command, supervise

        return supervise(child_command(known.as_given), folder, known.restarts)
    _check_processes(known)
    if not known.distributed:
        from jaxai.training.lock import refuse_if_held

        refuse_if_held(folder)  # before the seconds that importing takes
    else:
        from jaxai.parallel import distributed

        distributed.join(known.coordinator, known.processes, known.process)
    experiment = _load(known)
    from jaxai.experiment.json import EXPERIMENT_MODULE
    from jaxai.parallel.distributed import is_primary
    from jaxai.training.run import train

    result = train(
        experiment,
        folder,
        display=known.display,
        source=source,
        resume_anyway=known.resume_anyway,
        wandb=known.wandb,
        watchdog=known.watchdog or None,
    )
    if not is_primary():
        return 128 + result.signal if result.signal is not None else 0
    if result.signal is not None:
        print(f"interrupted at step {result.step:,}; the same command resumes the run in {folder}")
        return 128 + result.signal
    shown = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if name.count("_") == 0)
    best = f" (best, step {result.best_step:,})" if result.best_step is not None else ""
    print(f"{result.status} at step {result.step:,} after {result.seconds:.1f} s  {shown}{best}")
    # What JSON alone cannot rebuild is rebuilt from the experiment file, once the user says so.
    config = (folder / "config.json").read_text()
    own = '"$live"' in config or EXPERIMENT_MODULE in config
    allow = f" --allow {folder / source.name}{'' if variant == 'get_config' else f':{variant}'}" if own else ""
    print(f"run:  {folder}\nnext: jaxai report {folder}{allow}\n      jaxai evaluate {folder}{allow}")
    return 0


def _check_processes(known: Any) -> None:
    """Raises InputError for flags that say nothing without `--distributed`, or cannot be meant."""
    for name in ("coordinator", "processes", "process"):
        if getattr(known, name) is not None and not known.distributed:
            raise InputError(f"--{name}", "says nothing without --distributed", "add --distributed")
    if not known.watchdog >= 0:
        raise InputError("--watchdog", f"must not be negative, is {known.watchdog:g}", "0 switches it off")


def _default_folder(source: Path, variant: str) -> Path:
    if source.name == "config.json":
        return source.parent
    return Path("runs") / (source.stem if variant == "get_config" else f"{source.stem}_{variant}")


def _describe(known: Any) -> int:
    if known.help and known.file is None:
        return _help("describe")
    experiment = _load(known)
    from jaxai.training.describe import describe, render
    from jaxai.training.setup import set_up

    print(render(describe(set_up(experiment))))
    return 0


def _evaluate(known: Any) -> int:
    from jaxai.experiment import load
    from jaxai.experiment.override import override
    from jaxai.training.saved import open_run

    experiment = override(load(_run_folder(known.folder), known.allow), known.overrides)
    if not experiment.evals:
        raise InputError(known.folder, "has no evaluations", "evals={...} in its experiment")
    run = open_run(Path(known.folder), experiment, known.step)
    print(f"{known.folder}, step {run.step:,}")
    for name, values in run.evaluate().items():
        for metric, value in values.items():
            if isinstance(value, float):
                print(f"{name}/{metric:<18} {value:.6f}")
    return 0


def _probe(known: Any) -> int:
    from jaxai.adapt.probe import probe_run, render
    from jaxai.experiment import load
    from jaxai.training.saved import open_run

    run = open_run(Path(known.folder), load(_run_folder(known.folder), known.allow))
    found = probe_run(run)
    print(f"{known.folder}, step {run.step:,}", *render(found), sep="\n")
    return 0


def _active(known: Any) -> int:
    from jaxai.adapt.active import STRATEGIES, active_learning
    from jaxai.experiment import load
    from jaxai.experiment.override import override

    source, variant = split_variant(known.file)
    folder = Path(known.folder or f"{_default_folder(source, variant)}_active")
    curves = active_learning(
        override(load(known.file, known.allow), known.overrides),
        folder,
        strategies=known.strategies or STRATEGIES,
        start=known.start,
        add=known.add,
        rounds=known.rounds,
        source=source,
        say=lambda line: print(line, flush=True),
    )
    if curves.signal is not None:
        print(f"interrupted; the same command goes on in {folder}")
        return 128 + curves.signal
    print(f"wrote {folder / 'report.html'}")
    return 0


def _run_folder(folder: str) -> Path:
    config = Path(folder) / "config.json"
    if not config.exists():
        raise InputError(folder, "is no run folder: it has no config.json")
    return config


def _report(known: Any) -> int:
    from jaxai.log.report import render
    from jaxai.training.saved import gather

    reports = [gather(_run_folder(folder).parent, known.allow) for folder in known.folders]
    target = Path(known.out) if known.out else Path(known.folders[0]) / "report.html"
    try:
        target.write_text(render(reports), encoding="utf-8")
    except OSError as error:
        raise InputError(str(target), f"cannot be written: {error.strerror}", "--out FILE") from error
    print(f"wrote {target}")
    return 0


def _prepare(known: Any) -> int:
    if known.name not in DATASETS:
        raise InputError(known.name, "no such dataset to prepare", did_you_mean(known.name, DATASETS))
    from jaxai.data.prepare import prepare

    path = prepare(known.name, data_dir=known.data_dir, source_path=known.path, url=known.url, progress=print)
    # A folder of versions, or of configurations that each have their own.
    versions = any(child.name[0].isdigit() and "." in child.name for child in path.parent.iterdir())
    names = [known.name] if versions else [f"{known.name}/{child.name}" for child in sorted(path.iterdir())]
    print(f"prepared {path}", *(f"read it with Tfds(name={name!r}, split='train')" for name in names), sep="\n")
    return 0


def _new(known: Any) -> int:
    from importlib.resources import files

    target = Path(known.file)
    if target.suffix != ".py":
        raise InputError(known.file, "is no Python file name", f"{known.file}.py")
    try:
        with target.open("x") as file:
            file.write(files("jaxai.experiment").joinpath("template.py.txt").read_text())
    except FileExistsError:
        raise InputError(known.file, "exists already", "choose another name") from None
    except OSError as error:
        raise InputError(known.file, f"cannot be written: {error.strerror}") from error
    print(f"wrote {target}\nnext: jaxai describe {target}\n      jaxai train {target}")
    return 0
