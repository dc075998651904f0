"""Lookups in the ground truth, and the one formula of IoU."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from tests.support.tiny_index import REFS, SIZES, TRUTH, make_truth
from tris_core.data.maps import iou, mask_iou
from tris_core.data.rle import decode
from tris_core.data.truth import Truth

TABLE = make_truth().set_index("ref_id")
masks = hnp.arrays(bool, (5, 6))


def test_masks_and_boxes_are_in_the_order_of_the_refs() -> None:
    refs = [14, 10, 11, 10]  # of image 1
    found = TRUTH.masks(refs)
    assert found.shape == (4, *SIZES[1])
    for ref_id, mask in zip(refs, found, strict=True):
        row = TABLE.loc[ref_id]
        np.testing.assert_array_equal(mask, decode(row["counts"], row["height"], row["width"]))
    expected = TABLE.loc[refs, ["x0", "y0", "x1", "y1"]].to_numpy()
    np.testing.assert_array_equal(TRUTH.boxes(refs), expected[:, None])


def test_refs_with_fewer_boxes_repeat_their_first() -> None:
    table = make_truth()
    table["more_boxes"] = [None, np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), None, None, None]
    first = TABLE[["x0", "y0", "x1", "y1"]].to_numpy()
    found = Truth(table).boxes([10, 11])
    np.testing.assert_array_equal(found[0], [first[0]] * 3)
    np.testing.assert_array_equal(found[1], [first[1], [1, 2, 3, 4], [5, 6, 7, 8]])
    assert Truth(table).boxes([]).shape == (0, 1, 4)
    assert Truth(table).box_share.tolist() == TRUTH.box_share.tolist(), "of the first box"


def test_membership() -> None:
    truth = Truth(make_truth().iloc[1:])
    assert len(truth) == 4
    assert 11 in truth
    assert 10 not in truth
    assert truth.covers(REFS["ref_id"]).tolist() == [False, True, True, True, True]
    for lookup in (truth.masks, truth.boxes, truth.encoded):
        with pytest.raises(KeyError):
            lookup([10])


def test_shares_are_of_the_image() -> None:
    for ref_id, row in TABLE.iterrows():
        mask = TRUTH.mask(ref_id)
        assert TRUTH.area_share[ref_id] == pytest.approx(mask.mean())
        box = np.zeros_like(mask)
        box[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])] = True
        assert TRUTH.box_share[ref_id] == pytest.approx(box.mean())


def test_encoded_masks_keep_the_order_of_the_refs() -> None:
    found = TRUTH.encoded(pd.Series([14, 10]))
    assert found["ref_id"].tolist() == [14, 10]
    assert found["counts"].tolist() == TABLE.loc[[14, 10], "counts"].tolist()


@given(masks, masks)
def test_mask_iou_counts_pixels(predicted: np.ndarray, true: np.ndarray) -> None:
    a, b = ({tuple(at) for at in np.argwhere(mask)} for mask in (predicted, true))
    assert mask_iou(predicted, true) == (len(a & b) / len(a | b) if a | b else 0)
    assert mask_iou(predicted, true) == mask_iou(true, predicted)


def test_iou_of_nothing_is_zero() -> None:
    assert iou(np.array([0, 2]), np.array([0, 4])).tolist() == [0, 0.5]
