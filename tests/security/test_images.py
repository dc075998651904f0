"""Untrusted images: paths stay inside the image folder, and sizes are limited before decoding."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.support.png import png
from tests.support.tiny_refer import TinyRefer
from tris_core.annotations.index import Annotations, build_index
from tris_core.annotations.tables import image_size
from tris_core.data.image_files import MOST_PIXELS, MOST_SIDE, STORES
from tris_core.data.images import read_image
from tris_core.data.rle import encode
from tris_core.evaluation.mask_files import read_masks
from tris_core.predict.files import requests_of_images
from tris_core.runtime.errors import InputError

BOMBS = {
    "beyond PIL's limit": png(60_000, 60_000),
    "where PIL does not warn": png(8_000, MOST_PIXELS // 8_000 + 1),
    "a line": png(MOST_SIDE + 1, 1),
}
READERS: dict[str, Callable[[Path], object]] = {
    "index": lambda path: image_size(path.parent, path.name, "row 1"),
    "training and predict": read_image,
    "predict, a folder": lambda path: requests_of_images(path.parent, ["dog"]),
    "score": lambda path: read_masks(path.parent),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_decompression_bomb_is_refused_by_its_header(
    reader: str, bomb: str, tmp_path: Path
) -> None:
    path = tmp_path / "7.png"
    path.write_bytes(BOMBS[bomb])
    with pytest.raises(InputError, match=r"7\.png.*(exceeds limit|pixels, more than 33,554,432)"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", ["index", "training and predict"])
def test_postscript_and_named_pipes_are_not_images(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "7.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(path) as image:
        assert image.format == "EPS"  # PIL itself would pass it to Ghostscript
    with pytest.raises(InputError, match=r"7\.png cannot be read|7\.png: cannot be read"):
        READERS[reader](path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        READERS[reader](path)


@pytest.mark.parametrize("size", [[10**6, 10**6], [1, MOST_PIXELS + 1]])
def test_masks_and_annotations_of_impossible_size_are_refused(
    size: list[int], tmp_path: Path
) -> None:
    height, width = size
    segmentation = {"size": size, "counts": [height * width]}
    record = {"expression_id": 1, "segmentation": segmentation}
    (tmp_path / "m.json").write_text(json.dumps([record]))
    counts = encode(np.ones((1, 1), bool))
    row = {"expression_id": 1, "height": height, "width": width, "counts": counts}
    pd.DataFrame([row]).to_parquet(tmp_path / "m.parquet")
    for name in ("m.json", "m.parquet"):
        with pytest.raises(InputError, match=f"{height} x {width}"):
            read_masks(tmp_path / name)
    tiny = TinyRefer()
    tiny.images[0].update(height=height, width=width)
    with pytest.raises(
        InputError, match=f"image 70: annotated at {width} x {height} .* which no image can have"
    ):
        build(tiny.write(tmp_path / "root"))


def build(root: Path) -> Annotations:
    return build_index(root, "refcocog", "umd", "refer/refcocog")


def test_data_root_and_image_folder_may_be_links(tmp_path: Path) -> None:
    root = TinyRefer().write(tmp_path / "storage")
    (root / "train2014").rename(tmp_path / "elsewhere")
    (root / "train2014").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "b.jpg").rename(tmp_path / "elsewhere" / "real.jpg")
    (tmp_path / "elsewhere" / "b.jpg").symlink_to("real.jpg")  # a link that stays inside
    (tmp_path / "root").symlink_to(root)
    assert build(tmp_path / "root").images.num_rows == 2


def test_a_link_out_of_the_image_folder_needs_its_store_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = TinyRefer().write(tmp_path / "root") / "train2014"
    (tmp_path / "store").mkdir()
    (photos / "b.jpg").rename(tmp_path / "store" / "b.jpg")
    (photos / "b.jpg").symlink_to(tmp_path / "store" / "b.jpg")
    with pytest.raises(
        InputError, match=rf"image 70: .*b\.jpg is a link to .*export {STORES}={tmp_path}/store"
    ):
        build(tmp_path / "root")
    monkeypatch.setenv(STORES, f"/nowhere:{tmp_path}/store")
    assert build(tmp_path / "root").images.num_rows == 2
    monkeypatch.setenv(STORES, f"{tmp_path}/stor")
    with pytest.raises(InputError, match="outside the image folder"):
        build(tmp_path / "root")


def image_in_folder(root: Path) -> Path:
    """A data set with the image sub/b.jpg, whose folder is missing; the path of that folder."""
    tiny = TinyRefer()
    tiny.images[0]["file_name"] = "sub/b.jpg"
    return tiny.write(root) / "train2014" / "sub"


def test_a_subfolder_that_links_outside_is_refused(tmp_path: Path) -> None:
    sub = image_in_folder(tmp_path / "root")
    (tmp_path / "outside").mkdir()
    (sub.parent / "b.jpg").rename(tmp_path / "outside" / "b.jpg")
    sub.symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="outside the image folder"):
        build(tmp_path / "root")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    image_in_folder(tmp_path / "root").symlink_to("sub")
    with pytest.raises(InputError, match=r"image 70: .*sub/b\.jpg"):
        build(tmp_path / "root")
