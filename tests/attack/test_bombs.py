"""A few of the bombs; `tests.attack.bombs.main` tries all of them."""

import pytest

from tests.attack.bombs import attempt, bombs, survived

QUICK = (
    "list CSV of 20,000 columns",
    "list Parquet: one text of 100 KB, 200,000 times",
    "responses: 50 maps of 10^7 zeros",
    "pseudo-labels: one mask of 100 KB, 100,000 times",
    "masks to score: one mask of 100 KB, 100,000 times",
    "200 polygons of 9400 x 9400 on a picture of 60 x 40",
    "a polygon of 1,000 corners a million pixels away",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_bomb_ends_in_words(name: str) -> None:
    result = attempt(name)
    assert survived(name, {**result, "seconds": 0.0}), (
        result
    )  # how long it takes depends on the machine's load


def test_the_largest_picture_takes_a_few_bytes_per_pixel() -> None:
    """It is 0.1 GB itself, and its answer takes at most two maps or pictures more at a time; models take 0.1 GB."""
    result = attempt("predict: the largest picture of mode RGB")
    assert result["end"] == "read", result
    assert result["bytes"] < 0.6e9, result


def test_all_bombs_have_names() -> None:
    assert set(QUICK) < set(bombs())
