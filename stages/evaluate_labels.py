"""Judge what was selected and refined."""

import numpy as np
import pandas as pd

from stages._evaluation import unmeasured
from stages._paths import EVALUATION, METRICS, PACKED, PRMS, PSEUDO_LABELS, RESPONSES, TRUTH
from stages._stage import stage, stage_app
from tris_core.data.packed import packed_size
from tris_core.evaluation import in_order, mask_ious, threshold_curve
from tris_core.files import write_json
from tris_core.metrics import ious

app = stage_app()


@app.command()
def main() -> None:
    """Measure what PRMS gains on every split, and what refinement gains on the training refs.

    Inputs: data/evaluation/step1 (IoU of every response map), data/prms.parquet, data/responses.parquet,
    data/pseudo_labels.parquet, data/index/truth.parquet, data/packed.json (the training size). Outputs: metrics/prms.json (mIoU
    of all maps, and with every object's maps replaced by the selected one), metrics/pseudo_labels.json (mIoU on train of
    the selected maps at the single threshold that suits them best, and of the pseudo-labels).

    1. Look up the IoU of every selected map. 2. Sweep the threshold over the selected maps. 3. Compare the pseudo-labels.
    Refs without a true mask are not measured; a split without any does not appear.
    """
    with stage("evaluate_labels") as say:
        records = pd.read_parquet(EVALUATION / "step1" / "records.parquet")
        iou = records.assign(iou=ious(records)).merge(pd.read_parquet(PRMS), on="expression_id")
        selected = iou[iou["selected"]].set_index("ref_id")["iou"]
        iou = iou.assign(chosen=iou["ref_id"].map(selected))
        prms = {
            split: {"without": round(part["iou"].mean(), 4), "with": round(part["chosen"].mean(), 4)}
            for split, part in ((name, iou[iou["split"] == name]) for name in in_order(iou["split"]))
        }
        write_json(METRICS / "prms.json", prms)

        truth = pd.read_parquet(TRUTH).set_index("ref_id")
        labels = pd.read_parquet(PSEUDO_LABELS).set_index("ref_id")
        labels = labels[labels.index.isin(truth.index)]
        responses = pd.read_parquet(RESPONSES)
        chosen = iou.loc[iou["selected"] & iou["ref_id"].isin(labels.index), "expression_id"]
        train = {}
        if len(chosen):
            maps = responses[responses["expression_id"].isin(chosen)]
            curve = threshold_curve(maps, truth, size=packed_size(PACKED))
            best = curve.loc[curve["mIoU"].idxmax()]
            train["train"] = {
                "response_mIoU": round(best["mIoU"], 4),
                "pseudo_mIoU": round(float(np.mean(mask_ious(labels, truth))), 4),
            }
            say(f"train: maps at their best threshold ({best['threshold']:.2f}) {best['mIoU']:.3f}")
            say(f"pseudo-labels {train['train']['pseudo_mIoU']:.3f}")
        write_json(METRICS / "pseudo_labels.json", train)
        for split, values in prms.items():
            say(f"PRMS {split} {values['without']:.3f} -> {values['with']:.3f}")
        for clause in unmeasured(len(responses), len(iou)):
            say(clause)


if __name__ == "__main__":
    app()
