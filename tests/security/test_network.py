"""No command reaches for the network unasked: every stage and `tris predict` run where each attempt fails and is counted."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.closure import ROOT
from tests.support.stages import NAMES
from tests.support.tiny_models import write_tiny_models
from tests.support.tiny_refer import TinyRefer

# sitecustomize is imported by Python itself before anything else, in the process and in every Python process it starts.
WATCH = """
import os, socket
def refuse(*arguments, **options):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(f"{arguments}\\n")
    raise OSError("no network in this test")
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
"""


def python(folder: Path, *arguments: str) -> str:
    env = {
        **os.environ,
        "ATTEMPTS": str(folder / "attempts"),
        "PYTHONPATH": f"{folder / 'watch'}:{ROOT}",
    }
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        env.pop(name, None)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stages_and_predict_attempt_no_connection(tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    attempts = tmp_path / "attempts"
    assert (
        python(
            tmp_path,
            "-c",
            "import socket, contextlib\nwith contextlib.suppress(OSError): socket.create_connection('x')",
        )
        == ""
    )
    assert len(attempts.read_text().splitlines()) == 1, "the watch must see an attempt"
    attempts.unlink()
    photo = TinyRefer().write(tmp_path / "root") / "train2014" / "b.jpg"
    one, two = write_tiny_models(tmp_path)
    options = [
        "--image",
        str(photo),
        "--text",
        "left man",
        "--step1",
        str(one),
        "--step2",
        str(two),
        "--out",
        "out",
    ]
    lines = [
        *(f"import stages.{name}" for name in NAMES),
        "from tris_core.cli.main import app",
        f"app(['predict', *{options}])",
    ]
    assert "confidence" in python(tmp_path, "-c", "\n".join(lines))
    assert not attempts.exists(), attempts.read_text()
