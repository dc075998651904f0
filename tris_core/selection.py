"""The response maps that PRMS selected, at their images' own sizes, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tris_core.maps import normalise, response_to_original


@dataclass(frozen=True)
class Selected:
    """Of one image: its id and path, the refs, and their selected maps (R, H, W) float32 divided by their maxima."""

    image_id: int
    path: str
    ref_ids: list[int]
    maps: NDArray[np.float32]


class SelectedMaps(Sequence[Selected]):
    """The selected maps of the refs asked for, one entry per image, made when it is looked at.

    `images` gives path, height and width; `size` is the training size.
    """

    def __init__(
        self, responses: pd.DataFrame, prms: pd.DataFrame, ref_ids: "pd.Series[int]", images: pd.DataFrame, *, size: int
    ) -> None:
        chosen = prms.loc[prms["selected"] & prms["ref_id"].isin(ref_ids), "expression_id"]
        rows = responses[responses["expression_id"].isin(chosen)]
        self._groups = list(rows.groupby("image_id", sort=True))
        self._images, self._size = images.set_index("image_id"), size

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, number: int) -> Selected:  # type: ignore[override]
        image_id, group = self._groups[number]
        image = self._images.loc[image_id]
        raw = torch.from_numpy(np.stack(group["map"].to_list())).view(len(group), group["height"].iloc[0], -1)
        maps = normalise(response_to_original(raw, size=self._size, height=image["height"], width=image["width"]))
        return Selected(int(image_id), image["path"], group["ref_id"].tolist(), maps.numpy())
