"""Picture files from anywhere, opened with care: what is refused before a pixel is decoded."""

import os
import struct
from pathlib import Path, PureWindowsPath

from PIL import Image

STORES = "TRIS_IMAGE_STORES"
FORMATS = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")  # EPS would start Ghostscript
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # where PIL would only warn of a decompression bomb
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def readable_formats() -> list[str]:
    """Those of `FORMATS` that this PIL was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def open_image(path: Path) -> Image.Image:
    """The image in a file, of which the header was read and no pixel decoded.

    Raises FileNotFoundError, or one of `UNREADABLE`: for another format, something that is no file (a pipe would be waited
    for), and a header that promises more than `MOST_PIXELS`. Decoding raises one of `UNREADABLE` too.
    """
    if path.exists() and not path.is_file():
        raise OSError("no regular file")
    image = Image.open(path, formats=readable_formats())
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
    return image


def inside(root: Path, name: str) -> Path:
    """The file that annotations call `name`, which must lie in the image folder `root`. Raises ValueError: why it does not.

    Links are followed, and must end in the folder that `root` is, or is a link to, or in one of those named in
    `$TRIS_IMAGE_STORES` (separated as in `$PATH`).
    """
    parsed = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if parsed.anchor or ".." in parsed.parts or not parsed.parts or "\0" in name:
        raise ValueError(f"file name {name!r} leaves the image folder; name a file inside {root}")
    path = root / name
    try:
        end = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ValueError(f"{path} cannot be followed ({error}); remove the link") from error
    stores = [Path(store) for store in os.environ.get(STORES, "").split(os.pathsep) if store]
    if not any(end.is_relative_to(store.resolve()) for store in (root, *stores)):
        raise ValueError(
            f"{path} is a link to {end}, outside the image folder; make the folder itself the link, or allow it: "
            f"export {STORES}={end.parent}"
        )
    return path
