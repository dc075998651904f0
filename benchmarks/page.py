"""The page of `tris demo` with the packaged models, in Chromium: seconds to start, and from the click to the answers."""

import subprocess
import sys
import time
from itertools import count, islice

from playwright.sync_api import Page, sync_playwright

from benchmarks._measure import row, seconds, show


def main() -> None:
    started = time.perf_counter()
    command = [
        sys.executable,
        "-c",
        "from tris_core.cli.main import app; app()",
        "demo",
        "--no-browser",
        "--port",
        "0",
    ]
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
            fresh = (
                f"yellow star {number}" for number in count()
            )  # what was asked before is not computed again
            for sentences in (1, 8):
                spent = seconds(lambda n=sentences: _ask(page, list(islice(fresh, n))), repeats=5)  # type: ignore[misc]
                rows.append(row(f"{sentences} sentences", spent))
            browser.close()
        finally:
            server.terminate()
    show(rows)


def _ask(page: Page, sentences: list[str]) -> None:
    page.locator("#sentences textarea").fill("\n".join(sentences))
    page.locator("#mark").click()
    page.locator("#answers article h2").nth(len(sentences) - 1).filter(
        has_text=sentences[-1]
    ).wait_for()
