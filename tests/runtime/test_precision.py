"""What `precision` means: the settings of a GPU, and where products stay exact."""

from collections.abc import Iterator

import pytest
import torch

from tests.support.runtime import runtime_params
from tris_core.runtime.device import exact_products, pick_device, set_products
from tris_core.runtime.params import Precision

CPU = torch.device("cpu")


def products() -> tuple[str, str]:
    convolutions = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return convolutions, torch.backends.cuda.matmul.fp32_precision


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    set_products("ieee")


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")]
)
def test_convolutions_and_products_are_alike(
    precision: Precision, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    pick_device(runtime_params(device="cuda", threads=1), precision)
    assert products() == (kind, kind)
    with exact_products(CPU):
        assert products() == (kind, "ieee")
    assert products() == (kind, kind)


def test_exact_products_leave_autocast_and_come_back_after_an_error() -> None:
    set_products("tf32")
    x = torch.rand(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with pytest.raises(ValueError, match="inside"), exact_products(CPU):
            assert (x @ x).dtype == torch.float32
            raise ValueError("inside")
        assert (x @ x).dtype == torch.bfloat16
    assert products() == ("tf32", "tf32")
