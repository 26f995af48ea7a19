"""Trains small experiments as told by JSON on the command line, and prints a line of JSON of what came out of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import numpy as np

import jaxai
from jaxai import optim
from jaxai.core import tree
from jaxai.data.augment import Normalize, RandomCrop
from jaxai.data.tfds import Tfds
from jaxai.models import MLP, ConvNet
from jaxai.tasks import Classification

MODELS = {
    "mlp": MLP(features=(16,), num_classes=10),
    "dropout": MLP(features=(16,), num_classes=10, dropout=0.5),
    "batchnorm": ConvNet(features=(8,), dense=(16,), norm="batch"),
    "conv": ConvNet(features=(8,), dense=(16,)),
}


def experiment(spec: dict) -> jaxai.Experiment:
    """The experiment that a spec asks for."""
    base = jaxai.Experiment(
        task=Classification(
            model=MODELS[spec.get("model", "mlp")],
            augment=(RandomCrop(padding=1), Normalize(mean=(0.3,), std=(0.35,))),
        ),
        train=jaxai.Pipeline(
            source=Tfds("digits", split="train"),
            batch_size=spec.get("batch_size", 48),
            cache=True,
            resident=spec.get("resident", False),
        ),
        evals={"test": jaxai.Pipeline(source=Tfds("digits", split="test[:100]"), batch_size=48, cache=True)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-2, warmup=jaxai.Steps(2)), clip_norm=1.0),
        duration=jaxai.Steps(spec.get("steps", 6)),
        evaluate_every=jaxai.Steps(3),
        log_every=jaxai.Steps(2),
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(3), keep_last=9),
        ema=0.9,
        parallel=eval(spec.get("parallel", "PMap()"), {"PMap": jaxai.PMap, "Mesh": jaxai.Mesh}),
    )
    return dataclasses.replace(base, **spec.get("fields", {}))


def digest(state: object) -> dict[str, str]:
    """sha256 of every leaf, by path."""
    arrays = jax.tree.map(lambda x: np.asarray(jax.device_get(x)), state)
    return {
        name: hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()[:16]
        for name, leaf in tree.flatten(arrays).items()
    }


def run(spec: dict) -> dict:
    """Trains, and tells losses, the final state, the examples seen and the records written."""
    folder = Path(spec["folder"]) if "folder" in spec else None
    losses, last, norm = [], None, 0.0
    for info in jaxai.steps(experiment(spec), folder, resume_anyway=True):
        losses.append(info.metrics()["loss"])
        if info.step == spec.get("kill_at"):
            while not (folder / "checkpoints" / "3" / "seal.json").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if info.step == info.total_steps:
            last, norm = (
                digest(info.state),
                float(np.sqrt(sum(np.sum(np.square(x)) for x in jax.device_get(jax.tree.leaves(info.state.params))))),
            )
    records = []
    if folder is not None:
        timing = ("seconds", "examples_per_second", "data_wait")
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        records = [{name: value for name, value in line.items() if name not in timing} for line in lines]
    return {"losses": losses, "state": last, "norm": norm, "records": records}


if __name__ == "__main__":
    for asked in json.loads(sys.argv[1]):
        print(json.dumps(run(asked)), flush=True)
