"""Measure masks from anywhere, write them in other formats, and reference points for them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tris_core.cli.common import IndexFolder, JsonFile, exit_on_input_error
from tris_core.runtime.errors import InputError


class By(StrEnum):
    """`tris_core.evaluation.breakdowns.NAMES`; named here so that --help need not import it."""

    length = "length"
    cut = "cut"
    location = "location"
    category = "category"
    distractors = "distractors"
    area = "area"


class Missing(StrEnum):
    error = "error"
    empty = "empty"


class Format(StrEnum):
    coco = "coco"
    png = "png"


def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="masks: .parquet, COCO results (.json) or a folder of <expression_id>.png"
        ),
    ],
    split: Annotated[str, typer.Option(help="the split to measure")],
    index: IndexFolder = Path("data/index"),
    missing: Annotated[
        Missing, typer.Option(help="treat an expression without a mask as an error, or as empty")
    ] = Missing.error,
    by: Annotated[
        list[By] | None,
        typer.Option(help="also print metrics by kind of expression; repeat for several"),
    ] = None,
    out: JsonFile = None,
) -> None:
    """Evaluate masks of any origin.

    The metrics are the pipeline's. They are computed from the masks, their points (x, y, if the
    file has them) and data/truth.parquet. Without points, PointM and PointIt are not measured.
    Boxes (Acc_box) are proposed from the mask.
    """
    with exit_on_input_error():
        from tris_core.evaluation.breakdowns import break_down
        from tris_core.evaluation.scoring import score_file
        from tris_core.runtime.files import write_json

        result = score_file(file, split, index, missing=missing.value)
        counts, metrics = result.content["counts"][split], result.content["metrics"][split]
        typer.echo(f"{file}, {split}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
        for remark in result.remarks:
            typer.echo(remark)
        typer.echo("\n".join(f"{name:8s} {value:.4f}" for name, value in metrics.items()))
        if by:
            table = break_down(result.records, result.facts, tuple(kind.value for kind in by))
            typer.echo("\n" + table.to_string(index=False, float_format="{:.3f}".format))
        if out is not None:
            write_json(out, result.content)


def export(
    file: Annotated[
        Path,
        typer.Argument(help="masks as `tris score` reads them, such as data/predictions.parquet"),
    ],
    format: Annotated[Format, typer.Option(help="COCO results (JSON) or one PNG per expression")],
    out: Annotated[Path, typer.Option(help="file to write; for png a new folder")],
) -> None:
    """Write masks for other programs."""
    with exit_on_input_error():
        from tris_core.evaluation.mask_files import read_masks, write_coco, write_pngs

        masks = read_masks(file)
        (write_coco if format is Format.coco else write_pngs)(masks, out)
        typer.echo(f"{out}: {len(masks)} masks")


def controls(
    responses: Annotated[Path, typer.Option(help="response maps of the pipeline")] = Path(
        "data/responses.parquet"
    ),
    index: IndexFolder = Path("data/index"),
    threshold: Annotated[
        float, typer.Option(help="of Step-1: a pixel counts if response / maximum is above it")
    ] = 1e-9,
    out: JsonFile = None,
) -> None:
    """Print reference points for Step-1.

    These are upper bounds and trivial baselines. `uses_truth` marks rows that are chosen by ground
    truth. They are bounds, not results.
    """
    with exit_on_input_error():
        import json

        from tris_core.data.truth import Truth
        from tris_core.evaluation.controls import controls as measure
        from tris_core.evaluation.records import digests
        from tris_core.responses.file import ResponseFile
        from tris_core.runtime.files import write_json
        from tris_core.runtime.parquet import read_table

        truth_file = index.with_name("truth.parquet")
        for path in (responses, truth_file):
            if not path.is_file():
                raise InputError(
                    f"{path}: not found; "
                    "run the pipeline (`dvc repro evaluate_step1`) or name the file"
                )
        truth = Truth.open(truth_file)
        of = read_table(responses, ["expression_id", "ref_id"])
        of = of[truth.covers(of["ref_id"])]
        if of.empty:
            raise InputError(f"{truth_file}: no true mask of these expressions; nothing to measure")
        maps = ResponseFile(responses, of["expression_id"])
        table = measure(maps, truth, size=maps.size, threshold=threshold)
        typer.echo(table.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
        if out is not None:
            rows = json.loads(table.to_json(orient="records"))
            write_json(out, {"sha256": digests(responses, truth_file), "controls": rows})
