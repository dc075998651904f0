"""Qualitative sheets: one PNG with a row per expression, for looking at what each step made of a sentence.

Columns: image, response map, pseudo-label, prediction, truth; the sentence stands over its row. All but
the image itself are drawn on a faded copy of it, pixel by pixel, so that colours mean something and outlines are sharp.
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

TITLES = ("image", "response map", "pseudo-label", "prediction", "truth")
DPI = 100
BAND = 2**17  # pixels
PANEL, GAP, MARGIN, HEADER, LINE, ROW_GAP = 280, 10, 18, 36, 25, 16  # pixels
WIDTH = 2 * MARGIN + len(TITLES) * (PANEL + GAP) - GAP
SENTENCE_FONT = FontProperties(family="DejaVu Sans", size=12.5)
TITLE_FONT = FontProperties(family="DejaVu Sans", size=12)


@dataclass(frozen=True)
class SheetRow:
    """One expression: its sentence, the RGB image (H, W, 3) uint8, and what there is of the other columns.

    `response` (H, W) float in [0, 1]; `pseudo_label`, `prediction` and `truth` (H, W) bool; None leaves a panel blank.
    Raises ValueError for another shape, type or range.
    """

    sentence: str
    image: NDArray[np.uint8]
    response: NDArray[np.floating] | None = None
    pseudo_label: NDArray[np.bool_] | None = None
    prediction: NDArray[np.bool_] | None = None
    truth: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        who = f"sheet row {self.sentence!r}"
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"{who}: image must be (H, W, 3) uint8, not {self.image.shape} {self.image.dtype}"
            )
        for name in ("response", *COLOURS):
            panel = getattr(self, name)
            if panel is not None and panel.shape != self.image.shape[:2]:
                raise ValueError(
                    f"{who}: {name} is {panel.shape}, but the image is {self.image.shape[:2]}"
                )
            if name in COLOURS and panel is not None and panel.dtype != np.bool_:
                raise ValueError(f"{who}: {name} must be bool, not {panel.dtype}")
        if self.response is not None and not (
            self.response.min() >= 0 and self.response.max() <= 1
        ):
            raise ValueError(f"{who}: response must lie in [0, 1]; normalise it first")


def write_sheet(path: Path, rows: Sequence[SheetRow]) -> None:
    """Write `rows`, some eight to a sheet, as one PNG of 8-bit RGBA; equal rows give equal bytes.

    Sentences are wrapped, never cut. Raises ValueError when there is no row.
    """
    if not rows:
        raise ValueError(f"{path}: a sheet needs at least one row")
    captions = [_wrap(row.sentence) for row in rows]
    panels = [_panels(row) for row in rows]
    heights = [
        len(c) * LINE + p[0].shape[0] + ROW_GAP for c, p in zip(captions, panels, strict=True)
    ]
    tops = np.cumsum([HEADER, *heights])
    figure = Figure(
        figsize=((WIDTH + 0.5) / DPI, (tops[-1] + 0.5) / DPI), dpi=DPI, facecolor="white"
    )
    for column, title in enumerate(TITLES):
        left = MARGIN + column * (PANEL + GAP)
        _text(figure, title, left + PANEL / 2, HEADER / 2, TITLE_FONT, ha="center", color="0.35")
    for top, lines, row_panels in zip(tops, captions, panels, strict=False):
        for number, line in enumerate(lines):
            _text(
                figure,
                line,
                MARGIN,
                top + (number + 0.5) * LINE,
                SENTENCE_FONT,
                ha="left",
                color="black",
            )
        for column, panel in enumerate(row_panels):
            height, width = panel.shape[:2]
            left = MARGIN + column * (PANEL + GAP) + (PANEL - width) // 2
            figure.figimage(
                panel, left, tops[-1] - top - len(lines) * LINE - height, origin="upper"
            )
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    with replacing(path) as temporary:
        temporary.write_bytes(png.getvalue())


def _text(
    figure: Figure, text: str, x: float, y: float, font: FontProperties, *, ha: str, color: str
) -> None:
    """One line of text, middle at `y` pixels from the top; a dollar sign is a dollar sign."""
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


def _wrap(sentence: str) -> list[str]:
    """The sentence in lines that fit the sheet when drawn; a word too long for one is broken."""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()

    def width(line: str) -> float:
        return float(renderer.get_text_width_height_descent(line, SENTENCE_FONT, ismath=False)[0])

    clean, room = " ".join(sentence.split()), WIDTH - 2 * MARGIN
    letters = int(len(clean) * room / max(width(clean), room)) + 1  # a line of them fits on average
    lines = textwrap.wrap(clean, letters)
    while letters > 1 and max(map(width, lines), default=0) > room:
        letters -= 1
        lines = textwrap.wrap(clean, letters)
    return lines


def _panels(row: SheetRow) -> list[Panel]:
    """The panels of a row in the order of `TITLES`, all (h, w, 3) uint8 with the longer side `PANEL`."""
    image = fit(row.image, PANEL)
    faded = fade(image)
    panels = [
        image,
        np.full_like(image, BLANK) if row.response is None else heat(faded, row.response),
    ]
    for name, colour in COLOURS.items():
        mask = getattr(row, name)
        panels.append(np.full_like(image, BLANK) if mask is None else tint(faded, mask, colour))
    return panels
