"""Released checkpoints become our models, with the numbers of the released implementation."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from tests.golden.reference import close, formula_input, golden
from tests.support.hub import put
from tests.support.tiny_released import (
    BUILDERS,
    CLIP,
    POOLING,
    STEP1,
    STEP2,
    folder_config,
    formula_state,
    imported,
    released,
    small,
    with_pooling,
)
from tris_core.cli.main import app
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.step1.network import build_step1
from tris_core.step2.network import build_step2
from tris_core.weights.configs import Step1Config, Step2Config
from tris_core.weights.model_folder import load_model, save_model
from tris_core.weights.released import SIZE, TEXT, _deduced_step2, _Shapes, open_weights


def kept(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What our networks take of a released state dict."""
    return {key: value for key, value in state.items() if not key.startswith(POOLING)}


def test_step1_gives_the_released_responses(tmp_path: Path) -> None:
    file = released(formula_state("step1"), tmp_path / "step1.pth", prefix="module.")
    said = imported(file, tmp_path / "model")
    model, config = load_model(tmp_path / "model", Step1Config, build_step1)
    g = golden("step1")
    with torch.no_grad():
        vis = model.eval().encode_image(formula_input("step1.image", (6, 3, 320, 320))[:2])
        close(
            model.respond_pairs(vis, model.encode_text(torch.from_numpy(g["tokens"])[:2]))[:, None],
            g["eval_response_single"][:2],
        )
    assert config.text.content() == {"max_tokens": 20, "overflow": "cut"}
    assert (config.size, config.clip.vocabulary) == (320, None)
    source = config.source
    assert source is not None
    assert source.sha256 == sha256_of_file(file)
    assert source.found is not None
    assert source.found.temperature == pytest.approx(0.07)
    groups = [(group.lr, group.initial_lr, group.tensors) for group in source.found.optimizer]
    assert groups == [(1e-7, 5e-6, 3), (1e-6, 5e-5, 1)]
    for part in (
        "temperature: 0.07",
        "optimizer group 1: 3 tensors, lr 1e-07, initial_lr 5e-06",
        "epoch: 14",
        source.sha256,
    ):
        assert part in said


def test_step2_gives_the_released_logits(tmp_path: Path) -> None:
    imported(
        released(formula_state("step2"), tmp_path / "step2.pth"), tmp_path / "model", "--stage", "2"
    )
    model, _ = load_model(tmp_path / "model", Step2Config, build_step2)
    g = golden("step2")
    with torch.no_grad():
        finest = model.eval()(
            formula_input("step2.image", (3, 3, 320, 320))[:1], torch.from_numpy(g["tokens"])[:1]
        )[0]
    close(finest[:, :, ::8, ::8], g["eval_logits_stride8"][:1])


@pytest.mark.parametrize("stage", [1, 2])
def test_the_configuration_follows_from_the_shapes(stage: int, tmp_path: Path) -> None:
    state, config = open_weights(released(small(stage), tmp_path / "r.pth"), BUILDERS)
    assert config.clip.config.content() == CLIP
    expected = {1: {**STEP1, "temperature": pytest.approx(0.05)}, 2: STEP2}[stage]
    assert config.model.content() == expected
    assert state.keys() == kept(small(stage)).keys()
    assert len(small(stage)) == len(state) + 9


@pytest.mark.parametrize("name", ["RN50-quickgelu", "RN101-quickgelu"])
def test_the_papers_clip_is_deduced(name: str) -> None:
    clip = open_clip.get_model_config(name)
    content = {
        "clip": {"config": clip, "vocabulary": None},
        "text": TEXT,
        "size": SIZE,
        "model": {**STEP2, "stage_channels": [256, 512, 1024, 2048], "text_width": 512},
    }
    config = Step2Config.model_validate(content)
    with torch.device("meta"):
        state = with_pooling(build_step2(config), config)
    deduced = _deduced_step2(_Shapes(state, Path("file")))
    clip["vision_cfg"].pop("patch_size")
    assert deduced["clip"]["config"] == clip


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {new if k == old else k: v for k, v in state.items()}


def given(key: str, value: Tensor) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {**state, key: value}


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        (1, without("attn_fusion.v_proj2.0.bias"), ["missing: attn_fusion.v_proj2.0.bias"]),
        (1, renamed("attn_fusion.t_output.0.bias", "attn_fusion.t_out.0.bias"),
         ["missing: attn_fusion.t_output.0.bias", "unexpected: attn_fusion.t_out.0.bias"]),
        (1, renamed("vis_project.weight", "vis_proj.weight"),
         ["vis_project.weight, which is missing"]),
        (1, without("logit_scale"), ["logit_scale, which is missing"]),
        (1, given("pooler.weight", torch.ones(1)), ["unexpected: pooler.weight"]),
        (1, given("lan_project.bias", torch.ones(5)), ["of another shape: lan_project.bias"]),
        (1, given("lan_project.bias", torch.full((12,), math.nan)),
         ["lan_project.bias holds values that are not finite"]),
        (2, without("final_seg3.1.weight"), ["missing: final_seg3.1.weight"]),
        (2, without("backbone.visual.layer2.1.bn3.bias"),
         ["missing: backbone.visual.layer2.1.bn3.bias"]),
        (2, without("reduced_c2.conv.weight"), ["reduced_c2.conv.weight, which is missing"]),
        (2, given("attn_fusion.v_proj1.0.bias", torch.ones(1)), ["neither Step-1", "nor Step-2"]),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(
    stage: int, change: Callable[[dict[str, Any]], dict[str, Any]], words: list[str], tmp_path: Path
) -> None:
    path = released(change(small(stage)), tmp_path / "changed.pth")
    with pytest.raises(InputError) as error:
        open_weights(path, BUILDERS)
    assert all(word in str(error.value) for word in [str(path), *words]), error.value


def test_half_precision_on_request(tmp_path: Path) -> None:
    state = small(1)
    beyond = next(key for key in kept(state) if key.endswith("running_var"))
    state[beyond] = state[beyond] + 1e5  # more than float16 can hold
    imported(released(state, tmp_path / "r.pth"), tmp_path / "half", "--half")
    taken, _ = open_weights(tmp_path / "half", BUILDERS)
    for key, value in kept(state).items():
        rounds = value.is_floating_point() and key != beyond
        assert torch.equal(taken[key], value.half().float() if rounds else value), key
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert stored["lan_project.bias"].dtype == torch.float16
    assert stored[beyond].dtype == torch.float32


def test_a_file_of_another_step_is_refused(tmp_path: Path) -> None:
    file = released(small(1), tmp_path / "r.pth")
    with pytest.raises(InputError, match="holds Step-1, not Step-2"):
        open_weights(file, {2: build_step2})
    result = CliRunner().invoke(
        app, ["import-weights", str(file), "--out", str(tmp_path / "out"), "--stage", "2"]
    )
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
    torch.save(small(1), tmp_path / "bare.pth")
    with pytest.raises(InputError, match="no released checkpoint: it has no `model`"):
        open_weights(tmp_path / "bare.pth", BUILDERS)
    with pytest.raises(InputError, match="no such file"):
        open_weights(tmp_path / "nowhere.pth", BUILDERS)


def test_a_checkpoint_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    file = released(small(1), tmp_path / "r.pth")
    put(tmp_path / "hub", "lab/tris", "step1/r.pth", file.read_bytes())
    state, config = open_weights("hf://lab/tris/step1/r.pth", BUILDERS)
    theirs, expected = open_weights(file, BUILDERS)
    assert all(torch.equal(state[key], value) for key, value in theirs.items())
    assert expected.source is not None
    source = expected.source.model_copy(update={"file": "hf://lab/tris/step1/r.pth"})
    assert config == expected.model_copy(update={"source": source})


def test_a_model_folder_is_read_unchanged(tmp_path: Path) -> None:
    content = folder_config()
    config = Step1Config.model_validate(content)
    save_model(tmp_path / "folder", build_step1(config).state_dict(), config)
    file = tmp_path / "folder" / "model.safetensors"
    state, taken = open_weights(tmp_path / "folder", BUILDERS)
    digest = sha256_of_file(file)
    assert taken.content() == {
        **content,
        "weights_sha256": digest,
        "source": {"file": str(tmp_path / "folder"), "sha256": digest},
    }
    save_model(tmp_path / "copy", state, config)
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == file.read_bytes()
    wider = Step1Config.model_validate(folder_config(model={**STEP1, "hidden": 13}))
    save_model(tmp_path / "folder", small(1), wider)
    with pytest.raises(InputError, match="of another shape: attn_fusion"):
        open_weights(tmp_path / "folder", BUILDERS)
