"""Images at training size, decoded and resized once: uint8 shards that are memory-mapped.

The shards lie in the scratch folder, outside DVC's cache; the manifest (what DVC tracks) holds their hashes, so that shards
a machine does not have are made again from the images and checked.
"""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from tris_core.errors import InputError
from tris_core.files import plain_when_full, sha256_of
from tris_core.images import read_image, resize_square, to_tensor
from tris_core.processes import map_in_processes
from tris_core.progress import progress

SHARD = 2048  # images


def _squared(path: Path, size: int) -> NDArray[np.uint8]:
    return resize_square(read_image(path), size)


def pack_images(images: pd.DataFrame, root: Path, size: int, scratch: Path, *, workers: int) -> dict[str, Any]:
    """Resize all `images` (columns image_id, path) and keep them as shards (N, size, size, 3) under `scratch`.

    Returns the manifest: size, number of images, and file name, rows and SHA-256 of every shard.
    """
    folder = scratch / "images" / "packing"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shards = list(_write_shards([root / path for path in images["path"]], size, folder, workers))
        manifest = {"size": size, "images": len(images), "shards": shards}
        target = shard_folder(scratch, manifest)
        if target.exists():
            shutil.rmtree(folder)
        else:
            folder.rename(target)
    return manifest


def _write_shards(paths: list[Path], size: int, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    squares = map_in_processes(partial(_squared, size=size), paths, workers=workers)
    bar = progress(len(paths), "images")
    for start in range(0, len(paths), SHARD):
        target = folder / f"shard-{start // SHARD:03d}.npy"
        shape = (min(SHARD, len(paths) - start), size, size, 3)
        with plain_when_full(target), target.open("wb") as file:  # a memory map would die of SIGBUS on a full disk
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for _ in range(shape[0]):
                file.write(next(squares).tobytes())
                bar.update()
        yield {"file": target.name, "rows": shape[0], "sha256": sha256_of([target])}
    bar.close()


def packed_size(manifest: Path) -> int:
    """Side in pixels of the training square, from the manifest."""
    size: int = json.loads(manifest.read_text())["size"]
    return size


class PackedImages:
    """The images of an index at training size, by row of `images`."""

    def __init__(self, manifest: Path, images: pd.DataFrame, root: Path, scratch: Path, *, workers: int) -> None:
        """Open the shards the manifest names under `scratch`, making them first where they are missing.

        Raises `InputError` if remade shards differ from the manifest: the images changed since it was written.
        """
        content = json.loads(manifest.read_text())
        self.size: int = content["size"]
        folder = shard_folder(scratch, content)
        if not all((folder / shard["file"]).is_file() for shard in content["shards"]):
            made = pack_images(images, root, self.size, scratch, workers=workers)
            if made != content:
                raise InputError(f"{manifest}: images under {root} are not those it was made from; run `dvc repro pack_images`")
        self._shards = [np.load(folder / shard["file"], mmap_mode="r") for shard in content["shards"]]

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """uint8 (N, 3, size, size) of rows of the images table."""
        return to_tensor(np.stack([self._shards[row // SHARD][row % SHARD] for row in rows]))


def shard_folder(scratch: Path, manifest: dict[str, Any]) -> Path:
    """Shards are named by their content, so experiments with the same images share them."""
    return scratch / "images" / manifest["shards"][0]["sha256"][:24]
