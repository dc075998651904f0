"""JSON that contains its own hash. `tests.runtime.test_files` tests flipped bits."""

import hashlib
import json
from pathlib import Path

import pytest

from tris_core.runtime.errors import InputError
from tris_core.runtime.files import read_sealed_json, write_json, write_sealed_json

CONTENT = {"layers": [1, 2], "name": "é", "alpha": 0.1, "none": None}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "config.json"
    write_sealed_json(path, CONTENT)
    return path


def test_content_comes_back_and_the_seal_is_the_hash_of_the_file(sealed: Path) -> None:
    assert read_sealed_json(sealed) == CONTENT
    seal = json.loads(sealed.read_text())["seal"]
    assert list(json.loads(sealed.read_text()))[-1] == "seal"
    blank = sealed.read_text().replace(seal, "0" * 64)
    assert hashlib.sha256(blank.encode()).hexdigest() == seal


def test_json_without_a_seal_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "plain.json", CONTENT)
    with pytest.raises(InputError, match="has no seal"):
        read_sealed_json(tmp_path / "plain.json")
