"""Read the annotations into tables."""

from pathlib import Path

from stages._artifacts import INDEX
from stages._stage import run_stage, stage_app
from tris_core.annotations.index import build_index, drop_summary, write_index
from tris_core.annotations.params import IndexParams
from tris_core.runtime.params import DatasetParams

app = stage_app()


@app.command()
def main() -> None:
    """Read a data set's annotations into Parquet tables, check them and count what is left out.

    Inputs: <dataset.root>/<dataset.annotations> (refer's folder, ReferIt's pickles, or a list in CSV or Parquet), the image
    files' headers, params dataset and index. Outputs: data/index (images, refs, expressions), data/truth.parquet,
    data/drops.parquet.

    1. Read the annotations, pickles without executing anything. 2. Check ids, references, images. 3. Turn segmentations into
    masks. 4. Drop known dirt and what index.exclude_images_of asks for, and say why. What only evaluation may see stands in
    the truth; a list needs no masks, and refs without one are not in there.
    """
    with run_stage("index") as run:
        params, dataset = run.params[IndexParams], run.params[DatasetParams]
        index = build_index(
            Path(dataset.root),
            dataset.name,
            dataset.split_by,
            dataset.annotations,
            **params.model_dump(),
        )
        write_index(index, INDEX)
        run.say(
            f"{INDEX}: {len(index.images)} images, {len(index.refs)} refs, {len(index.expressions)} expressions"
        )
        if len(index.truth) < len(index.refs):
            run.say(
                f"{len(index.refs) - len(index.truth)} refs without a mask, which evaluation will not measure"
            )
        run.say(f"left out or mended: {drop_summary(index)}")
        for remark in index.remarks:
            run.say(remark)


if __name__ == "__main__":
    app()
