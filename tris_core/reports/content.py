"""The parts of a page. `page.html.j2` lays them out."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from tris_core.drawing.overlays import BLANK, COLOURS, Panel, fade, fit, heat, tint
from tris_core.reports.experiments import Absent

P = ParamSpec("P")
R = TypeVar("R")
SIDE = 220  # pixels, the longer side of a picture
QUALITY = 78  # of its JPEG
BACKGROUND = (90, 90, 90)


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each is its name. `side` tables are laid out in columns."""

    caption: str
    head: list[str]
    rows: list[list[str]]
    side: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with a title.

    Attributes:
        src: the picture itself, as a data URI.
        fact: a line below the title.
        chosen: draw a frame around it.
    """

    title: str
    src: str
    width: int
    height: int
    fact: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class Item:
    title: str
    facts: list[str]
    pictures: list[Picture]


@dataclass(frozen=True)
class Group:
    """Items under a heading, which may be empty. Items of the `layout` "wide" fill a row each."""

    title: str
    items: list[Item]
    layout: str = ""


@dataclass
class Section:
    """A section of a page.

    Attributes:
        about: how to read it.
        notes: what is missing.
    """

    id: str
    title: str
    about: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    curves: list[tuple[str, Markup]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def attempt(self, make: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
        """Call `make`. If a result that it needs is absent, add a note and return None."""
        try:
            return make(*args, **kwargs)
        except Absent as error:
            if str(error) not in self.notes:
                self.notes.append(str(error))
            return None


class Canvas:
    """An image to draw on. Every method returns a picture of the same size.

    Args:
        image: (H, W, 3), or None for a blank of `height` and `width`.
    """

    def __init__(self, image: NDArray[np.uint8] | None, height: int, width: int) -> None:
        blank = np.full((height, width, 3), BLANK, np.uint8)
        self._image = fit(blank if image is None else image, SIDE)
        self._faded = fade(self._image)

    def photo(self) -> Picture:
        return _picture("image", self._image)

    def response(
        self, title: str, response: NDArray[np.float32], *, fact: str = "", chosen: bool = False
    ) -> Picture:
        """A map (H, W) in [0, 1] as heat, with a ring around its first maximum, if it has any."""
        panel = heat(self._faded, response)
        if not response.any():
            fact = ", ".join(filter(None, (fact, "no response")))
            return _picture(title, panel, fact=fact, chosen=chosen)
        y, x = np.unravel_index(int(response.argmax()), response.shape)
        scale = panel.shape[0] / response.shape[0]
        centre = round((x + 0.5) * scale), round((y + 0.5) * scale)
        for colour, thickness in (((255, 255, 255), 3), ((0, 0, 0), 1)):
            cv2.circle(panel, centre, 6, colour, thickness, cv2.LINE_AA)
        return _picture(title, panel, fact=fact, chosen=chosen)

    def mask(self, title: str, mask: NDArray[np.bool_], colour: str, *, fact: str = "") -> Picture:
        """A mask (H, W) in one of the `COLOURS` of the sheets."""
        return _picture(title, tint(self._faded, mask, COLOURS[colour]), fact=fact)

    def seeds(self, label: NDArray[np.uint8], *, object_: int, background: int) -> Picture:
        """Seeds (H, W): object in the pseudo-labels' colour, background dark, the rest plain."""
        dark = tint(self._faded, label == background, BACKGROUND).astype(np.float64)
        panel = tint(dark, label == object_, COLOURS["pseudo_label"])
        return _picture("seeds", panel)


def _picture(title: str, panel: Panel, *, fact: str = "", chosen: bool = False) -> Picture:
    jpeg = io.BytesIO()
    Image.fromarray(panel).save(jpeg, "JPEG", quality=QUALITY)
    src = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return Picture(title, src, panel.shape[1], panel.shape[0], fact, chosen)
