"""Images at training size, decoded and resized once: uint8 shards that are memory-mapped.

The shards are in the scratch folder, outside DVC's cache. What DVC tracks is the manifest, which has the hash of every shard
and of every image file: what was damaged or is missing is made again from the images, and images that changed are found.
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
from numpy.typing import NDArray
from PIL import __version__ as pil_version
from torch import Tensor

from tris_core.data.file_hashes import Hashed, file_hashes, keep_hashes, read_hashed
from tris_core.data.images import read_image
from tris_core.data.transforms import resize_square, to_tensor
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import disk_full_as_input_error, read_sealed_json, replacing, temporary_folder
from tris_core.runtime.locks import hold
from tris_core.runtime.processes import map_in_processes
from tris_core.runtime.progress import progress

SHARD = 2048  # images
DIGITS = 32  # of an image's SHA-256 in the manifest
AGAIN = "run `dvc repro -f pack_images`, then `dvc repro`"

Manifest = dict[str, Any]


def pack_images(
    images: pd.DataFrame, root: Path, size: int, scratch: Path, *, workers: int, shard: int = SHARD
) -> Manifest:
    """Resize all `images` (columns image_id, path, height, width) and keep them under `scratch`.

    They are kept as shards (N, size, size, 3) uint8 of `shard` images each. Returns the manifest: size, number of images,
    images per shard; name, rows and SHA-256 of every shard; and the first half of the SHA-256 (hex) of every image file,
    in the order of the table. Raises `InputError` for an image that cannot be read or is not of its size in the table.
    """
    with _packing(scratch) as folder:
        manifest = _pack(images, root, size, scratch, folder, workers, shard)
        if _open_shards(scratch, manifest) is None:
            _place(folder, scratch, manifest)
    return manifest


@contextmanager
def _packing(scratch: Path) -> Iterator[Path]:
    """An empty folder to pack in, removed afterwards. One process packs at a time.

    The folder is this process's own all the same: if the scratch folder is deleted, its locks are deleted too.
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
            raise InputError(
                f"{scratch}: was deleted while images were packed there; run it again"
            ) from error


def _pack(
    images: pd.DataFrame,
    root: Path,
    size: int,
    scratch: Path,
    folder: Path,
    workers: int,
    shard: int,
) -> Manifest:
    """Write the shards to `folder`, keep the hashes of the image files under `scratch`, and return the manifest."""
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
    """Entries of the manifest as the shards are written; `hashed` is filled by path."""
    rows = images[["path", "height", "width"]].itertuples(index=False, name=None)
    work = map_in_processes(partial(_square, root=root, size=size), rows, workers=workers)
    with closing(work) as squares, progress(len(images), "images") as bar:
        for number, start in enumerate(range(0, len(images), shard)):
            target, paths = (
                folder / f"shard-{number:03d}.npy",
                images["path"].iloc[start : start + shard],
            )
            shape = (len(paths), size, size, 3)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            with (
                disk_full_as_input_error(target),
                target.open("wb") as file,
            ):  # a memory map would die of SIGBUS on a full disk
                written = _Written(file)
                np.lib.format.write_array_header_1_0(written, header)
                for path in paths:
                    square, hashed[path] = next(squares)
                    written.write(square.tobytes())
                    bar.update()
            yield {"file": target.name, "rows": len(paths), "sha256": written.sha256.hexdigest()}


class _Written:
    """A file to write to, and the SHA-256 of what was written, whatever the disk made of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)


def _square(row: tuple[str, int, int], root: Path, size: int) -> tuple[NDArray[np.uint8], Hashed]:
    """An image at training size and the hash of its file; both are of the same bytes, read once."""
    name, height, width = row
    hashed, content = read_hashed(root / name)
    image = read_image(root / name, content)
    if image.shape[:2] != (height, width):
        found = f"{image.shape[1]} x {image.shape[0]} (width x height), {width} x {height} when it was indexed"
        raise InputError(f"{root / name}: is {found}; {AGAIN}")
    return resize_square(image, size), hashed


def _place(folder: Path, scratch: Path, manifest: Manifest) -> None:
    """Move the shards in `folder` to where they are looked for, instead of whatever is there."""
    target = shard_folder(scratch, manifest)
    if target.is_file():
        target.unlink()
    with replacing(target) as temporary:
        folder.rename(temporary)


def packed_size(manifest: Path) -> int:
    """Side in pixels of the training square, from the manifest."""
    size: int = read_sealed_json(manifest, AGAIN)["size"]
    return size


def check_pictures(manifest: Path, images: pd.DataFrame, root: Path, scratch: Path) -> None:
    """Make sure that the files of `images` under `root` are those that were packed.

    A file is read only if its stamp differs from the one kept under `scratch` (`file_hashes`). Raises `InputError` naming
    the first that is another or missing.
    """
    _checked(manifest, images, root, scratch)


def _checked(path: Path, images: pd.DataFrame, root: Path, scratch: Path) -> Manifest:
    """The manifest at `path`, read and compared with the pictures once."""
    manifest = read_sealed_json(path, AGAIN)
    names, packed = images["path"].tolist(), manifest["pictures"]
    if len(names) != len(packed):
        raise InputError(
            f"{path}: is of {len(packed)} images, the index of {len(names)}; run `dvc repro pack_images`"
        )
    found = file_hashes(root, names, _kept(scratch, manifest, "pictures"))
    for row, (name, now, then) in enumerate(zip(names, found, packed, strict=True)):
        if now is None:
            raise InputError(
                f"{root / name}: is missing or cannot be read; put it back, or correct dataset.root"
            )
        if now[:DIGITS] != then:
            raise InputError(_why_another(path, root / name, row, int(images["bytes"].iloc[row])))
    return manifest


def _why_another(manifest: Path, picture: Path, row: int, indexed: int) -> str:
    """What to say of a picture that is not the one in `row` of the manifest; it had `indexed` bytes when it was indexed."""
    size = picture.stat().st_size
    if size != indexed:
        return f"{picture}: is not the image that was packed ({size:,} bytes, {indexed:,} then); put that back, or {AGAIN}"
    fix = f"{AGAIN} (or put the picture back, if another one of its size took its place)"
    return f"{manifest}: was packed from another index: its image {row} is not {picture}; {fix}"


class PackedImages:
    """The images of an index at training size, by row of `images`."""

    def __init__(
        self, manifest: Path, images: pd.DataFrame, root: Path, scratch: Path, *, workers: int
    ) -> None:
        """Open the shards that the manifest names under `scratch`, and make them again if they are not what it says.

        Raises `InputError` for an image that changed since the manifest was written (`check_pictures`), and if shards made
        again differ from it.
        """
        content = _checked(manifest, images, root, scratch)
        self.size: int = content["size"]
        self._per_shard: int = content["images_per_shard"]
        shards = _open_shards(scratch, content)
        self._shards = (
            _made_again(manifest, content, images, root, scratch, workers)
            if shards is None
            else shards
        )

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """uint8 (N, 3, size, size) of rows of the images table."""
        return to_tensor(
            np.stack([self._shards[row // self._per_shard][row % self._per_shard] for row in rows])
        )


def _open_shards(scratch: Path, manifest: Manifest) -> list[NDArray[np.uint8]] | None:
    """The shards, memory-mapped; None unless all of them have the bytes that the manifest says (`file_hashes`)."""
    folder, shards = shard_folder(scratch, manifest), manifest["shards"]
    names = [shard["file"] for shard in shards]
    if file_hashes(folder, names, _kept(scratch, manifest, "shards")) != [
        shard["sha256"] for shard in shards
    ]:
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
        print(
            f"{shard_folder(scratch, content)}: shards missing or damaged; packing the images again",
            flush=True,
        )
        made = _pack(
            images, root, content["size"], scratch, folder, workers, content["images_per_shard"]
        )
        if made != content:
            where = (
                f"{manifest}: the images under {root} give other pixels here (Pillow {pil_version})"
            )
            raise InputError(f"{where} than where it was made; {AGAIN}")
        _place(folder, scratch, content)
        if (shards := _open_shards(scratch, content)) is None:
            raise InputError(
                f"{shard_folder(scratch, content)}: does not keep what is written; check the disk"
            )
    return shards


def shard_folder(scratch: Path, manifest: Manifest) -> Path:
    """Where the shards of a manifest are. Its name is the hash of the whole manifest, so equal images share it."""
    content = json.dumps(manifest, sort_keys=True)
    return scratch / "images" / hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


def _kept(scratch: Path, manifest: Manifest, what: str) -> Path:
    """Where the hashes and stamps of the shards or the pictures of a manifest are kept."""
    return shard_folder(scratch, manifest).with_suffix(f".{what}")
