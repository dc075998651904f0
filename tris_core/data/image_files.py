"""Opens picture files safely: much is refused before a pixel is decoded."""

import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from PIL import Image

STORES = "TRIS_IMAGE_STORES"
# without EPS, which would start Ghostscript
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
# decoding one of this size takes a few hundred megabytes, and so do its maps and masks
MOST_PIXELS = 2**25
MOST_SIDE = 2**16 - 1  # JPEG's limit; resizing takes memory in proportion to the longer side
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
ORIENTATION = 0x0112


def readable_formats() -> list[str]:
    """The formats among `FORMATS` that this PIL supports."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def open_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Open an image, reading its header but no pixel.

    Args:
        path: the file.
        content: its bytes, if they have already been read.

    Raises:
        FileNotFoundError: there is no file.
        UNREADABLE: another format, not a regular file (a pipe would block), or a header that
            declares more than `MOST_PIXELS` or `MOST_SIDE`. Decoding may raise these too.
    """
    if content is None and path.exists() and not path.is_file():
        raise OSError("not a regular file")
    image = Image.open(path if content is None else BytesIO(content), formats=readable_formats())
    # otherwise PIL memory-maps some files, and garbles those turned by 90 degrees
    image.filename = ""
    if image.width * image.height > MOST_PIXELS or max(image.size) > MOST_SIDE:
        image.close()
        most = f"{MOST_PIXELS:,} or {MOST_SIDE:,} on a side"
        raise ValueError(f"{image.width} x {image.height} pixels, more than {most}; scale it down")
    return image


class Header(NamedTuple):
    """Size of a picture as displayed, in pixels, and its EXIF orientation, 1 (as stored) to 8."""

    height: int
    width: int
    orientation: int


def read_header(path: Path) -> Header:
    """Read the size that `tris_core.data.images.read_image` will return, without decoding.

    Raises what `open_image` raises.
    """
    with open_image(path) as image:
        turned = _orientation_in_header(image, path)
        width, height = _stored_size(image)
    return Header(width, height, turned) if turned >= 5 else Header(height, width, turned)


def orientation(read: Callable[[], Image.Exif]) -> int:
    """EXIF orientation, 1 to 8; 1 if the EXIF data are damaged, as in every viewer."""
    try:
        found = read().get(ORIENTATION)
        return int(found) if found is not None and found in range(1, 9) else 1
    except Exception:  # on damaged data PIL's EXIF reader may raise anything
        return 1


def _orientation_in_header(image: Image.Image, path: Path) -> int:
    if image.format == "PNG" and _tells_more_after_pixels(path):
        image.load()
        return orientation(image.getexif)
    # `image.getexif` would decode the pixels of a PNG
    return orientation(lambda: Image.Image.getexif(image))


def _tells_more_after_pixels(path: Path) -> bool:
    """Whether a PNG has EXIF data or text after its pixels.

    PIL finds these only once the pixels are decoded.
    """
    pixels = False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if pixels and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored. For TIFFs, some versions of PIL return the turned size."""
    tags = getattr(image, "tag_v2", None)
    return (tags[256], tags[257]) if tags else image.size


# brands of the format, by its standard
HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def what_to_do(path: Path, error: Exception) -> str:
    """Describe what `path` is instead of a readable picture, and what to do about it."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError:  # a name that is too long
        is_folder = is_file = False
    if is_folder:
        return "is a folder; name a file"
    if not is_file:
        return f"cannot be read as an image ({error}); name a file"
    with path.open("rb") as file:
        start = file.read(64)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC:
        how = (
            "`magick a.heic a.jpg`, `heif-convert a.heic a.jpg`, or on a Mac "
            "`sips -s format jpeg a.heic --out a.jpg`"
        )
        return f"is a HEIC picture, which is not read; convert it to JPEG or PNG ({how})"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page; download the picture itself again"
    return f"cannot be read as an image ({error}); download it again"


def alike(path: Path) -> str | None:
    """A picture beside a missing one with the same name except for case or extension."""
    try:
        names = sorted(
            other.name for other in path.parent.iterdir() if other.stem.lower() == path.stem.lower()
        )
    except OSError:
        return None
    names.sort(key=lambda name: name.lower() != path.name.lower())  # the same extension first
    return next((name for name in names if Path(name).suffix.lower() in PICTURES), None)


def inside(root: Path, name: str) -> Path:
    """The file that annotations call `name`, which must be inside the image folder `root`.

    Links are followed. They must end inside `root` (which may be a link itself) or inside a folder
    named in `$TRIS_IMAGE_STORES` (separated as in `$PATH`).

    Raises ValueError, with the reason, if the file is elsewhere.
    """
    parsed = PureWindowsPath(name)  # understands both slashes, and drives
    if parsed.anchor or ".." in parsed.parts or not parsed.parts or "\0" in name:
        raise ValueError(f"file name {name!r} leaves the image folder; name a file inside {root}")
    path = root / name
    try:
        end = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ValueError(f"{path} cannot be followed ({error}); remove the link") from error
    stores = [Path(store) for store in os.environ.get(STORES, "").split(os.pathsep) if store]
    if not any(end.is_relative_to(store.resolve()) for store in (root, *stores)):
        problem = f"{path} is a link to {end}, outside the image folder"
        fix = f"make the folder itself the link, or allow it: export {STORES}={end.parent}"
        raise ValueError(f"{problem}; {fix}")
    return path
