"""The networks' input."""

import numpy as np
import torch

from tests.golden.reference import close, golden
from tris_core.data.transforms import normalise, resize_square


def test_network_input_equals_the_released_code() -> None:
    g = golden("photo_to_tensor")
    seen = normalise(torch.tensor(resize_square(g["array"], 320))[None])[0]
    close(seen[:, ::16, ::16], g["array_strided16"])


def test_a_square_keeps_rows_and_columns_apart() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:20] = 255
    square = resize_square(image, 32)
    assert (square[:12] == 255).all()
    assert (square[20:] == 0).all()
