"""Kill a run of the tiny pipeline again and again; `dvc repro` must end where an undisturbed run ends.

    uv run python -m tests.pipeline.kill --times 30 --seed 0
    uv run python -m tests.pipeline.kill --times 10 --power

One clone runs undisturbed. Others, each with an empty cache, are started, killed and started again, up to `--per-run` times,
so that kills meet what earlier ones left. After every kill no process may be left over; at the end of a run every output of
dvc.lock must have the undisturbed run's bytes, no file may lie where the undisturbed run has none, and every object of DVC's
cache must be what its name says. With --power all processes are killed at once, and what they had not fsynced is damaged
(`tests.pipeline.power`); docs/mend_cache.sh then clears DVC's own cache, as docs/operations.md says. Ends with exit code 1 at the
first run that is not so, and leaves its folder to look at.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from ruamel.yaml import YAML

from tests.pipeline import power
from tests.support.closure import ROOT
from tests.support.project import Project

VICTIMS = (
    "stage",
    "dvc",
    "worker",
    "terminal",
)  # Ctrl-C in a terminal reaches DVC, its stage and the workers at once
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 60.0  # seconds for the rest of a run to end with DVC
HANG = 1800.0  # seconds for a run that a blow did not end (DVC leaves Ctrl-C to its stage, workers to the stage)


@dataclass(frozen=True)
class Blow:
    """Who is killed and how: after `seconds`, or once files of the run came or went `writes` times in its presence."""

    victim: str
    how: signal.Signals
    seconds: float = 0.0
    writes: int = 0

    @staticmethod
    def draw(rng: random.Random, span: float) -> "Blow":
        victim = rng.choice(VICTIMS)
        how = signal.SIGINT if victim == "terminal" else rng.choice(SIGNALS)
        if rng.random() < 0.5:
            return Blow(victim, how, seconds=rng.uniform(0, span))
        return Blow(victim, how, writes=rng.randint(1, 12))

    def __str__(self) -> str:
        return f"{self.how.name} to {self.victim} at " + (
            f"change {self.writes}" if self.writes else f"{self.seconds:.2f} s"
        )


def strike(project: Project, blow: Blow, *arguments: str) -> bool:
    """`dvc repro` with a blow; whether it ended well, the blow being late. All processes of the run have ended."""
    process = subprocess.Popen(
        ["dvc", "repro", *arguments], cwd=project.folder, env=project.env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    started, seen, changes = time.monotonic(), names(project), 0
    while process.poll() is None:
        run = victims(process.pid, blow.victim)
        if blow.writes and (now := names(project)) != seen:
            seen, changes = now, changes + bool(run)
        if run and changes >= blow.writes and time.monotonic() - started >= blow.seconds:
            break
        time.sleep(0.005)
    else:
        return process.returncode == 0
    others = psutil.Process(process.pid).children(
        recursive=True
    )  # not yet waited for, so it is there, if only as a zombie
    for struck in run:
        with contextlib.suppress(psutil.NoSuchProcess):
            struck.send_signal(blow.how)
    process.wait(timeout=HANG)
    _, alive = psutil.wait_procs(others, timeout=PATIENCE)
    assert not alive, f"{blow}: left over: {[p.cmdline() for p in alive]}"
    mend_lock(project)
    return process.returncode == 0


def mend_lock(project: Project) -> None:
    """What docs/operations.md says: delete DVC's list of locks where a blow cut it off. DVC does nothing before that."""
    lock = project.folder / ".dvc/tmp/rwlock"
    if lock.exists():
        try:
            json.loads(lock.read_text())
        except json.JSONDecodeError:
            lock.unlink()


def victims(dvc: int, victim: str) -> list[psutil.Process]:
    """Those processes of a run that are there: DVC, its child the stage, the stage's children; a terminal's once a stage is."""
    try:
        whole = psutil.Process(dvc)
        stages = whole.children()
        if victim == "terminal":
            return [whole, *whole.children(recursive=True)] if stages else []
        return {
            "dvc": [whole],
            "stage": stages,
            "worker": [w for s in stages for w in s.children()],
        }[victim][:1]
    except psutil.NoSuchProcess:
        return []


def names(project: Project) -> set[str]:
    """Everything that a run may write, outside DVC's own folder; relative to the project and to its scratch folder."""
    places = (
        project.folder,
        *(project.folder / name for name in ("data", "models", "metrics")),
        project.scratch,
    )
    found = set()
    for number, place in enumerate(places):
        for folder, folders, files in os.walk(place):  # which passes over what goes while it looks
            found |= {
                f"{number}:{os.path.relpath(os.path.join(folder, name), place)}"
                for name in folders + files
            }
            if number == 0:
                break
    return found


def outputs(project: Project) -> dict[str, str]:
    """MD5 of every output, as dvc.lock has them."""
    stages = YAML(typ="safe").load(project.folder / "dvc.lock")["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def damaged(project: Project) -> list[Path]:
    """What of DVC's cache is no whole object."""
    objects = [
        path for path in (project.folder / ".dvc/cache/files/md5").rglob("*") if path.is_file()
    ]
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem
    ]


def check(project: Project, undisturbed: tuple[dict[str, str], set[str]]) -> None:
    assert outputs(project) == undisturbed[0], "other bytes"
    assert names(project) == undisturbed[1], (
        f"other files: {sorted(names(project) ^ undisturbed[1])}"
    )
    assert not damaged(project), f"damaged in the cache: {damaged(project)}"


def cut_power(project: Project, seconds: float, rng: random.Random) -> bool:
    """`dvc repro`, cut off after `seconds`; whether it ended before. What was not on the disk is damaged."""
    started = time.time()
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=project.folder, env=project.env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        others = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(others, timeout=PATIENCE)
    typer.echo(f"     {power.cut(project, started, rng)} files damaged")
    mend_lock(project)
    project.run("bash", str(ROOT / "docs" / "mend_cache.sh"))
    return False


def main(
    times: Annotated[int, typer.Option(min=1, help="kills")] = 30,
    seed: Annotated[int, typer.Option(help="of victims, signals and moments")] = 0,
    per_run: Annotated[
        int, typer.Option(min=1, help="kills of a run before it is let through")
    ] = 6,
    power_cuts: Annotated[
        bool, typer.Option("--power", help="cut the power instead of killing one process")
    ] = False,
) -> None:
    """Kill tiny runs at random moments and compare what comes of them with an undisturbed run."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs, and all they start, ignore it
    rng = random.Random(seed)
    base = Path(tempfile.mkdtemp(prefix="tris-kill-"))
    started = time.monotonic()
    calm = Project(base / "calm")
    calm.repro()
    span, undisturbed = time.monotonic() - started, (outputs(calm), names(calm))
    typer.echo(f"{base}: {len(undisturbed[0])} outputs in {span:.0f} s undisturbed")
    struck = runs = 0
    while struck < times:
        runs += 1
        project, done, here = Project(base / f"run{runs}"), False, 0
        if power_cuts:
            power.record(project)
        while not done and here < per_run and struck < times:
            if power_cuts:
                blow = f"power cut after {(seconds := rng.uniform(0, 2 * span / per_run)):.2f} s"
                done = cut_power(project, seconds, rng)
            else:
                drawn = Blow.draw(rng, 2 * span / per_run)
                blow, done = str(drawn), strike(project, drawn)
            if not done:
                here, struck = here + 1, struck + 1
                typer.echo(f"{struck:3d}: {blow}")
        project.repro()
        check(project, undisturbed)
        typer.echo(
            f"run {runs}: {here} kills, the same bytes, nothing left over ({time.monotonic() - started:.0f} s)"
        )
        shutil.rmtree(project.folder)
        shutil.rmtree(project.scratch)
    shutil.rmtree(base)
    typer.echo(f"{struck} kills tried, {struck} survived, in {runs} runs")


if __name__ == "__main__":
    typer.run(main)
