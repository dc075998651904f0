"""The sparse Chebyshev walk against released numbers and a dense float64 twin."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from tests.golden.reference import golden
from tris_core.refinement.random_walk import (
    chebyshev_coefficients,
    gathered_step,
    sparse_step,
    transition_matrix,
    walk,
)


def dense_transition(edge: np.ndarray, radius: int, beta: float) -> np.ndarray:
    """T of the paper, whose columns sum to 1, pair by pair. A path counts in both directions."""
    height, width = edge.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    affinity = np.eye(len(cells))
    for i, (y0, x0) in enumerate(cells):
        for j, (y1, x1) in enumerate(cells):
            dy, dx = y1 - y0, x1 - x0
            if i == j or math.hypot(dy, dx) >= radius:
                continue
            box = [
                (y, x)
                for y in range(min(y0, y1), max(y0, y1) + 1)
                for x in range(min(x0, x1), max(x0, x1) + 1)
            ]
            on_path = [
                (y, x) for y, x in box if (dy * (x - x0) - dx * (y - y0)) ** 2 < dy**2 + dx**2
            ]
            affinity[i, j] = 1 - max(edge[p] for p in on_path)
    scaled = affinity**beta
    return scaled / scaled.sum(axis=0)


def exact_walk(
    cam: np.ndarray, edge: np.ndarray, *, radius: int, beta: float, exp_times: int
) -> np.ndarray:
    transition = np.linalg.matrix_power(dense_transition(edge, radius, beta), 2**exp_times)
    return ((cam * (1 - edge)).reshape(len(cam), -1) @ transition).reshape(cam.shape)


@pytest.mark.parametrize(("exp_times", "steps"), [(8, 256), (4, 16)])
def test_walk_is_the_released_one(exp_times: int, steps: int) -> None:
    g = golden("random_walk")
    walked = walk(torch.from_numpy(g["cam"]), torch.from_numpy(g["edge"][0]), exp_times=exp_times)
    expected = g[f"walked_{steps}"]
    assert walked.dtype == torch.float32
    assert np.abs(walked.numpy() - expected).max() <= 1e-4 * expected.max()


@settings(max_examples=15, deadline=None)
@given(
    # Maps narrower than the radius too: there, two offsets share one flat index.
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    radius=st.integers(2, 5),
    beta=st.sampled_from([1.0, 10.0]),
    exp_times=st.integers(0, 8),
    seed=st.integers(0, 2**31),
)
def test_walk_equals_the_dense_twin(
    size: tuple[int, int], radius: int, beta: float, exp_times: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    cam, edge = rng.random((2, *size)), rng.random(size)
    walked = walk(
        torch.from_numpy(cam), torch.from_numpy(edge), radius=radius, beta=beta, exp_times=exp_times
    )
    expected = exact_walk(cam, edge, radius=radius, beta=beta, exp_times=exp_times)
    # The float32 rounding of a row sum is compounded 256 times: up to 6e-5 was seen, and 1.3e-7
    # with the same code in float64.
    np.testing.assert_allclose(walked.numpy(), expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("size", [(13, 17), (1, 6), (9, 2)])
def test_gathering_is_the_sparse_product(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    edge = torch.rand(size, generator=generator)
    x, before = torch.rand(2, edge.numel(), 4, generator=generator)
    sparse, gathered = (form(edge, 5, 10) for form in (sparse_step, gathered_step))
    torch.testing.assert_close(gathered(x), sparse(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(gathered(x, before), sparse(x, before), rtol=0, atol=2e-6)


def test_a_single_pixel_far_below_the_maximum_keeps_its_shape() -> None:
    """A point spreads to a thousandth of its start. The cut must be small against that too."""
    cam = np.zeros((1, 40, 40))
    cam[0, 11, 17] = 1
    edge = np.zeros((40, 40))
    walked = walk(torch.from_numpy(cam), torch.from_numpy(edge))
    step = transition_matrix(torch.from_numpy(edge), 5, 10).to_dense().double().numpy()
    expected = cam.ravel()
    for _ in range(256):
        expected = step @ expected
    assert expected.max() < 2e-3
    assert np.abs(walked.numpy().ravel() - expected).max() < 1e-3 * expected.max()


def test_rows_of_a_step_sum_to_one_and_neighbours_stay_inside() -> None:
    edge = torch.from_numpy(np.random.default_rng(0).random((12, 17)))
    step = transition_matrix(edge, 5, 10).to_dense()
    torch.testing.assert_close(step.sum(dim=1), torch.ones(12 * 17, dtype=step.dtype))
    corners = (transition_matrix(torch.zeros(12, 17), 5, 10).to_dense() > 0).sum(dim=1)
    assert corners[0] == sum(1 for y in range(5) for x in range(5) if math.hypot(y, x) < 5)
    assert corners.max() == 69


def test_without_edges_a_constant_stays_and_maps_are_independent() -> None:
    cam = torch.stack(
        [torch.full((15, 11), 0.4), torch.rand(15, 11, generator=torch.Generator().manual_seed(0))]
    )
    walked = walk(cam, torch.zeros(15, 11))
    torch.testing.assert_close(walked[0], cam[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(walked[1], walk(cam[1:], torch.zeros(15, 11))[0])


def test_nothing_crosses_a_wall() -> None:
    edge = torch.zeros(16, 20)
    edge[:, 9] = 1
    cam = torch.zeros(1, 16, 20)
    cam[0, :, :9] = 1
    walked = walk(cam, edge)[0]
    torch.testing.assert_close(walked[:, :9], torch.ones(16, 9), rtol=0, atol=1e-5)
    assert walked[:, 9:].abs().max() < 1e-6


@pytest.mark.parametrize("power", [1, 2, 16, 256])
def test_chebyshev_coefficients_are_those_of_the_power(power: int) -> None:
    cut = chebyshev_coefficients(power)
    z = np.linspace(-1, 1, 401)
    np.testing.assert_allclose(chebyshev.chebval(z, cut), z**power, atol=1e-5)
    exact = chebyshev_coefficients(power, 0.0)
    assert exact == pytest.approx(
        [*([0.0] * power), 1.0] if power == 1 else chebyshev.poly2cheb(np.eye(power + 1)[power])
    )
    assert len(cut) <= min(power + 1, 72)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"cam \(1, 8, 8\) and edge \(8, 9\) differ"):
        walk(torch.zeros(1, 8, 8), torch.zeros(8, 9))
