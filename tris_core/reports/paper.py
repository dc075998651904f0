"""The paper's results, in percent, measured on COCO photographs with CLIP's RN50.

The keys of Tables 3 and 5 are the names of experiment groups in docs/results.md.
"""

Row = dict[str, float]


def label(name: str, split_by: str) -> str:
    """The paper's name of a data set, with the partition if the paper has two of them."""
    return f"{name} {split_by}" if name == "refcocog" else name


# The paper leaves out small boxes of the test split (docs/paper_vs_code.md#box-filter).
REFERIT_TEST = "referit test (boxes over 5%)"

# Table 1, a line per printed row. The column IoU is mean IoU, but overall IoU in LAVT's row. LAVT
# learns from masks, CTS from boxes, all others from neither. AMR to WWbL are methods for other
# tasks that TRIS's authors adapted.
_SPLITS = (
    *(REFERIT_TEST, "refcoco val", "refcoco testA", "refcoco testB"),
    *("refcoco+ val", "refcoco+ testA", "refcoco+ testB"),
    *("refcocog google val", "refcocog umd val", "refcocog umd test"),
)
_IOU: dict[str, tuple[float | None, ...]] = {
    # LAVT's last three are shifted: its own publication gives 61.24 for umd val, 62.09 for umd test
    # and 60.50 for google val.
    "LAVT": (None, 72.73, 75.82, 68.79, 62.14, 68.38, 55.10, 61.24, 62.09, 60.50),
    "CTS": (62.44, 58.01, 60.52, 55.48, 47.12, 50.86, 40.26, 46.03, None, None),
    "AMR": (18.98, 14.12, 11.69, 17.47, 14.13, 11.47, 18.13, 15.83, 15.46, 15.59),
    "GroupViT": (21.73, 18.03, 18.13, 19.33, 18.15, 17.65, 19.53, 19.97, 19.80, 20.09),
    "CLIP-ES": (18.67, 13.79, 15.23, 12.87, 14.57, 16.01, 13.53, 14.16, 13.93, 14.09),
    "GbS": (14.21, 14.59, 14.60, 14.97, 14.49, 14.49, 15.77, 14.21, 13.75, 14.20),
    "WWbL": (27.68, 18.26, 17.37, 19.90, 19.85, 18.70, 21.64, 21.84, 21.75, 21.82),
    "step1": (33.33, 25.11, 26.47, 23.80, 22.31, 21.61, 22.86, 26.93, 26.62, 27.27),
    "step2": (44.57, 31.17, 32.43, 29.56, 30.90, 30.42, 30.80, 36.00, 36.19, 36.23),
}
_POINTM: dict[str, tuple[float | None, ...]] = {
    "AMR": (7.12, 15.55, 5.52, 28.91, 16.33, 5.90, 30.27, 25.51, 24.96, 26.14),
    "GroupViT": (27.44, 25.01, 26.30, 24.42, 25.92, 26.06, 26.12, 30.02, 30.90, 30.98),
    "CLIP-ES": (52.90, 41.33, 50.61, 30.34, 46.55, 56.20, 33.32, 49.08, 46.22, 45.75),
    "GbS": (30.30, 21.58, 19.52, 25.95, 20.95, 18.34, 25.96, 24.64, 24.60, 25.38),
    "WWbL": (42.84, 31.28, 31.15, 30.79, 34.47, 33.30, 36.10, 29.32, 32.13, 31.37),
    "step1": (61.70, 51.92, 60.88, 43.02, 40.85, 40.94, 41.13, 52.48, 51.98, 53.29),
    "step2": (67.00, 54.72, 65.64, 43.40, 53.72, 61.30, 45.24, 58.01, 58.84, 58.70),
}


def _table1(system: str) -> dict[str, Row]:
    metrics = {"oIoU" if system == "LAVT" else "mIoU": _IOU[system]}
    if system in _POINTM:
        metrics["PointM"] = _POINTM[system]
    rows = zip(_SPLITS, zip(*metrics.values(), strict=True), strict=True)
    return {
        split: {name: value for name, value in zip(metrics, values, strict=True) if value}
        for split, values in rows
        if any(values)
    }


# By system, then by data set, partition and split. `step1` and `step2` are TRIS.
TABLE1: dict[str, dict[str, Row]] = {system: _table1(system) for system in _IOU}

# Table 2: weakly supervised grounding. `step1-imagenet` (Ours* in the paper) starts from an
# ImageNet image encoder.
TABLE2: dict[str, dict[str, Row]] = {
    "MG": {REFERIT_TEST: {"Acc_box": 15.15, "PointIt": 47.52}},
    "GbS": {REFERIT_TEST: {"Acc_box": 12.67, "PointIt": 48.12}},
    "WWbL": {REFERIT_TEST: {"Acc_box": 24.02, "PointIt": 57.04}},
    "step1-imagenet": {REFERIT_TEST: {"Acc_box": 38.14, "PointIt": 70.10}},
    "step1": {REFERIT_TEST: {"Acc_box": 39.90, "PointIt": 72.56}},
    "step2": {REFERIT_TEST: {"Acc_box": 50.79, "PointIt": 74.94}},
}

# Table 3: components of Step-1, RefCOCOg (umd), train split.
TABLE3: dict[str, Row] = {
    "cls": {"mIoU": 18.94, "PointIt": 51.42, "P@0.5": 3.87, "PointM": 36.93},
    "cls-t2v": {"mIoU": 19.70, "PointIt": 53.47, "P@0.5": 4.21, "PointM": 39.14},
    "cls-both": {"mIoU": 20.43, "PointIt": 56.49, "P@0.5": 4.47, "PointM": 40.92},
    "no-neg": {"mIoU": 24.18, "PointIt": 64.03, "P@0.5": 8.33, "PointM": 49.85},
    "no-pos": {"mIoU": 22.43, "PointIt": 60.81, "P@0.5": 6.44, "PointM": 45.58},
    "full": {"mIoU": 27.81, "PointIt": 66.99, "P@0.5": 12.75, "PointM": 53.69},
}

# Table 4: mIoU of Step-1 without and with positive response map selection.
TABLE4: dict[str, Row] = {
    "refcoco val": {"without": 25.11, "with": 25.90},
    "refcoco+ val": {"without": 22.31, "with": 24.48},
    "refcocog google val": {"without": 26.93, "with": 27.33},
    "refcocog umd val": {"without": 26.62, "with": 27.06},
}

# Table 5, train split: negatives of Eq. 7 (n-N: N + 1 sentences per image at K = 6) and of Eq. 8
# (k-K: K at N + 1 = 48).
TABLE5: dict[str, Row] = {
    "n-0": {"mIoU": 11.16, "PointIt": 16.73, "PointM": 8.01},
    "n-1": {"mIoU": 19.91, "PointIt": 43.35, "PointM": 32.96},
    "n-5": {"mIoU": 22.19, "PointIt": 58.18, "PointM": 43.71},
    "n-11": {"mIoU": 24.05, "PointIt": 64.73, "PointM": 49.92},
    "n-23": {"mIoU": 26.19, "PointIt": 66.45, "PointM": 52.46},
    "n-47": {"mIoU": 27.81, "PointIt": 66.99, "PointM": 53.69},
    "n-59": {"mIoU": 27.61, "PointIt": 66.24, "PointM": 53.05},
    "k-3": {"mIoU": 27.05, "PointIt": 65.81, "PointM": 52.94},
    "k-6": {"mIoU": 27.81, "PointIt": 66.99, "PointM": 53.69},
    "k-12": {"mIoU": 27.63, "PointIt": 66.82, "PointM": 53.16},
}

# Tables that compare runs of one data set with each other.
COMPARISONS: dict[int, dict[str, Row]] = {3: TABLE3, 5: TABLE5}


TABLES: dict[int, dict[str, dict[str, Row]]] = {1: TABLE1, 2: TABLE2, 4: {"step1": TABLE4}}
"""Tables whose runs are on several data sets, by system."""

OURS = {
    "step1": "TRIS Step-1",
    "step2": "TRIS Step-2",
    "step1-imagenet": "TRIS Step-1, ImageNet encoder",
}


def by_name(table: int) -> dict[str, dict[str, Row]]:
    """One of the `TABLES` with the systems' names as printed, TRIS last."""
    return {OURS.get(system, system): rows for system, rows in TABLES[table].items()}


def beside(data: str, split: str, step: int) -> dict[str, Row]:
    """All numbers of the paper for a split by system, often none: a step of TRIS, then the others.

    `data` is the data set's `label`.
    """
    name, found = f"{data} {split}", {}
    of_train = TABLE3["full"] if (name, step) == ("refcocog umd train", 1) else {}
    for system in (f"step{step}", *(s for s in {**TABLE1, **TABLE2} if s not in OURS)):
        row = {**TABLE1.get(system, {}).get(name, {}), **TABLE2.get(system, {}).get(name, {})}
        if system == f"step{step}":
            row |= of_train
        if row:
            found[OURS.get(system, system)] = row
    return found


def beside_prms(data: str, split: str) -> dict[str, Row]:
    """The numbers of Table 4 for a split of a data set; often none."""
    row = TABLE4.get(f"{data} {split}")
    return {} if row is None else {OURS["step1"]: row}
