"""`tris`, the command line. The stages of the pipeline are `python -m stages.NAME` instead."""

import typer

from tris_core.cli import compare, data, oracle, predict, score, weights
from tris_core.cli.common import exit_on_input_error
from tris_core.runtime.installation import check_torch_pair

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Referring image segmentation learnt from sentences alone."""
    with exit_on_input_error():
        check_torch_pair()


for command in (
    *(predict.predict, predict.demo),
    *(compare.compare, compare.page),
    *(score.score, score.export, score.controls, oracle.oracle_labels),
    *(weights.fetch, weights.import_weights, weights.verify),
    *(data.preset, data.check_data, data.train_demo_clip),
):
    app.command()(command)


if __name__ == "__main__":
    app()
