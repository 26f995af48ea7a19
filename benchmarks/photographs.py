"""Contenders that make batches of random 224 x 224 crops of JPEG files; `input.py` lets them take turns."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZE = 32
SIZE = 224
WIDTH, HEIGHT, QUALITY = 500, 375, 90
PREFETCH = 2

Contender = Callable[[], float]


def write(folder: Path, count: int) -> list[Path]:
    """Makes JPEGs like photographs in detail and size: noise of every scale, the coarser the stronger."""
    from PIL import Image

    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        picture = np.full((HEIGHT, WIDTH, 3), 128.0)
        for octave in range(2, 10):
            shape = (2**octave * HEIGHT // WIDTH + 1, 2**octave, 3)
            noise = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
            grown = np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float) - 128
            picture += grown * 2.0 ** (-octave / 3)
        path = folder / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)
        paths.append(path)
    return paths


def contenders(folder: Path, count: int, batches: int, batch_size: int) -> dict[str, Contender]:
    """Images a second of each that is installed, over `batches` batches of the pictures that this writes."""
    paths = write(folder, count)
    made = {
        "jaxai": _rate(jaxai(folder, batch_size), batches, batch_size, PREFETCH + 2),
        "Pillow": _rate(pillow(paths, batch_size), batches, batch_size),
    }
    if importlib.util.find_spec("torch"):
        # A worker is at most two batches ahead, and one is in the queue.
        made["DataLoader"] = _rate(torch(paths, batch_size, 0), batches, batch_size)
        made["DataLoader, 1 worker"] = _rate(torch(paths, batch_size, 1), batches, batch_size, 3)
    return made


def _rate(made: Iterator[Any], count: int, batch_size: int, ahead: int = 0) -> Contender:
    """Images a second over `count` batches, of an iterator that reads up to `ahead` batches ahead.

    What was read ahead while others were timed is taken first, and afterwards it may read ahead again in peace.
    """

    def run() -> float:
        for _ in range(ahead):
            next(made)
        began = time.perf_counter()
        for _ in range(count):
            next(made)
        seconds = time.perf_counter() - began
        time.sleep(2 * ahead * seconds / count)
        return count * batch_size / seconds

    return run


def jaxai(folder: Path, batch_size: int) -> Iterator[Any]:
    """The pipeline, reading ahead in threads of this process."""
    from jaxai.data.crops import RandomCropped
    from jaxai.data.folder import ImageFolder
    from jaxai.data.pipeline import Pipeline

    source = RandomCropped(ImageFolder(str(folder), decode=False), size=SIZE)
    return Pipeline(source=source, batch_size=batch_size, prefetch=PREFETCH).open("train").batches()


def pillow(paths: list[Path], batch_size: int) -> Iterator[Any]:
    """A loop over files in random order: open, crop, resize, stack."""
    from PIL import Image

    random = np.random.default_rng(0)
    while True:
        images = []
        for number in random.integers(0, len(paths), batch_size):
            with Image.open(paths[number]) as image:
                images.append(np.asarray(crop(image, random)))
        yield np.stack(images)


def crop(image: Any, random: np.random.Generator) -> Any:
    """The random resized crop of a PIL image as torchvision makes it."""
    from PIL import Image

    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
            break
    else:
        w = h = min(width, height)
        left, top = (width - w) // 2, (height - h) // 2
    return image.convert("RGB").crop((left, top, left + w, top + h)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)


class Files:
    """What a PyTorch `DataLoader` takes for a dataset: torchvision's crop of each file, or Pillow's without it."""

    def __init__(self, paths: list[Path]):
        self.paths = paths
        self.transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        torch: Any = importlib.import_module("torch")  # not installed where types are checked
        if self.transform is None:  # here, as a worker process has to import it for itself
            torch.set_num_threads(1)
            self.transform = _transform()
        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(self.transform(image.convert("RGB"))))


def _transform() -> Callable[[Any], Any]:
    try:
        sys.path.append(str(Path(__file__).parents[1]))
        oracle: Any = importlib.import_module("tests.oracle")
    except (ImportError, RuntimeError):
        random = np.random.default_rng(0)
        return lambda image: crop(image, random)
    return oracle.torchvision.transforms.RandomResizedCrop(SIZE)


def torch(paths: list[Path], batch_size: int, workers: int) -> Iterator[Any]:
    """Endless epochs of PyTorch's `DataLoader`."""
    loading: Any = importlib.import_module("torch.utils.data")
    dataset: Any = Files(paths)
    # A fork of a process in which JAX runs threads may hang.
    options: Any = {"persistent_workers": True, "multiprocessing_context": "spawn"} if workers else {}
    loader = loading.DataLoader(dataset, batch_size, shuffle=True, drop_last=True, num_workers=workers, **options)
    return itertools.chain.from_iterable(iter(loader) for _ in itertools.count())
