"""Judge Step-1's response maps."""

import pandas as pd

from stages._evaluation import unmeasured, write_evaluation
from stages._paths import CURVES, EVALUATION, METRICS, PACKED, RESPONSES, TRUTH
from stages._stage import PARAMS, stage, stage_app
from tris_core.data.packed import packed_size
from tris_core.evaluation import THRESHOLDS, in_order, score_responses, threshold_curve
from tris_core.files import replacing
from tris_core.params.base import load_section
from tris_core.params.evaluate_step1 import EvaluateStep1Params
from tris_core.params.train_step1 import TrainStep1Params

app = stage_app()


@app.command()
def main() -> None:
    """Measure the response maps of every split against the true masks.

    Inputs: data/responses.parquet, data/index/{refs,expressions,tokens,truth}.parquet, data/packed.json (the training size),
    params evaluate_step1 and train_step1.selection. Outputs: metrics/step1.json, data/evaluation/step1 (every metric, one
    record per expression, metrics by kind of expression), metrics/curves/step1_thresholds.csv.

    1. Take every map to its image's own size. 2. Compare with the truth, one record per expression. 3. Reduce per split.
    Expressions without a true mask are not measured; a split without any does not appear.
    """
    with stage("evaluate_step1") as say:
        params = load_section(PARAMS, EvaluateStep1Params)
        size = packed_size(PACKED)
        truth = pd.read_parquet(TRUTH).set_index("ref_id")
        responses = pd.read_parquet(RESPONSES)
        measured = responses[responses["ref_id"].isin(truth.index)]
        records = score_responses(measured, truth, size=size, threshold=params.threshold, box_input=params.box_input)
        about = {
            "threshold": params.threshold,
            "rule": "response / maximum > threshold, at the image's own size",
            "box_input": params.box_input,
            "masks_chose_anything": load_section(PARAMS, TrainStep1Params).selection != "last",
        }
        summary = write_evaluation(
            records,
            truth,
            RESPONSES,
            METRICS / "step1.json",
            EVALUATION / "step1",
            about,
            min_box_fraction=params.min_box_fraction,
        )
        wide = pd.DataFrame(index=pd.Index(THRESHOLDS, name="threshold"), columns=["train", "val"], dtype=float)  # as plotted
        for split in in_order(measured["split"]):
            curve = threshold_curve(measured[measured["split"] == split], truth, size=size)
            wide[split] = curve["mIoU"].to_numpy()
        with replacing(CURVES / "step1_thresholds.csv") as temporary:
            wide.round(4).to_csv(temporary)
        for split, metrics in summary.items():
            say(f"{split}: mIoU {metrics['mIoU']:.3f}, PointM {metrics['PointM']:.3f}")
        for clause in unmeasured(len(responses), len(measured)):
            say(clause)


if __name__ == "__main__":
    app()
