"""The page of `tris demo` in Chromium: seconds to start, and from a click to the answers."""

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice

from playwright.sync_api import Page, sync_playwright

from benchmarks._measure import row, seconds, show


def main() -> None:
    started = time.perf_counter()
    tris = [sys.executable, "-c", "from tris_core.cli.main import app; app()"]
    command = [*tris, "demo", "--no-browser", "--port", "0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            rows = [row("start", time.perf_counter() - started)]
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.goto(address)
            page.locator("#examples button img").first.click()
            page.locator("#answers article h2").first.wait_for()
            fresh = (f"yellow star {number}" for number in count())  # answers are cached
            for number in (1, 8):
                work = partial(_ask, page, fresh, number)
                rows.append(row(f"{number} sentences", seconds(work, repeats=5)))
            browser.close()
        finally:
            server.terminate()
    show(rows)


def _ask(page: Page, fresh: Iterator[str], number: int) -> None:
    """Ask the next `number` sentences and wait for the last answer."""
    sentences = list(islice(fresh, number))
    page.locator("#sentences textarea").fill("\n".join(sentences))
    page.locator("#mark").click()
    last = page.locator("#answers article h2").nth(number - 1)
    last.filter(has_text=sentences[-1]).wait_for()
