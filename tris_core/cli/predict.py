"""Mark what sentences describe: in files, or on a page."""

from pathlib import Path
from typing import Annotated

import typer

from tris_core.cli.common import Step1Folder, Step2Folder, exit_on_input_error
from tris_core.runtime.errors import InputError


def predict(
    out: Annotated[Path, typer.Option(file_okay=False, help="folder to write pictures to")],
    image: Annotated[Path | None, typer.Option(help="an image, or a folder of images")] = None,
    text: Annotated[list[str] | None, typer.Option(help="a sentence; repeat for several")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="table with columns image (relative to the table) and text")
    ] = None,
    step1: Step1Folder = None,
    step2: Step2Folder = None,
    threshold: Annotated[float, typer.Option(help="of Step-2's logit")] = 0.0,
) -> None:
    """Mark what sentences describe in images.

    Writes three PNG files per image and sentence, at the size of the image as displayed (turned by
    its EXIF orientation): the mask (0 and 255), Step-1's response map (grey levels) and an overlay.

    By default the models are those of the last run under the current folder (models/step1 and
    models/step2), or else the demo models in the package.

    Prints the confidence, which is the highest pixel probability of Step-2, and in brackets the
    mean probability over the mask.
    """
    with exit_on_input_error():
        if (csv is None) == (image is None and not text) or (csv is None and not (image and text)):
            raise InputError("what to predict: give --image and --text, or --csv alone")
        from tris_core.data.images import read_image
        from tris_core.predict import Predictor
        from tris_core.predict.files import names, write_pictures
        from tris_core.runtime.files import check_folder

        requests = _requests_of_images(image, text or []) if csv is None else _requests_of_csv(csv)
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
                del prediction  # frees its maps before the next ones are made


def _requests_of_images(image: Path | None, texts: list[str]) -> dict[Path, list[str]]:
    from tris_core.predict.files import requests_of_images
    from tris_core.predict.predictor import check_texts

    assert image is not None  # checked by the caller
    check_texts(texts)
    requests, others = requests_of_images(image, texts)
    if others:
        typer.echo(f"skipped, not images: {', '.join(path.name for path in others)}")
    return requests


def _requests_of_csv(path: Path) -> dict[Path, list[str]]:
    from tris_core.predict.files import requests_of_csv

    return requests_of_csv(path)


def demo(
    host: Annotated[
        str, typer.Option(help="address to listen on; 0.0.0.0 or :: let other machines in")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="port to listen on; 0 is any free one")
    ] = 7860,
    step1: Step1Folder = None,
    step2: Step2Folder = None,
    browser: Annotated[bool, typer.Option(help="open the page")] = True,
) -> None:
    """Serve a page that marks pictures.

    Pick a picture, type sentences, and see what they mark.

    Needs the extra tris[demo]. Models and masks are those of `tris predict`. The page loads nothing
    from the internet and sends nothing to it. Uploads are deleted when their page is closed, and
    when the program ends.
    """
    with exit_on_input_error():
        from tris_core.demo.server import listen, serve

        with listen(host, port) as listening:
            serve(listening, step1, step2, browser=browser, say=typer.echo)
