"""Evaluate the selection of PRMS."""

from stages._artifacts import METRICS, PRMS, STEP1_RECORDS, check_keys, open_index
from stages._stage import run_stage, stage_app
from tris_core.evaluation.metrics import ious
from tris_core.evaluation.outputs import unmeasured
from tris_core.evaluation.records import in_order
from tris_core.runtime.files import write_json
from tris_core.runtime.parquet import read_table

app = stage_app()


@app.command()
def main() -> None:
    """Measure what PRMS gains on every split (Table 4).

    Inputs: data/evaluation/step1 (IoU of every response map), data/prms.parquet, data/index and
    data/truth.parquet (to check both against). Output: metrics/prms.json, the mIoU of all maps, and
    with each object's maps replaced by the selected one.

    1. Look up the IoU of every selected map. 2. Average per split. Refs without a true mask are
    not measured. A split without any true mask is left out.
    """
    with run_stage("evaluate_prms") as run:
        check_keys(open_index(), STEP1_RECORDS, PRMS)
        records, prms = read_table(STEP1_RECORDS), read_table(PRMS)
        iou = records.assign(iou=ious(records)).merge(prms, on="expression_id")
        selected = iou[iou["selected"]].set_index("ref_id")["iou"]
        iou = iou.assign(chosen=iou["ref_id"].map(selected))
        gains = {}
        for split in in_order(iou["split"]):
            part = iou[iou["split"] == split]
            without, chosen = part["iou"].mean(), part["chosen"].mean()
            gains[split] = {"without": round(without, 4), "with": round(chosen, 4)}
        write_json(METRICS / "prms.json", gains)
        for split, values in gains.items():
            run.say(f"{split}: mIoU {values['without']:.3f} -> {values['with']:.3f}")
        for clause in unmeasured(len(prms), len(iou)):
            run.say(clause)


if __name__ == "__main__":
    app()
