"""jaxai's side, in a process of its own: the compiled training step of an experiment, or a compiled prediction."""

from __future__ import annotations

from jaxai.core import allocator

if __name__ == "__main__":
    allocator.keep_warm()  # as the command does, before libraries start threads with memory of their own

import dataclasses
import importlib.metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from serve import Opened, Run, serve
from sizes import Workload

import jaxai
from jaxai import Experiment, Pipeline, Steps, forms, optim
from jaxai.core import tree
from jaxai.data.source import Arrays
from jaxai.forms.onednn import library
from jaxai.models import MLP, ConvNet
from jaxai.models.bert import Bert
from jaxai.models.gpt2 import GPT2
from jaxai.models.recurrent import RecurrentEncoder
from jaxai.models.resnet import ResNet
from jaxai.models.vit import ViT
from jaxai.tasks import Classification, LanguageModel
from jaxai.training.setup import Setup, set_up

RATE = 1e-4
"""As PyTorch's."""
STEPS_A_CALL = 32


def open_workload(workload: Workload, device: str, smoke: bool) -> Opened:
    """The contenders of a workload."""
    if device == "gpu" and jax.default_backend() != "gpu" and not smoke:
        raise SystemExit("JAX sees no GPU")
    if workload.optimizer is None:
        return infer(workload)
    setup = set_up(experiment(workload, num_batches=1))
    contenders = {"jaxai": train(setup)}
    if workload.kind == "mlp":
        contenders[f"jaxai, {STEPS_A_CALL} steps a call"] = train_in_calls(workload)
    return Opened(contenders, tree.size(setup.abstract_state.params), [])


def train(setup: Setup) -> Run:
    """Steps of training on a batch that stays on the device, with all metrics."""
    held, step, batch = [setup.init()], setup.compiled_step(), jax.device_put(setup.example)

    def run(steps: int) -> int:
        state = held.pop()
        for _ in range(steps):
            state, _ = step(state, batch)
        held.append(jax.block_until_ready(state))
        return steps

    return run


def train_in_calls(workload: Workload) -> Run:
    """The same, several steps a call; on data that stay on the device, out of which each step picks its batch."""
    whole = experiment(workload, num_batches=32 * STEPS_A_CALL)
    resident = dataclasses.replace(whole.train, resident=True)
    setup = set_up(dataclasses.replace(whole, train=resident, steps_per_call=STEPS_A_CALL))
    held, calls = [setup.init()], setup.calls()

    def run(steps: int) -> int:
        state, num_taken = held.pop(), 0
        while num_taken < steps:
            state, _ = calls(state, calls.take(STEPS_A_CALL))
            num_taken += STEPS_A_CALL
        held.append(jax.block_until_ready(state))
        return num_taken

    return run


def infer(workload: Workload) -> Opened:
    """Predictions in float32, and with weights of half the precision."""
    task, batch = task_of(workload), noise(workload, workload.batch_size)
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    predict, inputs = forms.using("fast", jax.jit(task.predict)), jax.device_put(batch["tokens"])

    def by(variables: Any) -> Run:
        def run(steps: int) -> int:
            probabilities = None
            for _ in range(steps):
                probabilities = predict(variables, inputs)
            jax.block_until_ready(probabilities)
            return steps

        return run

    contenders = {"jaxai": by(variables), "jaxai, bfloat16": by(tree.cast(variables, jnp.bfloat16))}
    return Opened(contenders, tree.size(variables["params"]), [])


def experiment(workload: Workload, num_batches: int) -> Experiment:
    """As a user would write it, but for the data."""
    data = noise(workload, num_batches * workload.batch_size)
    rules = {"sgd": optim.sgd, "adam": optim.adam, "adamw": optim.adamw}
    return Experiment(
        task=task_of(workload),
        train=Pipeline(source=Arrays(data), batch_size=workload.batch_size),
        optimizer=rules[str(workload.optimizer)](RATE),
        duration=Steps(1_000_000_000),
        evaluate_every=None,
        precision="bfloat16" if workload.precision == "bfloat16" else "float32",
    )


def task_of(workload: Workload) -> Any:
    settings = workload.settings
    if workload.kind == "gpt":
        return LanguageModel(model=GPT2(**settings))
    if workload.kind == "lstm":
        # In one direction and with logits for each token, the encoder is a language model.
        whole = {"bidirectional": False, "pool": "none", "num_classes": settings["vocab_size"], "pad": None}
        return LanguageModel(model=RecurrentEncoder(**settings, **whole))
    if workload.kind == "bert":
        return Classification(model=Bert(**settings, pad=None), inputs="tokens")
    models: dict[str, Any] = {"convnet": ConvNet, "resnet": ResNet, "vit": ViT, "mlp": MLP}
    return Classification(model=models[workload.kind](**settings))


def noise(workload: Workload, size: int) -> dict[str, np.ndarray]:
    """So many examples."""
    random = np.random.default_rng(0)
    if workload.kind in ("gpt", "lstm"):  # one token more, which is only predicted
        shape = (size, workload.shape[0] + 1)
        return {"tokens": random.integers(1, workload.settings["vocab_size"], shape, dtype=np.int32)}
    label = random.integers(0, workload.settings["num_classes"], size, dtype=np.int32)
    if workload.is_text:
        shape = (size, *workload.shape)
        return {"tokens": random.integers(1, workload.settings["vocab_size"], shape, dtype=np.int32), "label": label}
    return {"image": random.normal(size=(size, *workload.shape)).astype(np.float32), "label": label}


if __name__ == "__main__":
    onednn = importlib.metadata.version("onednn") if library.is_ready() else "none"
    serve(open_workload, {"jaxai": jaxai.__version__, "jax": jax.__version__, "oneDNN": onednn})
