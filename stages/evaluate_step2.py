"""Evaluate the predicted masks."""

from stages._artifacts import (
    EVALUATION,
    METRICS,
    PREDICTIONS,
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
from tris_core.evaluation.params import EvaluateStep2Params
from tris_core.evaluation.records import digests, score_rows
from tris_core.runtime.parquet import read_table
from tris_core.step1.params import TrainStep1Params
from tris_core.step2.params import PredictStep2Params, TrainStep2Params

app = stage_app()


@app.command()
def main() -> None:
    """Measure the predicted masks of every split against the true masks.

    Inputs: data/predictions.parquet, data/index (refs, expressions), data/tokens.parquet,
    data/truth.parquet, params evaluate_step2, predict_step2.threshold, train_step1.selection and
    train_step2.selection. Outputs: metrics/step2.json, data/evaluation/step2 (every metric, one
    record per expression, metrics by kind of expression).

    1. Compare every stored mask with the true mask, one record per expression. 2. Reduce per
    split. Expressions without a true mask are not measured. A split without any true mask is left
    out.
    """
    with run_stage("evaluate_step2") as run:
        params = run.params[EvaluateStep2Params]
        index, truth = open_index(), open_truth()
        check_keys(index, PREDICTIONS, TOKENS)
        predictions = read_table(PREDICTIONS)
        records = score_rows(predictions[truth.covers(predictions["ref_id"])], truth)
        trainings = run.params[TrainStep1Params], run.params[TrainStep2Params]
        about = {
            "threshold": run.params[PredictStep2Params].threshold,
            "rule": "logit > threshold, at the image's own size",
            "box_input": "binary",
            "masks_chose_anything": any(training.selection != "last" for training in trainings),
            "sha256": digests(PREDICTIONS, TRUTH),
        }
        full = write_evaluation(
            EVALUATION / "step2",
            records,
            describe(index, truth, read_cut()),
            about,
            min_box_fraction=params.min_box_fraction,
        )
        write_headlines(METRICS / "step2.json", full)
        for split, metrics in full.items():
            overlap = f"mIoU {metrics['mIoU']:.3f}, oIoU {metrics['oIoU']:.3f}"
            run.say(f"{split}: {overlap}, PointM {metrics['PointM']:.3f}")
        for clause in unmeasured(len(predictions), len(records)):
            run.say(clause)


if __name__ == "__main__":
    app()
