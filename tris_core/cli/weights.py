"""Weights from elsewhere: download them, import them, verify the authors' own."""

from pathlib import Path
from typing import Annotated

import typer

from tris_core.cli.common import exit_on_input_error


def fetch(
    location: Annotated[
        str, typer.Argument(help="hf://owner/repo/file, or hf://owner/repo@revision/file")
    ],
) -> None:
    """Download weights from the Hugging Face hub.

    The file goes into the hub's own cache. No other command downloads anything. Parameters that
    take a file of weights also take its location, and read it from that cache.
    """
    with exit_on_input_error():
        from tris_core.runtime.files import sha256_of_file
        from tris_core.weights.hub import fetch as download

        path, pinned = download(location)
        size, digest = path.stat().st_size, sha256_of_file(path)
        typer.echo(f"{path}: {size:,} bytes, SHA-256 {digest}\nthis version: {pinned}")


def import_weights(
    file: Annotated[
        str,
        typer.Argument(
            help="a released checkpoint (a path or hf://owner/repo/file), or a model folder"
        ),
    ],
    out: Annotated[Path, typer.Option(help="model folder to write")],
    stage: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="the step it must be of; default: as its keys say"),
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="store float16 where values fit: half the size, three digits"),
    ] = False,
) -> None:
    """Import released weights as a model folder.

    The checkpoint is one of Step-1 or Step-2. Every key must be accounted for.
    `train_step1.weights` and `train_step2.weights` take the file itself or the folder.
    """
    from tris_core.step1.network import build_step1
    from tris_core.step2.network import build_step2
    from tris_core.weights.model_folder import save_model
    from tris_core.weights.released import Builders, describe_source, open_weights

    builders: Builders = {1: build_step1, 2: build_step2}
    with exit_on_input_error():
        wanted = {step: build for step, build in builders.items() if stage in (None, step)}
        state, config = open_weights(file, wanted)
        if half:
            for key, value in state.items():  # running variances may be beyond float16
                if value.is_floating_point() and value.half().isfinite().all():
                    state[key] = value.half()
        save_model(out, state, config)
    assert config.source is not None  # open_weights names it
    for line in describe_source(config.source):
        typer.echo(line)
    typer.echo(f"{out}: {len(state)} tensors")


def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            file_okay=False, help="released checkpoints, such as stage1_refcocog_umd.pth"
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            file_okay=False, help="as dataset.root: holds refer/, train2014/ and referit/"
        ),
    ],
    receipt: Annotated[Path, typer.Option(dir_okay=False, help="JSON file to write")] = Path(
        "receipt.json"
    ),
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; default: a GPU if there is one")
    ] = None,
) -> None:
    """Check this code with the released weights.

    Evaluates the authors' checkpoints beside the numbers of the paper's Table 1. Every split but
    train is measured, in fp32. The exit code is 1 if a number is more than 0.1 point from the
    paper's. The receipt holds every metric, hashes, versions, and the temperature and optimizer
    groups in the files. Please send it to us, whatever it says.
    """
    with exit_on_input_error():
        import torch
        from tabulate import tabulate

        from tris_core.cli.verify import TOLERANCE, beyond_tolerance
        from tris_core.cli.verify import verify as evaluate
        from tris_core.runtime.files import write_json
        from tris_core.runtime.scratch import scratch_root

        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        result = evaluate(folder, data, scratch=scratch_root(), device=where, say=typer.echo)
        write_json(receipt, result)
        typer.echo(tabulate(result["rows"], headers="keys", tablefmt="github", floatfmt=".2f"))
        if result["absent"]:
            absent = ", ".join(result["absent"])
            typer.echo(f"not evaluated, their data sets are not under {data}: {absent}")
        far = beyond_tolerance(result)
        compared = sum(row["paper"] is not None for row in result["rows"])
        typer.echo(
            f"{receipt}: {compared} numbers compared, "
            f"{len(far)} more than {TOLERANCE} point from the paper's"
        )
        if far:
            raise typer.Exit(1)
