import ast
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jaxai import log
from jaxai.core.errors import InputError
from jaxai.log import NullDisplay, PlainDisplay, RichDisplay, make_display
from jaxai.log.progress import Progress

TRAIN = {
    "step": 500,
    "split": "train",
    "loss": 0.1234567,
    "accuracy": 0.98,
    "learning_rate": 1e-3,
    "gradient_norm": 1.2345,
    "data_wait": 0.023,
    "seconds": 1.5,
    "examples_per_second": 12345.6,
}
TEST = {"step": 500, "split": "test", "loss": 0.25, "accuracy": 0.97, "seconds": 1.6, "examples_per_second": 900.0}
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def drive(display):
    display.start("digits_convnet", 0, 5000)
    display.status("compiling")
    display.status("training")
    for step in range(1, 501):
        display.advance(step)
    display.record(TRAIN)
    display.record(TEST)
    display.note("saved [bold]checkpoint[/bold] 500 [/] :smile:")


def terminal(width=80):
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system="truecolor", legacy_windows=False)


def written(console):
    """What was sent, without colours and cursor movements."""
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", console.file.getvalue())


def test_plain_lines_exactly():
    file = io.StringIO()
    display = PlainDisplay(file)
    drive(display)
    display.record({**TEST, "step": 1000, "split": "shifted"})
    display.status("training")
    display.finish("finished in 3 s")
    display.close()
    assert file.getvalue().splitlines() == [
        "digits_convnet: 5,000 steps",
        "compiling",
        "training",
        "  500/5,000  train  loss 0.1235  accuracy 0.9800  learning rate  0.001  gradient norm  1.234"
        "  data wait     2%  examples/s 12.35k",
        "  500/5,000  test   loss 0.2500  accuracy 0.9700  examples/s  900.0",
        "saved [bold]checkpoint[/bold] 500 [/] :smile:",
        "1,000/5,000  shifted  loss 0.2500  accuracy 0.9700  examples/s  900.0",
        "finished in 3 s",
    ]


def test_plain_says_where_a_run_resumes(capsys):
    PlainDisplay().start("digits", 1200, 5000)
    assert capsys.readouterr().out == "digits: 5,000 steps, from step 1,200\n"


def test_rich_at_80_columns():
    console = terminal()
    display = RichDisplay(console)
    drive(display)
    display.finish("finished: test accuracy 0.97")
    text = written(console)
    last = [line.rstrip() for line in text.splitlines()[-6:]]
    assert re.fullmatch(r"digits_convnet  ━+╺━+ +500/5,000 +10%", last[0])
    assert last[1:4] == [
        "         step    loss  accuracy  examples/s",
        "  train   500  0.1235    0.9800      12.35k",
        "  test    500  0.2500    0.9700       900.0",
    ]
    assert last[4].startswith("  finished · compiled in 0.0")
    assert last[4].endswith("s · data wait 2% · lr 0.001 · grad norm 1.234")
    assert last[5] == "finished: test accuracy 0.97"
    assert all(len(line) <= 80 for line in re.split(r"[\r\n]+", text))


def test_rich_shows_markup_in_a_note_as_text():
    console = terminal()
    display = RichDisplay(console)
    drive(display)
    display.close()
    assert "saved [bold]checkpoint[/bold] 500 [/] :smile:\n" in written(console)


def test_rich_leaves_out_columns_that_do_not_fit():
    console = terminal(width=40)
    display = RichDisplay(console)
    display.start("a name that is much longer than the line of the bar", 0, 10)
    display.record({"step": 1, "split": "test", **{f"metric_number_{n}": float(n) for n in range(9)}})
    console.file.seek(0)
    console.file.truncate()
    display.close()
    text = written(console)
    assert "metric number 0" in text
    assert "metric number 2" not in text
    assert all(len(line) <= 40 for line in re.split(r"[\r\n]+", text))


def fail_while_shown(display):
    try:
        drive(display)
        raise RuntimeError("diverged")
    finally:
        display.close()


def test_rich_gives_the_terminal_back_after_a_failure():
    console = terminal()
    display = RichDisplay(console)
    out, err = sys.stdout, sys.stderr
    with pytest.raises(RuntimeError):
        fail_while_shown(display)
    codes = console.file.getvalue()
    assert codes.count(HIDE) == codes.count(SHOW) == 1
    assert (sys.stdout, sys.stderr) == (out, err)
    display.close()
    assert console.file.getvalue() == codes


def test_rich_gives_the_terminal_back_even_when_nobody_closes_it():
    code = (
        "from rich.console import Console; from jaxai.log import RichDisplay\n"
        "display = RichDisplay(Console(force_terminal=True, width=80)); display.start('a', 0, 3)\n"
        "raise SystemExit(4)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stdout.count(HIDE) == done.stdout.count(SHOW) == 1


def test_rich_can_show_one_run_after_another():
    console = terminal()
    display = RichDisplay(console)
    for title in ("first", "second"):
        display.start(title, 0, 5)
        display.advance(5)
        display.finish(f"{title} finished")
    text = written(console)
    assert text.index("first finished") < text.index("second finished")
    assert console.file.getvalue().count(SHOW) == 2


def test_pipe_gets_plain_lines_on_standard_output():
    code = (
        "from jaxai.log import make_display\n"
        "d = make_display(); d.start('a', 0, 3); d.note('[b]note'); d.finish('done'); d.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a: 3 steps\n[b]note\ndone\n"
    assert done.stderr == ""


def imports(tree, nested):
    """Modules imported at a file's top level, or (`nested`) anywhere in it."""
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_importing_the_room_needs_numpy_alone():
    files = sorted(Path(log.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for file in files:
        tree = ast.parse(file.read_text())
        top = {name for name in imports(tree, nested=False) if name.split(".")[0] not in sys.stdlib_module_names}
        assert {name for name in top if not name.startswith(("numpy", "jaxai.core", "jaxai.log"))} == set(), file
        anywhere = {name.split(".")[0] for name in imports(tree, nested=True)}
        assert anywhere & {"jax", "flax", "torch", "tensorflow", "ipywidgets"} == set(), file


def test_display_is_chosen_by_name():
    assert isinstance(make_display("none"), NullDisplay)
    assert isinstance(make_display("rich"), RichDisplay)
    with pytest.raises(InputError, match="did you mean 'notebook'"):
        make_display("notebok")


@pytest.mark.parametrize(("is_terminal", "term", "kind"), [(True, "xterm", RichDisplay), (True, "dumb", PlainDisplay)])
def test_auto_looks_at_the_terminal(monkeypatch, is_terminal, term, kind):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    assert isinstance(make_display(), kind)


def test_null_display_shows_nothing(capsys):
    display = NullDisplay()
    drive(display)
    display.finish("done")
    assert capsys.readouterr() == ("", "")


def test_time_left_leaves_out_what_came_before_the_first_step():
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    progress.begin("a", 100, 200)
    progress.status("compiling")
    now[0] = 60.0
    progress.status("training")
    assert progress.compile_seconds == 60.0
    assert progress.seconds_left() is None
    progress.step, now[0] = 101, 61.0
    assert progress.seconds_left() is None
    progress.step, now[0] = 111, 66.0
    assert progress.seconds_left() == (200 - 111) * 0.5
