"""Draw the embedded data set."""

from stages._artifacts import SHAPES
from stages._stage import run_stage, stage_app
from tris_core.runtime.files import replacing
from tris_core.runtime.params import DatasetParams
from tris_core.shapes.dataset import write_shapes
from tris_core.shapes.params import MakeShapesParams

app = stage_app()


@app.command()
def main() -> None:
    """Draw the embedded data set in refer's layout.

    Inputs: params make_shapes, dataset.name. Output: data/shapes (images/, and in refer/shapes
    instances.json and refs(demo).p).

    1. Sample each scene from its own seed. 2. Draw expressions that describe one thing each.
    3. Draw images and outlines. With any other data set nothing is drawn, and the output contains
    a note that says so.
    """
    with run_stage("make_shapes") as run:
        params, dataset = run.params[MakeShapesParams], run.params[DatasetParams]
        with replacing(SHAPES) as folder:
            if dataset.name == "shapes":
                write_shapes(folder, **params.model_dump())
                run.say(f"{SHAPES}: {params.train} + {params.val} + {params.test} scenes")
            else:
                folder.mkdir()
                (folder / "README").write_text(
                    f"Nothing was drawn: dataset.name is {dataset.name}.\n"
                )
                run.say(f"nothing to draw for {dataset.name}")


if __name__ == "__main__":
    app()
