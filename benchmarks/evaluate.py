"""Evaluation of response maps of images of 640 x 480, against a loop over expressions.

The loop follows the released rule of Acc_box to the letter: every mask goes through matplotlib's
colours, every contour gets its own mean, and suppression is torchvision's.
"""

from functools import partial

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray
from torchvision.ops import box_iou, nms

from benchmarks._measure import bandwidth, row, seconds, show
from tris_core.data.rle import decode, encode
from tris_core.data.truth import Truth
from tris_core.evaluation.boxes import HIT_IOU, SCORE_SHARE, SUPPRESSION_IOU
from tris_core.evaluation.records import score_responses

IMAGES, PER_IMAGE, HEIGHT, WIDTH, GRID, SIZE, THRESHOLD = 48, 6, 480, 640, 10, 320, 0.3


def main() -> None:
    responses, table = data()
    score = partial(
        score_responses,
        [responses],
        Truth(table),
        size=SIZE,
        threshold=THRESHOLD,
        box_input="binary",
    )
    ours, plain = score(), one_by_one(responses, table)
    for column in plain:
        assert (ours[column].to_numpy() == plain[column].to_numpy()).all(), column
    spent = seconds(score)
    twin = seconds(lambda: one_by_one(responses, table))
    # Bytes per pixel: a float map is resized, divided and compared; two masks.
    floor = len(responses) * HEIGHT * WIDTH * (4 * 4 + 2) / bandwidth()
    show([row(f"evaluate {len(responses)} expressions", spent, twin=twin, floor=floor)])


def data() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Random responses, and the table of truth.parquet with an ellipse per ref."""
    rng = np.random.default_rng(0)
    rows, truth = [], []
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for image_id in range(IMAGES):
        for number in range(PER_IMAGE):
            ref_id = image_id * PER_IMAGE + number
            cy, cx = rng.uniform((100, 100), (380, 540))
            mask = ((y - cy) / 60) ** 2 + ((x - cx) / 90) ** 2 < 1
            counts, box = encode(mask), (cx - 90, cy - 60, cx + 90, cy + 60)
            truth.append((ref_id, *box, int(mask.sum()), HEIGHT, WIDTH, counts))
            response = rng.normal(size=(GRID, GRID)).astype(np.float32)
            rows.append((ref_id, ref_id, image_id, "val", GRID, GRID, response.ravel()))
    columns = ["ref_id", "x0", "y0", "x1", "y1", "area", "height", "width", "counts"]
    responses = pd.DataFrame(
        rows, columns=["expression_id", "ref_id", "image_id", "split", "height", "width", "map"]
    )
    return responses, pd.DataFrame(truth, columns=columns)


def one_by_one(responses: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The released loop: both resizings of one map at a time, pixels counted."""
    records, by_ref = [], truth.set_index("ref_id")
    for _, found in responses.iterrows():
        true = by_ref.loc[found["ref_id"]]
        mask = decode(true["counts"], true["height"], true["width"])
        raw = torch.from_numpy(found["map"]).view(1, 1, found["height"], found["width"])
        trained = F.interpolate(raw, (SIZE, SIZE), mode="bilinear", align_corners=False).relu()
        full = F.interpolate(trained, mask.shape, mode="bilinear", align_corners=True)[0, 0]
        response = (full / (full.max() + 1e-5)).numpy()
        predicted = response > np.float32(THRESHOLD)
        y, x = np.unravel_index(response.argmax(), response.shape)
        corners = true[["x0", "y0", "x1", "y1"]].to_numpy(float)
        records.append(
            {
                "expression_id": found["expression_id"],
                "intersection": int((predicted & mask).sum()),
                "union": int((predicted | mask).sum()),
                "hit_mask": bool(mask[y, x]),
                "hit_box": bool(corners[0] <= x <= corners[2] and corners[1] <= y <= corners[3]),
                "acc_box": box_hit(predicted, corners.astype(np.int64)),
            }
        )
    return pd.DataFrame(records)


def box_hit(mask: NDArray[np.bool_], true: NDArray[np.int64]) -> bool:
    """Acc_box of a mask (H, W) by the released rule."""
    if mask.all() or not mask.any():
        return False
    colours = colormaps["cubehelix"](mask.astype(float))[..., :3].astype(np.float32) * 255
    grey = cv2.cvtColor(colours.astype(np.uint8), cv2.COLOR_RGB2GRAY)
    grey[grey <= int(0.5 * grey.max())] = 0
    contours, _ = cv2.findContours(grey, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    boxes = [cv2.boundingRect(contour) for contour in contours]
    scores = [grey[y : y + h, x : x + w].mean() / 255 for x, y, w, h in boxes]
    as_floats = (torch.tensor(values, dtype=torch.float32) for values in (boxes, scores))
    kept = nms(*as_floats, SUPPRESSION_IOU)
    best = [boxes[i] for i in kept if scores[i] > SCORE_SHARE * max(scores)]
    corners = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in best])
    return bool((box_iou(corners, torch.from_numpy(true[None])) > HIT_IOU).any())
