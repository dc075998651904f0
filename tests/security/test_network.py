"""Importing any stage and running `tris predict` attempts no network connection."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.closure import ROOT
from tests.support.stages import NAMES
from tests.support.tiny_models import write_tiny_models
from tests.support.tiny_refer import TinyRefer

# Python imports sitecustomize first, in this process and in every Python process it starts.
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
    """Run Python in `folder`, where every attempt to connect fails and is logged in `attempts`."""
    env = {
        **os.environ,
        "ATTEMPTS": str(folder / "attempts"),
        "PYTHONPATH": f"{folder / 'watch'}:{ROOT}",
    }
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        env.pop(name, None)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_stages_and_predict_attempt_no_connection(tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    attempts = tmp_path / "attempts"
    connect = "with contextlib.suppress(OSError): socket.create_connection('x')"
    python(tmp_path, "-c", f"import socket, contextlib\n{connect}")
    assert len(attempts.read_text().splitlines()) == 1, "an attempt must be noticed"
    attempts.unlink()
    photo = TinyRefer().write(tmp_path / "root") / "train2014" / "b.jpg"
    one, two = write_tiny_models(tmp_path)
    options = ["--image", str(photo), "--text", "left man", "--out", "out"]
    options += ["--step1", str(one), "--step2", str(two)]
    lines = [
        *(f"import stages.{name}" for name in NAMES),
        "from tris_core.cli.main import app",
        f"app(['predict', *{options}])",
    ]
    assert "confidence" in python(tmp_path, "-c", "\n".join(lines))
    assert not attempts.exists(), attempts.read_text()
