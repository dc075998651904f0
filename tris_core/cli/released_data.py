"""A data set that released checkpoints are evaluated on, as the release evaluates."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tris_core.annotations.index import build_index
from tris_core.clip.tokenizer import Tokenizer
from tris_core.data.index import Index
from tris_core.data.packed import PackedImages, pack_images
from tris_core.data.truth import Truth
from tris_core.evaluation.breakdowns import describe
from tris_core.evaluation.records import full_metrics, score_responses, score_rows
from tris_core.reports.paper import label
from tris_core.responses.file import with_maps
from tris_core.runtime.device import place
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.runtime.frames import concat, ready
from tris_core.step1.inference import response_maps
from tris_core.step1.network import build_step1
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.weights.configs import Step1Config, Step2Config
from tris_core.weights.released import Builders, open_weights

STEP1_THRESHOLD, STEP2_THRESHOLD = 1e-9, 0.0  # docs/paper_vs_code.md#threshold
MIN_BOX_FRACTION = 0.05  # of ReferIt's boxes: docs/paper_vs_code.md#box-filter
BUILDERS: Builders = {1: build_step1, 2: build_step2}


class ReleasedData:
    """The splits of a data set but train. Its images are packed at the size of each checkpoint."""

    def __init__(
        self, root: Path, name: str, split_by: str, annotations: str, scratch: Path
    ) -> None:
        built = build_index(root, name, split_by, annotations)
        refs = built.refs.to_pandas()
        self._truth = Truth(built.truth.to_pandas())
        refs = refs[(refs["split"] != "train") & self._truth.covers(refs["ref_id"])]
        if refs.empty:
            raise InputError(
                f"{root / annotations}: no ref outside train has a mask, so none is measured"
            )
        expressions, images = built.expressions.to_pandas(), built.images.to_pandas()
        self._index = Index.of(
            images=images[images["image_id"].isin(refs["image_id"])].reset_index(drop=True),
            refs=refs,
            expressions=expressions[expressions["ref_id"].isin(refs["ref_id"])],
        )
        self._table = self._index.joined()
        self._image_of = self._index.image_rows(self._table["image_id"])
        self._root, self._scratch = root, scratch
        self._min_box_fraction = MIN_BOX_FRACTION if name == "referit" else 0.0
        self.label = label(name, split_by)

    def evaluate(self, path: Path, device: torch.device) -> dict[str, Any]:
        """All metrics of a checkpoint, and what its file tells.

        Raises `InputError` if it is no released checkpoint.
        """
        state, config = open_weights(path, BUILDERS)
        assert isinstance(config, Step1Config | Step2Config)  # BUILDERS has no others
        step = 1 if isinstance(config, Step1Config) else 2
        model = BUILDERS[step](config)
        model.load_state_dict(state)
        place(model, device)
        text = config.text
        tokens = Tokenizer(config.clip.vocabulary)(
            self._table["text"].tolist(), text.max_tokens, overflow=text.overflow
        )
        measure = self._step1 if step == 1 else self._step2
        records = measure(model, self._packed(config.size), tokens, device)
        assert config.source is not None  # open_weights names it
        about = {
            "file": path.name,
            "step": step,
            "data set": self.label,
            "source": config.source.content(),
        }
        facts = describe(self._index, self._truth, cut=None)
        return full_metrics(records, facts, about, min_box_fraction=self._min_box_fraction)

    def _packed(self, size: int) -> PackedImages:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "packed.json"
            shards = pack_images(self._index.images, self._root, size, self._scratch, workers=0)
            write_sealed_json(manifest, shards)
            return PackedImages(manifest, self._index.images, self._root, self._scratch, workers=0)

    def _step1(
        self, model: Any, packed: PackedImages, tokens: Tensor, device: torch.device
    ) -> pd.DataFrame:
        made = response_maps(model, packed, self._image_of, tokens, device=device, precision="fp32")
        parts = (with_maps(self._table.iloc[rows], maps) for rows, maps in made)
        return score_responses(
            parts,
            self._truth,
            size=packed.size,
            threshold=STEP1_THRESHOLD,
            box_input="binary",
        )

    def _step2(
        self, model: Any, packed: PackedImages, tokens: Tensor, device: torch.device
    ) -> pd.DataFrame:
        sizes = self._index.images.set_index("image_id")
        ready(self._table, sizes)
        score = partial(_score_logits, table=self._table, sizes=sizes, truth=self._truth)
        return concat(
            predict_by_image(
                model, packed, self._image_of, tokens, score, device=device, precision="fp32"
            )
        )


def _score_logits(
    rows: NDArray[np.int64],
    logits: Tensor,
    *,
    table: pd.DataFrame,
    sizes: pd.DataFrame,
    truth: Truth,
) -> pd.DataFrame:
    """Records of the expressions of one image, from Step-2's logits (N, h, w)."""
    found = table.iloc[rows]
    height, width = sizes.loc[found["image_id"].iloc[0], ["height", "width"]]
    ids = found["expression_id"].to_numpy()
    made = to_rows(ids, logits.cpu(), height=height, width=width, threshold=STEP2_THRESHOLD)
    return score_rows(made.merge(found[["expression_id", "ref_id"]], on="expression_id"), truth)
