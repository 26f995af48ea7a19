"""A Hugging Face dataset as a source."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
from PIL import Image

from jaxai.core.errors import InputError
from jaxai.data.huggingface import HuggingFace
from jaxai.data.source import open_source, read

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def dataset():
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "weight": datasets.Value("float64"),
            "caption": datasets.Value("string"),
        }
    )
    columns = {
        "image": [Image.fromarray(pixels) for pixels in PIXELS],
        "label": [0, 1, 1, 0],
        "weight": [0.5, 1.5, 2.5, 3.5],
        "caption": list("abcd"),
    }
    return datasets.Dataset.from_dict(columns, features=features)


def test_reads_images_and_classes_and_leaves_text_out(dataset):
    source = open_source(HuggingFace(dataset))
    assert len(source) == 4
    assert source.classes == ("cat", "dog")
    batch = read(source, [3, 1, 1])
    assert set(batch) == {"image", "label", "weight"}
    np.testing.assert_array_equal(batch["image"], PIXELS[[3, 1, 1]])
    assert batch["label"].tolist() == [0, 1, 1]
    assert batch["label"].dtype == np.int32
    assert batch["weight"].tolist() == [3.5, 1.5, 1.5]
    assert batch["weight"].dtype == np.float32
    np.testing.assert_array_equal(source[2]["image"], PIXELS[2])


def test_fields_size_and_channels(dataset):
    source = open_source(HuggingFace(dataset, fields=("image",), size=(3, 2), channels=1))
    assert {name: value.shape for name, value in read(source, [0, 1]).items()} == {"image": (2, 3, 2, 1)}
    assert source.classes is None


def test_refuses(dataset):
    with pytest.raises(InputError, match=r"no column 'lable' .did you mean 'label'"):
        open_source(HuggingFace(dataset, fields=("lable",)))
    with pytest.raises(InputError, match=r"DatasetDict is not a datasets.Dataset .pick a split: train, test"):
        open_source(HuggingFace(datasets.DatasetDict(train=dataset, test=dataset)))
    with pytest.raises(InputError, match="train: example 0: caption holds text, not numbers"):
        read(open_source(HuggingFace(dataset, fields=("caption",))), [0], "train")
    with pytest.raises(InputError, match="train: has no examples"):
        open_source(HuggingFace(dataset.select([])), "train")
