"""Evaluation: the numbers of the released code, plain loops, and the properties of IoU."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tris_core.data.maps import binarise, divide_by_maximum_, response_to_original, to_original
from tris_core.evaluation.metrics import iou_per_threshold, score_image, summarise

GOLDEN = Path(__file__).parents[1] / "golden"
COLUMNS = [
    "expression_id",
    "intersection",
    "union",
    "point_x",
    "point_y",
    "hit_mask",
    "hit_box",
    "acc_box",
]
GOLDEN_NAMES = {
    "intersection": "intersection",
    "union": "union",
    "point_in_box": "hit_box",
    "point_in_mask": "hit_mask",
    "argmax_y": "point_y",
    "argmax_x": "point_x",
    "box_hit_binary": "acc_box",
}
masks = hnp.arrays(bool, (3, 6, 7))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "map_to_metrics.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def golden_records(golden):
    frames = []
    for k in range(len(golden["raw"])):
        height, width = map(int, golden[f"size_{k}"])
        truth = np.unpackbits(golden[f"mask_{k}"], axis=1)[None, :, :width].astype(bool)
        raw = torch.from_numpy(golden["raw"][k : k + 1])
        maps = divide_by_maximum_(response_to_original(raw, size=320, height=height, width=width))
        frames.append(score_image([k], maps, binarise(maps), truth, golden["box_xyxy"][k : k + 1]))
    return pd.concat(frames, ignore_index=True)


def random_records(seed, n):
    rng = np.random.default_rng(seed)
    union = rng.integers(0, 300, n)
    return pd.DataFrame(
        {
            "expression_id": rng.permutation(n),
            "intersection": (union * rng.random(n)).astype(np.int64),
            "union": union,
            "point_x": rng.integers(0, 9, n),
            "point_y": rng.integers(0, 9, n),
            "hit_mask": rng.random(n) > 0.5,
            "hit_box": rng.random(n) > 0.3,
            "acc_box": rng.random(n) > 0.7,
        }
    )


def score_masks(predicted, truth):
    boxes = np.tile([0, 0, 2, 2], (len(predicted), 1))
    return score_image(range(len(predicted)), predicted.astype(np.float32), predicted, truth, boxes)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_from_raw_map_to_record_as_released(golden, golden_records, name):
    expected = golden["rows"][:, golden["columns"].tolist().index(name)]
    np.testing.assert_array_equal(
        golden_records[GOLDEN_NAMES[name]].to_numpy().astype(np.int64), expected
    )


def test_summary_as_released(golden, golden_records):
    summary = summarise(golden_records)
    for name, value in zip(golden["summary_names"], golden["summary"], strict=True):
        assert summary[name] == pytest.approx(value, abs=1e-7), name


@pytest.mark.parametrize(
    ("box_input", "column"),
    [("binary", "box_hit_from_binary"), ("heatmap", "box_hit_from_heatmap")],
)
def test_heat_maps_of_the_release_scored_in_one_call(box_input, column):
    with np.load(GOLDEN / "metrics.npz") as stored:
        heat, truth, boxes, rows, names = (
            stored[k] for k in ("heat", "mask", "box_xyxy", "rows", "columns")
        )
    maps = divide_by_maximum_(torch.from_numpy(heat))
    records = score_image(range(len(heat)), maps, binarise(maps), truth, boxes, box_input=box_input)
    for name, ours in {**GOLDEN_NAMES, column: "acc_box"}.items():
        if name in names:
            expected = rows[:, names.tolist().index(name)]
            np.testing.assert_array_equal(
                records[ours].to_numpy().astype(np.int64), expected, err_msg=name
            )


def resize_by_hand(image, height, width, aligned):
    """Bilinear resize of (h, w) float64, pixel by pixel."""

    def source(i, n_out, n_in):
        at = i * (n_in - 1) / (n_out - 1) if aligned else max((i + 0.5) * n_in / n_out - 0.5, 0)
        low = min(int(at), n_in - 1)
        return low, min(low + 1, n_in - 1), at - low

    out = np.empty((height, width))
    for i in range(height):
        y0, y1, fy = source(i, height, image.shape[0])
        for j in range(width):
            x0, x1, fx = source(j, width, image.shape[1])
            top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
            out[i, j] = top * (1 - fy) + (image[y1, x0] * (1 - fx) + image[y1, x1] * fx) * fy
    return out


def test_response_to_original_by_hand():
    raw = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    ours = response_to_original(raw[:, None], size=(12, 16), height=19, width=23)
    for one, expected in zip(ours, raw.double().numpy(), strict=True):
        trained = np.maximum(resize_by_hand(expected, 12, 16, aligned=False), 0)
        np.testing.assert_allclose(one, resize_by_hand(trained, 19, 23, aligned=True), atol=1e-5)


def test_response_to_original_batches_and_shapes():
    raw = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    together = response_to_original(raw, size=32, height=20, width=30)
    assert together.shape == (5, 20, 30)
    assert torch.equal(
        together, response_to_original(raw[:, 0], size=(32, 32), height=20, width=30)
    )
    for one, whole in zip(raw, together, strict=True):
        assert torch.equal(response_to_original(one, size=32, height=20, width=30)[0], whole)
    with pytest.raises(ValueError, match=r"\(N, 1, h, w\)"):
        response_to_original(raw.expand(5, 2, 4, 4), size=32, height=20, width=30)


def test_to_original_keeps_the_corners():
    maps = torch.rand(2, 5, 6)
    corners = to_original(maps, height=17, width=11)[:, ::16, ::10]
    torch.testing.assert_close(corners, maps[:, ::4, ::5])


def test_normalise_and_binarise():
    maps = torch.tensor([[[0.0, 2.0], [4.0, 1e-9]], [[0.0, 0.0], [0.0, 0.0]]])
    normal = divide_by_maximum_(maps.clone())
    torch.testing.assert_close(normal[0], maps[0] / (4 + 1e-5))
    assert torch.equal(normal[1], torch.zeros(2, 2))
    assert binarise(normal).tolist() == [
        [[False, True], [True, False]],
        [[False, False], [False, False]],
    ]
    assert binarise(normal, 0.5).sum() == 1


@pytest.mark.parametrize("value", [-0.5, float("nan")])
def test_normalise_refuses_what_would_flip_or_poison(value):
    maps = torch.ones(3, 2, 2)
    maps[1] = value
    with pytest.raises(ValueError, match="map 1 has maximum"):
        divide_by_maximum_(maps)


def test_columns_and_types_also_of_no_expression():
    for n in (0, 2):
        records = score_masks(np.ones((n, 4, 5), bool), np.ones((n, 4, 5), bool))
        assert list(records) == COLUMNS
        assert len(records) == n
        assert [str(t) for t in records.dtypes] == ["int64"] * 5 + ["bool"] * 3


def test_point_is_the_first_maximum_and_box_edges_count():
    maps = np.zeros((1, 4, 5), np.float32)
    maps[0, 1, 3] = maps[0, 2, 0] = 1
    truth = np.zeros((1, 4, 5), bool)
    truth[0, 1, 3] = True
    for box, hit in [
        ([3, 1, 4, 2], True),
        ([1, 0, 3, 1], True),
        ([3.9, 1.9, 5, 4], True),
        ([4, 1, 5, 4], False),
    ]:
        record = score_image([7], maps, maps > 0, truth, [box]).iloc[0]
        assert (record.point_x, record.point_y, record.hit_mask, record.hit_box) == (
            3,
            1,
            True,
            hit,
        )
        assert (record.expression_id, record.intersection, record.union) == (7, 1, 2)


def test_a_point_may_be_in_any_box_but_proposals_hit_the_first():
    """ReferIt's PointIt and Acc_box, as released."""
    maps = np.zeros((2, 40, 40), np.float32)
    maps[:, 5:15, 5:15] = 1
    truth, here, there = maps > 0, [5, 5, 15, 15], [25, 25, 35, 35]
    found = score_image([1, 2], maps, maps > 0, truth, [[here, there], [there, here]])
    assert found["hit_box"].tolist() == [True, True]
    assert found["acc_box"].tolist() == [True, False]
    missed = score_image([1], maps[:1], truth[:1], truth[:1], [[there, there]])
    assert not missed["hit_box"].any()
    assert not missed["acc_box"].any()


def test_score_image_refuses_disagreeing_input():
    ones = np.ones((2, 3, 3), bool)
    with pytest.raises(ValueError, match="shapes"):
        score_image([1, 2], ones, ones, ones[:1], np.zeros((2, 4)))
    with pytest.raises(ValueError, match="1 boxes"):
        score_image([1, 2], ones, ones, ones, np.zeros((1, 4)))
    maps = np.ones((2, 3, 3), np.float32)
    maps[1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="expression 12 holds NaN"):
        score_image([11, 12], maps, ones, ones, np.zeros((2, 4)))


@settings(max_examples=40, deadline=None)
@given(masks, masks)
def test_counts_equal_python_sets_and_are_symmetric(predicted, truth):
    records = score_masks(predicted, truth)
    swapped = score_masks(truth, predicted)
    for k in range(len(predicted)):
        a, b = ({tuple(at) for at in np.argwhere(m[k])} for m in (predicted, truth))
        assert records["intersection"][k] == len(a & b) == swapped["intersection"][k]
        assert records["union"][k] == len(a | b) == swapped["union"][k]
    assert all(0 <= value <= 1 for value in summarise(records).values())


@settings(max_examples=30, deadline=None)
@given(masks)
def test_identical_masks_score_one_and_disjoint_ones_zero(mask):
    mask[:, 0, 0] = True
    same, apart = summarise(score_masks(mask, mask)), summarise(score_masks(mask, ~mask))
    for name in ("mIoU", "oIoU", "P@0.5", "P@0.9"):
        assert same[name] == 1
        assert apart[name] == 0
    assert same["PointM"] == 1
    assert apart["PointM"] == 0


def test_summarise_by_hand():
    records = random_records(0, 4)
    records["intersection"], records["union"] = [3, 7, 0, 9], [5, 10, 0, 10]
    records["hit_mask"], records["hit_box"], records["acc_box"] = (
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
    )
    assert summarise(records) == {
        "mIoU": pytest.approx((0.6 + 0.7 + 0 + 0.9) / 4),
        "oIoU": 19 / 25,
        "P@0.5": 0.75,
        "P@0.6": 0.75,
        "P@0.7": 0.5,
        "P@0.8": 0.25,
        "P@0.9": 0.25,
        "PointM": 0.25,
        "PointIt": 0.5,
        "Acc_box": 0.75,
    }


def test_nothing_predicted_where_nothing_is_true_counts_as_zero():
    empty = np.zeros((2, 3, 3), bool)
    summary = summarise(score_masks(empty, empty))
    assert [summary[name] for name in ("mIoU", "oIoU", "P@0.5", "PointM", "Acc_box")] == [0] * 5


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 60), max_size=6),
    st.randoms(use_true_random=False),
)
def test_summary_is_the_same_however_sharded(seed, cuts, random):
    records = random_records(seed, 60)
    bounds = [0, *sorted(cuts), 60]
    shards = [records.iloc[a:b] for a, b in pairwise(bounds)]
    random.shuffle(shards)
    assert summarise(pd.concat(shards)) == summarise(records)


def test_summarise_refuses_nothing_and_repetition():
    records = random_records(0, 5)
    with pytest.raises(ValueError, match="no records"):
        summarise(records.iloc[:0])
    with pytest.raises(ValueError, match=r"2 records repeat an expression .*expression_id"):
        summarise(pd.concat([records, records.iloc[:2]]))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 5, 6), elements=st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.75, 1])),
    hnp.arrays(bool, (2, 5, 6)),
    st.lists(st.sampled_from([-1, 0, 1e-9, 0.1, 0.2, 0.25, 0.3, 0.6, 1, 2]), max_size=6),
)
def test_iou_per_threshold_equals_the_loop(maps, truth, thresholds):
    ours = iou_per_threshold(maps, truth, thresholds)
    assert ours.shape == (2, len(thresholds))
    assert ours.dtype == np.float64
    for n in range(2):
        for t, threshold in enumerate(thresholds):
            predicted = binarise(torch.from_numpy(maps[n]), threshold).numpy()
            union = (predicted | truth[n]).sum()
            assert ours[n, t] == (0 if union == 0 else (predicted & truth[n]).sum() / union)


def test_iou_per_threshold_agrees_with_the_records(golden, golden_records):
    height, width = map(int, golden["size_0"])
    truth = np.unpackbits(golden["mask_0"], axis=1)[None, :, :width].astype(bool)
    raw = torch.from_numpy(golden["raw"][:1])
    maps = divide_by_maximum_(response_to_original(raw, size=320, height=height, width=width))
    record = golden_records.iloc[0]
    assert (
        iou_per_threshold(maps, truth, [0.4, 1e-9])[0, 1]
        == record["intersection"] / record["union"]
    )
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        iou_per_threshold(maps[0], truth[0], [0.5])
