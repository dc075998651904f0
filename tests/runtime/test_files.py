"""Outputs are whole or absent, processes end with their parent, scratch is never shared."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from tris_core.runtime.errors import InputError, counted
from tris_core.runtime.files import (
    check_seal,
    read_sealed_json,
    replacing,
    sha256_of,
    write_sealed_json,
)
from tris_core.runtime.locks import hold, holder
from tris_core.runtime.parquet import read_table, write_table
from tris_core.runtime.processes import map_in_processes
from tris_core.training.checkpoints import write_checkpoint
from tris_core.training.scratch import scratch_folder, training_digest


class Failed(Exception):
    pass


def test_a_failure_leaves_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.txt"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(Failed), replacing(path) as temporary:
        temporary.write_text("half")
        raise Failed
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("a", "b"):
        with replacing(folder) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in folder.iterdir()] == ["b"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two names in one step")
def test_a_folder_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    (disk / "mine").touch()
    out.symlink_to(disk)
    with replacing(out) as temporary:
        temporary.mkdir()
        (temporary / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert (disk / "mine").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_a_folder_is_never_absent_while_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    test_a_folder_replaces_a_folder(tmp_path)
    there: list[bool] = []
    for name in ("rename", "replace"):
        move = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *names, move=move: (move(*names), there.append(folder.exists()))
        )
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "c").write_text("c")
    assert all(there)
    assert [p.name for p in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_replaced_where_names_cannot_be_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tris_core.runtime.files._exchange", lambda one, other: False)
    test_a_folder_replaces_a_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    die = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tris_core.runtime.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.mkdir()\n"
        "    (temporary / 'half').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    out = tmp_path / "o[u]t"
    subprocess.run([sys.executable, "-c", die, str(out)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(out) as temporary:
        temporary.mkdir()
        (temporary / "whole").write_text("whole")
    assert list(tmp_path.iterdir()) == [out]
    assert [p.name for p in out.iterdir()] == ["whole"]


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")
def test_bytes_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        calls.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        calls.append(("rename", target.name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    with replacing(tmp_path / "model") as temporary:
        (temporary / "part").mkdir(parents=True)
        (temporary / "part" / "a").write_text("a")
        (temporary / "b").write_text("b")
    draft = temporary.name
    assert calls[-2:] == [("rename", "model"), ("fsync", tmp_path.name)]
    assert sorted(calls[:-2]) == sorted(("fsync", name) for name in ("a", "b", "part", draft))


def test_an_output_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"file/out: cannot be created \(File exists\)"),
        replacing(tmp_path / "file" / "out"),
    ):
        pass
    for name in ("x" * 255, "é" * 127):
        with replacing(tmp_path / name) as temporary:
            temporary.write_text("as long as names may be")
    with (
        pytest.raises(InputError, match=r"cannot be created .*too long"),
        replacing(tmp_path / ("x" * 256)) as temporary,
    ):
        temporary.write_text("")


def test_other_errors_in_the_block_are_not_changed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out"):
        (tmp_path / "elsewhere").read_text()


def sealed_files(folder: Path) -> list[Path]:
    """One of each kind of sealed file."""
    write_sealed_json(folder / "a.json", {"size": 96, "name": "x"})
    write_table(
        folder / "a.parquet",
        pd.DataFrame({"id": range(50), "text": [f"sentence {i}" for i in range(50)]}),
    )
    write_checkpoint({"model": {"w": torch.arange(20.0)}, "done": 3}, folder / "a.pt")
    return [folder / "a.json", folder / "a.parquet", folder / "a.pt"]


def test_every_flipped_bit_of_a_sealed_file_is_found(tmp_path: Path) -> None:
    rng = random.Random(0)
    for path in sealed_files(tmp_path):
        check_seal(path, "")
        whole = path.read_bytes()
        for bit in rng.sample(range(8 * len(whole)), 300):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            with pytest.raises(InputError, match=rf"{path.name}: .*damaged.*copy it"):
                check_seal(path, "copy it")
        for kept in (0, 1, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:kept])
            with pytest.raises(InputError, match="damaged"):
                check_seal(path, "copy it")


def test_sealed_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    json, table, checkpoint = sealed_files(tmp_path)
    assert read_sealed_json(json, "") == {"size": 96, "name": "x"}
    assert read_table(table, ["text"])["text"].tolist() == [f"sentence {i}" for i in range(50)]
    assert zipfile.ZipFile(checkpoint).testzip() is None
    assert torch.load(checkpoint, weights_only=True)["done"] == 3


def test_control_characters_are_escaped() -> None:
    hostile = "a\x1b]0;owned\x07\x1b[2J\nindex: fine\u202e.jpg"
    assert (
        str(InputError(f"{hostile}: missing"))
        == r"a\x1b]0;owned\x07\x1b[2J\nindex: fine\u202e.jpg: missing"
    )
    assert str(InputError("one", "two é 中")) == "one\ntwo é 中"


def test_one_item_is_counted_in_the_singular() -> None:
    assert [counted(number, "ref") for number in (0, 1, 2)] == ["0 refs", "1 ref", "2 refs"]


def test_the_digest_depends_on_parameters_and_data(tmp_path: Path) -> None:
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


def test_scratch_is_kept_after_a_failure_and_removed_after_success() -> None:
    with pytest.raises(Failed), scratch_folder("toy", "digest") as folder:
        (folder / "checkpoint").write_text("state")
        raise Failed
    with scratch_folder("toy", "digest") as folder:
        assert (folder / "checkpoint").read_text() == "state"
    assert not folder.exists()


def test_deleting_scratch_during_a_training_is_not_an_error() -> None:
    with scratch_folder("toy", "digest") as folder:
        shutil.rmtree(folder)
    assert not folder.exists()


def test_a_process_that_waits_for_a_lock_names_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tris_core.runtime.locks.FIRST_WORD", 0.2)
    monkeypatch.setattr("tris_core.runtime.locks.NEXT_WORDS", 0.3)
    path = tmp_path / "deep" / "training.lock"
    other = (
        "import sys; from pathlib import Path; from tris_core.runtime.locks import hold\n"
        "with hold(Path(sys.argv[1]), 'x'): print('has it', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", other, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    threading.Timer(1.2, process.communicate, ["\n"]).start()
    with hold(path, "the same training elsewhere"):
        lines = capsys.readouterr().out.splitlines()
        assert f"process {os.getpid()} on" in holder(path)
    process.wait()
    assert len(lines) >= 2
    assert all(
        f"waiting for the same training elsewhere: process {process.pid} on" in line
        and str(path) in line
        for line in lines
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_results_of_processes_come_in_order() -> None:
    assert list(map_in_processes(abs, range(-40, 0), workers=2)) == list(range(40, 0, -1))


def interrupted(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


def test_workers_ignore_ctrl_c() -> None:
    assert list(map_in_processes(interrupted, range(6), workers=2)) == list(range(6))


def killed(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_an_input_error() -> None:
    message = r"one of 2 worker processes was killed, .* lower runtime\.workers"
    with pytest.raises(InputError, match=message):
        list(map_in_processes(killed, range(6), workers=2))


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_stage_and_its_workers_end_with_their_parent() -> None:
    stage = "\n".join(
        [
            "import os, time",
            "from tris_core.runtime.processes import end_with_parent, map_in_processes",
            "end_with_parent()",
            "def nap(_):",
            "    os.write(1, b'%d\\n' % os.getpid())",
            "    time.sleep(60)",
            "print(os.getpid(), flush=True)",
            "for _ in map_in_processes(nap, [0, 1], workers=2): pass",
        ]
    )
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stage!r}])"
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True)
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


@pytest.mark.skipif(sys.platform != "linux", reason="sets an option of Linux's allocator")
def test_keep_freed_memory_keeps_it() -> None:
    program = "\n".join(
        [
            "import numpy as np, psutil",
            "from tris_core.runtime.processes import keep_freed_memory",
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


def test_a_stage_freezes_its_imports_for_the_garbage_collector() -> None:
    program = "\n".join(
        [
            "import gc, stages.index",
            "from stages._stage import run_stage",
            "with run_stage('index'):",
            "    print(gc.get_freeze_count())",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.splitlines()[0]) > 100_000
