"""Mistakes about images and published weights, in the fields of an experiment."""

from __future__ import annotations

from tests.bad_input.cases import case

SMALL = "MobileNetV2(width=0.25, num_classes=3)"
TASK = f"task=task(model={SMALL})"
COLOUR = "pipe(data(image=np.zeros((24, 32, 32, 3), np.uint8)))"

EXPERIMENTS = [
    case(
        f"{TASK}, start_from=Pretrained(model={SMALL}, weights='mobilenet')",
        "weights: mobilenet is no file, nor the name of published weights",
        "did you mean 'mobilenet_v2'?",
    ),
    case(
        f"{TASK}, start_from=Pretrained(model={SMALL}, weights='resnet.safetensors')",
        "resnet.safetensors: lacks 'features.",
        "missing, 1 unexpected",
    ),
    case(
        f"{TASK}, train={COLOUR}, evals={{}}, start_from=Pretrained(model={SMALL}, weights='nine.safetensors')",
        "head/bias is [9] in nine.safetensors, [3] here",
        "new=('head',) starts it anew",
    ),
    case(
        f"{TASK}, start_from=Pretrained(model={SMALL}, weights='nine.safetensors', new=('head',))",
        "stem/conv/kernel is [3, 3, 3, 8] in nine.safetensors, [3, 3, 1, 8] here",
    ),
    case(
        f"{TASK}, start_from=Pretrained(model={SMALL}, weights='code.pth')",
        "code.pth: would call posix.system",
        "only weights are read",
    ),
    case(
        f"{TASK}, start_from=Pretrained(model={SMALL}, weights='nine.safetensors', under='encoder')",
        "start_from.under: no parameter is under 'encoder'",
    ),
    case("task=task(model=AlexNet(num_classes=3))", "AlexNet inputs: images of 4 x 4", "needs at least"),
    case("task=task(model=resnet(19))", "depth: there is no ResNet-19", "one of 18, 34"),
]
