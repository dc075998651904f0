"""Sheets: positions of panels and text, nothing cut off, equal bytes for equal rows."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tris_core.drawing import sheets
from tris_core.drawing.overlays import BLANK
from tris_core.drawing.sheets import (
    GAP,
    HEADER,
    LINE,
    MARGIN,
    PANEL,
    ROW_GAP,
    TITLES,
    SheetRow,
    write_sheet,
)

GREY = 120


def width_of(columns: int) -> int:
    return 2 * MARGIN + columns * (PANEL + GAP) - GAP


WIDTH = width_of(len(TITLES))


@pytest.fixture
def row():
    mask = np.zeros((100, 200), bool)
    mask[30:70, 20:80] = True
    image = np.full((100, 200, 3), GREY, np.uint8)
    return SheetRow("the red star", image, mask.astype(np.float32), mask, mask, mask)


def panels_of(path, top=HEADER + LINE, height=PANEL // 2, columns=len(TITLES)):
    """The panels of a one-line row of a landscape image, each (height, PANEL, 3)."""
    page = np.asarray(Image.open(path).convert("RGB"))
    lefts = [MARGIN + k * (PANEL + GAP) for k in range(columns)]
    return [page[top : top + height, left : left + PANEL].astype(int) for left in lefts]


def ink(page):
    """The pixels (y, x) bool of a white page that have text."""
    return np.asarray(page.convert("L")) < 128


def test_bytes_repeat_and_carry_no_software_or_date(tmp_path, row):
    write_sheet(tmp_path / "a.png", [row, row])
    write_sheet(tmp_path / "b.png", [row, row])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert set(Image.open(tmp_path / "a.png").info) <= {"dpi"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_size_of_the_page(tmp_path, row):
    write_sheet(tmp_path / "a.png", [row] * 3)
    height = HEADER + 3 * (LINE + PANEL // 2 + ROW_GAP)
    assert Image.open(tmp_path / "a.png").size == (WIDTH, height)


def test_panels_show_image_heat_and_masks(tmp_path, row):
    write_sheet(tmp_path / "a.png", [row])
    image, heat, *masks = panels_of(tmp_path / "a.png")
    assert (image == GREY).all()
    inside, outside = (
        (70, 70),
        (70, 230),
    )  # of a panel; the mask spans rows 42-98 and columns 28-112 there
    assert heat[outside].tolist() == [GREY] * 3
    assert heat[inside].argmax() == 0  # the strongest response is red
    for panel, colour in zip(masks, sheets.COLOURS.values(), strict=True):
        assert panel[outside].tolist() == [GREY] * 3
        np.testing.assert_allclose(panel[inside], (GREY + np.array(colour)) / 2, atol=1)
        np.testing.assert_allclose(panel[70, 28], colour, atol=8)  # the outline


@pytest.mark.parametrize("column", range(1, 5))
def test_a_missing_panel_is_blank_where_another_row_has_one(tmp_path, row, column):
    name = ("response", *sheets.COLOURS)[column - 1]
    write_sheet(tmp_path / "whole.png", [row, row])
    write_sheet(tmp_path / "part.png", [replace(row, **{name: None}), row])
    whole, part = (panels_of(tmp_path / f"{n}.png") for n in ("whole", "part"))
    assert (part[column] == BLANK).all()
    for other in set(range(5)) - {column}:
        np.testing.assert_array_equal(part[other], whole[other])
    titles = [np.asarray(Image.open(tmp_path / f"{n}.png"))[:HEADER] for n in ("whole", "part")]
    np.testing.assert_array_equal(*titles)


@pytest.mark.parametrize("column", range(1, 5))
def test_a_column_that_no_row_has_is_left_out(tmp_path, row, column):
    name = ("response", *sheets.COLOURS)[column - 1]
    write_sheet(tmp_path / "whole.png", [row])
    write_sheet(tmp_path / "part.png", [replace(row, **{name: None})])
    assert Image.open(tmp_path / "part.png").width == width_of(4)
    whole = panels_of(tmp_path / "whole.png")
    part = panels_of(tmp_path / "part.png", columns=4)
    for kept, panel in zip(whole[:column] + whole[column + 1 :], part, strict=True):
        np.testing.assert_array_equal(panel, kept)


def test_every_column_has_a_title_inside_its_panel(tmp_path, row):
    write_sheet(tmp_path / "a.png", [row])
    title = ink(Image.open(tmp_path / "a.png"))[:HEADER]
    for k in range(len(TITLES)):
        left = MARGIN + k * (PANEL + GAP)
        assert title[:, left : left + PANEL].any()
        assert not title[:, left - GAP : left].any()
    assert not title[[0, -1]].any()


@pytest.mark.parametrize(
    "sentence",
    [
        "a person in a striped shirt who looks at the camera " * 12,
        "W" * 400,
        "i" * 900,
        "costs $5_a or $\\frac{6}$ of ^",
    ],
)
def test_sentences_are_wrapped_and_never_cut(tmp_path, row, sentence):
    lines = sheets._wrap(sentence, WIDTH - 2 * MARGIN)
    assert "".join(lines).replace(" ", "") == sentence.replace(" ", "")
    write_sheet(tmp_path / "a.png", [replace(row, caption=sentence)])
    page = Image.open(tmp_path / "a.png")
    assert page.height == HEADER + len(lines) * LINE + PANEL // 2 + ROW_GAP
    caption = ink(page)[HEADER : HEADER + len(lines) * LINE]
    assert not caption[:, WIDTH - MARGIN + 1 :].any()
    assert not caption[:, : MARGIN - 1].any()
    for k in range(len(lines)):
        assert caption[k * LINE : (k + 1) * LINE].any()
    panel = panels_of(tmp_path / "a.png", HEADER + len(lines) * LINE)[0]
    assert (panel == GREY).all()


def test_line_breaks_in_a_sentence_are_spaces():
    assert sheets._wrap(" the red\n\tstar ", 500) == ["the red star"]


def test_portrait_images_are_centred(tmp_path, row):
    portrait = SheetRow("tall", np.full((200, 100, 3), GREY, np.uint8))
    write_sheet(tmp_path / "a.png", [portrait, row])
    image, *blank = panels_of(tmp_path / "a.png", height=PANEL)
    assert (image[:, PANEL // 4 : 3 * PANEL // 4] == GREY).all()
    assert (image[:, : PANEL // 4] == 255).all()
    assert (image[:, 3 * PANEL // 4 :] == 255).all()
    assert all((panel[:, PANEL // 4 : 3 * PANEL // 4] == BLANK).all() for panel in blank)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((100, 200), np.uint8)}, "image must be"),
        ({"image": np.zeros((100, 200, 3), np.float32)}, "image must be"),
        ({"truth": np.zeros((200, 100), bool)}, "truth is"),
        ({"prediction": np.zeros((100, 200), np.uint8)}, "prediction must be bool"),
        ({"response": np.full((100, 200), 1.5)}, r"\[0, 1\]"),
        ({"response": np.full((100, 200), np.nan)}, r"\[0, 1\]"),
    ],
)
def test_a_row_of_other_shapes_or_ranges_is_refused(row, change, message):
    with pytest.raises(ValueError, match=f"the red star.*{message}"):
        replace(row, **change)


def test_a_sheet_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one row"):
        write_sheet(tmp_path / "a.png", [])
    assert not list(tmp_path.iterdir())
