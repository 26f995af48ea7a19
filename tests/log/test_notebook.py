import time

import pytest

from jaxai.log.notebook import NUM_SHOWN, NotebookDisplay

EVALUATION = {"step": 500, "split": "<i>test</i>", "loss": 0.25, "accuracy": 0.97, "seconds": 1.6}


class Pages:
    """Stands for IPython: remembers every page, and which display it belongs to."""

    def __init__(self):
        self.displays = []

    def __call__(self, page):
        pages = [page]
        self.displays.append(pages)
        return pages.append


def test_one_display_is_updated_in_place():
    pages = Pages()
    display = NotebookDisplay(pages, seconds=0.01)
    display.start("digits & co", 0, 1000)
    display.status("compiling")
    display.status("training")
    display.advance(500)
    display.record({"step": 500, "split": "train", "loss": 0.125, "learning_rate": 0.001})
    display.record(EVALUATION)
    display.note("saved <b>checkpoint</b> 500")
    display.finish("finished")
    (shown,) = pages.displays
    page = shown[-1]
    assert "digits &amp; co" in page
    assert '<progress value="500" max="1000"' in page
    assert "500/1,000 · 50%" in page
    assert "loss 0.1250" in page
    assert "lr 0.001" in page
    assert "<td>500</td><td>&lt;i&gt;test&lt;/i&gt;</td><td>0.2500</td><td>0.9700</td>" in page
    assert "saved &lt;b&gt;checkpoint&lt;/b&gt; 500" in page
    assert "finished" in page


def test_a_thread_draws_while_the_loop_only_counts():
    pages = Pages()
    display = NotebookDisplay(pages, seconds=0.01)
    display.start("digits", 0, 1000)
    display.advance(123)
    deadline = time.monotonic() + 10
    while "123/1,000" not in pages.displays[0][-1] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "123/1,000" in pages.displays[0][-1]
    display.close()


def test_nothing_is_drawn_after_close():
    pages = Pages()
    display = NotebookDisplay(pages, seconds=0.01)
    display.start("digits", 0, 1000)
    display.close()
    drawn = list(pages.displays[0])
    display.advance(5)
    display.close()
    time.sleep(0.05)
    assert pages.displays == [drawn]


def test_a_long_run_keeps_the_latest_evaluations():
    pages = Pages()
    display = NotebookDisplay(pages, seconds=60)
    display.start("digits", 0, 1000)
    for step in range(100):
        display.record({**EVALUATION, "step": step})
    display.close()
    assert pages.displays[0][-1].count("<tr><td>") == NUM_SHOWN
    assert "<td>99</td>" in pages.displays[0][-1]


@pytest.mark.slow
def test_in_a_real_kernel():
    import nbclient
    import nbformat

    source = (
        "from jaxai.log import make_display\n"
        "display = make_display()\n"
        "display.start('digits', 0, 10)\n"
        "display.advance(10)\n"
        "display.record({'step': 10, 'split': 'test', 'loss': 0.25})\n"
        "display.finish('finished here')\n"
        "type(display).__name__"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    page, result = notebook.cells[0].outputs
    assert result["data"]["text/plain"] == "'NotebookDisplay'"
    assert "10/10 · 100%" in page["data"]["text/html"]
    assert "finished here" in page["data"]["text/html"]
