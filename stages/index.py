"""Read the annotations into tables."""

from pathlib import Path

from stages._artifacts import INDEX
from stages._stage import PARAMS, stage, stage_app
from tris_core.annotations.index import build_index, drop_summary, write_index
from tris_core.annotations.params import IndexParams
from tris_core.runtime.errors import counted
from tris_core.runtime.params import DatasetParams, load_section

app = stage_app()


@app.command()
def main() -> None:
    """Read a data set's annotations into Parquet tables, check them and count what is left out.

    Inputs: <dataset.root>/<dataset.annotations> (refer's folder, ReferIt's pickles, or a list in CSV or Parquet), the image
    files' headers, params dataset and index. Output: data/index (images, refs, expressions, truth, drops).

    1. Read the annotations, pickles without executing anything. 2. Check ids, references, images. 3. Turn segmentations into
    masks. 4. Drop known dirt and what index.exclude_images_of asks for, and say why. What only evaluation may see stands in
    truth.parquet; a list needs no masks, and refs without one are not in there.
    """
    with stage("index") as say:
        params, dataset = load_section(PARAMS, IndexParams), load_section(PARAMS, DatasetParams)
        index = build_index(
            Path(dataset.root),
            dataset.name,
            dataset.split_by,
            dataset.annotations,
            **params.model_dump(),
        )
        write_index(index, INDEX)
        sizes = {
            "image": len(index.images),
            "ref": len(index.refs),
            "expression": len(index.expressions),
        }
        say(f"{INDEX}: {', '.join(counted(number, noun) for noun, number in sizes.items())}")
        if len(index.truth) < len(index.refs):
            say(
                f"{counted(len(index.refs) - len(index.truth), 'ref')} without a mask, which evaluation will not measure"
            )
        say(f"left out or mended: {drop_summary(index)}")
        for remark in index.remarks:
            say(remark)


if __name__ == "__main__":
    app()
