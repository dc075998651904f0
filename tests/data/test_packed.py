"""Packed pictures are those of the given list, whatever happened to the scratch folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

import tris_core.data.file_hashes
import tris_core.data.packed
from tests.attack import files as attack
from tests.support.tiny_refer import TinyRefer, annotation, ref, square
from tris_core.annotations.index import build_index
from tris_core.data.packed import PackedImages, check_pictures, pack_images, shard_folder
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, write_sealed_json

SIZE, SHARD = 8, 3


def colour(number: int) -> tuple[int, int, int]:
    return number * 7 % 256, number * 31 % 256, number * 53 % 256


class Data:
    """Pictures, each of a colour that depends on its number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.scratch = folder, folder / "root", folder / "scratch"
        self.root.mkdir()
        for number in range(12):
            Image.new("RGB", (9, 5), colour(number)).save(self.root / f"{number}.png")
            # the stamp of a file written just now is not trusted
            os.utime(self.root / f"{number}.png", (1e9, 1e9))

    def table(self, numbers: list[int]) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "image_id": numbers,
                "path": [f"{n}.png" for n in numbers],
                "height": 5,
                "width": 9,
                "bytes": [(self.root / f"{n}.png").stat().st_size for n in numbers],
            }
        )

    def pack(self, numbers: list[int]) -> Path:
        """Pack a list as the stage does, and return the path of its manifest."""
        path = self.folder / f"{'-'.join(map(str, numbers))}.json"
        table, options = self.table(numbers), {"workers": 1, "shard": SHARD}
        write_sealed_json(path, pack_images(table, self.root, SIZE, self.scratch, **options))
        return path

    def open(self, manifest: Path, numbers: list[int]) -> PackedImages:
        return PackedImages(manifest, self.table(numbers), self.root, self.scratch, workers=1)

    def right(self, manifest: Path, numbers: list[int]) -> bool:
        found = self.open(manifest, numbers)[np.arange(len(numbers))].numpy()
        return found.shape == (len(numbers), SIZE, SIZE, 3) and all(
            (square == np.array(colour(n))).all() for square, n in zip(found, numbers, strict=True)
        )

    def shards(self, manifest: Path) -> list[Path]:
        content = read_sealed_json(manifest)
        return [shard_folder(self.scratch, content) / shard["file"] for shard in content["shards"]]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


LISTS = {
    "the same first shard, other later ones": ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 4, 5, 6, 7]),
    "a list that grows": ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]),
    "a list that shrinks": ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4]),
    "a picture removed": ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5]),
    "another order": ([0, 1, 2, 3], [0, 1, 3, 2]),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_that_share_pictures_keep_their_own_shards(case: str, data: Data) -> None:
    manifests = [data.pack(numbers) for numbers in LISTS[case]]
    for manifest, numbers in zip(manifests * 2, LISTS[case] * 2, strict=True):
        assert data.right(manifest, numbers)
    assert len(data.shards(manifests[0])) > 1


def test_equal_lists_share_their_shards(data: Data) -> None:
    first, again = data.pack([0, 1, 2, 3]), data.pack([0, 1, 2, 3])
    assert data.shards(first) == data.shards(again)


def header_flipped(shard: Path) -> None:
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"'|u1'", b"'|i1'"))
    assert shard.read_bytes() != content


def pixel_flipped(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a pixel flipped": pixel_flipped,
    "the header's dtype flipped": header_flipped,
    "pixels zeroed": lambda shard: shard.write_bytes(
        shard.read_bytes()[:128] + bytes(shard.stat().st_size - 128)
    ),
    "cut": lambda shard: os.truncate(shard, shard.stat().st_size - 1),
    "empty": lambda shard: shard.write_bytes(b""),
    "deleted": lambda shard: shard.unlink(),
    "a folder instead": lambda shard: (shard.unlink(), shard.mkdir()),
    "the folder deleted": lambda shard: shutil.rmtree(shard.parent),
}


@pytest.mark.parametrize("repaired_by", ["opening", "packing"])
@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_shard_is_made_again(
    case: str, repaired_by: str, data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [0, 1, 2, 3, 4, 5, 6]
    manifest = data.pack(numbers)
    good = data.shards(manifest)[1].read_bytes()
    data.open(manifest, numbers)
    DAMAGES[case](data.shards(manifest)[1])
    if repaired_by == "packing":
        assert data.pack(numbers) == manifest
        assert data.shards(manifest)[1].read_bytes() == good
    capsys.readouterr()
    assert data.right(manifest, numbers)
    assert data.shards(manifest)[1].read_bytes() == good
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in said] == (
        ["shards missing or damaged; packing the images again"] if repaired_by == "opening" else []
    )


def test_a_changed_picture_is_named(data: Data) -> None:
    numbers = [0, 1, 2, 3]
    manifest = data.pack(numbers)
    path = data.root / "2.png"
    original, table, size = path.read_bytes(), data.table(numbers), path.stat().st_size
    other = (data.root / "5.png").read_bytes()
    assert len(other) == size  # only the content differs
    other_index = r"was packed from another index: its image 2 is not .*root/2\.png"
    same_size = rf"2-3\.json: {other_index}; .* if another one of its size"
    fix = "put that back, or run `dvc repro -f pack_images`"
    another_size = rf"root/2\.png: is not the image that was packed .*; {fix}"
    for content, message in ((other, same_size), (other + b"x", another_size)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            check_pictures(manifest, table, data.root, data.scratch)
        with pytest.raises(InputError, match=message):
            PackedImages(manifest, table, data.root, data.scratch, workers=1)
    path.unlink()
    with pytest.raises(InputError, match=r"root/2\.png: is missing"):
        PackedImages(manifest, table, data.root, data.scratch, workers=1)
    path.write_bytes(original)
    assert data.right(manifest, numbers)
    with pytest.raises(InputError, match="is of 4 images, the index of 3"):
        data.open(manifest, numbers[:3])


def test_a_changed_index_is_named_instead_of_the_picture(data: Data) -> None:
    manifest = data.pack([0, 1, 2, 3])
    for numbers in ([0, 2, 1, 3], [0, 1, 2, 4]):
        message = r"0-1-2-3\.json: was packed from another index: its image [13] is not .*\.png;"
        with pytest.raises(InputError, match=message):
            data.open(manifest, numbers)


def test_the_manifest_is_read_once(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = data.pack([0, 1, 2, 3])
    shutil.rmtree(data.shards(manifest)[0].parent)
    read: list[Path] = []
    honest = tris_core.data.packed.read_sealed_json
    monkeypatch.setattr(
        tris_core.data.packed,
        "read_sealed_json",
        lambda path, fix: read.append(path) or honest(path, fix),
    )
    data.open(manifest, [0, 1, 2, 3])
    assert read == [manifest]


def test_pixels_and_hash_are_of_the_same_bytes(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is replaced while it is packed, then restored. Its hash never gets other pixels."""
    path, decode = data.root / "1.png", tris_core.data.packed.read_image
    original, other = path.read_bytes(), (data.root / "5.png").read_bytes()

    def exchanged(picture: Path, *content: bytes) -> np.ndarray:
        path.write_bytes(other)
        pixels = decode(picture, *content)
        path.write_bytes(original)
        return pixels

    monkeypatch.setattr(tris_core.data.packed, "read_image", exchanged)
    manifest = data.pack([1])
    monkeypatch.undo()
    assert data.right(manifest, [1])


def test_a_file_with_the_same_stamp_is_not_read_again(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, read, honest = [0, 1, 2, 3], [], tris_core.data.file_hashes.sha256_of_file
    manifest = data.pack(numbers)
    for shard in data.shards(manifest):
        os.utime(shard, (1e9, 1e9))

    def counted(path: Path) -> str:
        read.append(path.name)
        return honest(path)

    def reads() -> list[str]:
        read.clear()
        assert data.right(manifest, numbers)
        return sorted(read)

    monkeypatch.setattr(tris_core.data.file_hashes, "sha256_of_file", counted)
    assert reads() == ["shard-000.npy", "shard-001.npy"]
    assert reads() == []
    os.utime(data.root / "1.png", (2e9, 1e9 + 5))
    assert reads() == ["1.png"]
    assert reads() == []
    # another mount: other inodes and times
    data.root = shutil.copytree(data.root, data.folder / "elsewhere")
    assert reads() == [f"{n}.png" for n in numbers]
    assert reads() == []


def test_a_file_written_just_now_is_read_again(data: Data) -> None:
    """Its next change may fall into the same tick of the clock and leave the same stamp."""
    manifest = data.pack([0, 1, 2, 3])
    now = tris_core.data.file_hashes.time.time()
    os.utime(data.root / "0.png", (now, now))
    found = tris_core.data.file_hashes.hash_file(data.root / "0.png")
    assert found is not None
    assert found[:-1] == (0, 0, 0, 0)
    assert data.right(manifest, [0, 1, 2, 3])


def test_damaged_stamps_only_cost_another_reading(data: Data) -> None:
    numbers = [0, 1, 2, 3]
    manifest = data.pack(numbers)
    data.open(manifest, numbers)
    stored = (data.scratch / "images").iterdir()
    kept = [path for path in stored if path.suffix in (".shards", ".pictures")]
    assert len(kept) == 2
    for path in kept:
        whole = path.read_text()
        for content in ("", "{", whole[:-9], whole.replace("a", "b"), "1\n[]"):
            path.write_text(content)
            assert data.right(manifest, numbers)


def test_packing_refuses_a_picture_of_another_size_than_indexed(data: Data) -> None:
    Image.new("RGB", (5, 9)).save(data.root / "1.png")
    with pytest.raises(
        InputError, match=r"1\.png: is 5 x 9 \(width x height\), 9 x 5 when it was indexed"
    ):
        data.pack([0, 1])


def test_new_shards_that_differ_are_an_error(data: Data) -> None:
    manifest = data.pack([0, 1, 2, 3])
    content = read_sealed_json(manifest)
    content["shards"][1]["sha256"] = "0" * 64
    write_sealed_json(manifest, content)
    with pytest.raises(InputError, match="give other pixels here"):
        data.open(manifest, [0, 1, 2, 3])


def open_it(folder: Path, numbers: list[int]) -> bool:
    data = Data.__new__(Data)
    data.folder, data.root, data.scratch = folder, folder / "root", folder / "scratch"
    data.folder /= str(os.getpid())
    return data.right(data.pack(numbers), numbers)


def test_concurrent_packing_and_repairing_gives_the_right_pictures(data: Data) -> None:
    lists = [[0, 1, 2, 3, 4], [0, 1, 2, 4, 5], [0, 1, 2, 3, 4]]
    for shard in data.shards(data.pack(lists[0])):
        shard.write_bytes(b"")
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        assert list(pool.map(open_it, [data.folder] * 6, lists * 2)) == [True] * 6


def test_shards_replaced_by_another_process_are_noticed(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone deleted the scratch folder with its locks, so a second run packs there too."""
    real = tris_core.data.packed.map_in_processes

    def meddled(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, result in enumerate(real(*args, **kwargs)):
            if number == SHARD - 1:
                (shard,) = data.scratch.rglob("shard-000.npy")
                shard.unlink()
                np.save(shard, np.zeros((SHARD, SIZE, SIZE, 3), np.uint8))
            yield result

    monkeypatch.setattr(tris_core.data.packed, "map_in_processes", meddled)
    manifest = data.pack([4, 5, 6, 7])
    monkeypatch.undo()
    assert data.right(manifest, [4, 5, 6, 7])


@pytest.mark.parametrize("meanwhile", ["nothing", "another run"])
def test_a_scratch_folder_deleted_during_packing_is_an_input_error(
    meanwhile: str, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tris_core.data.packed.map_in_processes

    def meddled(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, result in enumerate(real(*args, **kwargs)):
            if number == SHARD - 1:
                shutil.rmtree(data.scratch)
                if meanwhile == "another run":
                    monkeypatch.setattr(tris_core.data.packed, "map_in_processes", real)
                    others.append(data.pack([8, 9]))
            yield result

    others: list[Path] = []
    monkeypatch.setattr(tris_core.data.packed, "map_in_processes", meddled)
    with pytest.raises(InputError, match="deleted"):
        data.pack([4, 5, 6, 7])
    monkeypatch.undo()
    assert all(data.right(other, [8, 9]) for other in others)


@pytest.mark.parametrize("broken", [False, True])
def test_packing_leaves_no_process_behind(broken: bool, data: Data) -> None:
    before = {child.pid for child in psutil.Process().children()}
    if broken:
        (data.root / "1.png").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"1\.png: cannot be read"):
            data.pack(list(range(12)))
    else:
        data.pack(list(range(12)))
    # a zombie would be among them
    assert {child.pid for child in psutil.Process().children()} <= before
    assert not list((data.scratch / "images").glob("packing/*"))


def test_random_damage() -> None:
    assert attack.main(times=12, seed=0)


def test_data_sets_in_one_scratch_folder_get_their_own_pictures(tmp_path: Path) -> None:
    """As in `tris verify`: only the first picture is shared. Another index excludes some images."""
    first = TinyRefer()
    root = first.write(tmp_path / "root")
    other = TinyRefer(
        refs=[ref(1, 3, 7, "train", {0: "grey"}), ref(2, 6, 700, "val", {1: "noise"})]
    )
    other.annotations.append(annotation(6, 700, [square(1, 1)]))
    place = other.write(tmp_path / "other", "refcoco", "unc")
    shutil.copytree(root / "train2014", place / "train2014", dirs_exist_ok=True)
    google = (root, "refcocog", "umd", "refer/refcocog")
    indexes = {
        "all": (root, build_index(*google)),
        "another data set": (place, build_index(place, "refcoco", "unc", "refer/refcoco")),
        "excluded": (root, build_index(*google, exclude_images_of=["val"])),
    }
    manifests = {name: tmp_path / f"{name}.json" for name in indexes}
    scratch = tmp_path / "scratch"
    for name, (place, index) in indexes.items():
        images = index.images.to_pandas()
        manifest = pack_images(images, place, 64, scratch, workers=1, shard=1)
        write_sealed_json(manifests[name], manifest)
    for name, (place, index) in indexes.items():
        images = index.images.to_pandas()
        packed = PackedImages(manifests[name], images, place, scratch, workers=1)
        for row, path in enumerate(images["path"]):
            with Image.open(place / path) as image:
                resized = image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
            found = packed[np.array([row])][0].numpy()
            assert np.array_equal(found, np.asarray(resized)), (name, path)
