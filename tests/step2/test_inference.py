"""Step-2 predicts each image once, with all its expressions, in any order of rows."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tris_core.data.transforms import normalise
from tris_core.step2.inference import predict_by_image


class NotScanned(np.ndarray):
    """An array that cannot be compared with a value, as a scan of all rows would."""

    def __eq__(self, other: object) -> Any:
        raise AssertionError("a scan of all rows")


class Pictures:
    size = 2

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return (
            torch.from_numpy(np.asarray(rows)).view(-1, 1, 1, 1).expand(-1, 2, 2, 3).to(torch.uint8)
        )


class Model:
    """Logits are ten times the number of the image plus the token."""

    pixels = None

    def eval(self) -> None: ...

    def encode_image(self, image: Tensor) -> Tensor:
        black, white = normalise(
            torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 1, 3)
        )
        return ((image - black) / (white - black) * 255).round()[:, :1]

    def segment(self, stages: Tensor, tokens: Tensor, size: int) -> Tensor:
        return 10 * stages + tokens.view(-1, 1, 1, 1)


def test_each_image_is_predicted_once_in_order_without_scanning_all_rows() -> None:
    image_of = np.random.default_rng(0).integers(0, 40, 100)
    tokens = torch.arange(100)[:, None] % 10
    how: dict[str, Any] = {"device": torch.device("cpu"), "precision": "fp32"}
    made = list(
        predict_by_image(
            Model(), Pictures(), image_of.view(NotScanned), tokens, lambda *kept: kept, **how
        )  # type: ignore[arg-type]
    )
    assert [image_of[rows].tolist() for rows, _ in made] == [
        [image] * int((image_of == image).sum()) for image in sorted(set(image_of.tolist()))
    ]
    for rows, logits in made:
        assert logits[:, 0, 0].tolist() == (10 * image_of[rows] + rows % 10).tolist()
