"""Pseudo-labels made from the ground truth, to learn what Step-2 does with better ones."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tris_core.cli.common import IndexFolder, exit_on_input_error
from tris_core.runtime.errors import InputError, counted

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from tris_core.data.index import Index
    from tris_core.refinement.refiners import Refiner

    RefineBoxes = Callable[[pd.DataFrame], pd.DataFrame]

PARAMS = Path("params.yaml")
EDGE = 0.5  # of a box's map; its middle has 1


class Shape(StrEnum):
    mask = "mask"
    box = "box"


class Refine(StrEnum):
    crf = "crf"
    sam = "sam"


def oracle_labels(
    shape: Annotated[Shape, typer.Argument(help="true masks, or true boxes")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Parquet file to write")],
    refine: Annotated[
        Refine | None,
        typer.Option(
            help="what finds the object in a box, set as in refine of params.yaml: refine.crf, or "
            "the SAM in refine.sam_weights; default: the whole box"
        ),
    ] = None,
    index: IndexFolder = Path("data/index"),
) -> None:
    """Write ground truth as pseudo-labels.

    Of the train split, for `refine.from`. They show what Step-2 reaches if it learns from masks or
    boxes that people drew, instead of from sentences alone. Whole boxes have a worse outline than
    pseudo-labels do; --refine makes of them what box supervision can give.
    """
    with exit_on_input_error():
        from tris_core.data.index import Index
        from tris_core.data.truth import Truth
        from tris_core.evaluation.controls import oracle_labels as make
        from tris_core.runtime.parquet import write_table

        if refine is not None and shape is Shape.mask:
            raise InputError(f"--refine {refine.value}: is for boxes; true masks are the outline")
        tables = Index.open(index)
        truth = Truth.open(index.with_name("truth.parquet"))
        train = tables.ref_ids("train")
        blank = train[~truth.covers(train)]
        if len(blank):
            raise InputError(
                f"{index}: {counted(len(blank), 'train ref')} without a true mask "
                f"(first: ref {blank.iloc[0]}); an index with masks is needed"
            )
        labels = make(truth, train, shape.value)
        if refine is not None:
            labels = _refiner(refine)(_with_images(labels, tables))
        write_table(out, labels)
        how = "" if shape is Shape.mask else ", filled" if refine is None else f", by {refine}"
        kind = "masks" if shape is Shape.mask else "boxes"
        typer.echo(f"{out}: {len(labels)} true {kind}{how}, for refine.from")


def _with_images(labels: "pd.DataFrame", tables: "Index") -> "pd.DataFrame":
    """`labels` with the image of each and its path."""
    images = tables.images[["image_id", "path"]]
    of = tables.refs[["ref_id", "image_id"]].merge(images, on="image_id", validate="many_to_one")
    return labels.merge(of, on="ref_id", validate="one_to_one")


def _refiner(method: Refine) -> "RefineBoxes":
    """From filled boxes to masks of what is in them, set by params.yaml."""
    from tris_core.refinement.params import RefineParams
    from tris_core.refinement.refiners import REFINERS
    from tris_core.runtime.device import pick_device
    from tris_core.runtime.params import DatasetParams, RuntimeParams, read_params

    params = read_params(PARAMS)
    if method is Refine.sam and params[RefineParams].sam_weights is None:
        needed = "name the folder of a model as transformers saves it"
        raise InputError(f"{PARAMS}: refine.sam_weights is null; {needed}")
    # any threshold below EDGE means the whole box
    settings = params[RefineParams].model_copy(update={"threshold": EDGE / 2})
    refiner = REFINERS[method.value](settings, pick_device(params[RuntimeParams]), Path())
    root = Path(params[DatasetParams].root)
    return lambda labels: refine_boxes(labels, root, refiner)


def refine_boxes(labels: "pd.DataFrame", root: Path, refiner: "Refiner") -> "pd.DataFrame":
    """Find the objects in filled boxes, all of an image together.

    A mask ends at its box. Where nothing is found, the whole box stays.

    Args:
        labels: ref_id, height, width, counts, image_id and the image's path below `root`.

    Returns:
        The first four columns, with the refined masks.

    Raises:
        InputError: if an image file is missing, or not of the size in the index.
    """
    import numpy as np

    from tris_core.data.images import read_image
    from tris_core.data.rle import decode, encode

    refined = labels[["ref_id", "height", "width", "counts"]].copy()
    for path, rows in labels.groupby("path"):
        image, size = read_image(root / path), (rows["height"].iloc[0], rows["width"].iloc[0])
        if image.shape[:2] != size:
            sizes = "{} x {} pixels, the index says {} x {}".format(*image.shape[:2], *size)
            raise InputError(f"{root / path}: is {sizes} (height x width); run `dvc repro index`")
        boxes = np.stack([decode(counts, *size) for counts in rows["counts"]])
        found = refiner([image], [np.stack([peaked(box) for box in boxes])])[0] & boxes
        found = np.where(found.any(axis=(1, 2), keepdims=True), found, boxes)
        refined.loc[rows.index, "counts"] = [encode(mask) for mask in found]
    return refined


def peaked(box: "NDArray[np.bool_]") -> "NDArray[np.float32]":
    """A filled box (H, W) as a map: 1 in its middle, `EDGE` at its edges, 0 outside.

    The middle is where SAM is asked to look.
    """
    import numpy as np

    rows, columns = np.nonzero(box.any(axis=1))[0], np.nonzero(box.any(axis=0))[0]
    height, width = (np.abs(np.linspace(-1, 1, len(side) + 2)[1:-1]) for side in (rows, columns))
    made = np.zeros(box.shape, np.float32)
    made[np.ix_(rows, columns)] = 1 - (1 - EDGE) * np.maximum(height[:, None], width)
    return made
