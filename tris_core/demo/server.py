"""Serves the page, by default to this machine only, and without any content from elsewhere."""

import asyncio
import errno
import ipaddress
import os
import signal
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tris_core.demo.inputs import MAX_FILE_MB
from tris_core.demo.limits import Limits
from tris_core.demo.uploads import EXAMPLES, Uploads, upload_folder
from tris_core.predict.predictor import DEMO, Predictor, default_models
from tris_core.runtime.errors import InputError
from tris_core.weights.model_folder import read_config

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from tris_core.demo.visitors import Visitors

# The browser loads from this server only, whatever a new release of Gradio may request.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

SYSTEM_FONT = ("system-ui", "sans-serif")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
OPEN = (
    "Anyone who can reach this machine over the network can use the page; "
    "--host 127.0.0.1 keeps it to this machine."
)


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket to `host` and `port` (0 is any free one). Raises `InputError` if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        failed = f"cannot listen there ({error.strerror})"
        why = "another program listens there" if taken else failed
        fix = "--port 0 takes any free port"
        raise InputError(f"--host {host} --port {port}: {why}; {fix}") from error


def address(host: str, port: int) -> str:
    """The URL of `host`, an IP address, and `port`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_local(host: str) -> bool:
    """Whether `host`, an IP address, is reachable from this machine only."""
    return ipaddress.ip_address(host).is_loopback


def announcement(host: str, port: int) -> list[str]:
    """The lines that the command prints: the page's URL, and who else can use it."""
    return [f"{address(host, port)} (Ctrl-C ends it)", *([] if is_local(host) else [OPEN])]


def serve(
    listening: socket.socket,
    step1: Path | None,
    step2: Path | None,
    *,
    browser: bool,
    say: Callable[[str], None],
    limits: Limits = Limits(),
) -> None:
    """Load the models, draw the examples, and serve until interrupted. Uploads are then deleted.

    Raises `InputError` if there are no models or Gradio is not installed.
    """
    with upload_folder() as folder:
        # Gradio reads these when it is imported.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}
        try:
            import gradio  # noqa: F401
        except ModuleNotFoundError as error:
            problem = f"the page needs {error.name}, which is not installed"
            raise InputError(f"{problem}; run: pip install 'tris[demo]'") from error
        import uvicorn

        from tris_core.demo.examples import draw_examples
        from tris_core.demo.page import build
        from tris_core.demo.protocol import ImpatientProtocol

        folders = default_models() if step1 is None or step2 is None else (step1, step2)
        uploads = Uploads(folder, limits)
        (folder / EXAMPLES).mkdir()
        examples = draw_examples(folder / EXAMPLES)
        page = build(Predictor.load(step1, step2), _remark(*folders), examples, uploads, limits)
        host, port = listening.getsockname()[:2]
        # Open pages keep connections. On cutting them at the end, uvicorn would log errors.
        config = uvicorn.Config(
            _app(page, uploads, limits, names={*THIS_MACHINE, host} if is_local(host) else None),
            http=ImpatientProtocol,
            log_level="critical",
            headers=[("Content-Security-Policy", POLICY)],
            limit_concurrency=limits.connections,
            timeout_keep_alive=limits.idle_s,  # type: ignore[arg-type]  # asyncio takes floats
            timeout_graceful_shutdown=1,
        )
        for line in announcement(host, port):
            say(line)
        if browser:
            webbrowser.open(address(host, port))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _app(page: "gr.Blocks", uploads: Uploads, limits: Limits, names: set[str] | None) -> Any:
    """Gradio behind the guard. `names` are the host names that it answers to; None for any."""
    import gradio as gr
    from fastapi import FastAPI

    from tris_core.demo.guard import Guard
    from tris_core.demo.visitors import Visitors

    async def forget(session: str) -> None:
        await page._queue.clean_events(session_hash=session)
        page._queue.pending_messages_per_session.pop(session, None)
        page.state_holder.session_data.pop(session, None)

    @asynccontextmanager
    async def sweeping(_: "FastAPI") -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(visitors, limits))
        yield
        task.cancel()

    visitors = Visitors(uploads, forget, limits)
    app = FastAPI(openapi_url=None, lifespan=sweeping)
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
        show_error=False,
    )
    functions = {
        queue: {n: str(fn.name) for n, fn in page.fns.items() if fn.queue == queue}
        for queue in (False, True)
    }
    return Guard(
        app, uploads, visitors, limits, names, direct=functions[False], queued=functions[True]
    )


async def _sweep(visitors: "Visitors", limits: Limits) -> None:
    while True:
        await asyncio.sleep(limits.grace_s / 4)
        # Gradio's threads may move uploads meanwhile. The next round sweeps those.
        with suppress(OSError):
            await visitors.sweep()


def _remark(step1: Path, step2: Path) -> str:
    if read_config(step1).clip.name != "demo":
        return f"Models: {step1} and {step2}"
    which = "those of the package" if (step1, step2) == DEMO else f"{step1} and {step2}"
    return (
        f"Models: {which}, trained on generated pictures of shapes. They know only the words for "
        "these; their masks on photographs are meaningless."
    )
