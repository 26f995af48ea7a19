"""jaxai's side, as a user iterates it: display, metrics.jsonl and TensorBoard on; or its compiled steps and no more."""

from __future__ import annotations

from jaxai.core import allocator

if __name__ == "__main__":
    allocator.keep_warm()  # as the command does, before libraries start threads with memory of their own

import dataclasses
import itertools
from typing import Any

import jax
from turns import LEARNING_RATE, Turns, Work, arguments

import jaxai
from jaxai import Checkpoints, Epochs, Experiment, Minutes, Pipeline, Steps, models, optim
from jaxai.data.source import Arrays
from jaxai.tasks import Classification

MODELS = {
    "convnet": models.ConvNet(features=(32, 64, 64), dense=(64,), padding="VALID", pool_last=False),
    "perceptron": models.MLP(features=(32,)),
}


def main() -> None:
    words, work, turns, folder = arguments()
    turns.packages = ("jax", "flax", "optax")
    if "bare" in words:
        bare(experiment(work), work, turns)
    else:
        whole(experiment(work), work, turns, folder)


def experiment(work: Work) -> Experiment:
    def pipeline(split: str) -> Pipeline:
        images, labels = work.data(split)
        return Pipeline(source=Arrays({"image": images, "label": labels}), batch_size=work.batch_size)

    declared = Experiment(
        task=Classification(model=MODELS[work.model]),
        train=pipeline("train"),
        evals={"validation": pipeline("validation")},
        optimizer=optim.adam(LEARNING_RATE),
        duration=Steps(1_000_000_000),
        evaluate_every=Epochs(1),
        checkpoint=Checkpoints(every=Minutes(1_000_000)),
    )
    if work.steps_per_call == 1:
        return declared
    # A record ends a dispatch, so they come after whole ones.
    several = {"steps_per_call": work.steps_per_call, "log_every": Steps(2 * work.steps_per_call)}
    return dataclasses.replace(declared, **several)


def whole(experiment: Experiment, work: Work, turns: Turns, folder: str) -> None:
    # An epoch's validation comes with the step after it, so a turn lasts from one such step to the next.
    due = work.train_steps + 1
    for info in jaxai.steps(experiment, folder, display="auto"):
        if info.step >= due:
            due += work.train_steps
            jax.block_until_ready(info.state)
            turns.num_parameters = count(info.state)
            turns.epoch_ended()


def bare(experiment: Experiment, work: Work, turns: Turns) -> None:
    """The compiled steps of training and validation on batches that stay on the device, and nothing else."""
    from jaxai import compat
    from jaxai.training.setup import set_up

    compat.enable_compilation_cache()
    setup = set_up(experiment)
    state = setup.init()
    turns.num_parameters = count(state)
    step, evaluate = setup.compiled_step(), setup.evaluator()
    batch, validation = jax.device_put((setup.example, next(setup.evals["validation"].evaluation())))
    while True:
        for _step in range(work.train_steps):
            state, _packed = step(state, batch)
        evaluate(state.variables(), itertools.repeat(validation, work.eval_steps))
        turns.epoch_ended()


def count(state: Any) -> int:
    """Parameters that are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


if __name__ == "__main__":
    main()
