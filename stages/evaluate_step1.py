"""Judge Step-1's response maps."""

from stages._artifacts import (
    CURVES,
    EVALUATION,
    EXPRESSIONS,
    METRICS,
    PACKED,
    RESPONSES,
    TOKENS,
    TRUTH,
)
from stages._keys import check_keys
from stages._stage import PARAMS, stage, stage_app
from tris_core.data.packed import packed_size
from tris_core.evaluation.outputs import unmeasured, write_evaluation
from tris_core.evaluation.params import EvaluateStep1Params
from tris_core.evaluation.records import score_responses, threshold_curve
from tris_core.responses.file import ResponseFile
from tris_core.runtime.files import replacing
from tris_core.runtime.params import RuntimeParams, load_section
from tris_core.runtime.parquet import read_table
from tris_core.runtime.threads import set_threads
from tris_core.step1.params import TrainStep1Params

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
        check_keys(RESPONSES, TOKENS)
        truth = read_table(TRUTH).set_index("ref_id")
        set_threads(load_section(PARAMS, RuntimeParams))
        expressions = read_table(EXPRESSIONS)
        measured = expressions.loc[expressions["ref_id"].isin(truth.index), "expression_id"]
        responses = ResponseFile(RESPONSES, measured)
        records = score_responses(
            responses, truth, size=size, threshold=params.threshold, box_input=params.box_input
        )
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
        curve = threshold_curve(responses, truth, size=size)
        plotted = curve.reindex(
            columns=list(dict.fromkeys(["train", "val", *curve]))
        )  # dvc.yaml names these two
        with replacing(CURVES / "step1_thresholds.csv") as temporary:
            plotted.round(4).to_csv(temporary)
        for split, metrics in summary.items():
            say(f"{split}: mIoU {metrics['mIoU']:.3f}, PointM {metrics['PointM']:.3f}")
        for clause in unmeasured(len(expressions), len(measured)):
            say(clause)


if __name__ == "__main__":
    app()
