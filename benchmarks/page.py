"""The page of `tris demo` with the packaged models, in Chromium: seconds to start, and from the click to the answers."""

import subprocess
import sys
import time
from statistics import median

from playwright.sync_api import sync_playwright

from benchmarks._measure import show

PORT, REPEATS = 7899, 5


def main() -> None:
    started = time.perf_counter()
    command = [sys.executable, "-c", "from tris_core.cli import app; app()", "demo", "--no-browser", "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            assert server.stdout is not None
            assert server.stdout.readline()
            rows = [{"name": "start", "seconds": time.perf_counter() - started}]
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{PORT}")
            page.locator("#examples button img").first.click()
            page.locator("#answers article h2").first.wait_for()
            for sentences in (1, 8):
                times = []
                for repeat in range(REPEATS):
                    texts = [f"yellow star {repeat} {number}" for number in range(sentences)]
                    page.locator("#sentences textarea").fill("\n".join(texts))
                    asked = time.perf_counter()
                    page.locator("#mark").click()
                    page.locator("#answers article h2").nth(sentences - 1).filter(has_text=texts[-1]).wait_for()
                    times.append(time.perf_counter() - asked)
                rows.append({"name": f"{sentences} sentences", "seconds": median(times)})
            browser.close()
        finally:
            server.terminate()
    show(rows)
