"""Damage packed images at random. PackedImages must return the right pixels or name the file.

`main(times, seed)` prints how many attempts were survived. The expected pixels are decoded with PIL
alone, so the comparison shares no code with PackedImages.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tris_core.data.packed import PackedImages, pack_images, shard_folder
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, write_sealed_json

PICTURES, SIZE, SHARD = 7, 16, 3  # three shards


@dataclass
class Place:
    """A small data set, its manifest, and a scratch folder with its shards and a longer list's."""

    root: Path
    scratch: Path
    manifest: Path
    images: pd.DataFrame
    rng: random.Random

    def shards(self) -> list[Path]:
        content = read_sealed_json(self.manifest)
        return [shard_folder(self.scratch, content) / shard["file"] for shard in content["shards"]]

    def picture(self) -> Path:
        return self.root / self.rng.choice(self.images["path"].tolist())

    def opened(self) -> PackedImages:
        with redirect_stdout(StringIO()):
            return PackedImages(self.manifest, self.images, self.root, self.scratch, workers=1)

    def expected(self) -> np.ndarray:
        """The current images as (N, SIZE, SIZE, 3), uint8."""
        squares = []
        for path in self.images["path"]:
            with Image.open(self.root / path) as image:
                squares.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        return np.stack(squares)


def prepare(folder: Path, rng: random.Random) -> Place:
    """Pack two lists that agree only in the first shard."""
    root = folder / "root"
    root.mkdir(parents=True)
    numbers = list(range(PICTURES + 1))
    for number in numbers:
        draw(root / f"{number}.png", rng)
    table = pd.DataFrame(
        {"image_id": numbers, "path": [f"{n}.png" for n in numbers], "height": 20, "width": 30}
    )
    table["bytes"] = [(root / path).stat().st_size for path in table["path"]]
    shorter = table.drop(index=SHARD + 1).reset_index(drop=True)
    pack_images(table, root, SIZE, folder / "scratch", workers=1, shard=SHARD)
    manifest = pack_images(shorter, root, SIZE, folder / "scratch", workers=1, shard=SHARD)
    write_sealed_json(folder / "packed.json", manifest)
    return Place(root, folder / "scratch", folder / "packed.json", shorter, rng)


def draw(path: Path, rng: random.Random) -> None:
    Image.frombytes("RGB", (30, 20), rng.randbytes(30 * 20 * 3)).save(path)


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def zero(path: Path, rng: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def foreign(path: Path, rng: random.Random) -> None:
    """Replace a file by another one of the same size."""
    other = path.with_name("other")
    other.write_bytes(rng.randbytes(path.stat().st_size))
    os.replace(other, path)


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def pipe(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: list[Callable[[Path, random.Random], None]] = [flip, cut, empty, zero, foreign, delete]


def one_shard(place: Place) -> None:
    place.rng.choice(DAMAGES)(place.rng.choice(place.shards()), place.rng)


def swapped_shards(place: Place) -> None:
    first, second, _ = place.shards()
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def folder_deleted(place: Place) -> None:
    shutil.rmtree(place.shards()[0].parent)


def folder_of_another_list(place: Place) -> None:
    folder = place.shards()[0].parent
    (other,) = (path for path in folder.parent.iterdir() if path.is_dir() and path != folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def file_in_its_place(place: Place) -> None:
    folder = place.shards()[0].parent
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")


def stamps(place: Place) -> None:
    files = (place.scratch / "images").iterdir()
    stamps = [path for path in files if path.suffix in (".shards", ".pictures")]
    place.rng.choice(DAMAGES)(place.rng.choice(stamps), place.rng)


def stamps_and_shard(place: Place) -> None:
    stamps(place)
    one_shard(place)


def picture_damaged(place: Place) -> None:
    place.rng.choice([*DAMAGES, pipe])(place.picture(), place.rng)


def picture_replaced(place: Place) -> None:
    draw(place.picture(), place.rng)


def pictures_swapped(place: Place) -> None:
    first, second = place.rng.sample(place.images["path"].tolist(), 2)
    aside = place.root / "aside"
    (place.root / first).rename(aside)
    (place.root / second).rename(place.root / first)
    aside.rename(place.root / second)


def pictures_touched(place: Place) -> None:
    for path in place.root.iterdir():
        os.utime(path, (place.rng.randrange(10**9), place.rng.randrange(10**9)))


def pictures_moved(place: Place) -> None:
    copy = place.root.with_name("elsewhere")
    shutil.copytree(place.root, copy)
    shutil.rmtree(place.root)
    place.root = copy


HEALED = [
    one_shard, swapped_shards, folder_deleted, folder_of_another_list, file_in_its_place,
    stamps, stamps_and_shard, pictures_touched, pictures_moved,
]  # fmt: skip
REFUSED = [picture_damaged, picture_replaced, pictures_swapped]


def survives(folder: Path, rng: random.Random) -> bool:
    """Damage a freshly packed data set in one to three ways and open it."""
    place = prepare(folder, rng)
    place.opened()
    before = place.expected()
    damages = rng.choices(HEALED + REFUSED, k=rng.randint(1, 3))
    for damage in damages:
        try:
            damage(place)
        except (OSError, ValueError):  # earlier damage left nothing to damage
            return True
    try:
        found = place.opened()[np.arange(PICTURES)].numpy()
    except InputError as error:
        return any(damage in REFUSED for damage in damages) and str(place.root) in str(error)
    return np.array_equal(found, before) and np.array_equal(found, place.expected())


def main(times: int, seed: int) -> bool:
    """Make `times` attempts and print the result. Returns whether all were survived."""
    survived = 0
    for number in range(times):
        with tempfile.TemporaryDirectory() as folder:
            rng = random.Random(f"{seed} {number}")
            if survives(Path(folder), rng):
                survived += 1
            else:
                print(f"files: attempt {number} of seed {seed} failed", flush=True)
    print(f"files: {times} tried, {survived} survived", flush=True)
    return survived == times
