"""Commands that cannot be carried out, and files that hold no experiment."""

from __future__ import annotations

from tests.bad_input.cases import case

#: `GOOD.py` is a good experiment file, `broken.py` none, `folder` a folder of Python files, `new.py` no file.
COMMANDS = [
    case("trian GOOD.py", "trian: no such command", "did you mean 'train'?"),
    case("train", "FILE: is missing", "experiments/digits_convnet.py"),
    case("train --seed 1", "--seed: stands before the experiment or run", "that comes first"),
    case("train GODO.py", "GODO.py: no such file", "did you mean 'GOOD.py'?"),
    case("train folder", "folder: is a folder, and holds no run", "such as folder/one.py"),
    case("train missing/GOOD.py", "missing/GOOD.py: no such file"),
    case("train notes.txt", "notes.txt: is no experiment", "a .py file with get_config(), or a run's config.json"),
    case("train GOOD.py --run", "command line: argument --run: expected one argument", "jaxai train --help"),
    case(
        "train GOOD.py --display tk", "display: unknown display 'tk'", "known: auto, none, notebook, plain, rich"
    ),
    case("train GOOD.py --display plian", "display: unknown display 'plian'", "did you mean 'plain'?"),
    case("describe", "FILE: is missing"),
    case("describe GOOD.py --sed 1", "--sed: no such field", "did you mean --seed?"),
    case("evaluate", "command line: the following arguments are required: RUN", "jaxai evaluate --help"),
    case("evaluate nowhere", "nowhere: is no run folder: it has no config.json"),
    case("evaluate folder", "folder: is no run folder: it has no config.json"),
    case("evaluate --evals.test.batch-size 4 run", "--evals.test.batch-size: stands before", "that comes first"),
    case("evaluate nowhere --step last", "command line: argument --step: invalid int value: 'last'"),
    case("report", "command line: the following arguments are required: RUN", "jaxai report --help"),
    case("report nowhere", "nowhere: is no run folder: it has no config.json"),
    case("report folder --output x.html", "--output: is not an option of jaxai report", "jaxai report --help"),
    case("prepare mnits", "mnits: no such dataset to prepare", "did you mean 'mnist'?"),
    case("prepare mnist --from missing", "--from: missing does not exist"),
    case("prepare mnist --from folder", "train-images-idx3-ubyte: is not in folder"),
    case("prepare mnist --from a --url b", "command line: argument --url: not allowed with argument --from"),
    case("prepare mnist --url ftp://here", "--url: 'ftp://here' is not an http address", "--from PATH"),
    case("prepare mnist --url http://127.0.0.1:9/", "http://127.0.0.1:9/", "cannot be downloaded", "--from PATH"),
    case("new GOOD.py", "GOOD.py: exists already", "choose another name"),
    case("new digits", "digits: is no Python file name", "digits.py"),
    case("new missing/new.py", "missing/new.py: cannot be written: No such file or directory"),
    case("new GOOD.py/new.py", "GOOD.py/new.py: cannot be written: Not a directory"),
    case("new", "command line: the following arguments are required: FILE", "jaxai new --help"),
]

#: Overrides of the good experiment.
OVERRIDES = [
    case("--sead 1", "--sead: no such field", "did you mean --seed?"),
    case("--train.batch-sise 4", "--train.batch-sise: no such field", "did you mean --train.batch-size?"),
    case("--train.batch_sise=4", "--train.batch_sise: no such field", "did you mean --train.batch-size?"),
    case("--task.model.num-clases 4", "--task.model.num-clases: no such field", "--task.model.num-classes?"),
    case("--evals.tset.batch-size 4", "--evals.tset.batch-size: no such field", "--evals.test.batch-size?"),
    case("--optimizer.update.dekay 0.5", "--optimizer.update.dekay: no such field", "--optimizer.update.decay?"),
    case("--early-stopping.patience 3", "--early-stopping.patience: the experiment has no early_stopping", "its file"),
    case("--nonsense 3", "--nonsense: no such field", "--help lists all fields"),
    case("7", "7: is not an option", "options look like --seed 1"),
    case("--seed one", "--seed: invalid", "'one'"),
    case("--seed 1.5", "--seed: invalid", "'1.5'"),
    case("--seed", "--seed: Missing value for argument"),
    case("--seed=-1", "seed: must not be negative, is -1"),
    case("--ema much", "--ema:", "much"),
    case("--ema 2", "ema: must lie between 0 and 1, is 2.0"),
    case("--precision float16", "--precision: invalid choice", "float16", "float32"),
    case("--duration 5", "--duration: '5' is not a duration", "such as 500steps, 12epochs"),
    case("--duration 5parsecs", "--duration: '5parsecs' is not a duration", "such as 500steps, 12epochs"),
    case("--duration 0steps", "--duration: Steps must be a number above 0, not 0"),
    case("--duration None", "--duration: 'None' is not a duration"),
    case("--duration 5minutes", "duration: 5minutes does not come to a number of steps", "use steps, epochs or"),
    case("--checkpoint.every often", "--checkpoint.every: 'often' is not a duration", "10minutes"),
    case("--checkpoint.keep-last 0", "checkpoint.keep_last: must be at least 1, is 0"),
    case("--train.batch-size 0", "batch_size: must be at least 1, is 0"),
    case("--train.cache maybe", "maybe: is not an option", "switches like --train.no-cache"),
    case("--accumulate 3", "train.batch_size: 8 does not divide into 3 micro-batches"),
    case("--parallel.devices 99", "parallel.devices: 99 devices are asked for"),
    case("--optimizer.learning-rate fast", "--optimizer.learning-rate: could not convert", "'fast'"),
    case("--task.label-smoothing 1", "task.label_smoothing: must be at least 0 and below 1, is 1.0"),
]

#: Whole files; the place of the mistake is named by its line.
FILES = [
    case("", "BAD.py: has no function get_config()"),
    case("def get_confg():\n    pass\n", "BAD.py: has no function get_config()", "did you mean 'get_confg'?"),
    case("get_config = 3\n", "BAD.py: has no function get_config()"),
    case("def get_config():\n    pass\n", "BAD.py: get_config() gives NoneType, not an Experiment"),
    case("def get_config():\n    return {'seed': 1}\n", "BAD.py: get_config() gives dict, not an Experiment"),
    case("def get_config(seed):\n    pass\n", "BAD.py: TypeError: get_config() missing 1 required", "'seed'"),
    case("import os\n\ndef get_config(:\n", "BAD.py:3: SyntaxError: invalid syntax"),
    case("def get_config():\n  x = 1\n   y = 2\n", "BAD.py:3: SyntaxError: unexpected indent"),
    case("'''never ends\n", "BAD.py:1: SyntaxError: unterminated triple-quoted string"),
    case("import jax\nimport jaxx\n", "BAD.py:2: ModuleNotFoundError: No module named 'jaxx'"),
    case("from jaxai import Experment\n", "BAD.py:1: ImportError: cannot import name 'Experment'"),
    case("from jaxai.models import ConvNett\n", "BAD.py:1: ImportError: cannot import name 'ConvNett'"),
    case("x = 1\ny = x / 0\n", "BAD.py:2: ZeroDivisionError: division by zero"),
    case("def get_config():\n    x = {}\n    return x['size']\n", "BAD.py:3: KeyError: 'size'"),
    case(
        "def get_config():\n    return helper()\n\ndef helper():\n    raise ValueError('two\\nlines')\n",
        "BAD.py:5",
        "two lines",
    ),
    case("raise SystemExit(3)\n", "BAD.py:1: SystemExit: 3"),
    case("def get_config():\n    exit()\n", "BAD.py:2: SystemExit"),
    case("def get_config():\n    return get_config()\n", "BAD.py:2: RecursionError: maximum recursion depth"),
    case("x = '\x00'\n", "BAD.py", "null bytes"),
    case("x = '\udcff'\n", "BAD.py", "SyntaxError", "utf-8"),
]
