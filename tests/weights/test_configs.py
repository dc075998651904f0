"""Descriptions of CLIPs and models: what is read is what is written, key by key."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tris_core.clip.names import DEMO as DEMO_CLIP
from tris_core.demo.train_clip import demo_config, demo_vocabulary
from tris_core.predict.predictor import DEMO
from tris_core.runtime.files import read_sealed_json
from tris_core.weights.clip_spec import ClipConfig, ClipSpec, VisionConfig
from tris_core.weights.configs import Step1Config
from tris_core.weights.model_folder import read_config


@pytest.mark.parametrize("folder", DEMO, ids=lambda folder: folder.name)
def test_a_configuration_keeps_its_keys_and_their_order(folder: Path) -> None:
    content = read_sealed_json(folder / "config.json")
    assert json.dumps(read_config(folder).content()) == json.dumps(content)


def test_the_demo_clip_is_trained_with_the_architecture_in_the_package() -> None:
    written = json.dumps(demo_config(len(demo_vocabulary())).content(), indent=2) + "\n"
    assert written == (DEMO_CLIP / "config.json").read_text()


def test_whole_numbers_of_a_timm_tower_stay_whole() -> None:
    tower: dict[str, Any] = {"image_size": 64, "timm_model_name": "x", "attn_pooler_heads": 8}
    heads = VisionConfig.model_validate(tower).content()["attn_pooler_heads"]
    assert type(heads) is int


def test_a_spec_says_what_its_users_ask_for() -> None:
    step1 = read_config(DEMO[0])
    assert isinstance(step1, Step1Config)
    clip = step1.clip
    assert (clip.image_size, clip.text_width, clip.context_length) == (96, 128, 32)


def test_a_description_is_frozen() -> None:
    config = ClipConfig.model_validate(json.loads((DEMO_CLIP / "config.json").read_text()))
    spec = ClipSpec(name="demo", config=config, vocabulary=demo_vocabulary())
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "another"  # type: ignore[misc]
