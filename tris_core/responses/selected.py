"""The response maps that PRMS selected, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tris_core.data.maps import normalised_at
from tris_core.responses.file import ResponseFile, raw_maps


@dataclass(frozen=True)
class Selected:
    """The selected maps of one image.

    Attributes:
        path: of the image, relative to the data set's root.
        ref_ids: R refs.
        maps: their maps (R, H, W) float32 at the image's own size, divided by their maxima.
    """

    image_id: int
    path: str
    ref_ids: list[int]
    maps: NDArray[np.float32]


class SelectedMaps(Sequence[list[Selected]]):
    """The selected maps of some refs, one entry per row group of the responses, made on access.

    Args:
        responses: the file of response maps.
        prms: expression_id, ref_id and selected.
        ref_ids: the refs to keep.
        images: image_id, path, height and width.
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
        by_image = self._responses[number].groupby("image_id", sort=True)
        return [self._of_image(int(image_id), rows) for image_id, rows in by_image]

    def _of_image(self, image_id: int, rows: pd.DataFrame) -> Selected:
        path, height, width = self._images.loc[image_id, ["path", "height", "width"]]
        maps = normalised_at(raw_maps(rows), size=self._responses.size, height=height, width=width)
        return Selected(image_id, path, rows["ref_id"].tolist(), maps.numpy())
