"""Step-2 predicts each image once, with all its expressions, in any order of rows."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.support.tiny_models import SIZE, write_tiny_models
from tris_core.data.transforms import normalise
from tris_core.step2.inference import Predict, predict_by_image
from tris_core.step2.network import build_step2
from tris_core.weights.configs import Step2Config
from tris_core.weights.model_folder import load_model

CPU = torch.device("cpu")


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

    def segment(self, stages: Tensor, tokens: Tensor, size: int, image_of: Tensor) -> Tensor:
        return 10 * stages[image_of] + tokens.view(-1, 1, 1, 1)


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


class Squares:
    size = SIZE

    def __init__(self) -> None:
        self.squares = torch.randint(0, 256, (3, SIZE, SIZE, 3), dtype=torch.uint8)

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return self.squares[torch.from_numpy(rows)]


def test_a_batch_of_images_gives_the_logits_of_each_alone(tmp_path: Path) -> None:
    network, _ = load_model(write_tiny_models(tmp_path)[1], Step2Config, build_step2)
    rows, image_of = np.array([3, 0, 4, 1, 2]), np.array([1, 2, 2, 0, 1])
    tokens = torch.randint(1, 9, (5, 8))
    predict = Predict(
        network.eval(),
        Squares(),
        image_of,
        tokens,
        lambda *kept: kept,
        CPU,
        "fp32",  # type: ignore[arg-type]
    )
    for one, other in zip(predict.one_batch(rows), predict.side_by_side(rows), strict=True):
        assert one[0].tolist() == other[0].tolist()
        torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-5)
    assert [part.tolist() for part, _ in predict.one_batch(rows)] == [[3], [0, 4], [1, 2]]
