"""Everything that only a GPU can show, by one command: `python -m benchmarks gpu`.

It needs no data and no weights: networks are random, at the size of presets/paper.yaml. It is
made to take under ten minutes, prints what it finds, and writes all of it to one JSON file.

1. The tests of tests/gpu on the real device. 2. Trainings: the losses and gradients of the CPU; an
interrupted one resumes to the same bytes; two processes, where there are two GPUs. 3. Every
computation of the stages: the numbers of the CPU, and twice the same bytes? 4. Speed of every
training in every precision, beside the rate of a matrix product, and of the other stages. 5. What
that means for RefCOCOg.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import torch
import typer
from tabulate import tabulate
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import _inputs
from benchmarks._measure import ROOT, Row
from benchmarks._networks import Networks, Training
from tris_core.crf.exact import ExactCRF
from tris_core.data.grouping import Rows
from tris_core.data.resize import bilinear
from tris_core.data.transforms import normalise
from tris_core.irn.backbone import boundaries
from tris_core.prms.scores import similarities
from tris_core.refinement.instances import instance_maps, refine_maps
from tris_core.runtime.device import set_products
from tris_core.runtime.environment import device_name, versions
from tris_core.runtime.params import Precision
from tris_core.step1.inference import Respond
from tris_core.step2.inference import Predict, to_rows
from tris_core.training.loop import fit, seed_everything
from tris_core.training.run import TrainingRun
from tris_core.training.speed import matrix_rate
from tris_core.training.task import Task

TRAININGS = ("step1", "step2", "irn")
# RefCOCOg (umd): train; and the sentences of all splits and of val.
REFS, IMAGES, SENTENCES, VAL_SENTENCES = 42_226, 21_899, 95_010, 4_896
EPOCHS, IRN_EPOCHS = 15, 3  # of presets/paper.yaml, which validates after each of the former
STEP1_RUNS = 150  # of Tables 3, 4 and 5 with six seeds (docs/results.md)
PATIENCE = 180  # seconds for a run of pytest
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Bench:
    """Where to compute and at what size."""

    device: torch.device
    tiny: bool

    def networks(self, precision: Precision = "fp32", *, small: bool = False) -> Networks:
        """At the paper's size; or at that of `shapes`, if `small` or the bench is tiny."""
        set_products("tf32" if precision == "tf32" else "ieee")
        if self.tiny or small:
            return Networks("shapes", self.device, precision=precision, batch=4)
        return Networks("paper", self.device, precision=precision)

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of one call, on average, after a first one."""
        work()
        repeats, spent = 0, 0.0
        self.wait()
        started = time.perf_counter()
        while repeats < 2 or (spent < 3 and not self.tiny):
            work()
            repeats += 1
            self.wait()
            spent = time.perf_counter() - started
        return spent / repeats

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def memory(self) -> float | None:
        """Peak since the last call, in GB; None on a CPU."""
        if self.device.type != "cuda":
            return None
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak


@app.command()
def main(
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the command")] = "cuda",
    tiny: Annotated[bool, typer.Option("--tiny", help="small networks, a minute or two")] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write")] = Path("gpu.json"),
) -> None:
    """Run all checks and measurements and write a receipt. Exits with 1 if one failed."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise typer.BadParameter(
            "this machine has no GPU; try the command with --device cpu --tiny"
        )
    bench = Bench(torch.device(device), tiny)
    seed_everything(0)
    started = time.perf_counter()
    receipt = machine(bench)

    def keep(name: str, rows: list[Row]) -> None:
        receipt[name] = rows
        receipt["seconds"] = time.perf_counter() - started
        out.write_text(json.dumps(receipt, indent=1) + "\n")  # each time: a kill keeps the rest
        print(f"\n{name} ({receipt['seconds']:.0f} s)", flush=True)
        print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"), flush=True)

    for check in (tests, gradients, resume, two_processes, repeats, trainings, stages):
        try:
            keep(check.__name__, check(bench))
        except Exception as error:  # the other checks still run
            keep(check.__name__, [failure(error)])
    if not tiny:
        keep("projection", projection(receipt["trainings"], receipt["stages"]))
    print(f"\n{out}: {receipt['seconds']:.0f} s")
    if "failed" in json.dumps(receipt):
        raise typer.Exit(1)


def machine(bench: Bench) -> dict[str, Any]:
    """What is measured: the code, the size, the machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    found: dict[str, Any] = {
        "commit": commit,
        "preset": "shapes" if bench.tiny else "paper",
        "device": device_name(bench.device),
        "versions": versions(),
    }
    if bench.device.type == "cuda":
        found["memory GB"] = torch.cuda.get_device_properties(bench.device).total_memory / 1e9
        found |= {"GPUs": torch.cuda.device_count(), "CUDA": torch.version.cuda}
        found["cuDNN"] = torch.backends.cudnn.version()
    return found


def failure(error: Exception) -> Row:
    traceback.print_exc()
    return {"failed": f"{type(error).__name__}: {error}"}


def tests(bench: Bench) -> list[Row]:
    """tests/gpu with real tensors."""
    few = ["-k", "shapes and (prms or predictions)"] if bench.tiny else []
    return _pytest(bench, "tests/gpu/test_fake.py", *few)


def _pytest(bench: Bench, *arguments: str) -> list[Row]:
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", *arguments]
    env = {**os.environ, "TRIS_GPU": str(bench.device)}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode:
        print(said, flush=True)
        raise RuntimeError(said.splitlines()[-1] if said else f"exit code {done.returncode}")
    return [{"result": said.splitlines()[-1]}]


def gradients(bench: Bench) -> list[Row]:
    """Losses and gradients against those of the CPU, from the same weights and batch."""
    rows = []
    for name in TRAININGS:
        found = []
        for device in (torch.device("cpu"), bench.device):
            torch.manual_seed(0)
            training = _training(replace(bench, device=device).networks(small=True), name)
            loss = training.objective(training.batch(0))["total"]
            loss.backward()
            grads = [p.grad.cpu() for p in training.trained() if p.grad is not None]
            found.append((loss.item(), torch.cat([grad.flatten() for grad in grads])))
        (loss, expected), (other, grad) = found
        apart = ((grad - expected).norm() / expected.norm()).item()
        rows.append({"training": name, "loss": loss, "here": other, "gradient apart": apart})
        assert abs(other - loss) < 1e-3 * abs(loss), rows[-1]
        assert apart < 1e-2, rows[-1]
    return rows


def resume(bench: Bench) -> list[Row]:
    """An interrupted training ends with the bytes of a straight one."""
    rows = []
    for name in TRAININGS:
        ends = [_trained(bench, name, stop_at) for stop_at in (None, None, 11)]
        same = [all(torch.equal(ends[0][k], end[k]) for k in end) for end in ends[1:]]
        rows.append({"training": name, "repeats": same[0], "resumes": same[1]})
        assert all(same), rows[-1]
    return rows


def two_processes(bench: Bench) -> list[Row]:
    """tests/pipeline/test_spread.py: two processes, one per GPU, against one."""
    if bench.device.type == "cuda" and torch.cuda.device_count() < 2:
        return [{"result": "skipped: there is one GPU"}]
    if bench.tiny:
        return [{"result": "skipped: tests/pipeline/test_spread.py does this on a CPU"}]
    return _pytest(bench, "tests/pipeline/test_spread.py")


def repeats(bench: Bench) -> list[Row]:
    """Whether each computation gives the same bytes twice, and the numbers of the CPU."""
    torch.manual_seed(0)
    here = _stages(bench, bench.networks(small=True), small=True)
    torch.manual_seed(0)
    on_cpu = replace(bench, device=torch.device("cpu"))
    there = _stages(on_cpu, on_cpu.networks(small=True), small=True)
    return [
        attempt({"stage": name}, partial(_compared, work, expected))
        for (name, _, work), (_, _, expected) in zip(here, there, strict=True)
    ]


def _compared(work: Callable[[], Any], expected: Callable[[], Any]) -> Row:
    one, two, other = (_leaves(of()) for of in (work, work, expected))
    same = all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    pairs = [(a.cpu().double(), b.double()) for a, b in zip(one, other, strict=True)]
    apart = max(((a - b).norm() / b.norm().clamp(min=1e-12)).item() for a, b in pairs)
    assert same, "does not repeat"
    assert apart < 1e-3, f"{apart:.2g} apart from the CPU"
    return {"repeats": same, "apart from the CPU": apart}


def attempt(labels: Row, measure: Callable[[], Row]) -> Row:
    """A row, or why there is none: the other rows are still measured."""
    try:
        return labels | measure()
    except Exception as error:
        return labels | failure(error)


def trainings(bench: Bench) -> list[Row]:
    """A step of every training in every precision."""
    precisions = {"irn": ("fp32",)}
    return [
        attempt(
            {"training": name, "precision": precision}, partial(_measured, bench, name, precision)
        )
        for name in TRAININGS
        for precision in precisions.get(name, get_args(Precision))
    ]


def _measured(bench: Bench, name: str, precision: Precision) -> Row:
    bench.memory()
    training = _training(bench.networks(precision), name)
    first, batch = training.batch(0), training.batch(1)
    with FlopCounterMode(display=False) as counter:
        loss = training.step(first)
    assert loss.isfinite()
    spent = bench.seconds(lambda: training.step(batch))
    side = 1024 if bench.tiny else 8192
    floor = counter.get_total_flops() / matrix_rate(bench.device, precision, side)
    return {
        "ms a step": 1e3 * spent,
        "images/s": training.images / spent,
        "floor ms": 1e3 * floor,
        "of a product's rate": floor / spent,
        "GB": bench.memory(),
    }


def stages(bench: Bench) -> list[Row]:
    """The other stages at the paper's size, in float32."""

    def measured(units: int, work: Callable[[], Any]) -> Row:
        bench.memory()
        spent = bench.seconds(work)
        return {"units/s": units / spent, "GB": bench.memory()}

    return [
        attempt({"stage": name}, partial(measured, units, work))
        for name, units, work in _stages(bench, bench.networks(), small=bench.tiny)
    ]


def projection(trained: list[Row], staged: list[Row]) -> list[Row]:
    """Hours for RefCOCOg end to end in each precision, and for the runs of Tables 3, 4 and 5.

    It takes presets/paper.yaml with exact filters (`crf_seeds.filters`). Reading and packing the
    images is left out.
    """
    rate = {(row["training"], row["precision"]): row.get("images/s", 0) for row in trained}
    per = {row["stage"]: row.get("units/s", 0) for row in staged}
    if not all(per.values()) or not rate.get(("irn", "fp32")):
        return [{"precision": "none: a measurement failed"}]
    respond = SENTENCES / per["responses"]
    rest = respond + SENTENCES / per["PRMS"] + SENTENCES / per["predictions"]
    rest += sum(IMAGES / per[stage] for stage in ("exact CRF", "boundaries", "instances", "walk"))
    rest += IRN_EPOCHS * REFS / rate["irn", "fp32"]
    rows: list[Row] = []
    for precision in get_args(Precision):
        if not (rate["step1", precision] and rate["step2", precision]):
            continue
        steps = [
            EPOCHS * (REFS / rate[step, precision] + VAL_SENTENCES / per[stage])
            for step, stage in (("step1", "responses"), ("step2", "predictions"))
        ]
        hours = (sum(steps) + rest) / 3600
        rows.append(
            {
                "precision": precision,
                "step1 h": steps[0] / 3600,
                "step2 h": steps[1] / 3600,
                "rest h": rest / 3600,
                "RefCOCOg h": hours,
                f"{STEP1_RUNS} runs of Step-1 h": STEP1_RUNS * (steps[0] + respond) / 3600,
            }
        )
    return rows


def _training(networks: Networks, name: str) -> Training:
    made: Training = getattr(networks, f"{name}_training")()
    return made


def _stages(
    bench: Bench, networks: Networks, *, small: bool
) -> list[tuple[str, int, Callable[[], Any]]]:
    """Name, number of units and computation of every stage that is no training.

    A unit is a sentence of the first two and of the predictions, and an image of the others, whose
    images have three refs.
    """
    torch.manual_seed(0)
    height, width = (60, 80) if small else (480, 640)

    def keep(part: Rows, logits: Tensor) -> Tensor:
        to_rows(part, logits, height=height, width=width, threshold=0.0)
        return logits

    rows, per_image = np.arange(12 if small else 96), 3
    image_of, tokens = rows // per_image, networks.sentences(len(rows))
    images: Any = _inputs.Pictures(networks.size)
    respond = Respond(networks.step1().eval(), images, image_of, tokens, bench.device, "fp32")
    predict: Predict[Tensor] = Predict(
        networks.step2().eval(), images, image_of, tokens, keep, bench.device, "fp32"
    )
    scorer = networks.scorer()
    sentences = scorer.sentence(tokens.to(bench.device))
    maps = torch.randn(len(rows), 10, 10).to(bench.device)
    squares = images[image_of].to(bench.device)
    visual, irn = networks.irn()
    irn.eval()
    picture = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    pictures = normalise(picture.to(bench.device)).repeat(4, 1, 1, 1)
    cams = torch.rand(per_image, height, width).to(bench.device)
    side = height // 4, width // 4
    # Smooth, so that rounding does not decide where a pixel ends.
    displacements = bilinear(5 * torch.randn(len(pictures), 2, 3, 4), side, align_corners=True)
    displacements = displacements.to(bench.device)
    edge = (torch.rand(side) ** 4).to(bench.device)
    [instances, *_] = instance_maps(displacements)
    masks = np.zeros((6, height, width), bool)
    masks[:, height // 4 : height // 2, width // 4 : width // 2] = True
    image = picture[0].numpy() // 8

    def prms() -> Tensor:
        return similarities(scorer, normalise(squares), maps, sentences, "relu")

    def crf() -> Tensor:
        return ExactCRF(image, iterations=10, gt_prob=0.7, device=bench.device).odds(masks)

    return [
        ("responses", len(rows), lambda: respond.maps(rows)),
        ("PRMS", len(rows), prms),
        ("exact CRF", 1, crf),  # six masks: of three refs, at two confidences
        ("boundaries", len(pictures), lambda: boundaries(visual, irn, pictures)),
        ("instances", len(pictures), lambda: instance_maps(displacements)),
        ("walk", 1, lambda: refine_maps(cams, edge, instances)),
        ("predictions", len(rows), lambda: predict.one_batch(rows)),
    ]


def _leaves(found: Any) -> list[Tensor]:
    return [found] if isinstance(found, Tensor) else list(found)


class _Interrupted(Exception):
    pass


def _trained(bench: Bench, name: str, stop_at: int | None) -> dict[str, Tensor]:
    """Weights after twelve steps, interrupted once before the step `stop_at`."""
    with tempfile.TemporaryDirectory() as folder:
        for stop in (stop_at, None) if stop_at is not None else (None,):
            torch.manual_seed(0)
            training = _training(bench.networks(small=True), name)

            def batch(step: int, stop: int | None = stop, training: Training = training) -> Any:
                if step == stop:
                    raise _Interrupted
                return training.batch(step)

            task: Task[Any] = Task(
                name=name, model=training.objective, optimizer=training.optimizer, steps=12,
                images=training.images, precision="fp32", batch=batch,
                objective=training.objective, describe=str, schedule=lambda step: 1.0,
            )  # fmt: skip
            try:
                fit(task, TrainingRun(Path(folder), checkpoint_seconds=0, log=lambda rows: None))
            except _Interrupted:
                continue
        return {k: v.cpu() for k, v in training.objective.state_dict().items()}


if __name__ == "__main__":
    app()
