"""The authors' released checkpoints, evaluated by this code beside Table 1 of the paper.

The file name gives the data set (`stage1_refcocog_umd.pth`); the state-dict keys give the step. The
result is a receipt: all that a reader needs to believe the comparison, or to find what differs.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tris_core.annotations.check import data_sets
from tris_core.cli.released_data import ReleasedData
from tris_core.reports.paper import TABLE1
from tris_core.runtime.environment import device_name, versions
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file

TOLERANCE = 0.1  # points of a percentage
METRICS = ("mIoU", "PointM")  # what Table 1 has
PARTITIONS = {
    "refcocog": ("umd", "google"),
    "refcoco+": ("unc",),
    "refcoco": ("unc",),
    "referit": ("none",),
}


def data_set_of(path: Path) -> tuple[str, str]:
    """Data set and partition of a checkpoint, from its file name.

    Raises `InputError` if the name does not say, or is ambiguous.
    """
    words = set(re.split(r"[^a-z+]+", path.stem.lower().replace("plus", "+")))
    for name, partitions in PARTITIONS.items():
        said = [partition for partition in partitions if partition in words] or list(partitions)
        if name in words and len(said) == 1:
            return name, said[0]
    raise InputError(
        f"{path}: the name does not tell the data set; rename it to hold refcoco, refcoco+, "
        "referit, refcocog_umd or refcocog_google between underscores, "
        "as in stage1_refcocog_umd.pth"
    )


def verify(
    folder: Path,
    root: Path,
    *,
    scratch: Path,
    device: torch.device,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluate every `*.pth` of `folder` on every split but train of its data set, in fp32.

    Args:
        folder: the released checkpoints.
        root: the data sets, as `dataset.root`.
        scratch: a folder for packed images.
        device: where the networks run.
        say: gets a line as each file is done.

    Returns:
        The receipt. `rows`: file, step, split, metric, ours and paper in percent, difference in
        points (`paper` and `difference` are None if the paper has no number). `files`: SHA-256,
        temperature, optimizer groups and epoch as read from the checkpoint, and all metrics.
        `data`: SHA-256 of the annotations. `absent`: checkpoints without their data set.

    Raises:
        InputError: a name tells no data set, a file is no released checkpoint, a data set cannot
            be read, or there is nothing to evaluate.
    """
    paths = sorted(folder.glob("*.pth"))
    if not paths:
        raise InputError(f"{folder}: no *.pth in there; put the released checkpoints into it")
    wanted = {path: data_set_of(path) for path in paths}
    annotations = {(name, split_by): where for name, split_by, where in data_sets(root)[0]}
    absent = [path.name for path in paths if wanted[path] not in annotations]
    if len(absent) == len(paths):
        raise InputError(
            f"{root}: holds the data set of none of {', '.join(absent)}; unpack refer/ there"
        )
    receipt: dict[str, Any] = {
        "versions": versions(),
        "device": device_name(device),
        "precision": "fp32",
        "tolerance": TOLERANCE,
        "rows": [],
        "files": [],
        "data": {},
        "absent": absent,
    }
    for name, split_by in dict.fromkeys(wanted[path] for path in paths if path.name not in absent):
        data = ReleasedData(root, name, split_by, annotations[name, split_by], scratch)
        receipt["data"][data.label] = _hashes(root, annotations[name, split_by])
        for path in (path for path in paths if wanted[path] == (name, split_by)):
            evaluated = data.evaluate(path, device)
            rows = list(_rows(evaluated))
            receipt["files"].append(evaluated)
            receipt["rows"] += rows
            say(f"{path.name}: Step-{evaluated['step']}, {len(rows)} numbers")
    return receipt


def beyond_tolerance(receipt: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows whose difference, rounded as printed, is over the tolerance."""
    compared = [row for row in receipt["rows"] if row["difference"] is not None]
    return [row for row in compared if abs(row["difference"]) > receipt["tolerance"]]


def _hashes(root: Path, annotations: str) -> dict[str, str]:
    """SHA-256 of the annotation files, by their path under `root`."""
    place = root / annotations
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    return {str(file.relative_to(root)): sha256_of_file(file) for file in files if file.is_file()}


def _rows(evaluated: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per split and number of Table 1, in percent."""
    for split, metrics in evaluated["metrics"].items():
        known = TABLE1[f"step{evaluated['step']}"].get(f"{evaluated['data set']} {split}", {})
        for metric in METRICS:
            ours, paper = round(100 * metrics[metric], 2), known.get(metric)
            yield {
                "file": evaluated["file"],
                "step": evaluated["step"],
                "split": split,
                "metric": metric,
                "ours": ours,
                "paper": paper,
                "difference": None if paper is None else round(ours - paper, 2),
            }
