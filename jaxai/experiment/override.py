"""Typed overrides from the command line: every field of the experiment value is a flag, by tyro.

The value at hand is the default, so that the flags are those of the classes it is made of: nested dataclasses, Flax
modules, dictionaries (`--evals.test.batch-size`), tuples (`--task.augment.0.padding`), calls (`--optimizer.update.b1`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
import warnings
from collections.abc import Sequence
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, StructConstructorSpec, StructFieldSpec

from jaxai.core import duration
from jaxai.core.call import Call
from jaxai.core.errors import InputError, nearest
from jaxai.experiment.declaration import Experiment, Start


def override(experiment: Experiment, arguments: Sequence[str]) -> Experiment:
    """`experiment` with the fields that `arguments` set; raises InputError naming the nearest field.

    With `--help` among them it prints all fields with their types, values and meanings, and exits.
    """
    arguments = list(arguments)
    if "--help" in arguments or "-h" in arguments:
        _parse(experiment, ["--help"])
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            changed, unknown = _parse(experiment, arguments)
    except SystemExit:
        raise _explain(printed.getvalue(), arguments) from None
    if unknown:
        raise _unknown(experiment, unknown[0].split("=")[0])
    return changed


def _unknown(experiment: Experiment, flag: str) -> InputError:
    if not flag.startswith("-"):
        return InputError(flag, "is not an option", "options look like --seed 1, switches like --train.no-cache")
    path = flag.lstrip("-").replace("-", "_").split(".")
    if len(path) > 1 and getattr(experiment, path[0], path) is None:
        return InputError(flag, f"the experiment has no {path[0]}", f"set {path[0]} in its file first")
    close = nearest(".".join(path).replace("_", "-"), [known.lstrip("-") for known in flags(experiment)], cutoff=0.6)
    return InputError(flag, "no such field", f"did you mean --{close[0]}?" if close else "--help lists all fields")


def flags(experiment: Experiment) -> list[str]:
    """All flags of an experiment, read off its help."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        _parse(experiment, ["--help"])
    return sorted(set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", printed.getvalue())))


def _parse(experiment: Experiment, arguments: list[str]) -> tuple[Experiment, list[str]]:
    return _quietly(
        lambda: tyro.cli(
            Experiment,
            prog="jaxai train FILE",
            description="Every field of the experiment is an option.",
            default=experiment,
            args=arguments,
            return_unknown_args=True,
            **_options(experiment),
        )
    )


def _options(experiment: Experiment) -> dict[str, Any]:
    registry = ConstructorRegistry()
    registry.primitive_rule(_duration_rule)
    if experiment.start_from is None or isinstance(experiment.start_from, str):
        registry.primitive_rule(_run_rule)
    registry.struct_rule(_call_rule)
    registry.struct_rule(_start_rule)
    return {"config": (tyro.conf.AvoidSubcommands, tyro.conf.SuppressFixed), "registry": registry}


def _quietly(run: Any) -> Any:
    # Fields are annotated with protocols (Task, Schedule), of which tyro says that their values are of other classes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return run()


def _duration_rule(info: Any) -> PrimitiveConstructorSpec | None:
    kinds = typing.get_args(info.type) or (info.type,)
    if not any(isinstance(kind, type) and issubclass(kind, duration.Duration) for kind in kinds):
        return None
    optional = type(None) in kinds
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="500steps|12epochs|1e6examples" + ("|None" if optional else ""),
        instance_from_str=lambda words: _duration(words[0], optional),
        is_instance=lambda value: isinstance(value, duration.Duration) or (optional and value is None),
        str_from_instance=lambda value: [str(value)],
    )


def _duration(text: str, optional: bool) -> duration.Duration | None:
    if optional and text == "None":
        return None
    try:
        return duration.parse(text)
    except InputError as error:
        raise ValueError(f"{error.field} {error.what}" + (f" ({error.fix})" if error.fix else "")) from None


def _run_rule(info: Any) -> PrimitiveConstructorSpec | None:
    """A start that is none, or a run by its folder."""
    if Start not in typing.get_args(info.type):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="RUN|None",
        instance_from_str=lambda words: None if words[0] == "None" else words[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )


def _start_rule(info: Any) -> StructConstructorSpec | None:
    """Any other start: a value with fields of its own, although annotated with a protocol."""
    start = info.default
    if Start not in typing.get_args(info.type) or not dataclasses.is_dataclass(start):
        return None
    hints = typing.get_type_hints(type(start))
    return StructConstructorSpec(
        instantiate=type(start),
        fields=tuple(
            StructFieldSpec(name=f.name, type=hints[f.name], default=getattr(start, f.name))
            for f in dataclasses.fields(start)
        ),
    )


def _call_rule(info: Any) -> StructConstructorSpec | None:
    call = info.default
    if not isinstance(call, Call):
        return None
    return StructConstructorSpec(
        instantiate=lambda **kwargs: Call(call.fn, **kwargs),
        fields=tuple(
            StructFieldSpec(name=name, type=type(value), default=value, helptext=f"Argument of {call.fn.__name__}.")
            for name, value in call.kwargs.items()
        ),
    )


def _explain(printed: str, arguments: list[str]) -> InputError:
    """One line from the box of text that tyro prints."""
    text = " ".join(re.sub(r"[│╭╮╰╯─┌┐└┘]|-{4,}|\x1b\[[0-9;]*m", " ", printed).split())
    found = re.search(r"Error parsing (--[\w.-]+)[^:]*: (.*?)(?: Argument helptext| For full helptext|$)", text)
    if found:
        union = re.match(r"no type matching (\S+) could be instantiated from \[(.*?)\]", found[2])
        return InputError(found[1], f"must be {union[1]}, is {union[2]}" if union else found[2])
    flag = next((a for a in arguments if a.startswith("--") and a.split("=")[0] in text), "options")
    body = re.sub(r"^(Parsing error|Invalid choice|Missing argument)\s*", "", text).split(" For full helptext")[0]
    return InputError(flag, body[:300])
