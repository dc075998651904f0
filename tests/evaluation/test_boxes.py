"""Proposed boxes: the released hits, the suppression of torchvision, shapes with known boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchvision.ops import box_iou as torchvision_box_iou
from torchvision.ops import nms

from tris_core.evaluation import boxes as module
from tris_core.evaluation.boxes import box_iou, hit_box_iou, mean_grey, propose, select, suppress

GOLDEN = Path(__file__).parents[1] / "golden"


def mask_of(*rectangles, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    for x, y, width, height in rectangles:
        mask[y : y + height, x : x + width] = True
    return mask


def scored(response):
    boxes, grey = propose(response)
    return boxes, mean_grey(boxes, grey)


@pytest.mark.parametrize("column", ["box_hit_from_heatmap", "box_hit_from_binary"])
def test_hits_as_released(column):
    with np.load(GOLDEN / "metrics.npz") as stored:
        heat, boxes, rows, names = (stored[k] for k in ("heat", "box_xyxy", "rows", "columns"))
    expected = rows[:, names.tolist().index(column)].astype(bool)
    given_maps = heat if column == "box_hit_from_heatmap" else heat > 0
    assert [
        hit_box_iou(m, box) for m, box in zip(given_maps, boxes, strict=True)
    ] == expected.tolist()
    assert expected.any()


def test_grey_levels_run_from_black_to_white():
    levels = module._grey_levels().astype(int)
    assert (levels[0], levels[-1], len(levels)) == (0, 255, 256)
    assert (np.diff(levels) >= -1).all()  # cubehelix brightens throughout, up to rounding


def test_mask_gives_the_same_as_the_float_map_of_it():
    mask = np.random.default_rng(0).random((40, 50)) > 0.6
    for ours, other in zip(scored(mask), scored(mask.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(ours, other)


def test_rectangles_are_found_with_their_scores():
    boxes, scores = scored(mask_of((5, 10, 20, 30), (50, 3, 12, 8)))
    assert sorted(boxes.tolist()) == [[5, 10, 20, 30], [50, 3, 12, 8]]
    np.testing.assert_allclose(scores, 1)


def test_holes_propose_boxes_and_lower_the_score():
    mask = mask_of((10, 10, 40, 40))
    mask[20:40, 20:40] = False
    boxes, scores = scored(mask)
    by_width = {int(box[2]): score for box, score in zip(boxes, scores, strict=True)}
    assert by_width[40] == pytest.approx(1 - 400 / 1600)
    assert by_width[22] == pytest.approx(
        1 - 400 / 484
    )  # the contour of a hole runs on the pixels around it


def test_scores_are_plain_means_of_grey():
    heat = np.random.default_rng(1).random((30, 40)).astype(np.float32)
    grey = module._to_grey(heat).astype(np.float64)
    grey[grey <= int(grey.max() / 2)] = 0
    for (x, y, width, height), score in zip(*scored(heat), strict=True):
        assert score == pytest.approx(grey[y : y + height, x : x + width].mean() / 255, rel=1e-12)


def test_what_is_under_half_the_brightest_proposes_nothing():
    heat = mask_of((5, 5, 10, 10)).astype(np.float32) + 0.3 * mask_of((40, 30, 20, 20))
    assert propose(heat)[0].tolist() == [[5, 5, 10, 10]]


@pytest.mark.parametrize(
    "constant", [np.zeros((9, 9), bool), np.ones((9, 9), bool), np.full((9, 9), 0.4, np.float32)]
)
def test_constant_maps_propose_nothing_and_hit_nothing(constant):
    boxes, scores = scored(constant)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
    assert select(boxes, scores).shape == (0,)
    assert not hit_box_iou(constant, np.array([0, 0, 9, 9]))


def test_propose_refuses_a_batch():
    with pytest.raises(ValueError, match=r"\(1, 9, 9\)"):
        propose(np.zeros((1, 9, 9)))


corner_arrays = hnp.arrays(
    np.int64, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 40)
)


@settings(max_examples=300, deadline=None)
@given(corner_arrays, st.integers(0, 10**6), st.sampled_from([0.05, 0.5]))
def test_suppression_equals_torchvision_also_for_inverted_boxes(corners, seed, threshold):
    scores = np.random.default_rng(seed).integers(0, 6, len(corners)) / 7  # with ties
    expected = nms(torch.from_numpy(corners).float(), torch.from_numpy(scores).float(), threshold)
    assert suppress(corners, scores, threshold).tolist() == expected.tolist()


def test_overlap_of_exactly_the_threshold_suppresses_as_in_float32():
    corners = np.array([[0, 0, 20, 1], [19, 0, 20, 1]])  # IoU 1/20, which float32 rounds up
    assert suppress(corners, np.array([1.0, 0.9]), 0.05).tolist() == [0]
    assert nms(torch.from_numpy(corners).float(), torch.tensor([1.0, 0.9]), 0.05).tolist() == [0]


def test_suppression_reads_width_and_height_as_corners():
    # Far apart, but (0, 0, 20, 20) and (2, 2, 18, 18) overlap when taken for corners.
    boxes = np.array([[0, 0, 20, 20], [2, 2, 18, 18]])
    assert select(boxes, np.array([1.0, 0.9])).tolist() == [0]
    # One inside the other, but as corners (30, 30, 20, 20) is inside out and overlaps nothing.
    boxes = np.array([[30, 30, 20, 20], [31, 31, 18, 18]])
    assert select(boxes, np.array([1.0, 0.9])).tolist() == [0, 1]


def test_boxes_under_half_the_best_score_are_dropped():
    boxes = np.array([[50, 50, 8, 8], [30, 30, 8, 8], [10, 40, 8, 8]])
    assert select(boxes, np.array([0.8, 0.4, 0.41])).tolist() == [0, 2]


@settings(max_examples=100, deadline=None)
@given(corner_arrays, hnp.arrays(np.int64, 4, elements=st.integers(0, 40)))
def test_box_iou_equals_torchvision(corners, box):
    corners, box = (
        np.concatenate([np.sort(a[..., ::2]), np.sort(a[..., 1::2])], -1)[..., [0, 2, 1, 3]]
        for a in (corners, box)
    )
    expected = torchvision_box_iou(
        torch.from_numpy(corners).double(), torch.from_numpy(box)[None].double()
    )[:, 0]
    np.testing.assert_allclose(box_iou(corners, box), expected.nan_to_num(0), atol=1e-7)


def test_a_hit_needs_more_than_half():
    mask = mask_of((20, 20, 20, 20))
    assert hit_box_iou(mask, np.array([20, 20, 40, 40]))
    assert not hit_box_iou(mask, np.array([20, 20, 60, 40]))
    assert hit_box_iou(mask, np.array([20, 20, 59, 40]))


def test_any_of_several_boxes_hits():
    mask = mask_of((40, 40, 10, 10), (5, 30, 10, 10))
    assert hit_box_iou(mask, np.array([40, 40, 50, 50]))
    assert hit_box_iou(mask, np.array([5, 30, 15, 40]))


def test_a_suppressed_box_does_not_hit():
    mask = mask_of((0, 0, 30, 30), (40, 0, 8, 40))
    boxes, scores = scored(mask)
    kept = boxes[select(boxes, scores)].tolist()
    for x, y, width, height in boxes.tolist():
        assert hit_box_iou(mask, np.array([x, y, x + width, y + height])) == (
            [x, y, width, height] in kept
        )
