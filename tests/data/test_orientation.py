"""Pictures are read as they are displayed, by the index, in training and in `predict` alike."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from tests.support.tiny_refer import TinyRefer
from tris_core.annotations.index import build_index
from tris_core.data.image_files import read_header
from tris_core.data.images import as_displayed, read_image
from tris_core.data.packed import PackedImages, pack_images
from tris_core.data.transforms import resize_square
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json

TURNED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 3),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


def photo() -> Image.Image:
    """30 x 20 (width x height), each quarter a different grey: all orientations look different."""
    quarters = np.array([[0, 80], [160, 240]], np.uint8)
    return Image.fromarray(quarters.repeat(10, 0).repeat(15, 1)).convert("RGB")


def save(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    late = path.stem == "late"
    options = {"lossless": True} if path.suffix == ".webp" else {}
    photo().save(path, exif=None if late else exif, **options)
    if late:  # after the pixels, where exiftool adds it
        data, content = exif.tobytes().removeprefix(b"Exif\0\0"), path.read_bytes()
        body = b"eXIf" + data
        chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(content[:-12] + chunk + content[-12:])


@pytest.mark.parametrize("name", ["early.png", "late.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_the_header_gives_the_size_of_the_pixels(
    name: str, orientation: int, tmp_path: Path
) -> None:
    save(tmp_path / name, orientation)
    found = read_image(tmp_path / name)
    expected = TURNED[orientation](np.asarray(photo()))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() < 12  # JPEG's loss
    header = read_header(tmp_path / name)
    assert header[:2] == found.shape[:2]
    if name != "a.tif" or orientation != 1:
        assert header.orientation == orientation


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", TURNED)
def test_turned_tiffs_of_every_mode_are_read_upright(
    mode: str, orientation: int, tmp_path: Path
) -> None:
    stored = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    stored = stored if mode == "I;16" else photo().convert(mode)
    stored.save(tmp_path / "a.tif", tiffinfo={0x0112: orientation})
    found = read_image(tmp_path / "a.tif")
    assert np.array_equal(found, TURNED[orientation](np.asarray(as_displayed(stored))))
    assert read_header(tmp_path / "a.tif")[:2] == found.shape[:2]


@pytest.mark.parametrize("content", [b"Exif\0\0 nonsense", b"Exif\0\0MM\0*\xff\xff\xff\xff", b""])
def test_damaged_exif_data_are_ignored(content: bytes, tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png", exif=content)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(photo()))
    assert read_header(tmp_path / "a.png") == (20, 30, 1)


def kinds() -> dict[str, Image.Image]:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 2**16, (900, 1300))
    rgba = Image.fromarray(rng.integers(0, 256, (900, 1300, 4), dtype=np.uint8))
    return {
        "transparent": rgba,
        "grey and transparent": rgba.convert("LA"),
        "16 bits": Image.fromarray(levels.astype(np.uint16)),
        "32 bits": Image.fromarray(levels.astype(np.int32)),
        "float": Image.fromarray((levels / 7).astype(np.float32)),
        "palette": rgba.convert("RGB").quantize(16),
        "CMYK": rgba.convert("RGB").convert("CMYK"),
        "grey": rgba.convert("L"),
    }


def at_once(image: Image.Image) -> np.ndarray:
    """The expected result of `as_displayed`, computed on the whole picture."""
    pixels = np.asarray(image)
    if image.mode in ("RGBA", "LA"):
        colour = np.asarray(image.convert("RGBA").convert("RGB"))
        alpha = pixels[..., -1:] / 255
        return colour * alpha + 255 * (1 - alpha)
    if image.mode.startswith("I"):
        return np.repeat((pixels // 256)[..., None], 3, -1)
    if image.mode == "F":
        pixels = pixels.astype(np.float64)
        return np.repeat(((pixels - pixels.min()) / np.ptp(pixels) * 255).round()[..., None], 3, -1)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("kind", kinds())
def test_a_large_picture_read_in_bands_has_no_seams(kind: str) -> None:
    image = kinds()[kind]
    found, expected = np.asarray(as_displayed(image)), at_once(image)
    assert found.shape == (900, 1300, 3)
    assert np.abs(found - expected).max() < (1 if "transparent" in kind else 1e-9)


def test_training_sees_what_predict_sees(tmp_path: Path) -> None:
    save(tmp_path / "turned.jpg", 6)
    kinds()["transparent"].save(tmp_path / "clear.png")
    kinds()["16 bits"].save(tmp_path / "deep.png")
    names = ["turned.jpg", "clear.png", "deep.png"]
    table = pd.DataFrame(
        {"image_id": range(3), "path": names, "height": [30, 900, 900], "width": [20, 1300, 1300]}
    )
    write_sealed_json(
        tmp_path / "m.json", pack_images(table, tmp_path, 16, tmp_path / "scratch", workers=1)
    )
    packed = PackedImages(tmp_path / "m.json", table, tmp_path, tmp_path / "scratch", workers=1)
    for row, name in enumerate(names):
        with Image.open(tmp_path / name) as image:
            displayed = np.asarray(as_displayed(ImageOps.exif_transpose(image)))
        square = packed[np.array([row])][0].numpy()
        assert np.array_equal(square, resize_square(displayed, 16))


def test_annotations_of_the_stored_size_are_refused_with_a_fix(tmp_path: Path) -> None:
    tiny = TinyRefer()
    root = tiny.write(tmp_path / "root")
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (60, 40)).save(root / "train2014" / "b.jpg", exif=exif)
    message = r"b\.jpg is 40 x 60 when displayed: its EXIF orientation \(8\) turns it; annotate"
    with pytest.raises(InputError, match=message):
        build_index(root, "refcocog", "umd", "refer/refcocog")
    Image.new("RGB", (40, 60)).save(root / "train2014" / "b.jpg", exif=exif)
    index = build_index(root, "refcocog", "umd", "refer/refcocog")
    assert "1 image turned as the EXIF orientation says" in index.remarks
