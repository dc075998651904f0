"""`tris demo` in a real browser: masks equal those of `tris predict`, or the page says why not.

The server is the real command, in its own process, which logs every address that it looks up or
connects to.
"""

import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from tris_core.cli.main import app
from tris_core.demo.examples import SEEDS, THINGS, draw_examples
from tris_core.demo.inputs import MAX_FILE_MB, MAX_LETTERS, MAX_SENTENCES, check_picture, sentences
from tris_core.predict.predictor import DEMO
from tris_core.runtime.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-component-update"
)
MODELS = ["--step1", str(DEMO[0]), "--step2", str(DEMO[1])]
WATCHED = """
import json, socket, sys
log = open(sys.argv.pop(1), "a", buffering=1)
def watch(event, arguments):
    if event == "socket.connect":
        to = arguments[1]
        log.write(json.dumps(list(to) if isinstance(to, tuple) else [str(to)]) + "\\n")
    elif event == "socket.getaddrinfo":
        log.write(json.dumps([str(arguments[0])]) + "\\n")
sys.addaudithook(watch)
from tris_core.cli.main import app
app()
"""


@dataclass
class Opened:
    """The page in the browser, with all addresses it requested and all errors on its console."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def upload(self, path: Path) -> None:
        self.page.locator("#picture input[type=file]").set_input_files(path)

    def ask(self, path: Path, text: str) -> None:
        self.upload(path)
        self.page.locator("#picture img").wait_for()
        self.page.locator("#sentences textarea").fill(text)
        self.page.locator("#mark").click()

    def answers(self, *sentences: str) -> list[NDArray[np.uint8]]:
        """The downloaded masks, once the page shows these sentences."""
        articles = self.page.locator("#answers article")
        heading = self.page.locator("#answers article h2")
        for number, sentence in enumerate(sentences):
            heading.nth(number).filter(has_text=sentence).wait_for()
        assert articles.count() == len(sentences)
        return [self.download(number)[1] for number in range(len(sentences))]

    def download(self, number: int) -> tuple[str, NDArray[np.uint8]]:
        with self.page.expect_download() as waiting:
            self.page.locator("#answers a[download]").nth(number).click()
        return waiting.value.suggested_filename, np.asarray(Image.open(waiting.value.path()))

    def notice(self, pattern: str) -> None:
        """Wait until the page says this, and check that it shows no answers."""
        said = self.page.locator("#notice [role=alert]").filter(has_text=re.compile(pattern))
        said.wait_for()
        assert said.is_visible()
        assert self.page.locator("#answers article").count() == 0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a running `tris demo`, and the log of its connections."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (Debian: apt-get install chromium)")
    log = tmp_path_factory.mktemp("log") / "connections"
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-c", WATCHED, str(log)]
    command += ["demo", "--port", "0", "--no-browser", *MODELS]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            yield line.split(" ")[0].strip(), log
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
            assert not list(temporary.iterdir()), "uploads were left behind"
        finally:
            server.kill()


@pytest.fixture(scope="module")
def opened(address: tuple[str, Path]) -> Iterator[Opened]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        found = Opened(page)
        page.on("request", lambda request: found.requests.append(request.url))
        page.on(
            "console", lambda line: found.errors.append(line.text) if line.type == "error" else None
        )
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.goto(address[0])
        page.locator("#mark").wait_for()
        yield found
        browser.close()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[str]]]:
    drawn = draw_examples(tmp_path_factory.mktemp("examples"))
    return [(Path(path), texts.split("\n")) for path, texts in drawn]


@pytest.fixture(scope="module")
def photo(examples: list[tuple[Path, list[str]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG on its side, as phones write them."""
    path, exif = tmp_path_factory.mktemp("photo") / "my photo.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.open(examples[1][0]).rotate(90, expand=True).save(path, exif=exif)
    return path


def predicted(
    image: Path, texts: list[str], out: Path, *options: str
) -> dict[str, NDArray[np.uint8]]:
    """The masks that `tris predict` writes, by file name."""
    asked = [part for text in texts for part in ("--text", text)]
    result = CliRunner().invoke(
        app, ["predict", "--image", str(image), *asked, "--out", str(out), *MODELS, *options]
    )
    assert result.exit_code == 0, result.output
    return {path.name: np.asarray(Image.open(path)) for path in sorted(out.glob("*_mask.png"))}


def test_masks_equal_predict_and_follow_the_slider(
    opened: Opened, examples: list[tuple[Path, list[str]]], photo: Path, tmp_path: Path
) -> None:
    texts = examples[1][1][:2]
    opened.ask(photo, "\n\n".join(texts))
    masks = opened.answers(*texts)
    expected = predicted(photo, texts, tmp_path / "half")
    for number, (mask, (name, other)) in enumerate(zip(masks, expected.items(), strict=True)):
        assert opened.download(number)[0] == name
        # turned by its EXIF data: height and width are swapped
        assert mask.shape == Image.open(photo).size
        assert 0.01 < (mask > 0).mean() < 0.9
        assert np.array_equal(mask, other)
    assert not np.array_equal(*masks)

    page = opened.page
    overlay = page.locator("#answers article").first.locator("img").nth(1).get_attribute("src")
    response = page.locator("#answers article").first.locator("img").nth(0).get_attribute("src")
    with Image.open(photo) as turned:
        assert overlay != response
        assert turned.size == masks[0].shape
    page.locator("#threshold input[type=range]").focus()
    for _ in range(4):
        page.keyboard.press("PageUp")
    at = float(page.locator("#threshold input[type=range]").input_value())
    assert at > 0.5
    page.locator("#answers article").nth(1).get_by_text(f"probability over {at:.2f}").wait_for()
    stricter = opened.answers(*texts)
    expected = predicted(
        photo, texts, tmp_path / "strict", "--threshold", str(math.log(at / (1 - at)))
    )
    for mask, looser, other in zip(stricter, masks, expected.values(), strict=True):
        assert np.array_equal(mask, other)
        assert (mask <= looser).all()
        assert (mask < looser).any()
    pictures = page.locator("#answers article").first.locator("img")
    assert pictures.nth(1).get_attribute("src") != overlay
    assert pictures.nth(0).get_attribute("src") == response
    page.locator("#threshold button").click()
    page.locator("#answers article").nth(1).get_by_text("probability over 0.50").wait_for()


def test_an_example_is_one_click(
    opened: Opened, examples: list[tuple[Path, list[str]]], tmp_path: Path
) -> None:
    buttons = opened.page.locator("#examples button")
    assert buttons.count() == len(SEEDS)
    path, texts = examples[2]
    buttons.nth(2).click()
    assert np.array_equal(
        opened.answers(*texts)[0], predicted(path, texts[:1], tmp_path).popitem()[1]
    )
    assert opened.page.locator("#sentences textarea").input_value().split("\n") == texts


def test_a_long_sentence_is_cut_visibly_and_sent_by_keyboard(
    opened: Opened, photo: Path, examples: list[tuple[Path, list[str]]], tmp_path: Path
) -> None:
    words = [*examples[1][1][0].split(), "<b>unheard</b>", *["heart"] * 300][:300]
    opened.ask(photo, "yellow heart")
    opened.answers("yellow heart")
    box = opened.page.locator("#sentences textarea")
    box.fill(" ".join(words))
    box.press("Shift+Enter")
    article = opened.page.locator("#answers article").filter(
        has_text="The models read only the first"
    )
    article.wait_for()
    said = article.inner_text()
    read = article.locator("h2").evaluate("heading => heading.firstChild.textContent").split()
    remark = f"read only the first {len(read)} words. The other {300 - len(read)} were ignored."
    assert remark in " ".join(said.split())
    assert words[: len(read)] == read
    assert "do not know: <b>unheard</b>" in said
    mask = opened.download(0)[1]
    beginning = predicted(photo, [" ".join(read)], tmp_path).popitem()[1]
    assert np.array_equal(mask, beginning)
    assert opened.page.locator("#answers b").filter(has_text="unheard").count() == 0


def test_unusable_input_is_refused_with_a_notice(
    opened: Opened, photo: Path, tmp_path: Path
) -> None:
    page = opened.page
    opened.ask(photo, "red star")
    opened.answers("red star")
    page.locator("#sentences textarea").fill(" \n ")
    page.locator("#mark").click()
    opened.notice("There is no sentence yet")
    page.locator("#sentences textarea").fill("\n".join(["star"] * (MAX_SENTENCES + 1)))
    page.locator("#mark").click()
    opened.notice(f"{MAX_SENTENCES} is the limit")

    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    opened.upload(tmp_path / "broken.jpg")
    opened.notice(r"broken\.jpg cannot be read as a picture")
    (tmp_path / "huge.png").write_bytes(huge_png(30_000, 30_000))
    opened.upload(tmp_path / "huge.png")
    opened.notice(r"huge\.png has more than 25 megapixels")
    page.locator("#sentences textarea").fill("star")
    page.locator("#mark").click()
    opened.notice("There is no picture yet")
    (tmp_path / "half.jpg").write_bytes(photo.read_bytes()[:-4000])
    opened.ask(tmp_path / "half.jpg", "star")
    opened.notice(r"half\.jpg is damaged")
    page.get_by_label("Remove Image").click()
    opened.ask(photo, "red star")
    opened.answers("red star")


def test_a_file_that_is_too_large_is_not_sent(
    opened: Opened, address: tuple[str, Path], photo: Path, tmp_path: Path
) -> None:
    """On a separate page, because Chromium logs the refusal on the console."""
    context = opened.page.context.browser.new_context()
    page = context.new_page()
    page.goto(address[0])
    (tmp_path / "large.jpg").write_bytes(photo.read_bytes() + bytes(MAX_FILE_MB * 1024**2))
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "large.jpg")
    page.get_by_text(
        re.compile(f"exceed the maximum allowed size of {MAX_FILE_MB}.*large.jpg")
    ).wait_for()
    assert page.locator("#picture img").count() == 0
    context.close()


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def test_a_phone_needs_no_sideways_scrolling(
    opened: Opened, examples: list[tuple[Path, list[str]]]
) -> None:
    opened.page.set_viewport_size({"width": 390, "height": 844})
    opened.page.locator("#examples button").first.click()
    opened.answers(*examples[0][1])
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    opened.page.set_viewport_size({"width": 1366, "height": 768})


def test_every_control_has_a_name(opened: Opened) -> None:
    """Names as assistive technology computes them."""
    for role in ("textbox", "slider", "button", "link"):
        for control in opened.page.get_by_role(role).all():
            assert re.search(rf'{role} "[^"]', control.aria_snapshot()), control.evaluate(
                "element => element.outerHTML"
            )[:200]
    pictures = opened.page.locator("img").all()
    assert len(pictures) == len(SEEDS) + 1 + 2 * THINGS  # examples, the picture, two per answer
    assert all(picture.get_attribute("alt") for picture in pictures)


def test_no_other_server_is_contacted(opened: Opened, address: tuple[str, Path]) -> None:
    """Checks, after all tests above, the page's requests, the server's log and the console."""
    server, log = address
    assert len(opened.requests) > 20
    allowed = (f"{server}/", "data:", f"blob:{server}/")
    assert [url for url in opened.requests if not url.startswith(allowed)] == []
    assert opened.errors == []
    lines = log.read_text().splitlines() if log.exists() else []
    asked = {json.loads(line)[0] for line in lines}
    assert asked <= {"127.0.0.1", "localhost"}


def test_a_foreign_host_name_is_refused(address: tuple[str, Path]) -> None:
    """Another site cannot point its own domain name at this server."""
    host, _, port = address[0].removeprefix("http://").partition(":")
    for name, status in (("localhost", b"200"), ("example.org", b"400")):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(
                f"GET /config HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode()
            )
            assert connection.recv(12).split()[1] == status


def test_the_command_refuses_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["demo", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1
    assert re.search(
        r"--port \d+: another program listens there; --port 0 takes any free port", result.output
    )
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["demo", "--port", "0"])
    assert result.exit_code == 1
    assert "pip install 'tris[demo]'" in result.output
    result = CliRunner().invoke(app, ["demo", "--help"])
    assert result.exit_code == 0
    assert all(
        option in result.output for option in ("--host", "--port", "--no-browser", "127.0.0.1")
    )


def test_pictures_and_sentences_have_limits(tmp_path: Path) -> None:
    Image.new("1", (5000, 5000)).save(tmp_path / "most.png")
    check_picture(tmp_path / "most.png", "most.png")
    Image.new("1", (5001, 5000)).save(tmp_path / "more.png")
    Image.new("L", (5, 5)).save(tmp_path / "small.tif")
    for name, message in (("more.png", "more than 25 megapixels"), ("small.tif", "cannot be read")):
        with pytest.raises(InputError, match=message):
            check_picture(tmp_path / name, name)
    assert sentences(" a b \r\n\n c\n") == ["a b", "c"]
    assert len(sentences("a\n" * MAX_SENTENCES)) == MAX_SENTENCES
    assert len(sentences("a" * MAX_LETTERS)[0]) == MAX_LETTERS
    for text in ("", "\n", "a\n" * (MAX_SENTENCES + 1), "a" * (MAX_LETTERS + 1)):
        with pytest.raises(InputError, match=r"no sentence|is the limit"):
            sentences(text)
