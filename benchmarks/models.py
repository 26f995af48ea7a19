"""How fast are the image models, and what do they need, beside timm's and torchvision's of the same architecture?

Method: for each model a training step (forward, backward, momentum; batch normalization in training mode) and a forward
pass in evaluation, on the same random images, one core, float32, in turns: jaxai's compiled, PyTorch's as timm or
torchvision make it, eager. FLOPs are XLA's count for one image in evaluation, memory what XLA reserves for the training
step besides its arguments. PyTorch's side runs where the extra `oracle` is installed, else it is left out. Images are
small, so that a round takes seconds on a CPU.

No target: it informs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from harness import Figure, alternate, parse, ratios, report

BATCH_SIZE = 8
MODES = ("training", "inference")

Contenders = dict[str, Callable[[], float]]


class Entry(NamedTuple):
    """An architecture, here and there."""

    name: str
    make: Callable[[], Any]
    library: str
    theirs: str
    """What the library calls it."""
    side: int
    """Of the images, in pixels."""


def zoo() -> list[Entry]:
    """The models compared."""
    from jaxai.models import AlexNet, ConvNeXt, GoogLeNet, InceptionV3, MobileNetV2
    from jaxai.models.resnet import resnet
    from jaxai.models.vit import vit

    return [
        Entry("ResNet-18", lambda: resnet(18), "timm", "resnet18", 96),
        Entry("ResNet-50", lambda: resnet(50), "timm", "resnet50", 96),
        Entry("AlexNet", AlexNet, "torchvision", "alexnet", 96),
        Entry("GoogLeNet", lambda: GoogLeNet(aux=False), "torchvision", "googlenet", 96),
        Entry("Inception v3", lambda: InceptionV3(aux=False), "torchvision", "inception_v3", 128),
        Entry("MobileNetV2", MobileNetV2, "torchvision", "mobilenet_v2", 96),
        Entry("ConvNeXt-T", ConvNeXt, "timm", "convnext_tiny", 96),
        Entry("ViT-Ti/16", lambda: vit("tiny"), "timm", "vit_tiny_patch16_224", 96),
        Entry("ViT-S/16", lambda: vit("small"), "timm", "vit_small_patch16_224", 96),
    ]


def main() -> None:
    options = parse(__doc__, rounds=7)
    with_torch = all(importlib.util.find_spec(name) for name in ("torch", "torchvision", "timm"))
    figures: list[Figure] = []
    for entry in zoo()[:1] if options.smoke else zoo():
        side = 32 if options.smoke else entry.side
        facts, contenders = ours(entry, side)
        if with_torch:
            contenders |= theirs(entry, side)
        rates = alternate(contenders, rounds=options.rounds)
        figures += [Figure(name=f"{entry.name}, {what}", unit=unit, values=[value]) for what, unit, value in facts]
        for mode in MODES:
            figures.append(Figure(name=f"{entry.name}, {mode}", unit="images/s", values=rates[mode]))
            if with_torch:
                ratio = ratios(rates, mode, f"{entry.library} {mode}")
                figures.append(Figure(name=f"{entry.name}, {mode}, to {entry.library}", unit="x", values=ratio))
    sides = {entry.name: entry.side for entry in zoo()}
    report("models", options, figures, {"batch_size": BATCH_SIZE, "image_sides": sides})


def ours(entry: Entry, side: int) -> tuple[list[tuple[str, str, float]], Contenders]:
    """(what, unit, value) of the model's needs; its training and inference, in images a second."""
    import jax
    import numpy as np

    from jaxai import optim
    from jaxai.core import tree
    from jaxai.tasks import Classification
    from jaxai.training import state as train_state
    from jaxai.training.step import StepOptions, make_train_step

    images = np.random.default_rng(0).normal(size=(BATCH_SIZE, side, side, 3)).astype(np.float32)
    labels = np.arange(BATCH_SIZE, dtype=np.int32)
    batch = {"image": images, "label": labels, "index": labels}
    task, optimizer = Classification(model=entry.make()), optim.sgd(1e-3).build(1, lambda _: 1)
    state = jax.jit(lambda: train_state.create(task, optimizer, batch, seed=0))()
    step = make_train_step(task, optimizer, None, StepOptions(), None)
    train = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    variables = jax.device_get(state.variables())
    infer = jax.jit(lambda v, x: task.model.apply(v, x, train=False)).lower(variables, images).compile()
    needs = [
        ("parameters", "", float(tree.size(variables["params"]))),
        ("an image", "GFLOP", (infer.cost_analysis() or {}).get("flops", 0.0) / BATCH_SIZE / 1e9),
        ("memory of a step", "MiB", getattr(train.memory_analysis(), "temp_size_in_bytes", 0) / 2**20),
    ]
    held = [state]

    def one_step() -> None:
        held[0], _ = train(held[0], batch)
        jax.block_until_ready(held[0])

    return needs, {
        "training": rate(one_step),
        "inference": rate(lambda: jax.block_until_ready(infer(variables, images))),
    }


def theirs(entry: Entry, side: int) -> Contenders:
    """PyTorch's training and inference, in images a second."""
    import numpy as np

    torch: Any = importlib.import_module("torch")  # not installed where types are checked
    sys.path.append(str(Path(__file__).parents[1]))
    oracle: Any = importlib.import_module("tests.oracle")
    torch.set_num_threads(1)
    if entry.library == "timm":
        sizes: dict[str, Any] = {"img_size": side} if "vit" in entry.theirs else {}
        model = oracle.timm.create_model(entry.theirs, **sizes)
    else:
        plain = {"aux_logits": False, "init_weights": False} if entry.theirs in ("googlenet", "inception_v3") else {}
        model = getattr(oracle.torchvision.models, entry.theirs)(**plain)
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(BATCH_SIZE, 3, side, side)).astype(np.float32))
    labels = torch.arange(BATCH_SIZE)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def one_step() -> None:
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def one_pass() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return {f"{entry.library} training": rate(one_step), f"{entry.library} inference": rate(one_pass)}


def rate(run: Callable[[], Any]) -> Callable[[], float]:
    """Images a second of one call."""

    def measured() -> float:
        began = time.perf_counter()
        run()
        return BATCH_SIZE / (time.perf_counter() - began)

    return measured


if __name__ == "__main__":
    main()
