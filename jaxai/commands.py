"""What each command does, by the parsed command line; every one imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from jaxai.core.errors import InputError, did_you_mean
from jaxai.core.variant import split_variant

DATASETS = (
    "digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "ihc_patches", "lfw_faces", "mnist_5k", "oxygen_icons",
    "photo_patches", "asterisk_prompts", "film_snippets", "kjv", "kjv_spanish", "movielens_100k", "product_snippets",
    "shakespeare", "shakespeare_excerpt", "spam_mails", "support_faq", "support_questions", "tweets", "tweets_excerpt",
)  # fmt: skip


def _load(known: Any) -> Any:
    from jaxai.experiment import load
    from jaxai.experiment.override import override

    if known.file is None:
        _missing_file()
    experiment = load(known.file, known.allow)
    return override(experiment, [*known.overrides, *(["--help"] if known.help else [])])


def _missing_file() -> NoReturn:
    raise InputError("FILE", "is missing", "such as experiments/digits_convnet.py")


def train(known: Any) -> int:
    """Trains, or resumes; with `--restarts` in processes of its own."""
    if known.help:
        known.print_help()
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
    from jaxai.training.run import train as run

    result = run(
        experiment,
        folder,
        display=known.display,
        source=source,
        resume_anyway=known.resume_anyway,
        wandb=known.wandb,
        watchdog=known.watchdog or None,
        profile=known.profile,
    )
    if not is_primary():
        return 128 + result.signal if result.signal is not None else 0
    if result.signal is not None:
        print(f"interrupted at step {result.step:,}; the same command resumes the run in {folder}")
        return 128 + result.signal
    averaged = ("_macro", "_micro")  # six a classification, for the report
    shown = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if not name.endswith(averaged))
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
    if known.profile is not None and known.profile < 1:
        raise InputError("--profile", f"must be at least 1, is {known.profile}")
    if not known.watchdog >= 0:
        raise InputError("--watchdog", f"must not be negative, is {known.watchdog:g}", "0 switches it off")


def _default_folder(source: Path, variant: str) -> Path:
    if source.name == "config.json":
        return source.parent
    return Path("runs") / (source.stem if variant == "get_config" else f"{source.stem}_{variant}")


def describe(known: Any) -> int:
    """Prints what an experiment comes to, here or on devices that are pretended."""
    if known.help:
        known.print_help()
        if known.file is None:
            return 0
        print()
    if known.file is None:
        _missing_file()
    if known.devices is not None:
        if not 1 <= known.devices <= 2048:  # as many as XLA tells apart in a process
            raise InputError("--devices", f"must be 1 to 2048, is {known.devices}")
        from jaxai import compat

        compat.pretend_devices(known.devices)
    experiment = _load(known)
    from jaxai.training.compiled import compile_step
    from jaxai.training.describe import describe as described
    from jaxai.training.describe import render
    from jaxai.training.setup import set_up

    setup = set_up(experiment)
    compiled = compile_step(setup) if known.compile else None
    print(render(described(setup), compiled, pretended=known.devices is not None))
    return 0


def evaluate(known: Any) -> int:
    """Prints the metrics of a run's checkpoint."""
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


def probe(known: Any) -> int:
    """Prints what a run's encoder knows."""
    from jaxai.adapt.probe import probe_run, render
    from jaxai.experiment import load
    from jaxai.training.saved import open_run

    run = open_run(Path(known.folder), load(_run_folder(known.folder), known.allow))
    found = probe_run(run)
    print(f"{known.folder}, step {run.step:,}", *render(found), sep="\n")
    return 0


def active(known: Any) -> int:
    """Chooses labels round by round."""
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


def generate(known: Any) -> int:
    """Writes on from a prompt, as the text comes."""
    from jaxai.experiment import load
    from jaxai.generation.command import pieces
    from jaxai.training.saved import open_run

    run = open_run(Path(known.folder), load(_run_folder(known.folder), known.allow), known.step)
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "beams", "num_samples")
    settings = {name: getattr(known, name) for name in names}
    for piece in pieces(run, known.prompt, stop=tuple(known.stop), **settings):
        print(piece, end="", flush=True)
    return 0


def tokenizer(known: Any) -> int:
    """Trains a tokenizer."""
    from jaxai.data.text import train_bpe, train_wordpiece

    make = train_bpe if known.kind == "bpe" else train_wordpiece
    count = make([Path(file) for file in known.files], known.vocab_size, known.out)
    declared = "BPE" if known.kind == "bpe" else "WordPiece"
    print(f"wrote {known.out}: {count:,} tokens\nread it with {declared}(file={known.out!r})")
    return 0


def _run_folder(folder: str) -> Path:
    config = Path(folder) / "config.json"
    if not config.exists():
        raise InputError(folder, "is no run folder: it has no config.json")
    return config


def report(known: Any) -> int:
    """Writes a page about runs."""
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


def prepare(known: Any) -> int:
    """Prepares a dataset."""
    if known.name not in DATASETS:
        raise InputError(known.name, "no such dataset to prepare", did_you_mean(known.name, DATASETS))
    from jaxai.data import prepare as preparing

    path = preparing.prepare(known.name, data_dir=known.data_dir, source_path=known.path, url=known.url, progress=print)
    # A folder of versions, or of configurations that each have their own.
    versions = any(child.name[0].isdigit() and "." in child.name for child in path.parent.iterdir())
    names = [known.name] if versions else [f"{known.name}/{child.name}" for child in sorted(path.iterdir())]
    print(f"prepared {path}", *(f"read it with Tfds(name={name!r}, split='train')" for name in names), sep="\n")
    return 0


def new(known: Any) -> int:
    """Writes the template of an experiment."""
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
