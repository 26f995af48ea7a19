import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxai.log.report import RunReport, better, flatten, render

ALLOWED = {
    *("html", "head", "meta", "link", "title", "style", "body", "header", "h1", "h2", "h3", "p", "ul", "li", "b", "br"),
    *("span", "section", "div", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "details"),
    *("summary", "pre", "svg", "defs", "g", "path", "text", "tspan", "use", "clippath", "rect", "image"),
}


class Page(HTMLParser):
    """The elements and texts of a page, as a browser would take them apart."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def rows(page):
    """Cells of every table row, tags removed, the best marked by a star."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", page):
        cells = re.findall(r"<t[hd]([^>]*)>(.*?)</t[hd]>", row)
        found.append([("★" if "best" in kind else "") + re.sub("<[^>]*>", "", text) for kind, text in cells])
    return found


def test_texts_of_a_run_never_become_markup(make_run):
    page = Page(render([make_run(), make_run('<b>"other"', 0.5)]))
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert [name for _, attrs in page.elements for name in attrs if name.startswith("on")] == []
    assert page.text.count('<script>alert("x")</script>') >= 10


def test_page_asks_for_nothing(make_run):
    page = Page(render([make_run()]))
    addresses = [attrs[name] for _, attrs in page.elements for name in ("src", "href", "xlink:href") if name in attrs]
    assert len(addresses) > 2
    assert all(address.startswith(("data:", "#")) for address in addresses)
    policy = next(attrs["content"] for _, attrs in page.elements if "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_final_metrics_side_by_side_with_the_best_marked(make_run):
    table = rows(render([make_run("a", 0.98), make_run("b", 0.75)]))
    assert ["metric", "a", "b"] in table
    assert ["test / accuracy", "★0.9800", "0.7500"] in table
    assert ["test / loss", "★0.02000", "0.2500"] in table
    assert ["parameters", "123,456", "123,456"] in table


def test_differing_configuration_comes_first(make_run):
    page = render([make_run("a"), make_run("b", learning_rate=0.5)])
    assert ["field", "a", "b"] in rows(page)
    assert ["optimizer/learning_rate", "0.001", "0.5"] in rows(page)
    assert page.index("optimizer/learning_rate") < page.index("<details>")
    assert not any(row[0] == "sizes" for row in rows(page))


def test_same_configuration_is_said_so(make_run):
    assert "The runs have the same configuration." in render([make_run("a"), make_run("b")])


def test_mistakes_are_pictures_with_captions(make_run):
    run = make_run()
    page = render([run])
    pictures = re.findall(r'<img alt="example 1234" src="data:image/png;base64,([^"]*)">', page)
    assert len(pictures) == 2
    for data, mistake in zip(pictures, run.mistakes["test"], strict=True):
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        np.testing.assert_array_equal(back.reshape(mistake.image.shape), mistake.image)
    assert "98.7%" in page
    assert "example 1,234" in page


def test_pictures_are_one_grid_each(make_run):
    page = Page(render([make_run()]))
    (grid,) = [attrs for tag, attrs in page.elements if tag == "img" and attrs["alt"].startswith("test: ")]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(grid["src"].partition(",")[2]))))
    assert picture.shape == (2 * 6 - 1, 3 * 8 - 1)
    (images,) = make_run().pictures["test"].values()
    np.testing.assert_array_equal(picture[6:, 8:15], images[1, 1, ..., 0])


def test_curves_and_matrices_of_every_run_are_there(make_run):
    page = Page(render([make_run("a"), make_run("b")]))
    # loss, accuracy and learning rate, and one matrix a run
    assert sum(tag == "svg" for tag, _ in page.elements) == 3 + 2
    assert page.text.count("27 examples, 24 right") == 2


def test_runs_of_one_name_are_both_drawn(make_run):
    page = Page(render([make_run("a"), make_run("a")]))
    assert "a 1, test" in page.text
    assert "a 2, test" in page.text


def test_empty_run_is_a_page_with_a_headline():
    page = Page(render([RunReport(name="only a name")]))
    assert page.text.endswith("only a name")
    assert [tag for tag, _ in page.elements if tag in ("section", "svg", "table")] == []


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("test/accuracy", max),
        ("top_5_accuracy", max),
        ("examples_per_second", max),
        ("accuracy/loss", min),
        ("perplexity", min),
        ("train_seconds", min),
        ("parameters", None),
    ],
)
def test_which_value_is_better(name, choice):
    assert better(name) is choice


def test_flatten_joins_names_and_keeps_plain_lists():
    nested = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": [{"f": 3}]}
    assert flatten(nested) == {"a/b": 1, "a/c": {}, "d": [1, 2], "e/0/f": 3}
