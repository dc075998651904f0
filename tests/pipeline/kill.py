"""Kill runs of the tiny pipeline again and again. `dvc repro` must end as an undisturbed run does.

    uv run python -m tests.pipeline.kill --times 30 --seed 0
    uv run python -m tests.pipeline.kill --times 10 --power

One copy of the project runs undisturbed. Other copies, each with an empty cache, are started,
killed and restarted up to `--per-run` times, so that kills meet the leftovers of earlier kills.
After every kill no process may remain. At the end of a run
- every output in dvc.lock must have the bytes of the undisturbed run,
- there must be no other files than in the undisturbed run,
- every object in DVC's cache must match its name, which is its hash.
With --power all processes are killed at once, and files that were not fsynced are damaged
(`tests.pipeline.power`). docs/mend_cache.sh then repairs DVC's cache, as docs/operations.md says.

Stops with exit code 1 at the first failure and keeps the folder of that run.
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

# "terminal": Ctrl-C in a terminal reaches DVC, its stage and the workers at once
VICTIMS = ("stage", "dvc", "worker", "terminal")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 60.0  # seconds for the other processes to end after DVC
HANG = 1800.0  # seconds for a run that survives the signal: DVC leaves Ctrl-C to its stage


@dataclass(frozen=True)
class Blow:
    """One kill: which process, which signal, and when.

    The signal is sent after `seconds`, once the run's files have changed `writes` times while the
    victim was running.
    """

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
        when = f"change {self.writes}" if self.writes else f"{self.seconds:.2f} s"
        return f"{self.how.name} to {self.victim} at {when}"


def strike(project: Project, blow: Blow, *arguments: str) -> bool:
    """Run `dvc repro` and kill it. Returns whether it succeeded, because the kill came too late."""
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
    # the process exists, possibly as a zombie, because it was not waited for yet
    others = psutil.Process(process.pid).children(recursive=True)
    for struck in run:
        with contextlib.suppress(psutil.NoSuchProcess):
            struck.send_signal(blow.how)
    process.wait(timeout=HANG)
    _, alive = psutil.wait_procs(others, timeout=PATIENCE)
    assert not alive, f"{blow}: left over: {[p.cmdline() for p in alive]}"
    mend_lock(project)
    return process.returncode == 0


def mend_lock(project: Project) -> None:
    """Delete DVC's list of locks if a kill truncated it, as docs/operations.md says."""
    lock = project.folder / ".dvc/tmp/rwlock"
    if lock.exists():
        try:
            json.loads(lock.read_text())
        except json.JSONDecodeError:
            lock.unlink()


def victims(dvc: int, victim: str) -> list[psutil.Process]:
    """The processes that a kill of `victim` hits. For a terminal: none before a stage runs."""
    try:
        whole = psutil.Process(dvc)
        stages = whole.children()
        if victim == "terminal":
            return [whole, *whole.children(recursive=True)] if stages else []
        workers = [worker for stage in stages for worker in stage.children()]
        return {"dvc": [whole], "stage": stages, "worker": workers}[victim][:1]
    except psutil.NoSuchProcess:
        return []


def names(project: Project) -> set[str]:
    """All paths that a run may write, outside DVC's own folder, relative to their root folders."""
    outputs = (project.folder / name for name in ("data", "models", "metrics"))
    places = (project.folder, *outputs, project.scratch)
    found = set()
    for number, place in enumerate(places):
        for folder, folders, files in os.walk(place):  # skips files that vanish meanwhile
            found |= {
                f"{number}:{os.path.relpath(os.path.join(folder, name), place)}"
                for name in folders + files
            }
            if number == 0:
                break
    return found


def outputs(project: Project) -> dict[str, str]:
    """MD5 of every output in dvc.lock."""
    stages = YAML(typ="safe").load(project.folder / "dvc.lock")["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def damaged(project: Project) -> list[Path]:
    """Objects in DVC's cache that do not match their hash."""
    cache = project.folder / ".dvc/cache/files/md5"
    objects = {path: path.parent.name + path.stem for path in cache.rglob("*") if path.is_file()}
    return [p for p, digest in objects.items() if hashlib.md5(p.read_bytes()).hexdigest() != digest]


def check(project: Project, undisturbed: tuple[dict[str, str], set[str]]) -> None:
    """Assert that outputs and file names are those of the undisturbed run, and the cache intact."""
    assert outputs(project) == undisturbed[0], "different bytes"
    different = sorted(names(project) ^ undisturbed[1])
    assert not different, f"different files: {different}"
    assert not damaged(project), f"damaged in the cache: {damaged(project)}"


def cut_power(project: Project, seconds: float, rng: random.Random) -> bool:
    """Run `dvc repro` and cut the power after `seconds`. Returns whether it succeeded before."""
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
    times: Annotated[int, typer.Option(min=1, help="number of kills")] = 30,
    seed: Annotated[int, typer.Option(help="random seed of victims, signals and times")] = 0,
    per_run: Annotated[int, typer.Option(min=1, help="most kills of one run")] = 6,
    power_cuts: Annotated[
        bool, typer.Option("--power", help="cut the power instead of killing one process")
    ] = False,
) -> None:
    """Kill tiny runs at random times and compare the results with an undisturbed run."""
    # background jobs of a shell, and their children, ignore Ctrl-C by default
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
        # a copy of the calm run's code: the repository may be edited meanwhile
        project, done, here = Project(base / f"run{runs}", calm.folder), False, 0
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
        spent = time.monotonic() - started
        typer.echo(f"run {runs}: {here} kills, same bytes, no leftovers ({spent:.0f} s)")
        shutil.rmtree(project.folder)
        shutil.rmtree(project.scratch)
    shutil.rmtree(base)
    typer.echo(f"{struck} kills tried, {struck} survived, in {runs} runs")


if __name__ == "__main__":
    typer.run(main)
