"""Response maps of every expression."""

from collections import deque
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stages._inputs import expressions_with_images, open_images, tokenize
from stages._paths import IMAGES, RESPONSES, STEP1
from stages._spread import spread_stage
from stages._stage import PARAMS, stage_app
from tris_core.data.supplied import supplied_responses
from tris_core.distributed import rank
from tris_core.files import replacing
from tris_core.models.checkpoints import load_weights, read_config
from tris_core.models.step1 import build_step1
from tris_core.params.base import load_section
from tris_core.params.dump_responses import DumpResponsesParams
from tris_core.params.runtime import RuntimeParams
from tris_core.progress import progress
from tris_core.responses import response_maps
from tris_core.runtime import pick_device, place

app = stage_app()
SCHEMA = pa.schema(
    [("expression_id", pa.int64()), ("ref_id", pa.int64()), ("image_id", pa.int64()), ("split", pa.string()),
     ("height", pa.int32()), ("width", pa.int32()), ("map", pa.list_(pa.float32()))]
)  # fmt: skip


@app.command()
def main() -> None:
    """Compute the response map of every expression of every split (Eq. 2).

    Inputs: data/index/{images,refs,expressions}.parquet, data/packed.json, models/step1, params dump_responses. Output:
    data/responses.parquet, one row per expression; `map` is row-major float32 at stride 32 (of a ViT the side of its patches),
    before ReLU and up-sampling. With dump_responses.from responses made elsewhere are checked and copied instead.

    1. Encode every image once. 2. Score every expression in a forward of its own. 3. Write row groups as they come.
    """
    with spread_stage("dump_responses") as say:
        params = load_section(PARAMS, DumpResponsesParams)
        table, image_of = expressions_with_images(pd.read_parquet(IMAGES))
        if params.source is not None:
            if rank():
                return
            maps = supplied_responses(Path(params.source), table)
            written = maps.join(table.set_index("expression_id")[["ref_id", "image_id", "split"]], on="expression_id")
            with replacing(RESPONSES) as temporary:
                pq.write_table(pa.Table.from_pandas(written, SCHEMA, preserve_index=False), temporary)
            say(f"{RESPONSES}: {len(written)} maps taken from {params.source}")
            return
        device = pick_device(load_section(PARAMS, RuntimeParams))
        config = read_config(STEP1)
        _, packed = open_images()
        model = build_step1(config)
        load_weights(model, STEP1)
        place(model, device)
        tokens = tokenize(table["text"].tolist(), config["clip"]["vocabulary"], config["text"])
        maps = response_maps(model, packed, image_of, tokens, device=device, precision=params.precision)
        if rank():
            deque(maps, maxlen=0)  # its share
            return
        columns = table[["expression_id", "ref_id", "image_id", "split"]]
        with (
            replacing(RESPONSES) as temporary,
            pq.ParquetWriter(temporary, SCHEMA) as writer,
            progress(len(table), "responses") as bar,
        ):
            for rows, part in maps:
                frame = columns.iloc[rows].assign(
                    height=part.shape[1], width=part.shape[2], map=list(part.reshape(len(rows), -1))
                )
                writer.write_table(pa.Table.from_pandas(pd.DataFrame(frame), SCHEMA, preserve_index=False))
                bar.update(len(rows))
        say(f"{RESPONSES}: {len(table)} maps of {part.shape[1]} x {part.shape[2]}, {RESPONSES.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    app()
