"""Supplied results replace those of a stage. They are checked and copied; unneeded stages skip."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import stages.crf_seeds
import stages.dump_responses
import stages.index
import stages.pack_images
import stages.prepare_clip
import stages.refine
import stages.train_irn
import stages.train_step1
import stages.train_step2
from stages._artifacts import CLIP
from tests.support.hub import put
from tests.support.in_process import enter, run, set_param, write_params
from tests.support.tiny_refer import TinyRefer, dataset_params
from tests.support.tiny_released import BUILDERS, released, small
from tris_core.clip.towers import pyramid_channels, stage_channels
from tris_core.data.rle import encode
from tris_core.responses.file import SCHEMA
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.clip_spec import ClipPair
from tris_core.weights.configs import Source, model_config
from tris_core.weights.model_folder import read_config, save_model

TRAINED = {
    1: {"hidden": 8, "alpha": 0.1, "beta": 0.1, "temperature": 0.07, "learn_temperature": False},
    2: {"text_width": 128, "width": 8},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the index, the packed images and the CLIPs of a tiny data set."""
    base = tmp_path_factory.mktemp("doors")
    TinyRefer().write(base / "root")
    folder = base / "work"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        patch.setenv("TRIS_SCRATCH", str(base / "scratch"))
        write_params({"dataset": dataset_params(base / "root"), "pack_images": {"side": 64}})
        for module in (stages.index, stages.pack_images, stages.prepare_clip):
            run(module)
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared working directory."""
    monkeypatch.setattr("stages._stage.end_with_parent", lambda: None)
    shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def refuse(module: Any, *words: str) -> None:
    """Run a stage, which must fail with these words."""
    result = CliRunner().invoke(module.app, [])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output


def responses() -> pd.DataFrame:
    """Maps of the six sentences of the tiny data set, in another order than the index."""
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=6).astype(np.float32) for _ in range(6)]
    return pd.DataFrame({"expression_id": [5, 0, 4, 3, 2, 1], "height": 2, "width": 3, "map": maps})


def labels() -> pd.DataFrame:
    """Pseudo-labels of the two training refs, on an image of 40 x 60 pixels."""
    masks = {11: np.arange(2400).reshape(40, 60) % 7 == 0, 10: np.ones((40, 60), bool)}
    size = {"height": 40, "width": 60}
    rows = [{"ref_id": i, **size, "counts": encode(mask)} for i, mask in masks.items()]
    return pd.DataFrame(rows)


def test_supplied_responses_are_joined_with_the_index(place: Path) -> None:
    responses().to_parquet("theirs.parquet")
    set_param("dump_responses.from", "theirs.parquet")
    run(stages.dump_responses)
    written = pd.read_parquet("data/responses.parquet").set_index("expression_id")
    assert list(pd.read_parquet("data/responses.parquet").columns) == SCHEMA.names
    for row in responses().itertuples():
        assert np.array_equal(written.at[row.expression_id, "map"], row.map)
    assert written["ref_id"].to_dict() == {0: 10, 1: 11, 2: 11, 3: 13, 4: 12, 5: 12}
    assert written["image_id"].to_dict() == {0: 70, 1: 70, 2: 70, 3: 70, 4: 7, 5: 7}
    splits = ["train", "train", "train", "testA", "val", "val"]
    assert written["split"].to_dict() == dict(enumerate(splits))


def with_value(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        values = list(table[column])
        values[row] = value
        return table.assign(**{column: values})

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(index=1), ["1 expression_id missing, the first is 0"]),
        (lambda t: pd.concat([t, t.iloc[[3]]]), ["1 expression_id twice, the first is 3"]),
        (with_value("expression_id", 2, 99), ["1 expression_id missing, the first is 4"]),
        (
            lambda t: pd.concat([t, t.iloc[[3]].assign(expression_id=77)]),
            ["1 expression_id not in the index, the first is 77"],
        ),
        (with_value("height", 4, 3), ["maps must be of one size", "[[2, 3], [3, 3]]"]),
        (
            with_value("map", 4, np.zeros(5, np.float32)),
            ["row 4, expression_id 2", "does not have 2 x 3 values (5)"],
        ),
        (
            with_value("map", 3, np.array([0, 1, 2, 3, 4, np.inf], np.float32)),
            ["row 3, expression_id 3", "not finite"],
        ),
        (lambda t: t.assign(map=[np.full(6, 1e300)] * 6), ["row 0, expression_id 5", "not finite"]),
        (with_value("map", 0, None), ["row 0, expression_id 5: its map is missing"]),
        (
            lambda t: t.assign(map=[[str(i)] for i in range(6)]),
            ["column map is list<", "expected lists of floats"],
        ),
        (lambda t: t.assign(width=3.0), ["column width is double, expected integers"]),
        (
            lambda t: t.drop(columns="width"),
            ["has no column width; found expression_id, height, map"],
        ),
    ],
)
def test_invalid_responses_are_refused(
    place: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: list[str]
) -> None:
    change(responses()).to_parquet("theirs.parquet", index=False)
    set_param("dump_responses.from", "theirs.parquet")
    refuse(stages.dump_responses, "theirs.parquet", *words)
    assert not Path("data/responses.parquet").exists()


def test_a_file_that_is_not_a_table_is_refused(place: Path) -> None:
    set_param("dump_responses.from", "nowhere.parquet")
    refuse(stages.dump_responses, "nowhere.parquet: no such file")
    Path("text.parquet").write_text("no table")
    set_param("dump_responses.from", "text.parquet")
    refuse(stages.dump_responses, "text.parquet: not a Parquet file")


def test_supplied_pseudo_labels_are_copied_in_order(place: Path) -> None:
    labels().to_parquet("theirs.parquet", index=False)
    set_param("refine.from", "theirs.parquet")
    run(stages.refine)
    written = pd.read_parquet("data/pseudo_labels.parquet")
    pd.testing.assert_frame_equal(written, labels().sort_values("ref_id", ignore_index=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.iloc[:1], ["1 training ref_id missing, the first is 10"]),
        (lambda t: pd.concat([t, t]), ["2 training ref_id twice"]),
        (with_value("ref_id", 0, 12), ["1 training ref_id missing, the first is 11"]),
        (
            lambda t: pd.concat([t, t.iloc[[0]].assign(ref_id=13)]),
            ["1 training ref_id not in the index, the first is 13"],
        ),
        (lambda t: t.assign(height=60, width=40), ["ref_id 10", "are not its image's ([40, 60])"]),
        (
            with_value("counts", 0, encode(np.ones((40, 59), bool))),
            ["ref_id 11: its counts are not", "40 x 60"],
        ),
        (with_value("counts", 1, b"\xff\x00junk"), ["ref_id 10: its counts are not"]),
        (lambda t: t.assign(counts="text"), ["column counts is", "expected bytes"]),
    ],
)
def test_invalid_pseudo_labels_are_refused(
    place: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: list[str]
) -> None:
    change(labels()).to_parquet("theirs.parquet", index=False)
    set_param("refine.from", "theirs.parquet")
    refuse(stages.refine, "theirs.parquet", *words)
    assert not Path("data/pseudo_labels.parquet").exists()


def test_with_supplied_responses_step1_is_skipped(place: Path) -> None:
    set_param("dump_responses.from", "theirs.parquet")
    assert "not trained, dump_responses.from is theirs.parquet" in run(stages.train_step1)
    assert [path.name for path in Path("models/step1").iterdir()] == ["config.json"]
    assert Path("metrics/curves/step1.csv").read_text() == "step,total\n"
    set_param("dump_responses.from", None)
    refuse(
        stages.dump_responses,
        "models/step1: holds no model (dump_responses.from is theirs.parquet)",
    )


def test_with_supplied_pseudo_labels_crf_and_irn_are_skipped(place: Path) -> None:
    set_param("refine.from", "theirs.parquet")
    run(stages.crf_seeds)
    columns = ["ref_id", "image_id", "label"]
    assert list(pd.read_parquet("data/crf_seeds.parquet").columns) == columns
    run(stages.train_irn)
    assert Path("metrics/curves/irn.csv").read_text() == "step,total\n"
    set_param("refine.from", None)
    refuse(stages.train_irn, "data/crf_seeds.parquet: no seeds")
    refuse(stages.refine, "models/irn: holds no model (refine.from is theirs.parquet)")


def trained(stage: int, size: int, folder: Path) -> Path:
    """A model folder with random weights and the demo CLIP."""
    clip = ClipPair.read(CLIP).backbone
    channels = stage_channels(clip.config)
    of_clip = {
        1: {"visual_channels": channels[-1], "text_channels": 128},
        2: {"stage_channels": list(pyramid_channels(clip)[1:])},
    }
    text, model = {"max_tokens": 20, "overflow": "cut"}, {**TRAINED[stage], **of_clip[stage]}
    content = {"clip": clip, "text": text, "size": size, "model": model}
    config = model_config(content, folder)
    save_model(folder, BUILDERS[stage](config).state_dict(), config)
    return folder


@pytest.mark.parametrize(("stage", "module"), [(1, stages.train_step1), (2, stages.train_step2)])
def test_supplied_weights_are_copied(place: Path, stage: int, module: Any) -> None:
    theirs = trained(stage, 64, Path("theirs"))
    set_param(f"train_step{stage}.weights", "theirs")
    assert "not trained" in run(module)
    ours = Path(f"models/step{stage}")
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    source = read_config(ours).source
    assert source == Source(file="theirs", sha256=sha256_of_file(theirs / "model.safetensors"))
    assert Path(f"metrics/curves/step{stage}.csv").read_text() == "step,total\n"
    if stage == 1:
        run(stages.dump_responses)
        assert len(pd.read_parquet("data/responses.parquet")) == 6


def test_weights_of_another_size_or_step_are_refused(place: Path) -> None:
    trained(1, 96, Path("large"))
    set_param("train_step1.weights", "large")
    refuse(
        stages.train_step1, "large: trained on squares of 96 pixels, not 64; set pack_images.side"
    )
    set_param("train_step2.weights", "large")
    refuse(stages.train_step2, "large: holds Step-1, not Step-2")
    assert not Path("models/step1").exists()


def test_weights_from_the_hub_come_from_its_cache(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for step, module in ((1, stages.train_step1), (2, stages.train_step2)):
        location = f"hf://lab/tris@v1/step{step}.pth"
        set_param(f"train_step{step}.weights", location)
        refuse(module, f"`tris fetch {location}`")
        file = released(small(step), tmp_path / "theirs.pth")
        put(tmp_path / "hub", "lab/tris", f"step{step}.pth", file.read_bytes(), ref="v1")
        refuse(module, f"{location}: trained on squares of 320 pixels, not 64")


def test_random_clip_weights_cause_a_warning(place: Path) -> None:
    set_param("prepare_clip.backbone", "convnext_tiny")
    set_param("prepare_clip.backbone_weights", "random")
    assert "WARNING: the backbone's weights are random" in run(stages.prepare_clip)
    set_param("prepare_clip.visual_init", "imagenet")
    refuse(stages.prepare_clip, "params.yaml", "visual_init: imagenet needs imagenet_weights")
