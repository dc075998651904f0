"""Parameter files: all faults are named before anything starts."""

from pathlib import Path

import pytest

from tests.support.closure import ROOT
from tris_core.runtime.errors import InputError
from tris_core.runtime.params import read_params
from tris_core.step1.params import TrainStep1Params

GOOD = (ROOT / "presets" / "shapes.yaml").read_text()


def written(tmp_path: Path, old: str, new: str) -> Path:
    assert old in GOOD
    path = tmp_path / "params.yaml"
    path.write_text(GOOD.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("beta: 10.0", "beta: -1.0", "refine.beta = -1.0: Input should be greater than 0"),
        ("beta: 10.0", "beta: .nan", "refine.beta = nan: Input should be a finite number"),
        ("beta: 10.0", "beta: .inf", "refine.beta = inf: Input should be a finite number"),
        (
            "seed: 0\n  steps: 440",
            "seed: 4294967296\n  steps: 440",
            "train_step2.seed = 4294967296",
        ),
        ("  radius: 5\n  beta", "  radios: 5\n  beta", "refine.radios: unknown parameter"),
        ("method: irn", "method: sam", "method sam needs sam_weights"),
        (
            "method: step1, precision: fp32, from: null",
            "method: grad_cam, precision: fp32, from: x",
            "`from` replaces method",
        ),
        ("  radius: 5\n  beta", "  radios: 5\n  beta", "refine.radius: this parameter is missing"),
        ("runtime:", "runtme:", "runtme: unknown section"),
        ("runtime:", "runtme:", "runtime: this section is missing"),
        ("name: shapes", "name: cocoo", "dataset.name = 'cocoo'"),
        ("learnable: false", "learnable: maybe", "train_step1.temperature.learnable = 'maybe'"),
        ("crop: 128", "crop: 190", "train_irn.crop = 190: Input should be a multiple of 16"),
        ("epochs: null", "epochs: 15", "give either steps or epochs"),
        ("dataset: {", "dataset: {{", "not YAML"),
    ],
)
def test_a_fault_is_named_with_file_parameter_and_value(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = written(tmp_path, old, new)
    with pytest.raises(InputError, match=r"params\.yaml") as error:
        read_params(path)
    assert message in str(error.value)


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 0", "seed: -1")
    with pytest.raises(InputError) as error:
        read_params(path)
    assert len(str(error.value).splitlines()) == GOOD.count("seed: 0")


def test_a_missing_file_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="copy a file of presets/"):
        read_params(tmp_path / "params.yaml")


def test_numbers_may_be_written_as_dvc_writes_them(tmp_path: Path) -> None:
    path = written(tmp_path, "eps: 1.0e-4", "eps: 1e-05")
    assert read_params(path)[TrainStep1Params].loss.eps == 1e-5


def test_epochs_do_not_count_the_last_short_batch(tmp_path: Path) -> None:
    steps = read_params(written(tmp_path, "seed: 0", "seed: 1"))[TrainStep1Params]
    epochs = steps.model_copy(update={"steps": None, "epochs": 3})
    assert epochs.total_steps(5 * steps.batch + 1) == 15
    assert steps.total_steps(10) == steps.steps
