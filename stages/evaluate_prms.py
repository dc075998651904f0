"""Judge what was selected."""

from stages._artifacts import METRICS, PRMS, STEP1_RECORDS
from stages._keys import check_keys
from stages._stage import stage, stage_app
from tris_core.evaluation.metrics import ious
from tris_core.evaluation.outputs import unmeasured
from tris_core.evaluation.records import in_order
from tris_core.runtime.files import write_json
from tris_core.runtime.parquet import read_table

app = stage_app()


@app.command()
def main() -> None:
    """Measure what PRMS gains on every split (Table 4).

    Inputs: data/evaluation/step1 (IoU of every response map), data/prms.parquet, data/index/{refs,expressions,truth}.parquet
    (to see that both are of this index). Output: metrics/prms.json, mIoU of all maps, and with every object's maps replaced by
    the selected one.

    1. Look up the IoU of every selected map. 2. Average per split. Refs without a true mask are not measured; a split without
    any does not appear.
    """
    with stage("evaluate_prms") as say:
        check_keys(STEP1_RECORDS, PRMS)
        records, prms = read_table(STEP1_RECORDS), read_table(PRMS)
        iou = records.assign(iou=ious(records)).merge(prms, on="expression_id")
        selected = iou[iou["selected"]].set_index("ref_id")["iou"]
        iou = iou.assign(chosen=iou["ref_id"].map(selected))
        gains = {
            split: {
                "without": round(part["iou"].mean(), 4),
                "with": round(part["chosen"].mean(), 4),
            }
            for split, part in (
                (name, iou[iou["split"] == name]) for name in in_order(iou["split"])
            )
        }
        write_json(METRICS / "prms.json", gains)
        for split, values in gains.items():
            say(f"{split}: mIoU {values['without']:.3f} -> {values['with']:.3f}")
        for clause in unmeasured(len(prms), len(iou)):
            say(clause)


if __name__ == "__main__":
    app()
