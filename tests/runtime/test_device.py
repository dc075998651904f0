"""Two runs never use one GPU. Lock files stand for the GPUs."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.support.runtime import runtime_params
from tris_core.runtime import device as runtime
from tris_core.runtime import distributed
from tris_core.runtime.errors import InputError

RUN = """
import sys, time
from pathlib import Path
import tris_core.runtime.device
from tris_core.runtime.device import lease

tris_core.runtime.device.FIRST_WORD = 0.1
gpus, folder, seconds, wanted = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
leased = lease([f"GPU-{i}" for i in range(gpus)], folder / "gpus", int(wanted), poll=0.02)
started = time.monotonic()
print("leased", *leased, flush=True)
time.sleep(seconds)
with (folder / "log").open("a") as log:
    for number in leased:
        log.write(f"{number} {started} {time.monotonic()}\\n")
"""


def start(gpus: int, folder: Path, seconds: float, wanted: int = 1) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", RUN, str(gpus), str(folder), str(seconds), str(wanted)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_runs_of_one_and_two_processes_share_three_gpus(tmp_path: Path) -> None:
    runs = [start(3, tmp_path, 0.1, wanted) for wanted in (1, 2) * 4]
    said = [run.communicate(timeout=240)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 8
    assert any(f"waiting for {n} of 3: process " in w for w in said for n in ("1 GPU", "2 GPUs"))
    uses: dict[int, list[tuple[float, float]]] = {}
    for line in (tmp_path / "log").read_text().splitlines():
        number, begin, end = line.split()
        uses.setdefault(int(number), []).append((float(begin), float(end)))
    assert sorted(uses) == [0, 1, 2]
    assert sum(map(len, uses.values())) == 12
    for spans in uses.values():
        spans.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), "two runs on one GPU"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_releases_its_gpu(how: signal.Signals, tmp_path: Path) -> None:
    first = start(1, tmp_path, 60)
    assert first.stdout is not None
    assert first.stdout.readline() == "leased 0\n"
    second = start(1, tmp_path, 0)
    time.sleep(0.3)
    assert second.poll() is None
    first.send_signal(how)
    assert second.communicate(timeout=20)[0].splitlines()[-1] == "leased 0"
    first.wait()


def pretend(monkeypatch: pytest.MonkeyPatch, *, gpus: int) -> None:
    """As if this machine had GPUs, whose UUIDs are those of `RUN`."""
    properties = [type("Properties", (), {"uuid": f"GPU-{i}"}) for i in range(gpus)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties.__getitem__)


def test_auto_takes_the_first_free_visible_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path))
    chosen: list[torch.device] = []
    pretend(monkeypatch, gpus=2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(runtime, "free_memory", lambda gpu: (79e9, 80e9))
    monkeypatch.setattr("tris_core.runtime.device._held", held := [])
    other = start(1, tmp_path, 60)  # holds GPU-0
    assert other.stdout is not None
    assert other.stdout.readline() == "leased 0\n"
    torch.use_deterministic_algorithms(False)
    device = runtime.pick_device(runtime_params(device="auto"))
    other.kill()
    other.wait()
    assert device == torch.device("cuda", 1) == chosen[0]
    assert len(held) == 1
    assert torch.are_deterministic_algorithms_enabled()


def test_gpus_that_others_use_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = [10e9, 79e9]
    monkeypatch.setattr(runtime, "free_memory", lambda gpu: (free[gpu], 80e9))
    monkeypatch.setattr(runtime, "_held", [])
    monkeypatch.setattr(runtime, "FIRST_WORD", 0.0)
    busy = runtime.others_at_work
    assert runtime.lease(["a", "b"], tmp_path, busy=busy) == [1]
    assert capsys.readouterr().out == ""

    def finish(seconds: float) -> None:
        free[0] = 79e9

    monkeypatch.setattr(time, "sleep", finish)
    assert runtime.lease(["a", "b"], tmp_path, busy=busy) == [0]
    said = capsys.readouterr().out
    assert "waiting for 1 GPU of 2: GPU 0 has 10.0 of 80.0 GB free, so others use it; " in said
    assert f"process {os.getpid()}" in said
    assert "`runtime.device: cuda` does not wait" in said


@pytest.mark.parametrize(
    ("used", "total", "idle"),
    [(1.4e9, 8e9, True), (1.6e9, 8e9, False), (7.9e9, 80e9, True), (8.1e9, 80e9, False)],
)
def test_a_screen_is_no_work(
    used: float, total: float, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "free_memory", lambda gpu: (total - used, total))
    assert (runtime.others_at_work(0) is None) is idle


def test_memory_is_asked_for_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=b"3000 4000\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert runtime.free_memory(5) == (3000, 4000)
    assert asked == [[sys.executable, "-c", "import torch; print(*torch.cuda.mem_get_info(5))"]]


def test_each_process_of_a_run_gets_one_of_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process leases for all; here the processes of two machines follow each other."""
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    pretend(monkeypatch, gpus=3)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(runtime, "free_memory", lambda gpu: (0 if gpu == 0 else 80e9, 80e9))
    monkeypatch.setattr(runtime, "_held", [])
    offered = []

    def of_all_ranks(leased: list[int]) -> list[list[int]]:
        offered.append(leased)
        return [[0, 1], [], [1, 2], []]

    monkeypatch.setattr(distributed, "of_all_ranks", of_all_ranks)
    found = []
    for rank, local_rank in ((2, "0"), (3, "1")):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        found.append(runtime.pick_device(runtime_params(device="auto")).index)
    assert offered == [[1, 2], []]
    assert found == [1, 2]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_processes_than_gpus_are_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpus=1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(
        InputError, match=r"processes = 2: each takes a GPU of its own, .* has 1 GPU;"
    ):
        runtime.pick_device(runtime_params(device=device))


@pytest.mark.parametrize(("local_rank", "number"), [(None, 0), ("1", 1)])
def test_cuda_is_the_first_gpu_or_that_of_the_local_rank(
    local_rank: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert (
        runtime.pick_device(runtime_params(device="cuda"))
        == torch.device("cuda", number)
        == chosen[0]
    )
