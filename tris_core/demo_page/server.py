"""Serving the page, to this machine unless told otherwise, and with nothing from anywhere else on it."""

import errno
import os
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tris_core.demo_page.inputs import MAX_FILE_MB
from tris_core.errors import InputError
from tris_core.models.checkpoints import read_config
from tris_core.predict import DEMO, Predictor, default_models

# Whatever a new release of Gradio may ask for, the browser loads from this server only.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

SYSTEM_FONT = ("system-ui", "sans-serif")
LOOPBACK = ("127.0.0.1", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port`, 0 being any free one. Raises `InputError` where that cannot be had."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else f"cannot listen there ({error.strerror})"
        raise InputError(f"--host {host} --port {port}: {why}; --port 0 takes any free port") from error


def serve(
    listening: socket.socket, step1: Path | None, step2: Path | None, *, browser: bool, say: Callable[[str], None]
) -> None:
    """Load the models, draw the examples, and answer until interrupted. Uploads are deleted in the end.

    Raises `InputError` where there are no models, or no Gradio.
    """
    with tempfile.TemporaryDirectory(prefix="tris-demo-") as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}  # read when Gradio is imported
        try:
            import gradio as gr
        except ModuleNotFoundError as error:
            raise InputError(f"the page needs {error.name}, which is not installed; run: pip install 'tris[demo]'") from error
        import uvicorn
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from tris_core.demo_page.examples import draw_examples
        from tris_core.demo_page.page import build

        folders = default_models() if step1 is None or step2 is None else (step1, step2)
        page = build(Predictor.load(step1, step2), _remark(*folders), draw_examples(Path(folder)))
        app = FastAPI(openapi_url=None)
        host, port = listening.getsockname()[:2]
        if host in LOOPBACK:  # no page from elsewhere may reach this server under a name of its own
            app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "localhost"])
        gr.mount_gradio_app(
            app,
            page,
            "/",
            theme=gr.themes.Default(primary_hue="blue", font=SYSTEM_FONT, font_mono="monospace"),
            css_paths=Path(__file__).parent / "page.css",
            max_file_size=f"{MAX_FILE_MB}mb",
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
        )
        # An open page keeps a connection; what uvicorn has to say on cutting it at the end is an error in its eyes only.
        headers = [("Content-Security-Policy", POLICY)]
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", headers=headers, timeout_graceful_shutdown=1))
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        say(f"{address} (Ctrl-C ends it)")
        if browser:
            webbrowser.open(address)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _remark(step1: Path, step2: Path) -> str:
    if read_config(step1)["clip"].get("name") != "demo":
        return f"Models: {step1} and {step2}"
    which = "those of the package" if (step1, step2) == DEMO else f"{step1} and {step2}"
    return (
        f"Models: {which}, trained on generated pictures of shapes. They know the words of such pictures only; on "
        "photographs they show no more than that the page works."
    )
