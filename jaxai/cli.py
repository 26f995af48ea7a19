"""The command line. Parsing imports nothing heavy, so `jaxai --help` is instant; commands import what they need."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jaxai import commands
from jaxai.core import allocator
from jaxai.core.errors import InputError, JaxaiError, did_you_mean

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
    allocator.keep_warm()  # before libraries start threads with memory of their own
    return known.run(known)


Command = Callable[..., _Parser]
"""Adds a command: its name, what it does, a line of help, and whether it takes options of the experiment."""


def _parser() -> tuple[_Parser, set[str]]:
    parser = _Parser(
        prog="jaxai",
        description="Train, resume, evaluate and report experiments written as small typed Python files.",
        epilog=EXIT_CODES + ". Every command takes --debug, which shows the traceback of an error.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    added = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[Any], int], text: str, overrides: bool = False) -> _Parser:
        made = added.add_parser(name, help=text, description=text, allow_abbrev=False, add_help=not overrides)
        made.set_defaults(run=run, takes_overrides=overrides, print_help=made.print_help)
        return made

    for add in (
        _add_train,
        _add_describe,
        _add_evaluate,
        _add_generate,
        _add_probe,
        _add_active,
        _add_report,
        _add_prepare,
        _add_tokenizer,
        _add_new,
    ):
        add(command)
    return parser, set(added.choices)


def _add_train(command: Command) -> None:
    made = command("train", commands.train, "train an experiment, or resume it where its run folder has it", True)
    _add_experiment(made)
    made.add_argument("--run", dest="folder", metavar="DIR", help="run folder (default: runs/NAME of FILE)")
    made.add_argument("--display", default="auto", metavar="KIND", help="auto, rich, plain, notebook or none")
    made.add_argument("--wandb", metavar="PROJECT", help="log to this Weights & Biases project too")
    made.add_argument("--resume-anyway", action="store_true", help="resume although harmless fields differ")
    made.add_argument("--restarts", type=int, metavar="N", help="start again after a crash or preemption, N times")
    text = "exit 75 when a step takes longer, and than 20 times the median (default: 60; 0 never does)"
    made.add_argument("--watchdog", type=float, default=60.0, metavar="SECONDS", help=text)
    text = "trace N steps of the run, once it is warm, into profile/ of its folder, for xprof"
    made.add_argument("--profile", type=int, metavar="N", help=text)
    text = "this is one process of several; a cluster says which (SLURM, Kubernetes, Cloud TPU), or these do:"
    made.add_argument("--distributed", action="store_true", help=text)
    made.add_argument("--coordinator", metavar="HOST:PORT", help="where the first process can be reached")
    made.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    made.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0")


def _add_describe(command: Command) -> None:
    text = "check an experiment and print what it comes to; computes nothing"
    made = command("describe", commands.describe, text, True)
    _add_experiment(made)
    text = "compile the training step: its memory, FLOPs and exchanges between devices; training finds it in the cache"
    made.add_argument("--compile", action="store_true", help=text)
    text = "describe it for N devices, for which as many CPU devices stand in"
    made.add_argument("--devices", type=int, metavar="N", help=text)


def _add_evaluate(command: Command) -> None:
    made = command("evaluate", commands.evaluate, "evaluate a run's best checkpoint on all its evaluations", True)
    made.add_argument("folder", metavar="RUN", help="run folder")
    made.add_argument("-h", "--help", action="help", help="this help")
    made.add_argument("--step", type=int, help="the checkpoint to evaluate (default: the best, else the newest)")
    _add_allow(made)


def _add_generate(command: Command) -> None:
    made = command("generate", commands.generate, "write on from a prompt with a run's language model")
    made.add_argument("folder", metavar="RUN", help="run folder")
    made.add_argument("prompt", metavar="PROMPT", help="the text to go on from, or to translate")
    made.add_argument("--max-new-tokens", type=int, metavar="N", help="tokens at most (default: 128, or as fit)")
    made.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (default: 1)")
    made.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens only")
    made.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest that come to a share P only")
    made.add_argument("--repetition-penalty", type=float, metavar="P", help="above 1 shuns what is there (default: 1)")
    made.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before it; may be repeated")
    made.add_argument("--beams", type=int, metavar="B", help="search with B beams instead of drawing")
    made.add_argument("--num-samples", type=int, default=1, metavar="N", help="how many texts (default: 1)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    made.add_argument("--step", type=int, help="the checkpoint to use (default: the best, else the newest)")
    _add_allow(made)


def _add_probe(command: Command) -> None:
    text = "print what a run's encoder knows of the classes, beside the same encoder untrained and the raw inputs"
    made = command("probe", commands.probe, text)
    made.add_argument("folder", metavar="RUN", help="run folder")
    _add_allow(made)


def _add_active(command: Command) -> None:
    text = "train on more and more labels, chosen by each strategy, and draw the accuracy they bring"
    made = command("active", commands.active, text, True)
    made.add_argument("file", metavar="FILE", help="experiment file (.py), whose training data are the pool")
    made.add_argument("-h", "--help", action="help", help="this help")
    made.add_argument("--run", dest="folder", metavar="DIR", help="folder of the runs (default: runs/NAME_active)")
    text = "entropy, margin, coreset, random (default: all)"
    made.add_argument("--strategies", nargs="+", metavar="NAME", help=text)
    for name, default, text in (
        ("start", 50, "labels of the first round, drawn at random"),
        ("add", 50, "labels that each further round adds"),
        ("rounds", 6, "how many rounds"),
    ):
        made.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    _add_allow(made)


def _add_report(command: Command) -> None:
    made = command("report", commands.report, "write one self-contained HTML page about one run or several")
    made.add_argument("folders", nargs="+", metavar="RUN", help="run folder")
    made.add_argument("--out", metavar="FILE", help="where to write it (default: report.html in the first RUN)")
    _add_allow(made)


def _add_prepare(command: Command) -> None:
    made = command("prepare", commands.prepare, "bring a dataset into the form that tensorflow-datasets reads")
    made.add_argument("name", metavar="NAME", help=", ".join(commands.DATASETS))
    where = made.add_mutually_exclusive_group()
    where.add_argument("--from", dest="path", metavar="PATH", help="folder or file with the original files")
    where.add_argument("--url", help="where to download the original files from")
    made.add_argument("--data-dir", metavar="DIR", help="folder of prepared datasets")


def _add_tokenizer(command: Command) -> None:
    made = command("tokenizer", commands.tokenizer, "train a tokenizer on text files")
    made.add_argument("files", nargs="+", metavar="FILE", help="text files, UTF-8")
    made.add_argument("--kind", choices=("bpe", "wordpiece"), default="bpe", help="default: bpe, of bytes")
    made.add_argument("--vocab-size", type=int, default=8192, metavar="N", help="tokens (default: 8192)")
    made.add_argument("--out", default="tokenizer.json", metavar="FILE", help="default: tokenizer.json")


def _add_new(command: Command) -> None:
    made = command("new", commands.new, "write a commented experiment file to start from")
    made.add_argument("file", metavar="FILE", help="the file to write; it must not exist")


def _add_experiment(parser: _Parser) -> None:
    text = "experiment file (.py; FILE.py:NAME for a variant), or a run's config.json"
    parser.add_argument("file", nargs="?", metavar="FILE", help=text)
    parser.add_argument("-h", "--help", action="store_true", help="this help, and every field of FILE as an option")
    parser.epilog = f"Every field of the experiment is an option as well: {parser.prog} FILE --help lists them."
    _add_allow(parser)


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
