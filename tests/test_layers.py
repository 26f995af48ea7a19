"""The rooms: imports run one way, nothing dangerous is called, and importing computes nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jaxai

PACKAGE = Path(jaxai.__file__).parent
#: A module may import its own room and what stands in a line above.
LAYERS = [
    {"core"},
    {"compat"},
    {"forms"},
    {"models", "data", "metrics", "optim", "parallel", "log"},
    {"tasks"},
    {"experiment"},
    {"training"},
    {"adapt", "compress", "explain", "generation"},
    {"tune", "serve"},
    {"", "__main__", "cli", "commands", "supervise"},
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
MODULES = {
    ".".join(("jaxai", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
NEVER_IMPORTED = {"tensorflow", "torch", "pickle", "marshal", "shelve", "dill"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}


def room(module: str) -> str:
    """The empty text for `jaxai` itself."""
    return module.partition("jaxai")[2].removeprefix(".").partition(".")[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from jaxai.core import tree` imports a module, `from jaxai.tasks import Task` a name of one.
            yield from ((node.lineno, name if name in MODULES else str(node.module)) for name in inside)


def test_every_room_has_its_layer():
    assert {room(module) for module in MODULES} <= RANK.keys()


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) not in LAYERS[-1]])
def test_imports_run_one_way(module):
    for line, name in imported(parse(MODULES[module])):
        if name.split(".")[0] != "jaxai":
            continue
        mine, theirs = room(module), room(name)
        assert mine == theirs or RANK[theirs] < RANK[mine], f"{module}:{line} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_runs_code_from_data(module):
    tree = parse(MODULES[module])
    assert not {name.split(".")[0] for _, name in imported(tree)} & NEVER_IMPORTED
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        where = f"{module}:{node.lineno}"
        options = {option.arg: getattr(option.value, "value", None) for option in node.keywords}
        assert not options.get("allow_pickle"), where
        assert not options.get("shell"), where
        if isinstance(node.func, ast.Name):
            assert node.func.id not in NEVER_CALLED, where
        if isinstance(node.func, ast.Attribute):
            assert node.func.attr not in ("system", "popen"), where
            assert ast.unparse(node.func.value) != "yaml" or node.func.attr == "safe_load", where
            assert node.func.attr != "exec_module" or module == "jaxai.experiment.load", where


def run(code: str) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_everything_touches_no_device_and_sets_no_flag():
    found = run(
        "import importlib, json, sys\n"
        "import jax, jax._src.xla_bridge as bridge\n"
        "import flax.linen, optax, orbax.checkpoint, grain\n"
        "before = dict(jax.config.values)\n"
        f"for module in {sorted(module for module in MODULES if module != 'jaxai.__main__')!r}:\n"
        "    importlib.import_module(module)\n"
        "changed = [name for name, value in jax.config.values.items() if before.get(name, value) != value]\n"
        "heavy = [name for name in ('tensorflow', 'torch', 'wandb', 'datasets') if name in sys.modules]\n"
        "print(json.dumps({'backends': list(bridge._backends), 'changed': changed, 'heavy': heavy}))"
    )
    assert found == {"backends": [], "changed": [], "heavy": []}


@pytest.mark.parametrize(
    "code",
    [
        "import jaxai",
        "from jaxai.cli import main; main(['--help'])",
        "from jaxai.cli import main; main(['train', '--help'])",
        "from jaxai.cli import main; main(['trian'])",
    ],
    ids=["import jaxai", "jaxai --help", "jaxai train --help", "jaxai trian"],
)
def test_starting_imports_nothing_heavy(code):
    heavy = {"jax", "flax", "optax", "numpy", "orbax", "grain", "tensorflow_datasets", "tyro", "rich", "matplotlib"}
    found = run(
        "import contextlib, json, sys\n"
        f"with contextlib.suppress(SystemExit):\n    {code}\n"
        f"print(json.dumps(sorted(set(sys.modules) & {heavy!r})))"
    )
    assert found == []
