"""Resizing by matrix products against PyTorch's own, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tris_core.data.resize import bilinear, by_products

sides = st.integers(1, 24)


@given(sides, sides, sides, sides, st.booleans(), st.booleans())
def test_products_equal_interpolation(
    height: int, width: int, rows: int, columns: int, align_corners: bool, channels_last: bool
) -> None:
    generator = torch.Generator().manual_seed(height + 31 * width)
    x = torch.rand(2, 3, height, width, generator=generator)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    made = by_products(ours, (rows, columns), align_corners=align_corners)
    expected = F.interpolate(theirs, (rows, columns), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(made, expected, rtol=0, atol=5e-7)
    gradient = torch.rand(made.shape, generator=generator)
    made.backward(gradient)
    expected.backward(gradient)
    largest = max(1.0, theirs.grad.abs().max().item())  # type: ignore[union-attr]
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=2e-6 * largest)


def test_weights_that_inference_made_first_train() -> None:
    with torch.inference_mode():
        by_products(torch.rand(1, 1, 37, 41), (50, 60), align_corners=False)
    x = torch.rand(1, 1, 37, 41, requires_grad=True)
    by_products(x, (50, 60), align_corners=False).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_stays(dtype: torch.dtype) -> None:
    x = torch.rand(1, 2, 5, 5).to(dtype)
    for resize in (bilinear, by_products):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            assert resize(x, (9, 7), align_corners=False).dtype == dtype
