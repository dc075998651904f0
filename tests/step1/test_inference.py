"""Pictures reach a network normalised as its CLIP's description says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.tiny_models import SIZE, step1_config
from tris_core.predict.predictor import _Reader
from tris_core.step1.inference import response_maps
from tris_core.step1.network import build_step1
from tris_core.weights.clip_spec import PixelStatistics
from tris_core.weights.configs import Step1Config

MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
SQUARE = torch.randint(
    0, 256, (1, SIZE, SIZE, 3), generator=torch.Generator().manual_seed(0)
).byte()
EXPECTED = ((SQUARE / 255 - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


class Pictures:
    size = SIZE

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        return SQUARE.expand(len(rows), -1, -1, -1)


@pytest.fixture
def config() -> Step1Config:
    made = step1_config()
    statistics = PixelStatistics(mean=MEAN, std=STD)
    return made.model_copy(update={"clip": made.clip.model_copy(update={"normalise": statistics})})


def test_responses_and_predictions_see_the_same_picture(
    config: Step1Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = build_step1(config), list[Tensor]()
    encode = model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda image: seen.append(image) or encode(image))
    tokens, cpu = torch.ones(1, 8, dtype=torch.int32), torch.device("cpu")
    list(response_maps(model, Pictures(), np.array([0]), tokens, device=cpu, precision="fp32"))  # type: ignore[arg-type]
    torch.testing.assert_close(seen[0], EXPECTED)
    read = _Reader(config, cpu).image(SQUARE[0].numpy())
    torch.testing.assert_close(read, EXPECTED)
