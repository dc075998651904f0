"""Read the annotations and write them as tables."""

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
    """Read a data set's annotations into Parquet tables, check them and count what is dropped.

    Inputs: <dataset.root>/<dataset.annotations> (refer's folder, ReferIt's pickles, or a list in
    CSV or Parquet), the headers of the image files, params dataset and index. Outputs: data/index
    (images, refs, expressions), data/truth.parquet, data/drops.parquet.

    1. Read the annotations; pickles are read without executing code. 2. Check ids, references and
    images. 3. Convert segmentations to masks. 4. Drop known defects and the images of
    index.exclude_images_of, with the reason for each. The ground truth is a separate table that
    only evaluation reads. Refs without a mask, or with one that has no pixel, are not in it.
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
        tables = {"images": index.images, "refs": index.refs, "expressions": index.expressions}
        sizes = ", ".join(f"{len(table)} {name}" for name, table in tables.items())
        run.say(f"{INDEX}: {sizes}")
        if without := len(index.refs) - len(index.truth):
            run.say(f"{without} refs without a mask, which evaluation will not measure")
        run.say(f"left out or mended: {drop_summary(index)}")
        for remark in index.remarks:
            run.say(remark)


def check_root(root: Path) -> None:
    """Refuse a relative root that is missing from the copies of `dvc exp run --temp` and `--queue`.

    A copy contains the files that git tracks and those that DVC tracks.

    Raises:
        InputError: the root is relative and outside the repository, or neither git nor DVC
            tracks it.
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
