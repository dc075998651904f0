"""ImageNet's ResNet-50 as the boundary network reads it: found, checked and loaded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from tests.support.random_resnet import write_resnet50
from tris_core.clip.imagenet import RESNET50_CHANNELS, describe_imagenet, load_resnet50
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file

NAME = "resnet50-0676ba61.pth"  # torchvision's first weights, in torch's cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A torch home with random numbers in place of torchvision's file, and its content."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    return home, write_resnet50(home / "hub" / "checkpoints" / NAME)


def test_torchvisions_file_is_found_in_torchs_cache(
    cache: tuple[Path, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, state = cache
    monkeypatch.setenv("TORCH_HOME", str(home))
    described = describe_imagenet("torchvision")
    assert described.file == "torchvision", "the description holds on machines with another cache"
    assert described.sha256 == sha256_of_file(home / "hub" / "checkpoints" / NAME)
    loaded = load_resnet50(described).state_dict()
    assert loaded.keys() == {key for key in state if key.split(".")[0] != "fc"}
    for key, value in loaded.items():
        assert torch.equal(value, state[key].to(value.dtype)), key
        assert value.dtype == (torch.int64 if key.endswith("tracked") else torch.float32)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for use in (lambda: describe_imagenet("torchvision"), lambda: load_resnet50(described)):
        with pytest.raises(InputError, match="nothing is downloaded unasked") as error:
            use()
        assert str(tmp_path / "hub" / "checkpoints" / NAME) in str(error.value)


def test_it_computes_what_torchvision_computes(
    cache: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    """From an older file too, which counts no batches."""
    old = {key: value for key, value in cache[1].items() if not key.endswith("tracked")}
    torch.save(old, tmp_path / "old.pth")
    ours = load_resnet50(describe_imagenet(str(tmp_path / "old.pth"))).eval()
    theirs = resnet50(weights=None)
    theirs.load_state_dict(cache[1])
    theirs.fc = nn.Identity()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.eval()(image))
        assert ours(image).shape[1] == RESNET50_CHANNELS[-1]


def test_another_file_is_refused(cache: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path, state = tmp_path / "r.pth", cache[1]
    for changed, words in (
        ({k: v for k, v in state.items() if k != "conv1.weight"}, "missing: conv1.weight"),
        ({**state, "layer1.3.conv1.weight": torch.zeros(1)}, "unexpected: layer1.3.conv1.weight"),
        ({**state, "bn1.bias": torch.zeros(3)}, "of another shape: bn1.bias"),
        ({**state, "bn1.bias": torch.full((64,), torch.nan)}, "bn1.bias holds values that are not"),
        ({**state, "bn1.bias": 1}, "no network has such"),
    ):
        torch.save(changed, path)
        with pytest.raises(InputError, match=words) as error:
            load_resnet50(describe_imagenet(str(path)))
        assert str(path) in str(error.value)
    described = describe_imagenet(str(path))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not the file that prepare_clip saw; run `dvc repro -f"):
        load_resnet50(described)
    path.unlink()
    with pytest.raises(InputError, match="no such file; download it or correct the path"):
        load_resnet50(described)
