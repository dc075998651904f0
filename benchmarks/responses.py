"""Responses to three sentences on each of some images (RN50, 320 px).

The plain twin runs a whole forward per sentence. The second row is their size on disk, compared
with full-size float32 arrays of 640 x 480.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks import _inputs
from benchmarks._measure import device, row, seconds, show
from benchmarks._networks import Networks
from tris_core.data.transforms import normalise
from tris_core.responses.file import SCHEMA
from tris_core.step1.inference import response_maps
from tris_core.step1.network import Step1

IMAGES, PER_IMAGE, SIZE, HEIGHT, WIDTH = 8, 3, 320, 480, 640


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    networks, pictures = Networks("paper", device()), _inputs.Pictures(SIZE)
    model = networks.step1().eval()
    images: Any = pictures
    image_of = np.repeat(np.arange(IMAGES), PER_IMAGE)
    tokens = networks.sentences(len(image_of))

    def ours() -> NDArray[np.float32]:
        parts = list(
            response_maps(model, images, image_of, tokens, device=device(), precision="fp32")
        )
        rows = np.concatenate([rows for rows, _ in parts])
        return np.concatenate([maps for _, maps in parts])[np.argsort(rows)]

    def twin() -> NDArray[np.float32]:
        return np.concatenate(
            [one(model, pictures, image, row) for image, row in zip(image_of, tokens, strict=True)]
        )

    made = ours()
    assert np.allclose(made, twin(), atol=1e-3 * np.abs(made).max())
    name, plain = f"responses {IMAGES} x {PER_IMAGE}", seconds(twin, repeats=1)
    show([row(name, seconds(ours), twin=plain, device=str(device())), disk(made)])


def one(
    model: Step1, pictures: _inputs.Pictures, image: np.int64, tokens: torch.Tensor
) -> NDArray[np.float32]:
    vis = model.encode_image(normalise(pictures[np.array([image])].to(device())))
    return model.respond_pairs(vis, model.encode_text(tokens[None].to(device()))).cpu().numpy()


def disk(maps: NDArray[np.float32]) -> dict[str, object]:
    """Bytes per map in a Parquet file as the stage writes it, with a thousand maps."""
    maps = np.resize(maps, (1000, *maps.shape[1:])) + np.random.default_rng(0).normal(
        size=(1000, 1, 1)
    ).astype(np.float32)
    count = np.arange(len(maps))
    columns = {
        "expression_id": count, "ref_id": count, "image_id": count, "split": ["train"] * len(maps),
        "height": np.full(len(maps), maps.shape[1]), "width": np.full(len(maps), maps.shape[2]),
        "map": list(maps.reshape(len(maps), -1)),
    }  # fmt: skip
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=SCHEMA), sink)
    ours, full = sink.getvalue().size / len(maps), 4 * HEIGHT * WIDTH
    return {"name": "responses on disk", "bytes": ours, "twin_bytes": full, "ratio": full / ours}
