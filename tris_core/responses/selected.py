"""The response maps that PRMS selected, at their images' own sizes, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.data.maps import divide_by_maximum_, response_to_original
from tris_core.responses.file import ResponseFile, raw_maps


@dataclass(frozen=True)
class Selected:
    """Of one image: its id and path, the refs, and their selected maps (R, H, W) float32 divided by their maxima."""

    image_id: int
    path: str
    ref_ids: list[int]
    maps: NDArray[np.float32]


class SelectedMaps(Sequence[list[Selected]]):
    """The selected maps of the refs asked for, one entry per row group of the responses, made when it is looked at.

    `images` gives path, height and width.
    """

    def __init__(
        self,
        responses: Path,
        prms: pd.DataFrame,
        ref_ids: "pd.Series[int]",
        images: pd.DataFrame,
    ) -> None:
        chosen = prms.loc[prms["selected"] & prms["ref_id"].isin(ref_ids), "expression_id"]
        self._responses = ResponseFile(responses, chosen)
        self._images = images.set_index("image_id")

    def __len__(self) -> int:
        return len(self._responses)

    def __getitem__(self, number: int) -> list[Selected]:  # type: ignore[override]
        return [
            self._of_image(*found)
            for found in self._responses[number].groupby("image_id", sort=True)
        ]

    def _of_image(self, image_id: int, rows: pd.DataFrame) -> Selected:
        image = self._images.loc[image_id]
        grown = response_to_original(
            raw_maps(rows), size=self._responses.size, height=image["height"], width=image["width"]
        )
        return Selected(
            int(image_id), image["path"], rows["ref_id"].tolist(), divide_by_maximum_(grown).numpy()
        )
