"""The page: its layout, and what happens on each event."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from tris_core.data.images import read_image
from tris_core.demo.answers import Answers, answer, reduced, to_html
from tris_core.demo.inputs import (
    HIGHEST,
    LOWEST,
    MAX_FILE_MB,
    MAX_MEGAPIXELS,
    MAX_SENTENCES,
    check_picture,
    sentences,
)
from tris_core.demo.limits import Limits
from tris_core.demo.uploads import Uploads
from tris_core.predict import Predictor
from tris_core.predict.files import names
from tris_core.runtime.errors import InputError

TITLE = "Referring image segmentation"
INTRODUCTION = (
    "Describe one thing in a picture. Two networks that learnt from sentences alone mark it."
)
NOTHING = "<p class='nothing'>The marked pictures appear here.</p>"
LARGEST = f"up to {MAX_FILE_MB} MB, {MAX_MEGAPIXELS} megapixels"
PLACEHOLDER = f"# Drop a picture here, or click to choose one\n{LARGEST}"

Upload = dict[str, Any] | None  # gradio's FileData


def build(
    predictor: Predictor,
    models: str,
    examples: Sequence[Sequence[str]],
    uploads: Uploads,
    limits: Limits,
) -> gr.Blocks:
    """Build the page around loaded models.

    Pictures reach the functions below as paths sent by the browser (`preprocess=False`), so that
    these can refuse a file in words. Whether the file is one of `uploads` is checked before Gradio
    sees the path, by Gradio, and here.

    Args:
        predictor: the models.
        models: a remark on where they are from.
        examples: pairs of a picture's path and its sentences, one per line.
        uploads: the server's uploads.
        limits: the server's limits.
    """

    def check(picture: Upload) -> tuple[Any, str]:
        try:
            _file(picture, uploads)
        except InputError as error:
            return None, _notice(error)
        return gr.skip(), ""

    def mark(
        picture: Upload, text: str, threshold: float, progress: gr.Progress = gr.Progress()
    ) -> tuple[Answers | None, str, str]:
        try:
            path, name = _file(picture, uploads)
            texts = sentences(text)
            progress(0, desc="Reading the picture")
            photo = _read(path, name)
        except InputError as error:
            return None, NOTHING, _notice(error)
        shown = reduced(photo)
        predictions = progress.tqdm(
            predictor.each(photo, texts), total=len(texts), unit="sentences"
        )
        named = zip(predictions, names({Path(name): texts}), strict=True)
        found = Answers(
            shown, photo.width, photo.height, tuple(answer(one, shown, file) for one, file in named)
        )
        return found, to_html(found, threshold), ""

    def pick(event: gr.SelectData) -> Sequence[str]:
        return examples[event.index]

    def mark_again(found: Answers | None, threshold: float) -> str:
        return NOTHING if found is None else to_html(found, threshold)

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        found = gr.State(None, time_to_live=limits.kept_s)
        gr.HTML(f"<h1>{TITLE}</h1><p>{INTRODUCTION}</p>", elem_id="introduction")
        with gr.Row():
            picture, gallery, text, notice, button = _question(examples)
            with gr.Column(scale=3, min_width=320):
                threshold = gr.Slider(
                    LOWEST,
                    HIGHEST,
                    0.5,
                    step=0.01,
                    label="Threshold of Step-2's probability",
                    elem_id="threshold",
                )
                answers = gr.HTML(NOTHING, elem_id="answers")
        gr.HTML(f"<p>{html.escape(models)}</p>", elem_id="models")

        asked, given = [picture, text, threshold], [found, answers, notice]
        # These bypass Gradio's queue: while such an event ends in the queue, a question that
        # follows it may never be answered.
        picture.upload(
            check, picture, [picture, notice], preprocess=False, show_progress="hidden", queue=False
        )
        picked = gallery.select(pick, None, [picture, text], show_progress="hidden", queue=False)
        for asks in (button.click, text.submit, picked.then):
            asks(
                mark,
                asked,
                given,
                preprocess=False,
                show_progress_on=answers,
                scroll_to_output=True,
                concurrency_id="models",
            )
        threshold.change(
            mark_again,
            [found, threshold],
            answers,
            show_progress="hidden",
            trigger_mode="always_last",
            queue=False,
        )
    page.queue(max_size=limits.questions)
    page.state_session_capacity = limits.sessions
    # otherwise Gradio, mounted in another app, does not check that a path is an upload
    page.has_launched = True
    return page


def _question(
    examples: Sequence[Sequence[str]],
) -> tuple[gr.Image, gr.Gallery, gr.Textbox, gr.HTML, gr.Button]:
    """The column where a visitor asks: picture, examples, sentences, notice, button."""
    with gr.Column(scale=2, min_width=320):
        picture = gr.Image(
            label="Picture",
            placeholder=PLACEHOLDER,
            type="filepath",
            image_mode=None,
            sources="upload",
            buttons=[],
            height=230,
            alt_text="The picture to mark things in",
            elem_id="picture",
        )
        gallery = gr.Gallery(
            [(path, texts.replace("\n", ", ")) for path, texts in examples],
            label="Examples",
            columns=len(examples),
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="examples",
        )
        text = gr.Textbox(
            label=f"Sentences, one per line, up to {MAX_SENTENCES}",
            lines=3,
            max_lines=MAX_SENTENCES,
            placeholder="red star on the left",
            elem_id="sentences",
        )
        notice = gr.HTML(elem_id="notice")
        button = gr.Button("Mark (Shift+Enter)", variant="primary", elem_id="mark")
    return picture, gallery, text, notice, button


def _file(picture: Upload, uploads: Uploads) -> tuple[Path, str]:
    """Path and name of an upload that passes `check_picture`."""
    path = uploads.find(picture["path"]) if picture else None
    if not picture or path is None:
        raise InputError("There is no picture yet. Upload one or choose an example.")
    name = Path(picture.get("orig_name") or path.name).name
    check_picture(path, name)
    return path, name


def _read(path: Path, name: str) -> Image.Image:
    try:
        return Image.fromarray(read_image(path))
    except InputError as error:
        problem = f"{name} is damaged and cannot be read to its end"
        raise InputError(f"{problem}. Upload a whole file.") from error


def _notice(error: InputError) -> str:
    return f'<p role="alert">{html.escape(str(error))}</p>'
