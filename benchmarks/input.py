"""How fast is the data: small images augmented inside a compiled function, and photographs decoded on the host?

Method, small images: both contenders turn the same 32 x 32 x 3 images in memory into shuffled batches of 256 that are
cropped (4 pixels of padding), flipped, normalized, float32 and on the device, on the same core in turns. One is jaxai's
pipeline and its augmentations, compiled. The other is grain as its documentation shows it: shuffle, a numpy function
mapped over examples, batch; it reads in the iterating thread, which on one core is faster than its read-ahead threads.

Method, photographs: all contenders make batches of 32 random crops of 224 x 224 pixels, uint8, of JPEG files of 500 x
375 pixels in the system's cache, on the same core in turns: jaxai's `RandomCropped`, a plain loop with Pillow, and
PyTorch's `DataLoader` (where PyTorch is installed) in this process and with one worker process.

Target: at least 15 times the images a second of grain; the others inform.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import photographs
from harness import Figure, Options, Target, alternate, parse, ratios, report

BATCH_SIZE = 256
PADDING = 4


def main() -> None:
    options = parse(__doc__)
    rates = compare(options)
    figures = [
        Figure(name="jaxai, batch by batch", unit="images/s", values=rates["jaxai"]),
        Figure(name="grain, image by image", unit="images/s", values=rates["grain"]),
        Figure(
            name="jaxai to grain",
            unit="x",
            values=ratios(rates, "jaxai", "grain"),
            target=Target(sign=">=", bound=15),
        ),
    ]
    decoded = compare_photographs(options)
    figures += [Figure(name=f"JPEG, {name}", unit="images/s", values=values) for name, values in decoded.items()]
    figures += [
        Figure(name=f"JPEG, jaxai to {name}", unit="x", values=ratios(decoded, "jaxai", name))
        for name in decoded
        if name != "jaxai"
    ]
    setting = {"batch_size": BATCH_SIZE, "images": "uint8 [32, 32, 3], noise, in memory"}
    jpeg = f"{photographs.WIDTH} x {photographs.HEIGHT}, quality {photographs.QUALITY}, files, to {photographs.SIZE}"
    report("input", options, figures, {**setting, "jpeg_batch_size": photographs.BATCH_SIZE, "jpeg": jpeg})


def compare_photographs(options: Options) -> dict[str, list[float]]:
    """Images a second, [round] by contender."""
    count, batches, batch_size = (8, 1, 4) if options.smoke else (256, 6, photographs.BATCH_SIZE)
    with tempfile.TemporaryDirectory(prefix="jaxai-") as folder:
        made = photographs.contenders(Path(folder), count, batches, batch_size)
        return alternate(made, rounds=options.rounds)


def compare(options: Options) -> dict[str, list[float]]:
    """Images a second, [round] by contender."""
    import numpy as np

    random = np.random.default_rng(0)
    num_examples = 1024 if options.smoke else 50_000
    images = random.integers(0, 256, (num_examples, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, num_examples, dtype=np.int32)
    contenders = {
        "jaxai": rate(compiled(images, labels), 4 if options.smoke else 200),
        "grain": rate(one_by_one(images, labels), 1 if options.smoke else 20),
    }
    return alternate(contenders, rounds=options.rounds)


def rate(batches: Iterator[Any], count: int) -> Callable[[], float]:
    """Images a second over `count` batches."""
    import jax

    def run() -> float:
        began = time.perf_counter()
        for batch in itertools.islice(batches, count):
            jax.block_until_ready(batch)
        return count * BATCH_SIZE / (time.perf_counter() - began)

    return run


def compiled(images: Any, labels: Any) -> Iterator[Any]:
    """jaxai: the host gathers uint8, a compiled function does the rest."""
    import jax

    from jaxai.core import rng
    from jaxai.data.augment import Normalize, RandomCrop, RandomFlip, apply
    from jaxai.data.pipeline import Pipeline
    from jaxai.data.source import Arrays

    augmentations = (RandomCrop(padding=PADDING), RandomFlip(), Normalize())

    @jax.jit
    def augment(batch: Any, step: Any) -> Any:
        return apply(augmentations, batch, rng.step_key(0, "train", step), train=True)

    pipeline = Pipeline(source=Arrays({"image": images, "label": labels}), batch_size=BATCH_SIZE)
    batches = pipeline.open("train").batches()
    return (augment(batch, step) for step, batch in enumerate(batches))


def one_by_one(images: Any, labels: Any) -> Iterator[Any]:
    """grain: numpy on one image at a time, then batches."""
    import grain
    import jax
    import numpy as np

    half = np.float32(0.5)

    class Examples:
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"image": images[index], "label": labels[index]}

    def augment(example: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
        image = example["image"]
        padded = np.zeros((32 + 2 * PADDING, 32 + 2 * PADDING, 3), np.uint8)
        padded[PADDING:-PADDING, PADDING:-PADDING] = image
        top, left = random.integers(0, 2 * PADDING + 1, 2)
        image = padded[top : top + 32, left : left + 32]
        if random.random() < 0.5:
            image = image[:, ::-1]
        return {"image": (image.astype(np.float32) / 255 - half) / half, "label": example["label"]}

    dataset = grain.MapDataset.source(Examples()).seed(0).shuffle().repeat()
    dataset = dataset.random_map(augment).batch(BATCH_SIZE)
    return (jax.device_put(dataset[number]) for number in itertools.count())


if __name__ == "__main__":
    main()
