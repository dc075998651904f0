"""`tris`: what one does beside the pipeline. The stages themselves are `python -m stages.NAME`."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tris_core.runtime.errors import InputError
from tris_core.runtime.installation import check_torch_pair

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


IndexFolder = Annotated[Path, typer.Option(help="folder of the index")]
JsonFile = Annotated[Path | None, typer.Option(dir_okay=False, help="JSON file to write")]


class By(StrEnum):
    """The breakdowns of `tris_core.evaluation.breakdowns.NAMES`, named here so that --help need not import it."""

    length = "length"
    cut = "cut"
    location = "location"
    category = "category"
    distractors = "distractors"
    area = "area"


class Shape(StrEnum):
    mask = "mask"
    box = "box"


class Missing(StrEnum):
    error = "error"
    empty = "empty"


class Format(StrEnum):
    coco = "coco"
    png = "png"


@contextmanager
def plainly() -> Iterator[None]:
    """Input errors are printed without a traceback and end the program with exit code 1."""
    try:
        yield
    except InputError as error:
        typer.echo(f"tris: {error}", err=True)
        raise typer.Exit(1) from None


@app.callback()
def main() -> None:
    """Referring image segmentation learnt from sentences alone."""
    with plainly():
        check_torch_pair()


@app.command()
def train_demo_clip(
    out: Annotated[Path, typer.Option(help="CLIP folder to write")],
    steps: Annotated[int, typer.Option(min=1, help="batches of 256 captioned scenes")] = 850,
    seed: Annotated[int, typer.Option(min=0, help="of scenes, captions and initial weights")] = 0,
) -> None:
    """Train a demo CLIP from generated scenes and captions (contrastive loss; no boxes, no masks).

    Writes a CLIP folder that `prepare_clip.backbone` and `prepare_clip.scorer` can name.
    """
    from tris_core.demo.train_clip import train

    for name, value in train(out, steps=steps, seed=seed).items():
        typer.echo(f"{name}: {value:.3f}")


@app.command()
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="`full` (experiments full-0, full-1, ...) or `full=main,full-1,my-branch`"
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="which split's expressions")] = "val",
    step: Annotated[
        int | None,
        typer.Option(
            min=1, max=2, help="1: response maps (default), 2: predictions (default of --html)"
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="the commit that the experiments started from")
    ] = "HEAD",
    table: Annotated[
        str | None, typer.Option(help="put the numbers of the paper's table 1 to 5 beside")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="file to write the table to: .md or .html")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="write a page about one run or two, no table"),
    ] = None,
    items: Annotated[
        int, typer.Option(min=1, help="predictions shown in the page; other pictures in proportion")
    ] = 36,
) -> None:
    """Compare experiments, branches and commits over their seeds; the first run is what the others are compared with.

    With --html one file holds everything about one run: the experiment, branch or commit named, or without any the current
    folder (which is also called `workspace`); of two, the second's difference to the first too. It opens without a network.
    With the tables 1, 2 and 4, whose runs are on several data sets, every run stands beside the paper's numbers instead, on all
    splits but train; LAVT's numbers, there for scale, are overall IoU. Nothing is checked out: results are read from DVC's
    cache. Results that another run made, as dvc.lock tells, are left out and named: those of stages that an experiment did
    not run, or that the current folder's parameters have left behind.
    """
    with plainly():
        if html is not None:
            if table is not None or out is not None:
                raise InputError(
                    "--html: the page has the paper's numbers itself; leave --table and --out out"
                )
            _write_page(
                runs or ["workspace"], html, baseline=baseline, step=step, split=split, items=items
            )
            return
        if not runs:
            raise InputError(
                "which runs: name experiments, or give --html FILE for a page about the current folder"
            )
        if out is not None and out.suffix not in (".md", ".html"):
            raise InputError(f"--out {out}: end the name in .md or .html")
        from tris_core.reports.table import in_html, in_markdown, make_table
        from tris_core.runtime.files import replacing

        rows, notes = make_table(runs, baseline=baseline, step=step or 1, split=split, table=table)
        typer.echo(in_markdown(rows, notes))
        if out is not None:
            write = in_markdown if out.suffix == ".md" else in_html
            with replacing(out) as temporary:
                temporary.write_text(write(rows, notes) + "\n")


def _write_page(
    runs: list[str], html: Path, *, baseline: str, step: int | None, split: str, items: int
) -> None:
    from contextlib import ExitStack

    from tris_core.reports.experiments import WORKSPACE, experiments, open_files
    from tris_core.reports.page import write_page

    named = {name: revision or name for name, _, revision in (run.partition("=") for run in runs)}
    if len(named) != len(runs) or len(runs) > 2:
        raise InputError(
            f"--html: a page is about one run or two of different names, not {', '.join(runs)}"
        )
    known = {} if set(named.values()) == {WORKSPACE} else experiments(baseline)
    with ExitStack() as opened:
        files = [
            opened.enter_context(open_files(name, known.get(r, r), list(known)))
            for name, r in named.items()
        ]
        write_page(html, files, step=step, split=split, items=items)
    typer.echo(f"{html}: {html.stat().st_size / 1e6:.1f} MB about {' and '.join(named)}")


@app.command()
def import_weights(
    file: Annotated[
        str,
        typer.Argument(
            help="checkpoint as released (a path or hf://owner/repo/file), or a model folder"
        ),
    ],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    stage: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="which step it must be of; default: as its keys say"),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="keep weights as float16: half the size, three digits")
    ] = False,
) -> None:
    """Turn a released Step-1 or Step-2 checkpoint into a model folder, every key accounted for.

    `train_step1.weights` and `train_step2.weights` take the file itself or the folder.
    """
    from tris_core.step1.network import build_step1
    from tris_core.step2.network import build_step2
    from tris_core.weights.model_folder import save_model
    from tris_core.weights.released import describe_source, open_weights

    builders = {
        number: build
        for number, build in ((1, build_step1), (2, build_step2))
        if stage in (None, number)
    }
    with plainly():
        state, config = open_weights(file, builders)
        if half:
            state = {
                key: value.half() if value.is_floating_point() else value
                for key, value in state.items()
            }
        save_model(out, state, config)
    for line in describe_source(config["source"]):
        typer.echo(line)
    typer.echo(f"{out}: {len(state)} tensors")


@app.command()
def fetch(
    location: Annotated[
        str, typer.Argument(help="hf://owner/repo/file, or hf://owner/repo@revision/file")
    ],
) -> None:
    """Download a file of weights from the Hugging Face hub into the hub's own cache: the one command that downloads.

    Whatever takes a file of weights takes the location too, and reads the file from that cache.
    """
    with plainly():
        from tris_core.runtime.files import sha256_of_file
        from tris_core.weights.hub import fetch as download

        path, pinned = download(location)
        typer.echo(
            f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256_of_file(path)}\nthis very file: {pinned}"
        )


@app.command()
def preset(
    name: Annotated[str, typer.Argument(help="shapes, paper, release-2024 or paper-literal")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="parameter file to write")] = Path(
        "params.yaml"
    ),
) -> None:
    """Write one of the complete parameter files that come with the package, to start from."""
    with plainly():
        from tris_core.cli.presets import presets
        from tris_core.runtime.files import replacing

        if name not in (known := presets()):
            raise InputError(f"{name}: no such preset; there are {', '.join(sorted(known))}")
        if out.exists():
            raise InputError(f"{out}: is there already; move it, or name another file with --out")
        with replacing(out) as temporary:
            temporary.write_bytes(known[name].read_bytes())
        typer.echo(f"{out}: {name}")


@app.command()
def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            file_okay=False, help="holds released checkpoints, stage1_refcocog_umd.pth say"
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            file_okay=False, help="what dataset.root would be: holds refer/, train2014/, referit/"
        ),
    ],
    receipt: Annotated[Path, typer.Option(dir_okay=False, help="JSON file to write")] = Path(
        "receipt.json"
    ),
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; default: a GPU where there is one")
    ] = None,
) -> None:
    """Judge the authors' released checkpoints on the data sets at hand, beside the numbers of the paper's Table 1.

    Every split but train is measured, in fp32. Ends with exit code 1 if a number is more than 0.1 point from the paper's. The
    receipt holds every metric, and hashes, versions, temperature and optimizer groups as read from the files: send it to
    us, whatever it says.
    """
    with plainly():
        import torch
        from tabulate import tabulate

        from tris_core.cli.verify import TOLERANCE, beyond_tolerance
        from tris_core.cli.verify import verify as judge
        from tris_core.runtime.files import write_json
        from tris_core.runtime.scratch import scratch_root

        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        result = judge(
            folder, data, scratch=scratch_root(), device=where, precision="fp32", say=typer.echo
        )
        write_json(receipt, result)
        typer.echo(tabulate(result["rows"], headers="keys", tablefmt="github", floatfmt=".2f"))
        if result["absent"]:
            typer.echo(
                f"not judged, their data sets are not under {data}: {', '.join(result['absent'])}"
            )
        far = beyond_tolerance(result)
        compared = sum(row["paper"] is not None for row in result["rows"])
        typer.echo(
            f"{receipt}: {compared} numbers compared, {len(far)} more than {TOLERANCE} point from the paper's"
        )
        if far:
            raise typer.Exit(1)


@app.command()
def predict(
    out: Annotated[Path, typer.Option(file_okay=False, help="folder to write pictures to")],
    image: Annotated[Path | None, typer.Option(help="an image, or a folder of images")] = None,
    text: Annotated[list[str] | None, typer.Option(help="a sentence; repeat for several")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="table with columns image (relative to the table) and text")
    ] = None,
    step1: Annotated[Path | None, typer.Option(help="Step-1's folder")] = None,
    step2: Annotated[Path | None, typer.Option(help="Step-2's folder")] = None,
    threshold: Annotated[float, typer.Option(help="of Step-2's logit")] = 0.0,
) -> None:
    """Mark in images what sentences describe.

    Writes per image and sentence a mask (PNG, 0 and 255), Step-1's response map (PNG, grey levels) and an overlay, all at
    the size of the image as it is displayed (turned as its EXIF data say). Models are those of the last run under the
    current folder (models/step1, models/step2), else the demo that comes with the package. Confidence is the highest
    pixel probability of Step-2; in brackets the mean over the mask.
    """
    with plainly():
        if (csv is None) == (image is None and not text) or (csv is None and not (image and text)):
            raise InputError("what to predict: give --image and --text, or --csv alone")
        from tris_core.data.images import read_image
        from tris_core.predict.files import (
            names,
            requests_of_csv,
            requests_of_images,
            write_pictures,
        )
        from tris_core.predict.predictor import Predictor, check_texts
        from tris_core.runtime.files import check_folder

        if csv is not None:
            requests = requests_of_csv(csv)
        else:
            assert image is not None  # said above
            check_texts(text or [])
            requests, others = requests_of_images(image, text or [])
            if others:
                typer.echo(f"left aside, no images: {', '.join(path.name for path in others)}")
        check_folder(out)
        predictor = Predictor.load(step1, step2)
        name = names(requests)
        for path, texts in requests.items():
            photo = read_image(path)
            height, width = photo.shape[:2]
            typer.echo(f"{path}: {width} x {height} (width x height), sentences: {len(texts)}")
            for prediction in predictor.each(photo, texts, threshold=threshold):
                beginning = next(name)
                write_pictures(out, beginning, photo, prediction)
                typer.echo(f"  {beginning}: {prediction.in_words()}")
                del prediction  # before the next one is made


@app.command()
def demo(
    host: Annotated[
        str, typer.Option(help="address to listen on; 0.0.0.0 or :: let other machines in")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port to listen on; 0 is any free one")
    ] = 7860,
    step1: Annotated[Path | None, typer.Option(help="Step-1's folder")] = None,
    step2: Annotated[Path | None, typer.Option(help="Step-2's folder")] = None,
    browser: Annotated[bool, typer.Option(help="open the page")] = True,
) -> None:
    """Serve a page on which one picks a picture, types sentences and sees what they mark.

    Needs the extra tris[demo]. Models are those `tris predict` takes, and so are the masks. Nothing on the page comes from
    elsewhere or is sent there; uploads are deleted when their page is closed, and when the program ends.
    """
    with plainly():
        from tris_core.demo.server import listen, serve

        with listen(host, port) as listening:
            serve(listening, step1, step2, browser=browser, say=typer.echo)


@app.command()
def score(
    file: Annotated[
        Path,
        typer.Argument(
            help="masks: .parquet, COCO results (.json) or a folder of <expression_id>.png"
        ),
    ],
    split: Annotated[str, typer.Option(help="whose expressions are to be judged")],
    index: IndexFolder = Path("data/index"),
    missing: Annotated[
        Missing,
        typer.Option(help="what an expression without a mask is: an error, or an empty mask"),
    ] = (Missing.error),
    by: Annotated[
        list[By] | None,
        typer.Option(help="print metrics by kind of expression too; repeat for several"),
    ] = None,
    out: JsonFile = None,
) -> None:
    """Judge masks made anywhere by the pipeline's metrics.

    Every metric derives from the masks, their points (x, y, where the file has them) and data/truth.parquet. Without
    points PointM and PointIt are not measured. Boxes (Acc_box) are proposed from the mask.
    """
    with plainly():
        from tris_core.evaluation.breakdowns import break_down
        from tris_core.evaluation.scoring import score_file
        from tris_core.runtime.files import write_json

        result = score_file(file, split, index, missing=missing.value)
        counts, metrics = result.content["counts"][split], result.content["metrics"][split]
        typer.echo(
            f"{file}, {split}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
        )
        for remark in result.remarks:
            typer.echo(remark)
        typer.echo("\n".join(f"{name:8s} {value:.4f}" for name, value in metrics.items()))
        if by:
            table = break_down(result.records, result.facts, tuple(kind.value for kind in by))
            typer.echo("\n" + table.to_string(index=False, float_format="{:.3f}".format))
        if out is not None:
            write_json(out, result.content)


@app.command()
def export(
    file: Annotated[
        Path,
        typer.Argument(help="masks, as `tris score` reads them: data/predictions.parquet for one"),
    ],
    format: Annotated[Format, typer.Option(help="COCO results (JSON) or one PNG per expression")],
    out: Annotated[Path, typer.Option(help="file, or for png a new folder, to write")],
) -> None:
    """Write masks in a format that other programs read."""
    with plainly():
        from tris_core.evaluation.mask_files import read_masks, write_coco, write_pngs

        masks = read_masks(file)
        (write_coco if format is Format.coco else write_pngs)(masks, out)
        typer.echo(f"{out}: {len(masks)} masks")


@app.command()
def controls(
    responses: Annotated[Path, typer.Option(help="response maps of the pipeline")] = Path(
        "data/responses.parquet"
    ),
    index: IndexFolder = Path("data/index"),
    threshold: Annotated[
        float, typer.Option(help="of Step-1: response / maximum above it counts")
    ] = 1e-9,
    out: JsonFile = None,
) -> None:
    """Upper bounds and trivial baselines of Step-1: what its numbers are to be held against.

    `uses_truth` marks what is chosen by the true masks and is a bound, no result.
    """
    with plainly():
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
                    f"{path}: not found; run the pipeline (`dvc repro evaluate_step1`) or name the file"
                )
        truth = Truth.open(truth_file)
        of = read_table(responses, ["expression_id", "ref_id"])
        maps = ResponseFile(responses, of.loc[truth.covers(of["ref_id"]), "expression_id"])
        table = measure(maps, truth, size=maps.size, threshold=threshold)
        typer.echo(table.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
        if out is not None:
            rows = json.loads(table.to_json(orient="records"))
            write_json(out, {"sha256": digests(responses, truth_file), "controls": rows})


@app.command()
def oracle_labels(
    shape: Annotated[Shape, typer.Argument(help="the true masks, or the true boxes filled")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Parquet file to write")],
    index: IndexFolder = Path("data/index"),
) -> None:
    """Write the truth of the train split as pseudo-labels: what Step-2 reaches with full supervision, or with boxes.

    For `refine.from`: an upper bound, which has nothing to do with learning from sentences alone.
    """
    with plainly():
        from tris_core.data.index import Index
        from tris_core.data.truth import Truth
        from tris_core.evaluation.controls import oracle_labels as make
        from tris_core.runtime.parquet import write_table

        truth = Truth.open(index.with_name("truth.parquet"))
        train = Index.open(index).ref_ids("train")
        blank = train[~truth.covers(train)]
        if len(blank):
            found = f"{len(blank)} train refs have no true mask (first: ref {blank.iloc[0]})"
            raise InputError(f"{index}: {found}; an index with the masks is needed")
        labels = make(truth, train, shape.value)
        write_table(out, labels)
        typer.echo(
            f"{out}: {len(labels)} true {'masks' if shape is Shape.mask else 'boxes, filled'}, for refine.from"
        )


@app.command()
def check_data(
    root: Annotated[
        Path, typer.Argument(help="what dataset.root will be: holds refer/, train2014/, referit/")
    ],
    subset: Annotated[
        bool, typer.Option("--subset", help="accept any number of refs, expressions and images")
    ] = False,
) -> None:
    """Count what lies under ROOT beside what the downloads are known to hold, and name missing and shared images.

    Ends with exit code 1 if anything is missing, unreadable, or of another number than expected.
    """
    from tris_core.annotations.check import check_data as check

    with plainly():
        report = check(root, subset=subset)
    if len(report.table):
        typer.echo(report.table.to_string(index=False))
    for note in report.notes:
        typer.echo(f"note: {note}")
    for fault in report.faults:
        typer.echo(f"wrong: {fault}", err=True)
    if report.faults:
        raise typer.Exit(1)
    typer.echo("nothing is missing" + (" of this subset" if subset else ""))


if __name__ == "__main__":
    app()
