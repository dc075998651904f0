"""Make docs/demo.png, a picture of `tris demo`.

Start `uv run tris demo --no-browser` in a folder without models of its own, then run
`uv run python docs/demo_screenshot.py`. Needs Debian's chromium.
"""

import io

from PIL import Image
from playwright.sync_api import sync_playwright

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto("http://127.0.0.1:7860")
    page.locator("#examples button").first.click()
    page.locator("#answers article").nth(2).wait_for()
    page.wait_for_timeout(1000)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = shot.resize((1025, 576), Image.Resampling.LANCZOS)
    small.quantize(128, Image.Quantize.FASTOCTREE).save("docs/demo.png", optimize=True)
    browser.close()
