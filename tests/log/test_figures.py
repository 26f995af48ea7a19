import io
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from jaxai.log import figures

RECORDS = [
    {"step": 2, "split": "train", "loss": 0.5},
    {"step": 1, "split": "train", "loss": 1.0},
    {"step": 2, "split": "test", "loss": 0.75, "accuracy": 0.5},
]


def texts(figure):
    root = ElementTree.fromstring(figures.svg(figure))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]


def lines(figure):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}


def test_curves_of_one_run_are_named_by_split_and_sorted_by_step():
    figure = figures.curves({"run": RECORDS}, "loss")
    assert lines(figure) == {"train": [[1, 1.0], [2, 0.5]], "test": [[2, 0.75]]}
    assert {"loss", "step", "train", "test"} <= set(texts(figure))


def test_curves_of_several_runs_are_named_by_both():
    figure = figures.curves({"a": RECORDS, "b": RECORDS}, "loss")
    assert list(lines(figure)) == ["a, train", "a, test", "b, train", "b, test"]
    drawn = figure.axes[0].lines
    assert drawn[0].get_color() == drawn[1].get_color() != drawn[2].get_color()
    assert drawn[0].get_linestyle() == drawn[2].get_linestyle() != drawn[1].get_linestyle()


def test_long_curves_are_drawn_as_means():
    records = [{"step": step, "split": "train", "loss": float(step)} for step in range(5000)]
    drawn = np.array(lines(figures.curves({"run": records}, "loss"))["train"])
    assert len(drawn) == figures.MAX_POINTS
    np.testing.assert_allclose(drawn[0], [4.5, 4.5])
    np.testing.assert_allclose(drawn[:, 1].mean(), 2499.5)


@pytest.mark.parametrize(("values", "scale"), [([1e-4, 10.0], "log"), ([0.0, 10.0], "linear"), ([1.0, 10.0], "linear")])
def test_only_positive_decades_are_logarithmic(values, scale):
    records = [{"step": step, "split": "train", "loss": value} for step, value in enumerate(values)]
    figure = figures.curves({"run": records}, "loss")
    assert figure.axes[0].get_yscale() == scale
    texts(figure)


def test_values_that_are_not_finite_leave_a_gap():
    records = [{"step": step, "split": "train", "loss": value} for step, value in enumerate([1.0, np.nan, np.inf, 2.0])]
    assert "loss" in texts(figures.curves({"run": records}, "loss"))


def test_confusion_shows_counts_and_names_as_text():
    shown = texts(figures.confusion(np.array([[1234, 5], [0, 67]]), ["<cat> & $x$", "dog"]))
    assert [shown.count(text) for text in ("1,234", "5", "67", "0")] == [1, 1, 1, 0]
    assert shown.count("<cat> & $x$") == 2


def test_confusion_of_many_classes_leaves_the_counts_out():
    shown = texts(figures.confusion(np.eye(100, dtype=int) * 77))
    assert "77" not in shown
    assert "99" in shown


def test_drawing_never_refers_outside():
    for figure in (figures.confusion(np.eye(100, dtype=int)), figures.curves({"run": RECORDS}, "loss")):
        root = ElementTree.fromstring(figures.svg(figure))
        links = [value for node in root.iter() for name, value in node.attrib.items() if name.endswith("href")]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
        assert figures.FOREGROUND not in figures.svg(figure)


def test_same_figure_is_the_same_bytes():
    first, second = (figures.svg(figures.curves({"run": RECORDS}, "loss")) for _ in range(2))
    assert first == second


def test_image_grid_draws_every_image():
    images = np.stack([np.full((4, 4, 1), value, np.uint8) for value in (10, 120, 250)])
    picture = figures.pixels(figures.image_grid(images, ["a", "$b$", "c"]))
    assert picture.dtype == np.uint8
    assert picture.shape[-1] == 3
    for value in (10, 120, 250):
        assert (picture == value).all(axis=-1).sum() > 1000


@pytest.mark.parametrize("channel", [1, 2, 3, 4, 7])
def test_png_keeps_the_pixels(channel):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channel), dtype=np.uint8)
    back = np.asarray(Image.open(io.BytesIO(figures.png(image))))
    kept = {1: 1, 2: 1, 3: 3, 4: 4, 7: 3}[channel]
    np.testing.assert_array_equal(back.reshape(5, 7, kept), image[..., :kept])


def test_no_global_state_of_matplotlib():
    code = (
        "import sys, numpy, matplotlib; from jaxai.log import figures; before = matplotlib.rcParams.copy()\n"
        "figures.svg(figures.confusion(numpy.eye(2, dtype=int)))\n"
        "print(matplotlib.rcParams.copy() == before, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


@pytest.mark.parametrize("channel", [1, 3])
def test_tiles_stand_in_rows_with_white_between(channel):
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 4, channel), dtype=np.uint8)
    grid = figures.tiled(images, num_columns=3)
    assert grid.shape == (2 * 4 - 1, 3 * 5 - 1, channel)
    np.testing.assert_array_equal(grid[4:, 5:9], images[4])
    assert (grid[3] == 255).all()
    assert (grid[4:, 10:] == 255).all()  # the place of the sixth, which there is not
    np.testing.assert_array_equal(figures.tiled(images[:4].reshape(2, 2, 3, 4, channel))[4:, :4], images[2])
    np.testing.assert_array_equal(figures.tiled(images[:1]), images[0])
