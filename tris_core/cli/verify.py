"""The authors' released checkpoints, judged by this code and held against Table 1 of the paper.

Which data set a checkpoint is of stands in its name (`stage1_refcocog_umd.pth`), which step in its keys. The result is the
receipt: all that somebody else needs to believe the comparison, or to find what differs.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from tris_core.annotations.check import data_sets
from tris_core.annotations.index import build_index
from tris_core.clip.tokenizer import Tokenizer
from tris_core.data.index import Index
from tris_core.data.packed import PackedImages, pack_images
from tris_core.data.truth import Truth
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.records import full_metrics, score_responses, score_rows
from tris_core.reports.paper import TABLE1, label
from tris_core.responses.file import with_maps
from tris_core.runtime.device import place
from tris_core.runtime.environment import device_name, versions
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file, write_sealed_json
from tris_core.runtime.frames import concat, ready
from tris_core.step1.inference import response_maps
from tris_core.step1.network import build_step1
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.weights.released import open_weights

TOLERANCE = 0.1  # points of a percentage
METRICS = ("mIoU", "PointM")  # what Table 1 has
STEP1_THRESHOLD, STEP2_THRESHOLD = 1e-9, 0.0  # as released (D50, D51)
MIN_BOX_FRACTION = 0.05  # ReferIt's numbers are over larger boxes only (D56)
BUILDERS: dict[int, Callable[[dict[str, Any]], nn.Module]] = {1: build_step1, 2: build_step2}
RELEASED = {
    "refcocog": ("umd", "google"),
    "refcoco+": ("unc",),
    "refcoco": ("unc",),
    "referit": ("none",),
}


def data_set_of(path: Path) -> tuple[str, str]:
    """Name and partition that a checkpoint's file name tells. Raises `InputError` where it tells none or is not clear."""
    words = set(re.split(r"[^a-z+]+", path.stem.lower().replace("plus", "+")))
    for name, partitions in (
        ("refcocog", ("umd", "google")),
        ("refcoco+", ("unc",)),
        ("refcoco", ("unc",)),
        ("referit", ("none",)),
    ):
        said = [partition for partition in partitions if partition in words] or list(partitions)
        if name in words and len(said) == 1:
            return name, said[0]
    raise InputError(
        f"{path}: the name does not tell the data set; rename it to hold refcoco, refcoco+, referit, refcocog_umd or "
        "refcocog_google between underscores, as in stage1_refcocog_umd.pth"
    )


def verify(
    folder: Path,
    root: Path,
    *,
    scratch: Path,
    device: torch.device,
    precision: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Judge every `*.pth` of `folder` on every split but train of its data set under `root`; returns the receipt.

    `rows`: file, step, split, metric, ours and paper in percent, difference in points (`paper` and `difference` null where
    the paper has no number); `files`: SHA-256, what else the checkpoint tells (temperature, optimizer groups, epoch) and all
    metrics; `data`: SHA-256 of the annotations; `absent`: checkpoints without their data set. `say` gets a line as each
    file is done. Raises `InputError` for a name that tells no data set, a file that is no released checkpoint, a data set
    that cannot be read, and if nothing could be judged.
    """
    paths = sorted(folder.glob("*.pth"))
    if not paths:
        raise InputError(f"{folder}: no *.pth in there; put the released checkpoints into it")
    wanted = {path: data_set_of(path) for path in paths}
    there = {(name, split_by): annotations for name, split_by, annotations in data_sets(root)[0]}
    receipt: dict[str, Any] = {
        "versions": versions(),
        "device": device_name(device),
        "precision": precision,
        "tolerance": TOLERANCE,
        "rows": [],
        "files": [],
        "data": {},
        "absent": [path.name for path, data in wanted.items() if data not in there],
    }
    for name, split_by in dict.fromkeys(data for data in wanted.values() if data in there):
        annotations = there[name, split_by]
        data = _Data(root, name, split_by, annotations, scratch)
        files = (
            (root / annotations).rglob("*")
            if (root / annotations).is_dir()
            else [root / annotations]
        )
        receipt["data"][data.label] = {
            str(file.relative_to(root)): sha256_of_file(file)
            for file in sorted(files)
            if file.is_file()
        }
        for path in (path for path in paths if wanted[path] == (name, split_by)):
            judged = data.judge(path, device, precision)
            receipt["files"].append(judged)
            rows = list(_rows(judged))
            receipt["rows"] += rows
            say(f"{path.name}: Step-{judged['step']}, {len(rows)} numbers")
    if not receipt["files"]:
        raise InputError(
            f"{root}: holds the data set of none of {', '.join(receipt['absent'])}; unpack refer/ there"
        )
    return receipt


def beyond_tolerance(receipt: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows whose difference, rounded as printed, is over the tolerance."""
    compared = [row for row in receipt["rows"] if row["difference"] is not None]
    return [row for row in compared if abs(row["difference"]) > receipt["tolerance"]]


class _Data:
    """A data set without its train split, its images packed at the size of the checkpoint."""

    def __init__(
        self, root: Path, name: str, split_by: str, annotations: str, scratch: Path
    ) -> None:
        built = build_index(root, name, split_by, annotations)
        refs = built.refs.to_pandas()
        refs = refs[refs["split"] != "train"]
        if refs.empty:
            raise InputError(
                f"{root / annotations}: has a train split only; there is nothing to judge on"
            )
        expressions, images = built.expressions.to_pandas(), built.images.to_pandas()
        self._index = Index.of(
            images=images[images["image_id"].isin(refs["image_id"])].reset_index(drop=True),
            refs=refs,
            expressions=expressions[expressions["ref_id"].isin(refs["ref_id"])],
        )
        self._truth = Truth(built.truth.to_pandas())
        self._root, self._scratch, self._name = root, scratch, name
        self.label = label(name, split_by)

    def judge(self, path: Path, device: torch.device, precision: str) -> dict[str, Any]:
        state, config = open_weights(path, BUILDERS)
        step = 2 if "stage_channels" in config["model"] else 1
        model = BUILDERS[step](config)
        model.load_state_dict(state)
        place(model, device)
        table = self._index.joined()
        image_of = self._index.image_rows(table["image_id"])
        tokenizer, length = Tokenizer(None), config["text"]["max_tokens"]
        tokens = tokenizer(table["text"].tolist(), length, overflow=config["text"]["overflow"])
        maker = self._step1 if step == 1 else self._step2
        records = maker(
            model,
            self._packed(config["size"]),
            table,
            image_of,
            tokens,
            device=device,
            precision=precision,
        )
        facts = describe(self._index, self._truth, cut=None)
        fraction = MIN_BOX_FRACTION if self._name == "referit" else 0.0
        about = {
            "file": path.name,
            "step": step,
            "data set": self.label,
            "source": config["source"],
        }
        return full_metrics(records, facts, about, min_box_fraction=fraction)

    def _packed(self, size: int) -> PackedImages:
        images = self._index.images
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "packed.json"
            write_sealed_json(
                manifest, pack_images(images, self._root, size, self._scratch, workers=0)
            )
            return PackedImages(manifest, images, self._root, self._scratch, workers=0)

    def _step1(
        self, model: Any, packed: PackedImages, table: pd.DataFrame, *inputs: Any, **how: Any
    ) -> pd.DataFrame:
        parts = []
        for rows, maps in response_maps(model, packed, *inputs, **how):
            found = with_maps(table.iloc[rows], maps)
            parts.append(
                score_responses(
                    [found],
                    self._truth,
                    size=packed.size,
                    threshold=STEP1_THRESHOLD,
                    box_input="binary",
                )
            )
        return pd.concat(parts, ignore_index=True)

    def _step2(
        self,
        model: Any,
        packed: PackedImages,
        table: pd.DataFrame,
        image_of: Any,
        tokens: torch.Tensor,
        **how: Any,
    ) -> pd.DataFrame:
        sizes = self._index.images.set_index("image_id")
        ready(table, sizes)

        def judge(rows: NDArray[np.int64], logits: torch.Tensor) -> pd.DataFrame:
            found = table.iloc[rows]
            height, width = sizes.loc[found["image_id"].iloc[0], ["height", "width"]]
            ids = found["expression_id"].to_numpy()
            made = to_rows(ids, logits.cpu(), height=height, width=width, threshold=STEP2_THRESHOLD)
            return score_rows(
                made.merge(found[["expression_id", "ref_id"]], on="expression_id"), self._truth
            )

        return concat(predict_by_image(model, packed, image_of, tokens, judge, **how))


def _rows(judged: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per split and number of Table 1, in percent."""
    for split, metrics in judged["metrics"].items():
        known = TABLE1[f"step{judged['step']}"].get(f"{judged['data set']} {split}", {})
        for metric in METRICS:
            ours, paper = round(100 * metrics[metric], 2), known.get(metric)
            yield {
                "file": judged["file"],
                "step": judged["step"],
                "split": split,
                "metric": metric,
                "ours": ours,
                "paper": paper,
                "difference": None if paper is None else round(ours - paper, 2),
            }
