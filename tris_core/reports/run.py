"""A run as its report sees it: tables, maps and pictures, each read when it is first looked at."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from tris_core.data.images import read_image
from tris_core.data.maps import binarise
from tris_core.data.rle import encode
from tris_core.evaluation.metrics import ious
from tris_core.evaluation.records import by_image
from tris_core.reports.experiments import Absent, RunFiles
from tris_core.reports.paper import label
from tris_core.responses.file import ResponseFile
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.runtime.parquet import read_table

Response = NDArray[np.float32]
MADE = {1: "data/responses.parquet", 2: "data/predictions.parquet"}  # what each step is judged by


class Run:
    """A finished run, or one that stopped early.

    What is not there, and what dvc.lock says another run made, raises `Absent` when it is asked for.
    """

    def __init__(self, files: RunFiles) -> None:
        self.name, self._files = files.name, files
        self.params = files.yaml("params.yaml")
        if not self.params:
            raise InputError(f"{self.name}: params.yaml is not there, and a report needs it")
        self.label = label(self.params["dataset"]["name"], self.params["dataset"]["split_by"])

    def path(self, path: str) -> Path:
        return self._files.result(path)

    def has(self, path: str) -> bool:
        try:
            self.path(path)
        except Absent:
            return False
        return True

    def table(self, path: str) -> pd.DataFrame:
        return read_table(self.path(path))

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
        """The stages of dvc.lock whose results are this run's. Raises `Absent` where there is no dvc.lock."""
        if self._files.lock is None:
            raise Absent("dvc.lock is not there, so the hashes of the data are not known.")
        return {
            name: entry
            for name, entry in self._files.lock.stages.items()
            if name not in self._files.stale
        }

    @cached_property
    def refs(self) -> pd.DataFrame:
        return self.table("data/index/refs.parquet")

    @cached_property
    def truth(self) -> pd.DataFrame:
        return self.table("data/truth.parquet").set_index("ref_id")

    @cached_property
    def expressions(self) -> pd.DataFrame:
        """text, and everything of its ref and image, by expression_id."""
        table = self.table("data/index/expressions.parquet").merge(
            self.refs, on="ref_id", validate="many_to_one"
        )
        images = self.table("data/index/images.parquet")
        return table.merge(images, on="image_id", validate="many_to_one").set_index("expression_id")

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """image_id, path, height and width of the image, by ref_id."""
        return self.expressions.drop_duplicates("ref_id").set_index("ref_id")[
            ["image_id", "path", "height", "width"]
        ]

    def metrics(self, step: int) -> dict[str, dict[str, float]]:
        """Every metric by split; the headline numbers alone where only these are there (a clone without its data)."""
        full = f"data/evaluation/step{step}/metrics.json"
        found: dict[str, dict[str, float]] = (
            self.json(full)["metrics"] if self.has(full) else self.json(f"metrics/step{step}.json")
        )
        return found

    def records(self, step: int) -> pd.DataFrame:
        """Records of `tris_core.evaluation.metrics` with split, image_id, ref_id and iou."""
        records = self.table(f"data/evaluation/step{step}/records.parquet")
        owners = self.expressions[["image_id", "ref_id"]].reset_index()
        return records.merge(owners, on="expression_id", validate="one_to_one").assign(
            iou=ious(records).to_numpy()
        )

    def masks(self, step: int, split: str) -> pd.DataFrame:
        """expression_id, ref_id, height, width, counts of a split's masks, those that were judged.

        Raises `Absent` also if the file was made anew after it was judged.
        """
        about, path = self.json(f"data/evaluation/step{step}/metrics.json"), MADE[step]
        if sha256_of_file(self.path(path)) != about["sha256"][path]:
            raise Absent(
                f"{path} was made anew after it was judged: `dvc repro` brings them together."
            )
        if step == 2:
            made = self.table(path)
            return made[made["split"] == split]
        rows = self.expressions.query("split == @split")

        file = ResponseFile(self.path(path), rows.index)

        def cut(found: pd.DataFrame, maps: Tensor) -> pd.DataFrame:
            masks = [encode(mask) for mask in binarise(maps, about["threshold"]).numpy()]
            return found[["expression_id", "ref_id"]].assign(
                height=maps.shape[1], width=maps.shape[2], counts=masks
            )

        return pd.concat(
            by_image(file, self.sizes, file.size, cut),
            ignore_index=True,
        )

    def responses(self, expression_ids: list[int]) -> dict[int, Response]:
        """Response maps (H, W) in [0, 1] at the image's own size; none where the run has no responses."""
        if not self.has(MADE[1]) or not expression_ids:
            return {}

        def own(found: pd.DataFrame, maps: Tensor) -> dict[int, Response]:
            return dict(zip(found["expression_id"], maps.numpy(), strict=True))

        file = ResponseFile(self.path(MADE[1]), pd.Series(expression_ids))
        return {
            i: response
            for found in by_image(file, self.sizes, file.size, own)
            for i, response in found.items()
        }

    def image(self, ref_id: int) -> NDArray[np.uint8] | None:
        """The image of a ref (H, W, 3); None where its file is not there.

        A relative dataset.root may be an output of the run itself and is looked for there. Raises `InputError` for a file that
        is no image, or of another size than the index says.
        """
        dataset, row = self.params["dataset"], self.sizes.loc[ref_id]
        path = Path(dataset["root"]) / row["path"]
        found = path if path.is_absolute() else self._files.find(str(path))
        if found is None or not found.is_file():
            return None
        image = read_image(found)
        if image.shape[:2] != (row["height"], row["width"]):
            raise InputError(
                f"{path}: is {image.shape[0]} x {image.shape[1]} pixels, the index says {row['height']} x {row['width']} "
                "(height x width); run `dvc repro index`"
            )
        return image

    @cached_property
    def blind(self) -> bool:
        """Whether the image of the first ref is not there though the index is; the others are then hardly there."""
        try:
            return len(self.sizes) > 0 and self.image(self.sizes.index[0]) is None
        except Absent:
            return False
