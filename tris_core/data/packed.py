"""Images at training size, decoded and resized once into memory-mapped uint8 shards.

The shards are in the scratch folder, outside DVC's cache. DVC tracks the manifest, which contains
the hash of every shard and of every image file. Damaged or missing shards are made again from the
images, and changed images are detected.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import __version__ as pil_version
from torch import Tensor

from tris_core.data.file_hashes import Hashed, file_hashes, keep_hashes, read_hashed
from tris_core.data.images import read_image
from tris_core.data.transforms import resize_square
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import (
    disk_full_as_input_error,
    read_sealed_json,
    replacing,
    temporary_folder,
)
from tris_core.runtime.locks import hold
from tris_core.runtime.processes import map_in_processes
from tris_core.runtime.progress import progress

SHARD = 2048  # images
DIGITS = 32  # hex digits of an image's SHA-256 in the manifest
AGAIN = "run `dvc repro -f pack_images`, then `dvc repro`"

Manifest = dict[str, Any]


def pack_images(
    images: pd.DataFrame, root: Path, size: int, scratch: Path, *, workers: int, shard: int = SHARD
) -> Manifest:
    """Resize all images and write them to shards under `scratch`.

    Args:
        images: columns image_id, path, height, width.
        root: the folder that the paths are relative to.
        size: side of the training square in pixels.
        scratch: the scratch folder. A shard is (N, size, size, 3) uint8.
        workers: number of processes; 0 is one per core.
        shard: images per shard.

    Returns:
        The manifest: size, number of images, images per shard, the name, rows and SHA-256 of every
        shard, and half of the SHA-256 (hex) of every image file, in the order of the table.

    Raises:
        InputError: an image cannot be read, or is not of its size in the table.
    """
    with _packing(scratch) as folder:
        manifest = _pack(images, root, size, scratch, folder, workers, shard)
        if _open_shards(scratch, manifest) is None:
            _place(folder, scratch, manifest)
    return manifest


@contextmanager
def _packing(scratch: Path) -> Iterator[Path]:
    """Yield an empty folder to pack in, which is removed afterwards. One process packs at a time.

    The folder is unique to this process nevertheless: someone may delete the scratch folder, and
    its locks with it.
    """
    place = scratch / "images" / "packing"
    with (
        hold(place.with_suffix(".lock"), "another run that packs images"),
        temporary_folder(place) as folder,
    ):
        try:
            yield folder
        except FileNotFoundError as error:
            if folder.exists():
                raise
            problem = "was deleted while images were packed there"
            raise InputError(f"{scratch}: {problem}; run it again") from error


def _pack(
    images: pd.DataFrame,
    root: Path,
    size: int,
    scratch: Path,
    folder: Path,
    workers: int,
    shard: int,
) -> Manifest:
    """Write the shards to `folder` and the image hashes under `scratch`; return the manifest."""
    hashed: dict[str, Hashed] = {}
    shards = list(_write_shards(images, root, size, folder, workers, shard, hashed))
    manifest = {
        "size": size,
        "images": len(images),
        "images_per_shard": shard,
        "shards": shards,
        "pictures": [hashed[path].sha256[:DIGITS] for path in images["path"]],
    }
    keep_hashes(_kept(scratch, manifest, "pictures"), hashed)
    return manifest


def _write_shards(
    images: pd.DataFrame,
    root: Path,
    size: int,
    folder: Path,
    workers: int,
    shard: int,
    hashed: dict[str, Hashed],
) -> Iterator[dict[str, Any]]:
    """Write the shards and yield their manifest entries. Fills `hashed` by path."""
    rows = images[["path", "height", "width"]].itertuples(index=False, name=None)
    work = map_in_processes(partial(_square, root=root, size=size), rows, workers=workers)
    with closing(work) as squares, progress(len(images), "images") as bar:
        for number, start in enumerate(range(0, len(images), shard)):
            target = folder / f"shard-{number:03d}.npy"
            paths = images["path"].iloc[start : start + shard]
            shape = (len(paths), size, size, 3)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            # Not memory-mapped: on a full disk a memory map dies of SIGBUS.
            with disk_full_as_input_error(target), target.open("wb") as file:
                written = _Written(file)
                np.lib.format.write_array_header_1_0(written, header)
                for path in paths:
                    square, hashed[path] = next(squares)
                    written.write(square.tobytes())
                    bar.update()
            yield {"file": target.name, "rows": len(paths), "sha256": written.sha256.hexdigest()}


class _Written:
    """A file to write to, with the SHA-256 of what was passed to the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)


def _square(row: tuple[str, int, int], root: Path, size: int) -> tuple[NDArray[np.uint8], Hashed]:
    """An image at training size and its file's hash, from the same bytes, read once."""
    name, height, width = row
    hashed, content = read_hashed(root / name)
    image = read_image(root / name, content)
    if image.shape[:2] != (height, width):
        found = f"{image.shape[1]} x {image.shape[0]} (width x height)"
        indexed = f"{width} x {height} when it was indexed"
        raise InputError(f"{root / name}: is {found}, {indexed}; {AGAIN}")
    return resize_square(image, size), hashed


def _place(folder: Path, scratch: Path, manifest: Manifest) -> None:
    """Move the shards in `folder` to their final place, and replace what is there."""
    target = shard_folder(scratch, manifest)
    if target.is_file():
        target.unlink()
    with replacing(target) as temporary:
        folder.rename(temporary)


def packed_size(manifest: Path) -> int:
    """Side of the training square in pixels, from the manifest."""
    size: int = read_sealed_json(manifest, AGAIN)["size"]
    return size


def check_pictures(manifest: Path, images: pd.DataFrame, root: Path, scratch: Path) -> None:
    """Check that the files of `images` under `root` are those that were packed.

    A file is read only if its stamp has changed (`file_hashes`).

    Raises `InputError`, which names the first file that is missing or different.
    """
    _checked(manifest, images, root, scratch)


def _checked(path: Path, images: pd.DataFrame, root: Path, scratch: Path) -> Manifest:
    """Read the manifest at `path` once and compare it with the pictures."""
    manifest = read_sealed_json(path, AGAIN)
    names, packed = images["path"].tolist(), manifest["pictures"]
    if len(names) != len(packed):
        problem = f"is of {len(packed)} images, the index of {len(names)}"
        raise InputError(f"{path}: {problem}; run `dvc repro pack_images`")
    found = file_hashes(root, names, _kept(scratch, manifest, "pictures"))
    for row, (name, now, then) in enumerate(zip(names, found, packed, strict=True)):
        if now is None:
            fix = "put it back, or correct dataset.root"
            raise InputError(f"{root / name}: is missing or cannot be read; {fix}")
        if now[:DIGITS] != then:
            raise InputError(_why_another(path, root / name, row, int(images["bytes"].iloc[row])))
    return manifest


def _why_another(manifest: Path, picture: Path, row: int, indexed: int) -> str:
    """The message for a picture that is not image number `row` of the manifest.

    `indexed` is its size in bytes when it was indexed.
    """
    size = picture.stat().st_size
    if size != indexed:
        problem = f"is not the image that was packed ({size:,} bytes, {indexed:,} then)"
        return f"{picture}: {problem}; put that back, or {AGAIN}"
    problem = f"was packed from another index: its image {row} is not {picture}"
    fix = f"{AGAIN} (or put the picture back, if another one of its size replaced it)"
    return f"{manifest}: {problem}; {fix}"


class PackedImages:
    """The images of an index at training size, by their row in `images`."""

    def __init__(
        self, manifest: Path, images: pd.DataFrame, root: Path, scratch: Path, *, workers: int
    ) -> None:
        """Open the shards under `scratch`. If they do not match the manifest, make them again.

        Raises `InputError` if an image has changed since it was packed (`check_pictures`), or if
        the new shards differ from the manifest.
        """
        content = _checked(manifest, images, root, scratch)
        self.size: int = content["size"]
        self._per_shard: int = content["images_per_shard"]
        shards = _open_shards(scratch, content)
        if shards is None:
            shards = _made_again(manifest, content, images, root, scratch, workers)
        self._shards = shards

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """uint8 (N, size, size, 3) for rows of the images table."""
        found = [self._shards[row // self._per_shard][row % self._per_shard] for row in rows]
        return torch.from_numpy(np.stack(found))


def _open_shards(scratch: Path, manifest: Manifest) -> list[NDArray[np.uint8]] | None:
    """The memory-mapped shards, or None if any differs from the manifest (`file_hashes`)."""
    folder, shards = shard_folder(scratch, manifest), manifest["shards"]
    names = [shard["file"] for shard in shards]
    found = file_hashes(folder, names, _kept(scratch, manifest, "shards"))
    if found != [shard["sha256"] for shard in shards]:
        return None
    try:
        return [np.load(folder / name, mmap_mode="r") for name in names]
    except OSError:  # another process is replacing them
        return None


def _made_again(
    manifest: Path, content: Manifest, images: pd.DataFrame, root: Path, scratch: Path, workers: int
) -> list[NDArray[np.uint8]]:
    with _packing(scratch) as folder:
        if (shards := _open_shards(scratch, content)) is not None:  # another process was first
            return shards
        problem = "shards missing or damaged; packing the images again"
        print(f"{shard_folder(scratch, content)}: {problem}", flush=True)
        size, per_shard = content["size"], content["images_per_shard"]
        made = _pack(images, root, size, scratch, folder, workers, per_shard)
        if made != content:
            problem = f"the images under {root} give other pixels here (Pillow {pil_version})"
            raise InputError(f"{manifest}: {problem} than where it was made; {AGAIN}")
        _place(folder, scratch, content)
        if (shards := _open_shards(scratch, content)) is None:
            problem = "does not keep what is written"
            raise InputError(f"{shard_folder(scratch, content)}: {problem}; check the disk")
    return shards


def shard_folder(scratch: Path, manifest: Manifest) -> Path:
    """The folder of the shards of a manifest.

    Its name is the hash of the whole manifest, so equal lists of images share it.
    """
    content = json.dumps(manifest, sort_keys=True)
    return scratch / "images" / hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


def _kept(scratch: Path, manifest: Manifest, what: str) -> Path:
    """The file with the hashes and stamps of the shards or pictures of a manifest."""
    return shard_folder(scratch, manifest).with_suffix(f".{what}")
