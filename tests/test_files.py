"""Outputs are whole or absent; a process ends with its parent; scratch is never shared."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tris_core.errors import InputError
from tris_core.files import replacing, sha256_of
from tris_core.processes import map_in_processes
from tris_core.training.scratch import scratch_folder, training_digest


class Failed(Exception):
    pass


def test_what_fails_leaves_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(Failed), replacing(path) as temporary:
        temporary.write_text("half")
        raise Failed
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("a", "b"):
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in folder.iterdir()] == ["b"]


def test_leftovers_of_a_killed_process_are_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".out.tmp").mkdir()
    (tmp_path / ".out.tmp" / "half").write_text("half")
    with replacing(tmp_path / "out") as temporary:
        temporary.mkdir()
        (temporary / "whole").write_text("whole")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["whole"]


def test_digest_names_the_training(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("1")
    first = training_digest({"lr": 1.0}, [data])
    assert first == training_digest({"lr": 1.0}, [data])
    assert first != training_digest({"lr": 2.0}, [data])
    data.write_text("2")
    assert first != training_digest({"lr": 1.0}, [data])
    assert sha256_of([data]) != sha256_of([data, data])


def test_two_trainings_never_share_a_scratch_folder() -> None:
    inside, overlaps = [], []

    def work() -> None:
        with scratch_folder("toy", "digest") as folder:
            inside.append(folder)
            overlaps.append(len(inside))
            time.sleep(0.2)
            inside.remove(folder)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [1, 1, 1]


def test_scratch_stays_after_a_failure_and_goes_after_success() -> None:
    with pytest.raises(Failed), scratch_folder("toy", "digest") as folder:
        (folder / "checkpoint").write_text("state")
        raise Failed
    with scratch_folder("toy", "digest") as folder:
        assert (folder / "checkpoint").read_text() == "state"
    assert not folder.exists()


def test_results_of_processes_come_in_order() -> None:
    assert list(map_in_processes(abs, range(-40, 0), workers=2)) == list(range(40, 0, -1))


def interrupted(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


def test_ctrl_c_is_for_the_process_that_waits_not_for_its_workers() -> None:
    assert list(map_in_processes(interrupted, range(6), workers=2)) == list(range(6))


def killed(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_said_plainly() -> None:
    with pytest.raises(InputError, match=r"one of 2 worker processes was killed, .* lower runtime\.workers"):
        list(map_in_processes(killed, range(6), workers=2))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_stage_and_its_workers_end_with_the_process_that_started_it() -> None:
    stage = "\n".join(
        [
            "import os, sys, time",
            "from tris_core.processes import end_with_parent, map_in_processes",
            "end_with_parent()",
            "print(os.getpid(), flush=True)",
            "for pid in map_in_processes(lambda_, [0, 1], workers=2): print(pid, flush=True)",
        ]
    ).replace("lambda_", "nap")
    stage = stage.replace(
        "end_with_parent()\n",
        "end_with_parent()\ndef nap(_):\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n",
        1,
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stage!r}])"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout
    pids = [int(parent.stdout.readline()) for _ in range(3)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux' allocator that is asked")
def test_freed_memory_is_kept_where_asked_for() -> None:
    program = "\n".join(
        [
            "import numpy as np, psutil",
            "from tris_core.processes import keep_freed_memory",
            "def held():",
            "    before = psutil.Process().memory_info().rss",
            "    np.ones(25_000_000)",
            "    return (psutil.Process().memory_info().rss - before) // 1_000_000",
            "given_back = held()",
            "keep_freed_memory()",
            "print(given_back, held())",
        ]
    )
    given_back, kept = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(given_back) < 50
    assert int(kept) > 150


def test_a_stage_that_starts_sets_its_imports_apart_from_what_may_be_garbage() -> None:
    program = "import gc, stages.index; print(gc.get_freeze_count())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100_000
