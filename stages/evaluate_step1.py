"""Evaluate Step-1's response maps."""

import pandas as pd

from stages._artifacts import (
    CURVES,
    EVALUATION,
    METRICS,
    RESPONSES,
    TOKENS,
    TRUTH,
    check_keys,
    open_index,
    open_truth,
    read_cut,
)
from stages._stage import run_stage, stage_app
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.outputs import unmeasured, write_evaluation, write_headlines
from tris_core.evaluation.params import EvaluateStep1Params
from tris_core.evaluation.records import digests, score_responses, threshold_curve
from tris_core.responses.file import ResponseFile
from tris_core.runtime.files import replacing
from tris_core.runtime.threads import set_threads
from tris_core.step1.params import TrainStep1Params

app = stage_app()


@app.command()
def main() -> None:
    """Measure the response maps of every split against the true masks.

    Inputs: data/responses.parquet, data/index (refs, expressions), data/tokens.parquet,
    data/truth.parquet, params evaluate_step1 and train_step1.selection. Outputs:
    metrics/step1.json, data/evaluation/step1 (every metric, one record per expression, metrics by
    kind of expression), metrics/curves/step1_thresholds.csv.

    1. Resize every map to its image's own size. 2. Compare it with the true mask, one record per
    expression. 3. Reduce per split. Expressions without a true mask are not measured. A split
    without any true mask is left out.
    """
    with run_stage("evaluate_step1") as run:
        params = run.params[EvaluateStep1Params]
        index, truth = open_index(), open_truth()
        check_keys(index, RESPONSES, TOKENS)
        set_threads(run.runtime)
        has_truth = truth.covers(index.expressions["ref_id"])
        measured = index.expressions.loc[has_truth, "expression_id"]
        responses = ResponseFile(RESPONSES, measured)
        records = score_responses(
            responses,
            truth,
            size=responses.size,
            threshold=params.threshold,
            box_input=params.box_input,
        )
        about = {
            "threshold": params.threshold,
            "rule": "response / maximum > threshold, at the image's own size",
            "box_input": params.box_input,
            "masks_chose_anything": run.params[TrainStep1Params].selection != "last",
            "sha256": digests(RESPONSES, TRUTH),
        }
        full = write_evaluation(
            EVALUATION / "step1",
            records,
            describe(index, truth, read_cut()),
            about,
            min_box_fraction=params.min_box_fraction,
        )
        write_headlines(METRICS / "step1.json", full)
        write_thresholds(threshold_curve(responses, truth, size=responses.size))
        for split, metrics in full.items():
            run.say(f"{split}: mIoU {metrics['mIoU']:.3f}, PointM {metrics['PointM']:.3f}")
        for clause in unmeasured(len(index.expressions), len(measured)):
            run.say(clause)


def write_thresholds(curve: pd.DataFrame) -> None:
    """Write mIoU by threshold. dvc.yaml plots train and val, so these columns always exist."""
    columns = list(dict.fromkeys(["train", "val", *curve]))
    with replacing(CURVES / "step1_thresholds.csv") as temporary:
        curve.reindex(columns=columns).round(4).to_csv(temporary)


if __name__ == "__main__":
    app()
