"""Read the annotations into tables."""

import subprocess
from pathlib import Path

from stages._artifacts import INDEX, SHAPES
from stages._stage import run_stage, stage_app
from tris_core.annotations.index import build_index, drop_summary, write_index
from tris_core.annotations.params import IndexParams
from tris_core.runtime.errors import InputError
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
        check_root(Path(dataset.root))
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


def check_root(root: Path) -> None:
    """Refuse a relative root that the copies of `dvc exp run --temp` and `--queue` would not find.

    A copy holds what git tracks and what DVC writes or was given by `dvc add`. Raises `InputError`
    for a root outside the repository, or one that neither of them knows.
    """
    if root.is_absolute() or root == SHAPES:
        return
    fix = f"write the absolute path, dataset.root: {root.resolve()}"
    copies = "the copies made by `dvc exp run --temp` and `--queue` do not have it"
    if not root.resolve().is_relative_to(Path.cwd()):
        raise InputError(f"dataset.root = {root}: outside the repository, so {copies}; {fix}")
    known = subprocess.run(["git", "ls-files", "--", root], capture_output=True, text=True)
    added = any(Path(f"{place}.dvc").is_file() for place in (root, *root.parents))
    if known.returncode == 0 and not known.stdout and not added and root.exists():
        raise InputError(f"dataset.root = {root}: not in git, so {copies}; {fix}")


if __name__ == "__main__":
    app()
