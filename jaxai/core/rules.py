"""The one mechanism for choosing parameters: ordered `(regex, value)` rules over slash-joined paths.

The first rule whose regex is found in a path gives that path its value. A rule that matches no path at all is an error
that lists the nearest paths, because a silent typo would train the wrong parameters. Weight decay, freezing,
learning-rate multipliers and sharding all use it.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

from jaxai.core import tree
from jaxai.core.errors import InputError, nearest

T = TypeVar("T")
Rules = tuple[tuple[str, T], ...]


def assign(rules: Rules[T], params: tree.Tree, default: T, field: str) -> tree.Tree:
    """The tree of values that `rules` give the leaves of `params`; `default` where no rule matches.

    Raises InputError for a rule that is no regular expression or matches nothing, naming `field`.
    """
    values = by_path(rules, params, default, field)
    return tree.map_paths(lambda path, _: values[path], params)


def by_path(rules: Rules[T], params: tree.Tree, default: T, field: str) -> dict[str, T]:
    """The same by path."""
    paths = list(tree.flatten(params))
    compiled = [(_compile(pattern, field), value) for pattern, value in rules]
    for pattern, _ in compiled:
        if not any(pattern.search(path) for path in paths):
            raise InputError(field, f"rule {pattern.pattern!r} matches no parameter", _nearest(pattern, paths))

    return {path: next((value for pattern, value in compiled if pattern.search(path)), default) for path in paths}


def hits(rules: Rules[Any], params: tree.Tree) -> list[tuple[str, Any, list[str]]]:
    """(regex, value, paths that it decides) for each rule: what `describe` prints."""
    left = list(tree.flatten(params))
    table = []
    for pattern, value in rules:
        decided = [path for path in left if re.search(pattern, path)]
        left = [path for path in left if path not in decided]
        table.append((pattern, value, decided))
    return table


def _compile(pattern: str, field: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(field, f"rule {pattern!r} is not a regular expression: {error}") from None


def _nearest(pattern: re.Pattern[str], paths: list[str]) -> str:
    plain = re.sub(r"[\^$\\.*+?()\[\]{}|]", "", pattern.pattern)
    close = nearest(plain, paths, limit=3) or paths[:3]
    return "nearest: " + ", ".join(close) if close else "there are no parameters"
