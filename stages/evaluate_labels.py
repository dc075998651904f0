"""Evaluate the pseudo-labels."""

import numpy as np

from stages._artifacts import (
    METRICS,
    PRMS,
    PSEUDO_LABELS,
    RESPONSES,
    check_keys,
    open_index,
    open_truth,
)
from stages._stage import run_stage, stage_app
from tris_core.evaluation.outputs import unmeasured
from tris_core.evaluation.records import mask_ious, threshold_curve
from tris_core.responses.file import ResponseFile
from tris_core.runtime.files import write_json
from tris_core.runtime.parquet import read_table
from tris_core.runtime.threads import set_threads

app = stage_app()


@app.command()
def main() -> None:
    """Measure what refinement gains on the training refs.

    Inputs: data/prms.parquet, data/responses.parquet, data/pseudo_labels.parquet,
    data/truth.parquet, data/index (to check them against). Output: metrics/pseudo_labels.json, the
    mIoU on train of the selected maps at their best single threshold, and of the pseudo-labels.

    1. Sweep the threshold over the selected maps. 2. Compare the pseudo-labels with the true
    masks. Refs without a true mask are not measured.
    """
    with run_stage("evaluate_labels") as run:
        check_keys(open_index(), PRMS, RESPONSES, PSEUDO_LABELS)
        truth = open_truth()
        labels = read_table(PSEUDO_LABELS).set_index("ref_id")
        measured = labels[truth.covers(labels.index.to_series())]
        prms = read_table(PRMS)
        selected = prms.loc[prms["selected"] & prms["ref_id"].isin(measured.index), "expression_id"]
        train = {}
        if len(measured):
            set_threads(run.runtime)
            responses = ResponseFile(RESPONSES, selected)
            curve = threshold_curve(responses, truth, size=responses.size)["train"]
            train["train"] = {
                "response_mIoU": round(curve.max(), 4),
                "pseudo_mIoU": round(float(np.mean(mask_ious(measured, truth))), 4),
            }
            run.say(f"train: maps at their best threshold ({curve.idxmax():.2f}) {curve.max():.3f}")
            run.say(f"pseudo-labels {train['train']['pseudo_mIoU']:.3f}")
        write_json(METRICS / "pseudo_labels.json", train)
        for clause in unmeasured(len(labels), len(measured), "ref"):
            run.say(clause)


if __name__ == "__main__":
    app()
