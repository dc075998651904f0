"""Some of the bombs. `python -m tests.attack bombs` tries all of them."""

import pytest

from tests.attack.bombs import attempt, bombs, survived

QUICK = (
    "list CSV of 20,000 columns",
    "list Parquet: one text of 100 KB, 200,000 times",
    "responses: 50 maps of 10^7 zeros",
    "pseudo-labels: one mask of 100 KB, 100,000 times",
    "masks to score: one mask of 100 KB, 100,000 times",
    "200 polygons of 5700 x 5700 on an image of 60 x 40",
    "a polygon of 1,000 corners a million pixels away",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_bomb_ends_in_an_error_message(name: str) -> None:
    result = attempt(name)
    result["seconds"] = 0.0  # the time depends on the machine's load
    assert survived(name, result), result


def test_the_largest_image_takes_a_few_bytes_per_pixel() -> None:
    """0.1 GB for the image, 0.1 GB for the models, at most two more maps or images at a time."""
    result = attempt("predict: the largest image of mode RGB")
    assert result["end"] == "read", result
    assert result["bytes"] < 0.6e9, result


def test_the_chosen_bombs_exist() -> None:
    assert set(QUICK) < set(bombs())
