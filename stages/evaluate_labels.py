"""Judge what was refined."""

import numpy as np
import pandas as pd

from stages._evaluation import unmeasured
from stages._paths import METRICS, PACKED, PRMS, PSEUDO_LABELS, RESPONSES, TRUTH
from stages._stage import stage, stage_app
from tris_core.data.packed import packed_size
from tris_core.evaluation import mask_ious, threshold_curve
from tris_core.files import write_json

app = stage_app()


@app.command()
def main() -> None:
    """Measure what refinement gains on the training refs.

    Inputs: data/prms.parquet, data/responses.parquet, data/pseudo_labels.parquet, data/index/truth.parquet, data/packed.json
    (the training size). Output: metrics/pseudo_labels.json, mIoU on train of the selected maps at the single threshold that
    suits them best, and of the pseudo-labels.

    1. Sweep the threshold over the selected maps. 2. Compare the pseudo-labels. Refs without a true mask are not measured.
    """
    with stage("evaluate_labels") as say:
        truth = pd.read_parquet(TRUTH).set_index("ref_id")
        labels = pd.read_parquet(PSEUDO_LABELS).set_index("ref_id")
        measured = labels[labels.index.isin(truth.index)]
        prms = pd.read_parquet(PRMS)
        selected = prms.loc[prms["selected"] & prms["ref_id"].isin(measured.index), "expression_id"]
        train = {}
        if len(measured):
            responses = pd.read_parquet(RESPONSES)
            curve = threshold_curve(responses[responses["expression_id"].isin(selected)], truth, size=packed_size(PACKED))
            best = curve.loc[curve["mIoU"].idxmax()]
            train["train"] = {
                "response_mIoU": round(best["mIoU"], 4),
                "pseudo_mIoU": round(float(np.mean(mask_ious(measured, truth))), 4),
            }
            say(f"train: maps at their best threshold ({best['threshold']:.2f}) {best['mIoU']:.3f}")
            say(f"pseudo-labels {train['train']['pseudo_mIoU']:.3f}")
        write_json(METRICS / "pseudo_labels.json", train)
        for clause in unmeasured(len(labels), len(measured), "refs"):
            say(clause)


if __name__ == "__main__":
    app()
