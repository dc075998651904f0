"""Sheets: one PNG with a row per expression that shows the result of each step.

Columns: image, response map, pseudo-label, prediction, truth. A column that no row has is left out.
The caption is above its row.
Results are drawn on a faded copy of the image, pixel by pixel, so that outlines are sharp.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from tris_core.drawing.overlays import BLANK, COLOURS, Panel, fade, fit, heat, tint
from tris_core.runtime.files import replacing

TITLES = {
    "image": "image",
    "response": "response map",
    "pseudo_label": "pseudo-label",
    "prediction": "prediction",
    "truth": "truth",
}
DPI = 100
PANEL, GAP, MARGIN, HEADER, LINE, ROW_GAP = 280, 10, 18, 36, 25, 16  # pixels
CAPTION_FONT = FontProperties(family="DejaVu Sans", size=12.5)
TITLE_FONT = FontProperties(family="DejaVu Sans", size=12)


@dataclass(frozen=True)
class SheetRow:
    """One expression. A column that is None is left blank, or left out if no row has it.

    Attributes:
        image: RGB (H, W, 3) uint8.
        response: (H, W) float in [0, 1].
        pseudo_label, prediction, truth: masks (H, W) bool.

    Raises:
        ValueError: for another shape, type or range.
    """

    caption: str
    image: NDArray[np.uint8]
    response: NDArray[np.floating] | None = None
    pseudo_label: NDArray[np.bool_] | None = None
    prediction: NDArray[np.bool_] | None = None
    truth: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        who, size = f"sheet row {self.caption!r}", self.image.shape[:2]
        if self.image.shape[2:] != (3,) or self.image.dtype != np.uint8:
            found = f"{self.image.shape} {self.image.dtype}"
            raise ValueError(f"{who}: image must be (H, W, 3) uint8, not {found}")
        for name in ("response", *COLOURS):
            panel = getattr(self, name)
            if panel is None:
                continue
            if panel.shape != size:
                raise ValueError(f"{who}: {name} is {panel.shape}, but the image is {size}")
            if name in COLOURS and panel.dtype != np.bool_:
                raise ValueError(f"{who}: {name} must be bool, not {panel.dtype}")
        response = self.response
        if response is not None and not (response.min() >= 0 and response.max() <= 1):
            raise ValueError(f"{who}: response must lie in [0, 1]; normalise it first")


def write_sheet(path: Path, rows: Sequence[SheetRow]) -> None:
    """Write rows as one PNG, 8-bit RGBA. Equal rows give equal bytes.

    Long captions are wrapped. Raises ValueError if there is no row.
    """
    if not rows:
        raise ValueError(f"{path}: a sheet needs at least one row")
    shown = [name for name in TITLES if any(getattr(row, name) is not None for row in rows)]
    width = 2 * MARGIN + len(shown) * (PANEL + GAP) - GAP
    captions = [_wrap(row.caption, width - 2 * MARGIN) for row in rows]
    panels = [_panels(row, shown) for row in rows]
    heights = [
        len(lines) * LINE + drawn[0].shape[0] + ROW_GAP
        for lines, drawn in zip(captions, panels, strict=True)
    ]
    tops = np.cumsum([HEADER, *heights])
    size = (width + 0.5) / DPI, (tops[-1] + 0.5) / DPI
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    for column, name in enumerate(shown):
        x = MARGIN + column * (PANEL + GAP) + PANEL / 2
        _text(figure, TITLES[name], x, HEADER / 2, TITLE_FONT, ha="center", color="0.35")
    for top, lines, drawn in zip(tops, captions, panels, strict=False):
        _draw_row(figure, top, tops[-1], lines, drawn)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    with replacing(path) as temporary:
        temporary.write_bytes(png.getvalue())


def _draw_row(figure: Figure, top: int, total: int, lines: list[str], panels: list[Panel]) -> None:
    """The caption and panels of a row, `top` pixels from the top of a sheet of height `total`."""
    for number, line in enumerate(lines):
        y = top + (number + 0.5) * LINE
        _text(figure, line, MARGIN, y, CAPTION_FONT, ha="left", color="black")
    for column, panel in enumerate(panels):
        height, width = panel.shape[:2]
        left = MARGIN + column * (PANEL + GAP) + (PANEL - width) // 2
        figure.figimage(panel, left, total - top - len(lines) * LINE - height, origin="upper")


def _text(
    figure: Figure, text: str, x: float, y: float, font: FontProperties, *, ha: str, color: str
) -> None:
    """One line of text, its middle `y` pixels from the top. A dollar sign is not mathematics."""
    width, height = figure.bbox.size
    figure.text(
        x / width,
        1 - y / height,
        text,
        fontproperties=font,
        ha=ha,
        va="center",
        color=color,
        parse_math=False,
    )


def _wrap(caption: str, room: float) -> list[str]:
    """Break a caption into lines of at most `room` pixels. A word that is too long is broken."""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()

    def width(line: str) -> float:
        return float(renderer.get_text_width_height_descent(line, CAPTION_FONT, ismath=False)[0])

    clean = " ".join(caption.split())
    letters = int(len(clean) * room / max(width(clean), room)) + 1  # fit on average
    lines = textwrap.wrap(clean, letters)
    while letters > 1 and max(map(width, lines), default=0) > room:
        letters -= 1
        lines = textwrap.wrap(clean, letters)
    return lines


def _panels(row: SheetRow, shown: Sequence[str]) -> list[Panel]:
    """The panels of a row in the order of `shown`, all (h, w, 3) uint8.

    Their longer side is `PANEL` pixels.
    """
    image = fit(row.image, PANEL)
    faded = fade(image)
    panels = []
    for name in shown:
        value = getattr(row, name)
        if value is None:
            panels.append(np.full_like(image, BLANK))
        elif name == "image":
            panels.append(image)
        elif name == "response":
            panels.append(heat(faded, value))
        else:
            panels.append(tint(faded, value, COLOURS[name]))
    return panels
