"""Fields of an experiment that cannot be what they say, as keyword arguments of `experiment(...)`."""

from __future__ import annotations

from bad_input.cases import case

DURATIONS = [
    case("duration=5", "duration: 5 has no unit", "Epochs(10) or Steps(500)"),
    case("duration=Minutes(5)", "duration: 5minutes does not come to a number of steps", "use steps, epochs"),
    case("duration=Steps(0)", "Steps: must be a number above 0, not 0"),
    case("duration=Epochs('ten')", "Epochs: must be a number above 0, not 'ten'"),
    case("evaluate_every=Minutes(1)", "evaluate_every: 1minutes does not come", "use steps, epochs"),
    case("evaluate_every=2", "evaluate_every: 2 has no unit", "Steps(500)"),
    case("log_every=50", "log_every: 50 has no unit", "Steps(500)"),
    case("checkpoint=Checkpoints(every=100)", "checkpoint.every: 100 has no unit", "Steps(500)"),
    case("checkpoint=Checkpoints(keep_last=0)", "checkpoint.keep_last: must be at least 1, is 0"),
    case("checkpoint=Checkpoints(keep_best=-1)", "checkpoint.keep_best: must not be negative, is -1"),
]

TASKS = [
    case("task=NoLoss()", "task: NoLoss has no method 'loss'", "see jaxai.Task"),
    case("task=SoftmaxRegression()", "task: SoftmaxRegression has no method 'loss'"),
    case("task=task(model=Cube())", "task.model: must give logits [batch, class], gives [8, 4, 4, 3]"),
    case("task=task(model='mlp')", "task.model: must be a Module, is 'mlp'"),
    case("task=task(model=LeNet)", "task.model: is the class LeNet, not a value", "LeNet(...)"),
    case("task=task(model=LeNet())", "error: LeNet inputs: images of 4 x 4", "at least 12 x 12"),
    case("task=task(model=SoftmaxRegression(classes=3))", "TypeError", "unexpected keyword argument 'classes'"),
    case("task=task(inputs='imgae')", "error: task.inputs: the data has no field 'imgae'", "did you mean 'image'?"),
    case("task=task(label='lable')", "error: task.label: the data has no field 'lable'", "did you mean 'label'?"),
    case("task=task(label='image')", "error: task.label: 'image' must be one integer an example, is uint8[4, 4, 1]"),
    case("task=task(class_weights=(1.0, 2.0))", "task.class_weights: has 2 weights, the model 3 classes"),
    case("task=task(label_smoothing=1.0)", "task.label_smoothing: must be at least 0 and below 1, is 1.0"),
    case("task=task(top_k=(5,))", "task.top_k: top-5 of 3 classes", "1 to 3"),
    case("task=task(augment=RandomCrop())", "task.augment: must be a tuple, is RandomCrop(", "(x,)"),
    case("task=task(augment=('flip',))", "task.augment.0: str is no augmentation", "jaxai.data.augment"),
    case("task=task(augment=(Normalize(mean=(0.1, 0.2)),))", "error: Normalize.mean: 2 values", "needs 1 or 1"),
    case("freeze=('haed',)", "error: freeze: rule 'haed' matches no parameter", "nearest: head/"),
    case("freeze=('head/(kernel',)", "freeze: rule 'head/(kernel' is not a regular expression", "unterminated"),
    case("freeze=('.*',)", "error: freeze: holds every parameter"),
    case("freeze='head'", "freeze: must be a tuple, is 'head'", "(x,)"),
]

OPTIMIZERS = [
    case("optimizer=3", "optimizer: gives int, not an Optax GradientTransformation", "optim.adamw(1e-3)"),
    case("optimizer=optax.adam", "optimizer: gives function, not an Optax", "Call(optax.adam, learning_rate=1e-3)"),
    case("optimizer=Call(optax.constant_schedule, value=1.0)", "optimizer: gives function, not an Optax"),
    case("optimizer=Call(optax.adam, learning_rat=0.1)", "adam: has no argument 'learning_rat'", "'learning_rate'?"),
    case("optimizer=Call(optax.adam)", "adam: needs the argument 'learning_rate'"),
    case("optimizer=Call('adam')", "Call: 'adam' is not a function", "Call(optax.adam, learning_rate=1e-3)"),
    case("optimizer=optim.adamw('fast')", "optimizer.learning_rate: must be a number or a schedule, is 'fast'"),
    case("optimizer=optim.adamw(-0.1)", "optimizer.learning_rate: must not be negative, is -0.1"),
    case("optimizer=optim.sgd(0.1, momentom=0.9)", ":", "TypeError: ", "unexpected keyword argument 'momentom'"),
    case("optimizer=optim.sgd(0.1, weight_decay=-1.0)", "optimizer.weight_decay: must not be negative, is -1.0"),
    case("optimizer=optim.sgd(0.1, clip_norm=0.0)", "optimizer.clip_norm: must be above 0, is 0.0", "None turns"),
    case(
        "optimizer=optim.Optimizer(update=Call(optax.constant_schedule, value=1.0), learning_rate=0.1)",
        "optimizer.update: gives function, not an Optax GradientTransformation",
        "Call(optax.scale_by_adam)",
    ),
    case(
        "optimizer=optim.adamw(0.1, decay=(('kernle', 1.0),))",
        "optimizer.decay: rule 'kernle' matches no parameter",
        "nearest: head/kernel",
    ),
    case(
        "optimizer=optim.sgd(0.1, multipliers=(('bais', 2.0),))",
        "optimizer.multipliers: rule 'bais' matches no parameter",
        "head/bias",
    ),
    case(
        "optimizer=optim.sgd(0.1, multipliers=(('[a', 2.0),))",
        "optimizer.multipliers: rule '[a' is not a regular expression",
    ),
    case(
        "optimizer=optim.sgd(optim.WarmupCosine(peak=0.1, warmup=Steps(6)))",
        "learning_rate.warmup: 6steps is 6 steps of the run's 6",
        "shorten it",
    ),
    case(
        "optimizer=optim.sgd(optim.Constant(peak=0.1, warmup=3))",
        "learning_rate.warmup: 3 has no unit",
        "Steps(500)",
    ),
    case(
        "optimizer=optim.sgd(optim.WarmupSteps(peak=0.1, warmup=Minutes(3)))",
        "optimizer.learning_rate: 3minutes does not come to a number of steps",
    ),
    case(
        "optimizer=optim.sgd(optim.WarmupSteps(peak=0.1, warmup=Steps(3), boundaries=(Steps(2),)))",
        "learning_rate.boundaries: a boundary lies within the warm-up",
    ),
    case(
        "optimizer=optim.sgd(optim.WarmupSteps(peak=0.1, boundaries=(4,)))",
        "learning_rate.boundaries: 4 has no unit",
        "Steps(500)",
    ),
]

OTHERS = [
    case("train=data()", "train: must be a Pipeline, is Arrays"),
    case("train=pipe(batch_size=0)", "batch_size: must be at least 1, is 0"),
    case("train=pipe(workers=-1)", "workers: must not be negative, is -1"),
    case("evals=pipe()", "evals: must be a dict, is a Pipeline"),
    case("evals={'test': data()}", "evals.test: must be a Pipeline, is Arrays"),
    case("evals={'train': pipe()}", "evals: 'train' cannot name an evaluation", "not train"),
    case("evals={'my test': pipe()}", "evals: 'my test' cannot name an evaluation", "letters, digits, _"),
    case("best=Best(metric='accuracy')", "best.metric: 'accuracy' is not EVALUATION/METRIC", "test/accuracy"),
    case("best=Best(metric='tets/accuracy')", "best.metric: there is no evaluation 'tets'", "did you mean 'test'?"),
    case("best=Best(metric='test/acuracy')", "best.metric: no 'test/acuracy'", "did you mean 'test/accuracy'?"),
    case("best=Best(metric='test/accuracy', mode='most')", "best.mode: 'most' is unknown", "known: max, min"),
    case("best='test/accuracy'", "best: must be a Best, is 'test/accuracy'"),
    case("early_stopping=EarlyStopping()", "early_stopping: needs `best`", "best=Best(metric="),
    case("early_stopping=EarlyStopping(patience=0)", "early_stopping.patience: must be at least 1, is 0"),
    case("early_stopping=3", "early_stopping: must be an EarlyStopping, is 3"),
    case("checkpoint=Steps(100)", "checkpoint: must be a Checkpoints, is Steps(count=100)"),
    case("seed=-1", "seed: must not be negative, is -1"),
    case("seed=1.5", "seed: must be a whole number, is 1.5"),
    case("accumulate=0", "accumulate: must be at least 1, is 0"),
    case("accumulate=3", "train.batch_size: 8 does not divide into 3 micro-batches"),
    case("ema=1.5", "ema: must lie between 0 and 1, is 1.5"),
    case("ema='0.9'", "ema: must be a number, is '0.9'"),
    case("precision='float16'", "precision: 'float16' is unknown", "did you mean 'bfloat16'?"),
    case("on_nonfinite='skipp'", "on_nonfinite: 'skipp' is unknown", "did you mean 'skip'?"),
    case("parallel='pmap'", "parallel: str has no method 'lay_out'", "PMap() or Mesh()"),
    case("parallel=PMap", "parallel: is the class PMap, not a value", "PMap(...)"),
    case("parallel=PMap(devices=99)", "parallel.devices: 99 devices are asked for", "1 to "),
    case("parallel=Mesh(data=99)", "parallel: a mesh of 99 does not fit the", "sizes that multiply to"),
    case("parallel=Mesh(fsdp=0)", "parallel.fsdp: must be at least 1, or -1 for the rest, is 0"),
    case("parallel=Mesh(data=-1, fsdp=-1)", "parallel: only one axis can take the rest", "give data or fsdp a size"),
    case("start_from='nowhere'", "start_from: nowhere is no run folder with checkpoints"),
    case("sead=3", ":", "TypeError: ", "unexpected keyword argument 'sead'"),
]
