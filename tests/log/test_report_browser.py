import json
import shutil
import subprocess
import tempfile

import numpy as np
import pytest
from PIL import Image

from jaxai.log.report import render

pytestmark = pytest.mark.browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--hide-scrollbars", "--window-size=1200,2600"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the browser's own errands reach nobody
)


def chromium(folder, page, *flags):
    """Opens the page in a new headless browser; returns what it writes to its two outputs."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "the browser tests need Chromium"
    (folder / "page.html").write_text(page, encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, (folder / "page.html").as_uri()]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def visit(folder, page):
    """The page's document, lines in the console, and addresses it asked for."""
    done = chromium(folder, page, "--dump-dom", "--enable-logging=stderr", f"--log-net-log={folder / 'net.json'}")
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    asked = [event.get("params", {}) for event in json.loads((folder / "net.json").read_text())["events"]]
    # What the browser does for itself has no origin.
    addresses = {params["url"] for params in asked if params.get("initiator", "not an origin") != "not an origin"}
    return done.stdout, console, sorted(addresses)


def screenshot(folder, page, *flags):
    """The drawn page, uint8 [height, width, 3]."""
    chromium(folder, page, f"--screenshot={folder / 'page.png'}", *flags)
    return np.asarray(Image.open(folder / "page.png").convert("RGB"))


def test_report_draws_itself_without_errors_or_requests(tmp_path, make_run):
    page = render([make_run("first"), make_run("second", 0.75, learning_rate=0.5)])
    document, console, requests = visit(tmp_path, page)
    assert console == []
    assert requests == []
    assert document.count("<img ") == 6  # two mistakes and a grid of pictures a run
    assert document.count("<svg ") == 5
    for text in ("Results", "Learning curves", "Confusion", "Worst mistakes", "What differs", "Environment"):
        assert f">{text}</h" in document
    assert "&lt;script&gt;" in document
    assert "<script" not in document


def test_report_follows_the_colour_scheme(tmp_path, make_run):
    page = render([make_run()])
    light = screenshot(tmp_path, page, "--blink-settings=preferredColorScheme=1")
    dark = screenshot(tmp_path, page, "--blink-settings=preferredColorScheme=0")
    assert np.median(light) > 195
    assert np.median(dark) < 60
    assert (light.max(axis=-1) < 80).sum() > 1000  # text and axes
    assert (dark.min(axis=-1) > 200).sum() > 1000
    assert len(np.unique(light @ np.array([1, 256, 256 * 256]))) > 200  # curves, pictures and shades


def test_a_page_with_faults_is_noticed(tmp_path):
    """The check of the checks: errors and requests do show up where there are any."""
    page = "<script>console.error('broken')</script><img src='http://127.0.0.1:9/x.png'>"
    _, console, requests = visit(tmp_path, page)
    assert any("broken" in line for line in console)
    assert requests == ["http://127.0.0.1:9/x.png"]
