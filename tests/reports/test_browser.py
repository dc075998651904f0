"""The page in a real browser: it opens offline, fits a phone, and all pictures decode."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tris_core.cli.main import app

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    f"--disable-{what}"
    for what in ("gpu", "quic", "background-networking", "component-update", "sync")
]
pytestmark = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")


@pytest.fixture
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--no-first-run", *QUIET]
        )


def test_the_page_opens_offline_on_a_phone(finished: Path, browser: sync_api.Browser) -> None:
    result = CliRunner().invoke(
        app, ["page", "--out", "page.html", "--items", "1000"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    address, asked, said = Path("page.html").resolve().as_uri(), [], []
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(address)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert said == []
    pictures = page.evaluate(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.width])"
    )
    assert len(pictures) > 20
    assert all(
        complete and width > 0 and height > 0 and shown > 0
        for complete, width, height, shown in pictures
    )
    assert page.locator("svg").count() == 2
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
