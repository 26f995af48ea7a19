"""Mistakes about what keeps a run safe: saving, going back, several processes; and mistakes in one's own code."""

from __future__ import annotations

from tests.bad_input.cases import PRELUDE, case

#: What the cases below may use besides the prelude of all others.
OWN = '''\
import dataclasses

import jax

from jaxai import RollBack
from jaxai.optim import Optimizer
from jaxai.tasks import Out


class Model(nn.Module):
    """A model of one's own: `give` is called with its logits, when training or else."""

    give: object = None
    when: bool | None = None

    @nn.compact
    def __call__(self, inputs, train=False):
        logits = nn.Dense(3)(inputs.reshape(len(inputs), -1).astype(jnp.float32))
        return logits if self.give is None or self.when not in (None, train) else self.give(logits)


@dataclasses.dataclass(frozen=True)
class Own:
    """A task of one's own, of which any part may be another."""

    start: object = lambda: {"params": {"w": jnp.ones(3)}}
    total: object = lambda w, batch: jnp.sum(w)
    out: object = lambda total, weight: Out(total, weight, {}, {})

    def init(self, key, batch):
        return self.start()

    def loss(self, variables, batch, key, train):
        weight = jnp.float32(batch["label"].shape[0])
        return self.out(weight * self.total(variables["params"]["w"], batch), weight)


@dataclasses.dataclass(frozen=True)
class Checked(Own):
    def check(self, variables, batch):
        raise RuntimeError("no check")


@dataclasses.dataclass(frozen=True)
class Pictured(Own):
    def images(self, batch):
        raise RuntimeError("no pictures")


class Source:
    """A dataset of one's own, of which any part may be another."""

    def __init__(self, give=None, length=lambda: 24):
        self.give, self.length = give, length

    def __len__(self):
        return self.length()

    def __getitem__(self, index):
        good = {"image": np.zeros((4, 4, 1), np.uint8), "label": 1}
        return good if self.give is None else self.give(good)


class Fast(Source):
    def batch(self, indices):
        good = {"image": np.zeros((len(indices), 4, 4, 1), np.uint8), "label": np.ones(len(indices), np.int32)}
        return self.give(good)

    def __getitem__(self, index):
        return {"image": np.zeros((4, 4, 1), np.uint8), "label": 1}


class Opened:
    def __init__(self, give):
        self.open = give


def fail(*_):
    raise OSError(5, "two\\nlines", "a/file")


def rate(make):
    return Optimizer(update=Call(optax.trace, decay=0.9), learning_rate=make)


'''


def own_file(fields: str) -> str:
    """As `experiment_file`, with the above at hand."""
    return f"{PRELUDE}{OWN}def get_config():\n    return experiment({fields})\n"


FIELDS = [
    case("checkpoint=Checkpoints(keep_every=100)", "checkpoint.keep_every: 100 has no unit", "Steps(500)"),
    case("checkpoint=Checkpoints(keep_every=Minutes(5))", "checkpoint.keep_every: 5minutes does not come", "use steps"),
    case("checkpoint=Checkpoints(keep_every=Steps(0))", "Steps: must be a number above 0, not 0"),
    case("checkpoint=Checkpoints(keep_last=True)", "checkpoint.keep_last: must be a whole number, is True"),
    case("checkpoint=Checkpoints(keep_last=1.5)", "checkpoint.keep_last: must be a whole number, is 1.5"),
    case("checkpoint=Checkpoints(keep_best='all')", "checkpoint.keep_best: must be a whole number, is 'all'"),
    case("checkpoint=Checkpoints(verify='no')", "checkpoint.verify: must be True or False, is 'no'"),
    case("checkpoint=Checkpoints(verify=1)", "checkpoint.verify: must be True or False, is 1"),
    case("checkpoint=Checkpoints(on_failure='ignore')", "checkpoint.on_failure: 'ignore' is unknown", "continue, stop"),
    case("checkpoint=Checkpoints(on_failure='stopp')", "checkpoint.on_failure: 'stopp' is unknown", "mean 'stop'?"),
    case("checkpoint=Checkpoints(on_failure=None)", "checkpoint.on_failure: None is unknown"),
    case("checkpoint=Checkpoints(deadline=0)", "checkpoint.deadline: must be positive, is 0"),
    case("checkpoint=Checkpoints(deadline=-1.5)", "checkpoint.deadline: must be positive, is -1.5"),
    case("checkpoint=Checkpoints(deadline=np.nan)", "checkpoint.deadline: must be positive, is nan"),
    case("checkpoint=Checkpoints(deadline=np.inf)", "checkpoint.deadline: must be"),
    case("checkpoint=Checkpoints(deadline='10m')", "checkpoint.deadline: must be a number, is '10m'"),
    case("checkpoint=Checkpoints(deadline=Minutes(1))", "checkpoint.deadline: must be a number, is Minutes(count=1)"),
    case("checkpoint=Checkpoints(keep_lats=2)", "TypeError", "unexpected keyword argument 'keep_lats'"),
    case("roll_back=True", "roll_back: must be a RollBack, is True"),
    case("roll_back=RollBack", "roll_back: is the class RollBack, not a value", "RollBack(...)"),
    case("roll_back=RollBack(window=3)", "roll_back.window: must be at least 4, is 3"),
    case("roll_back=RollBack(window=20.0)", "roll_back.window: must be a whole number, is 20.0"),
    case("roll_back=RollBack(at_most=0)", "roll_back.at_most: must be at least 1, is 0"),
    case("roll_back=RollBack(deviations=0)", "roll_back.deviations: must be positive, is 0"),
    case("roll_back=RollBack(deviations=-6.0)", "roll_back.deviations: must be positive, is -6"),
    case("roll_back=RollBack(deviations=np.nan)", "roll_back.deviations: must be positive, is nan"),
    case("roll_back=RollBack(deviations='six')", "roll_back.deviations: must be a number, is 'six'"),
    case("roll_back=RollBack(sigma=3)", "TypeError", "unexpected keyword argument 'sigma'"),
    case("reproducible=1", "reproducible: must be True or False, is 1"),
    case("reproducible=True, accumulate=2", "reproducible: cannot go with accumulate", "accumulate=1"),
    case("reproducible=True, train=pipe(batch_size=9)", "train.batch_size: 9 does not make two equal", "multiple of 2"),
    case("reproducible=True, evals={'test': pipe(batch_size=7)}", "evals.test.batch_size: 7 does not make two equal"),
    case("on_nonfinite=True", "on_nonfinite: True is unknown", "skip, stop"),
    case("ema=np.nan", "ema: must lie between 0 and 1, is nan"),
    case("log_every=Minutes(1)", "log_every: 1minutes does not come to a number of steps"),
    case("duration=Steps(np.inf)", "Steps: must be a number above 0, not inf"),
    case("train=pipe(prefetch=0)", "prefetch: must be at least 1, is 0"),
    case("train=pipe(batch_size=8.0)", "batch_size: must be a whole number, is 8.0"),
    case("train=pipe(shuffle='yes')", "shuffle: must be True or False, is 'yes'"),
    case("train=pipe(workers=1.5)", "workers: must be a whole number, is 1.5"),
    case("parallel=Mesh(data=1.5)", "parallel.data: must be a whole number, is 1.5"),
    case("start_from=3", "start_from: must be text, is 3"),
    case("seed=2**70", "seed: "),
    case("evals={3: pipe()}", "evals: 3 cannot name an evaluation"),
]

#: What one's own task, model or optimizer raises while it is traced, or gives instead of what it should.
TRACED = [
    case("task=Own(start=lambda: 1 / 0)", "task.init: ZeroDivisionError: division by zero (--debug shows where)"),
    case("task=Own(start=lambda: None)", "task.init: TypeError: 'NoneType' object is not iterable", "--debug"),
    case("task=Own(start=lambda: {'weights': 1})", "task.init: gives no 'params' collection", "return {'params': ...}"),
    case("task=Own(total=lambda w, batch: w @ jnp.ones(4))", "task.loss: TypeError: dot_general", "--debug"),
    case("task=Own(total=lambda w, batch: jnp.sum(w + batch['lable']))", "task.loss: KeyError: 'lable'", "--debug"),
    case(
        "task=Own(total=lambda w, batch: w)", "task.loss: TypeError: Gradient only defined for scalar-output", "--deb"
    ),
    case("task=Own(total=lambda w, batch: 1.0 if w[0] > 0 else 2.0)", "task.loss: TracerBoolConversionError: ", "--d"),
    case("task=Own(total=lambda w, batch: np.sum(np.asarray(w)))", "task.loss: TracerArrayConversionError: ", "--deb"),
    case("task=Own(total=lambda w, batch: float(w[0]))", "task.loss: ConcretizationTypeError: ", "--debug"),
    case("task=Own(total=lambda w, batch: fail())", "task.loss: OSError: [Errno 5] two lines: 'a/file'", "--debug"),
    case("task=Own(total=lambda w, batch: exec('assert 1 > 2'))", "task.loss: AssertionError", "--debug"),
    case("task=Own(out=lambda total, weight: None)", "task.loss: AttributeError: 'NoneType' object has no", "--debug"),
    case("task=Own(out=lambda total, weight: (total, weight))", "task.loss: AttributeError: 'tuple' object", "--deb"),
    case("task=Own(out=lambda total, weight: Out(total, weight, {}, None))", "task.loss: TypeError: ", "--debug"),
    case("task=Own(out=lambda total, weight: Out(total, weight, {}, {'a': total}))", "task.loss: ", "metric"),
    case("task=Own(out=lambda t, w: Out(t, w, {'new': jnp.ones(2)}, {}))", "task.loss: ", "new"),
    case("task=Own(out=lambda t, w: Out(t, w, {'new': t}, {})), on_nonfinite='skip'", "task.loss: ", "new"),
    case("task=task(model=Model(give=fail))", "error: task.", "OSError: [Errno 5] two lines", "--debug"),
    case("task=task(model=Model(give=fail, when=True)), evals={}", "error: task.", "OSError: [Errno 5] two", "--debug"),
    case("task=task(model=Model(give=fail, when=False))", "error: task.", "OSError: [Errno 5] two lines", "--debug"),
    case(
        "task=task(model=Model(give=lambda x: x @ jnp.ones((4, 3))))", "error: task.", "TypeError: dot_general", "--d"
    ),
    case("task=task(model=Model(give=lambda x: x[0]))", "task.model: must give logits [batch, class], gives"),
    case("task=task(model=Model(give=lambda x: {'logits': x}))", "task.model: must give logits [batch, class], gives"),
    case("task=Checked()", "task.check: RuntimeError: no check", "--debug"),
    case("task=Pictured()", "task.images: RuntimeError: no pictures", "--debug"),
    case("optimizer=Call(optax.inject_hyperparams, inner_factory=3)", "optimizer: TypeError: 3 is not a callable"),
    case("optimizer=optax.GradientTransformation(fail, fail)", "error: ", "OSError: [Errno 5] two lines", "--debug"),
    case("optimizer=optax.GradientTransformation(lambda p: (), fail)", "error: ", "OSError: [Errno 5] two", "--debug"),
    case("optimizer=rate(lambda step: step)", "optimizer.learning_rate: "),
]

#: What one's own dataset raises, or gives instead of what it should, before the first step.
SOURCES = [
    case("train=pipe(Source(length=fail))", "error: train.source: ", "OSError: [Errno 5] two lines: 'a/file'"),
    case("train=pipe(Source(length=lambda: -1))", "error: train.source: ", "ValueError: __len__() should return >= 0"),
    case(
        "train=pipe(Source(length=lambda: 2.0))",
        "error: train.source: ",
        "TypeError: 'float' object cannot be interpreted",
    ),
    case("evals={'test': pipe(Source(length=fail))}", "error: evals.test.source: ", "OSError: [Errno 5] two lines"),
    case("train=pipe(Source(fail))", "train: example 0: cannot be read: OSError: [Errno 5] two lines: 'a/file'"),
    case("evals={'test': pipe(Source(fail))}", "evals.test: example 0: cannot be read: OSError: [Errno 5] two lines"),
    case("train=pipe(Source(lambda good: None))", "train: example 0: is NoneType, not a dict"),
    case("train=pipe(Source(lambda good: {}))", "train: example 0: is an empty dict"),
    case("train=pipe(Source(lambda good: good | {'label': 'cat'}))", "train: example 0: label holds text, not numbers"),
    case("train=pipe(Source(lambda good: good | {'label': None}))", "train: example 0: label holds objects, not"),
    case("train=pipe(Source(lambda good: good | {'label': {'a': 1}}))", "train: example 0: label holds objects, not"),
    case(
        "train=pipe(Source(lambda good: good | {'label': 2**40}))", "train: example 0: label has 1099511627776, beyond"
    ),
    case("train=pipe(Source(lambda good: good | {'label': [1, [2]]}))", "train: example 0: ", "label"),
    case("train=pipe(Source(lambda good: good | {'mask': 1}))", "train: has a field 'mask'", "rename it"),
    case("train=pipe(Fast(fail))", "error: train: ", "OSError: [Errno 5] two lines: 'a/file'"),
    case("train=pipe(Fast(lambda good: None))", "train: batch() gave NoneType, not a dict of arrays"),
    case("train=pipe(Fast(lambda good: good | {'label': 1}))", "train: batch() gave label with shape [] for 8 indices"),
    case("train=pipe(Fast(lambda good: {'label': good['label']}))", "train: example ", "has ['label'], the first has"),
    case("train=pipe(Opened(fail))", "error: train", "OSError: [Errno 5] two lines: 'a/file'"),
    case("train=pipe(Opened(lambda: None))", "error: train.source: NoneType is not a dataset"),
    case("train=pipe(Opened(lambda: {}['x']))", "error: train", "KeyError: 'x'"),
    case("train=pipe(x for x in range(24))", "train.source: generator is not a dataset", "__len__ and __getitem__"),
    case("train=pipe(Source)", "train.source: ", "not a"),
]

#: Commands beside a good `GOOD.py`, a `notes.txt` and a `folder`; nothing is to change.
COMMANDS = [
    case("train GOOD.py --restarts", "command line: argument --restarts: expected one argument", "jaxai train --help"),
    case("train GOOD.py --restarts many", "command line: argument --restarts: invalid int value: 'many'"),
    case("train GOOD.py --restarts 1.5", "command line: argument --restarts: invalid int value: '1.5'"),
    case("train GOOD.py --restarts -1", "--restarts: must not be negative, is -1"),
    case("train GOOD.py --restarts=-1 --run run", "--restarts: must not be negative, is -1"),
    case("train --restarts 3", "FILE: is missing"),
    case("train GOOD.py --watchdog -1", "--watchdog: must not be negative, is -1", "0 switches it off"),
    case("train GOOD.py --watchdog nan", "--watchdog: must not be negative, is nan", "0 switches it off"),
    case("train GOOD.py --watchdog soon", "command line: argument --watchdog: invalid float value: 'soon'"),
    case("train GOOD.py --watchdog", "command line: argument --watchdog: expected one argument"),
    case("train GOOD.py --coordinator localhost:1234", "--coordinator: says nothing without --distributed", "add --di"),
    case("train GOOD.py --processes 2", "--processes: says nothing without --distributed", "add --distributed"),
    case("train GOOD.py --process 0", "--process: says nothing without --distributed", "add --distributed"),
    case("train GOOD.py --distributed --processes 2 --process 0", "--coordinator: is missing: --coordinator, --proc"),
    case("train GOOD.py --distributed --coordinator h:1 --process 0", "--processes: is missing"),
    case("train GOOD.py --distributed --coordinator h:1 --processes 2", "--process: is missing"),
    *(
        case(f"train GOOD.py --distributed --coordinator {given} --processes 2 --process 0", *says)
        for given, says in {
            "localhost": ("--coordinator: 'localhost' is not HOST:PORT", "such as localhost:9876"),
            "localhost:": ("--coordinator: 'localhost:' is not HOST:PORT",),
            ":1234": ("--coordinator: ':1234' is not HOST:PORT",),
            "localhost:http": ("--coordinator: 'localhost:http' is not HOST:PORT",),
            "localhost:0": ("--coordinator: 'localhost:0' is not HOST:PORT",),
            "localhost:70000": ("--coordinator: 'localhost:70000' is not HOST:PORT",),
            "http://localhost:1234/": ("--coordinator: 'http://localhost:1234/' is not HOST:PORT",),
        }.items()
    ),
    *(
        case(f"train GOOD.py --distributed --coordinator h:1 {given}", *says)
        for given, says in {
            "--processes 2 --process 2": ("--process: 2 is none of 2 processes", "0 to 1"),
            "--processes 2 --process -1": ("--process: -1 is none of 2 processes", "0 to 1"),
            "--processes 0 --process 0": ("--processes: must be at least 1, is 0",),
            "--processes two --process 0": ("command line: argument --processes: invalid int value: 'two'",),
            "--processes 2 --process first": ("command line: argument --process: invalid int value: 'first'",),
        }.items()
    ),
    case("train GOOD.py --distributed=yes", "command line: argument --distributed: ignored explicit argument 'yes'"),
    case("train GOOD.py --distribute", "--distribute: no such field"),
    case("train GOOD.py --resume", "--resume: no such field"),
    case("describe GOOD.py --restarts 3", "--restarts: no such field"),
    case("evaluate folder --distributed", "folder: is no run folder"),
    case("train GOOD.py --run notes.txt", "notes.txt: cannot be written: File exists", "--run"),
    case("train GOOD.py --run folder", "folder: is not empty and holds no run", "--run"),
    case("train GOOD.py --run notes.txt/run", "notes.txt/run: cannot be written: Not a directory", "--run"),
    case("train GOOD.py --run /proc/run", "/proc/run: cannot be written: No such file or directory", "--run"),
    case("train GOOD.py --run " + "x" * 300, "x: cannot be written: File name too long", "--run"),
]

OVERRIDES = [
    case("--checkpoint.deadline soon", "--checkpoint.deadline: could not convert string to float: 'soon'"),
    case("--checkpoint.deadline 0", "checkpoint.deadline: must be positive, is 0"),
    case("--checkpoint.on-failure never", "--checkpoint.on-failure: invalid choice", "never", "stop"),
    case("--checkpoint.keep-every often", "--checkpoint.keep-every: 'often' is not a duration", "10minutes"),
    case("--checkpoint.keep-every 5minutes", "checkpoint.keep_every: 5minutes does not come to a number of steps"),
    case("--checkpoint.keep-evry 5steps", "--checkpoint.keep-evry: no such field", "did you mean --checkpoint.keep-ev"),
    case("--checkpoint.verify maybe", "maybe: is not an option", "switches like --train.no-cache"),
    case("--roll-back.window 9", "--roll-back.window: the experiment has no roll_back", "its file"),
    case("--reproducible --accumulate 2", "reproducible: cannot go with accumulate"),
    case(
        "--reproducible --train.batch-size 7", "train.batch_size: 7 does not make two equal virtual shards on each of"
    ),
    case("--reproducibel", "--reproducibel: no such field", "did you mean --reproducible?"),
    case("--on-nonfinite rollback", "--on-nonfinite: invalid choice", "rollback", "stop"),
]

#: Real processes, each of which is to end within three seconds; `held` is a folder in use.
PROCESSES = [
    case("train GOOD.py --watchdog -1", "--watchdog: must not be negative, is -1"),
    case("train GOOD.py --coordinator localhost:1234", "--coordinator: says nothing without --distributed"),
    case("train GOOD.py --distributed", "--distributed: no cluster was found", "--coordinator HOST:PORT --processes"),
    case("train GOOD.py --distributed --coordinator localhost --processes 2 --process 0", "is not HOST:PORT"),
    case("train GOOD.py --distributed --coordinator h:1 --processes 2 --process 5", "--process: 5 is none of 2"),
    case("train GOOD.py --run held", "held: is in use by process ", "wait for it, stop it, or choose another folder"),
    case("train GOOD.py --restarts -1", "--restarts: must not be negative, is -1"),
]

#: On several devices: how many, and fields of the experiment.
DEVICES = [
    (2, case("reproducible=True, parallel=Mesh(data=1, fsdp=2)", "reproducible: needs the whole state", "fsdp=1")),
    (3, case("reproducible=True, parallel=PMap(), train=pipe(batch_size=24), evals={}", "reproducible: 3 devices do")),
    (8, case("reproducible=True, parallel=PMap()", "train.batch_size: 8 does not make two equal virtual", "of 16")),
]
