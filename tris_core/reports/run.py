"""A run as its report reads it: tables, maps and images, each read when it is first used."""

import json
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.images import read_image
from tris_core.data.index import Index
from tris_core.data.maps import binarise
from tris_core.data.rle import encode
from tris_core.data.truth import Truth
from tris_core.evaluation.metrics import ious
from tris_core.evaluation.records import by_image
from tris_core.reports.experiments import Absent, RunFiles
from tris_core.reports.paper import label
from tris_core.responses.file import ResponseFile
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.runtime.parquet import read_table

Response = NDArray[np.float32]
MASKS = {1: "data/responses.parquet", 2: "data/predictions.parquet"}  # what each step's come from


class Run:
    """A run, finished or not.

    Reading a result raises `Absent` if it does not exist, or if another run made it according to
    dvc.lock.
    """

    def __init__(self, files: RunFiles) -> None:
        self.name, self._files = files.name, files
        self.params = files.yaml("params.yaml")
        if not self.params:
            raise InputError(f"{self.name}: params.yaml is missing, and a report needs it")
        dataset = self.params["dataset"]
        self.label = label(dataset["name"], dataset["split_by"])

    def path(self, path: str) -> Path:
        return self._files.result(path)

    def has(self, path: str) -> bool:
        try:
            self.path(path)
        except Absent:
            return False
        return True

    def table(self, path: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        return read_table(self.path(path), columns)

    def json(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.path(path).read_text())
        return content

    @cached_property
    def commit(self) -> str:
        return self._files.commit()

    @cached_property
    def warnings(self) -> list[str]:
        return self._files.warnings()

    @property
    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock whose results are this run's.

        Raises `Absent` if there is no dvc.lock.
        """
        if self._files.lock is None:
            raise Absent("dvc.lock is missing, so the hashes of the data are not known.")
        stages, stale = self._files.lock.stages, self._files.stale
        return {name: entry for name, entry in stages.items() if name not in stale}

    @cached_property
    def index(self) -> Index:
        return Index(lambda table, columns: self.table(f"data/index/{table}.parquet", columns))

    @cached_property
    def truth(self) -> Truth:
        return Truth.open(self.path("data/truth.parquet"))

    @cached_property
    def expressions(self) -> pd.DataFrame:
        """text, ref_id, image_id, split, and path of the image, by expression_id."""
        paths = self.index.images[["image_id", "path"]]
        table = self.index.joined().merge(paths, on="image_id", validate="many_to_one")
        return table.set_index("expression_id")

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """image_id, path, height and width of the image, by ref_id."""
        images = self.index.images[["image_id", "path", "height", "width"]]
        table = self.index.refs[["ref_id", "image_id"]].merge(images, on="image_id")
        return table.set_index("ref_id")

    def metrics(self, step: int) -> dict[str, dict[str, float]]:
        """The metrics by split: all, or only the headlines if the data was not pulled."""
        full = f"data/evaluation/step{step}/metrics.json"
        found: dict[str, dict[str, float]] = (
            self.json(full)["metrics"] if self.has(full) else self.json(f"metrics/step{step}.json")
        )
        return found

    def records(self, step: int) -> pd.DataFrame:
        """Records of `tris_core.evaluation.metrics` with split, image_id, ref_id and iou."""
        records = self.table(f"data/evaluation/step{step}/records.parquet")
        owners = self.expressions[["image_id", "ref_id"]].reset_index()
        table = records.merge(owners, on="expression_id", validate="one_to_one")
        return table.assign(iou=ious(records).to_numpy())

    def masks(self, step: int, split: str) -> pd.DataFrame:
        """The masks of a split that were evaluated: expression_id, ref_id, height, width, counts.

        Raises `Absent` also if their file has changed since the evaluation.
        """
        about, path = self.json(f"data/evaluation/step{step}/metrics.json"), MASKS[step]
        if sha256_of_file(self.path(path)) != about["sha256"][path]:
            raise Absent(f"{path} has changed since it was evaluated; run `dvc repro`.")
        if step == 2:
            made = self.table(path)
            return made[made["split"] == split]
        ids = self.expressions.query("split == @split").index
        file = ResponseFile(self.path(path), ids)
        cut = partial(_masks_of, threshold=about["threshold"])
        return pd.concat(by_image(file, self.sizes, file.size, cut), ignore_index=True)

    def responses(self, expression_ids: list[int]) -> dict[int, Response]:
        """Response maps (H, W) in [0, 1] at the image's own size; empty if the run has none."""
        if not self.has(MASKS[1]) or not expression_ids:
            return {}
        file = ResponseFile(self.path(MASKS[1]), pd.Series(expression_ids))
        found: dict[int, Response] = {}
        for responses in by_image(file, self.sizes, file.size, _by_expression):
            found |= responses
        return found

    def image(self, ref_id: int) -> NDArray[np.uint8] | None:
        """The image of a ref (H, W, 3); None if its file is missing.

        A relative dataset.root may be an output of the run, and is looked up there.

        Raises:
            InputError: if the file is not an image, or has another size than in the index.
        """
        root, row = Path(self.params["dataset"]["root"]), self.sizes.loc[ref_id]
        path = root / row["path"]
        found = path if path.is_absolute() else self._files.find(str(path))
        if found is None or not found.is_file():
            return None
        image = read_image(found)
        if image.shape[:2] != (row["height"], row["width"]):
            raise InputError(
                f"{path}: is {image.shape[0]} x {image.shape[1]} pixels, "
                f"the index says {row['height']} x {row['width']} (height x width); "
                "run `dvc repro index`"
            )
        return image

    @cached_property
    def blind(self) -> bool:
        """Whether the image file of the first ref is missing; then the others hardly exist."""
        try:
            return len(self.sizes) > 0 and self.image(self.sizes.index[0]) is None
        except Absent:
            return False


def _masks_of(rows: pd.DataFrame, maps: Tensor, *, threshold: float) -> pd.DataFrame:
    masks = [encode(mask) for mask in binarise(maps, threshold).numpy()]
    _, height, width = maps.shape
    return rows[["expression_id", "ref_id"]].assign(height=height, width=width, counts=masks)


def _by_expression(rows: pd.DataFrame, maps: Tensor) -> dict[int, Response]:
    return dict(zip(rows["expression_id"], maps.numpy(), strict=True))
