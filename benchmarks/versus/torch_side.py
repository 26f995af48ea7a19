"""PyTorch's side, in a process of its own: steps of training or inference as PyTorch takes them."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import Callable
from typing import Any

from serve import Opened, Run, serve
from sizes import Workload
from torch_models import build

torch: Any = importlib.import_module("torch")  # not installed where types are checked
functional: Any = torch.nn.functional

RATE = 1e-4
"""So small that neither weights nor gradients leave the range of ordinary numbers while one batch is repeated."""


def open_workload(workload: Workload, device: str, smoke: bool) -> Opened:
    """The contenders of a workload: eager, where it convolves channels_last, and compiled."""
    place = "cuda" if device == "gpu" and torch.cuda.is_available() else "cpu"
    if device == "gpu" and place == "cpu" and not smoke:
        raise SystemExit("torch sees no GPU")
    if place == "cpu":
        torch.set_num_threads(1)
    missing = without_compile(workload, place, smoke)
    if workload.optimizer is None:
        contenders = {"eager": infer(workload, place), "eager, bfloat16": infer(workload, place, bfloat16=True)}
        if missing is None:
            contenders["compile"] = infer(workload, place, compiled=True)
    else:
        contenders = {"eager": train(workload, place)}
        if convolves := workload.kind in ("convnet", "resnet"):
            contenders["channels_last"] = train(workload, place, channels_last=True)
        if missing is None:
            contenders["compile"] = train(workload, place, channels_last=convolves, compiled=True)
    model = build(workload.kind, workload.settings, workload.shape)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Opened(contenders, parameters, [missing] if missing else [])


def without_compile(workload: Workload, place: str, smoke: bool) -> str | None:
    """Why there is no compiled contender."""
    compiler = os.environ.get("CXX", "g++")
    if smoke:
        return "smoke sizes leave torch.compile out"
    if workload.kind == "resnet" and place == "cpu":
        return "on CPUs torch.compile takes minutes for a ResNet, which is left out"
    if workload.kind == "lstm":
        return "torch.compile does not look into nn.LSTM"
    return None if shutil.which(compiler) else f"torch.compile needs a C++ compiler, and there is no {compiler}"


def train(workload: Workload, place: str, *, channels_last: bool = False, compiled: bool = False) -> Run:
    """Steps of training: loss, gradients, update; sums of loss and accuracy stay on the device."""
    model = build(workload.kind, workload.settings, workload.shape).to(place)
    inputs, labels = noise(workload, place)
    if channels_last:
        model, inputs = (x.to(memory_format=torch.channels_last) for x in (model, inputs))
    optimizer = update_rule(workload.optimizer, [p for p in model.parameters() if p.requires_grad])
    half = torch.autocast(place, torch.bfloat16) if workload.precision == "bfloat16" else contextlib.nullcontext()

    def measure(inputs: Any, labels: Any) -> tuple[Any, Any]:
        with half:
            logits = model(inputs).flatten(0, -2)
        return functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).sum()

    measure = torch.compile(measure) if compiled else measure
    sums = torch.zeros(2, device=place)

    def step() -> None:
        loss, correct = measure(inputs, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        sums.add_(torch.stack([loss.detach(), correct.to(loss.dtype)]))

    return repeated(step, place)


def infer(workload: Workload, place: str, *, bfloat16: bool = False, compiled: bool = False) -> Run:
    """Passes in evaluation, up to the probabilities."""
    model = build(workload.kind, workload.settings, workload.shape).to(place).eval()
    model = model.bfloat16() if bfloat16 else model
    inputs, _ = noise(workload, place)
    predict = lambda tokens: model(tokens).float().softmax(-1)  # noqa: E731
    predict = torch.compile(predict) if compiled else predict

    def step() -> None:
        with torch.inference_mode():
            predict(inputs)

    return repeated(step, place)


def update_rule(name: str | None, parameters: Any) -> Any:
    """The optimizer in its fastest form."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=RATE, momentum=0.9, fused=True)
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[str(name)]
    return make(parameters, lr=RATE, fused=True)


def noise(workload: Workload, place: str) -> tuple[Any, Any]:
    """A batch that stays on the device, and the class of each prediction [prediction]."""
    size, shape = workload.batch_size, workload.shape
    if workload.is_text:
        tokens = torch.randint(1, workload.settings["vocab_size"], (size, shape[0] + 1), device=place)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].flatten()
    height, width, channels = shape
    labels = torch.randint(0, workload.settings["num_classes"], (size,), device=place)
    return torch.randn(size, channels, height, width, device=place), labels


def repeated(step: Callable[[], None], place: str) -> Run:
    """So many steps, waited for."""

    def run(steps: int) -> int:
        # cuDNN's attention is the fastest that PyTorch has where there is one; on CPUs there is no choice.
        with attention_by_cudnn() if place == "cuda" else contextlib.nullcontext():
            for _ in range(steps):
                step()
        if place == "cuda":
            torch.cuda.synchronize()
        return steps

    return run


def attention_by_cudnn() -> Any:
    from torch.nn.attention import SDPBackend, sdpa_kernel  # type: ignore[import-not-found]

    return sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True)


if __name__ == "__main__":
    serve(open_workload, {"torch": torch.__version__})
