"""The random walk of three maps, against the dense matrix power of the released code.

Both approximate 256 products. At 80 x 80 both are checked against them in float64. The floor is the
time to read the sparse matrix and the vectors once per product. 120 x 160 is the stride-4 map of an
image of 640 x 480.
"""

import torch
from torch import Tensor

from benchmarks._measure import Row, bandwidth, device, row, seconds, show
from tris_core.refinement.random_walk import chebyshev_coefficients, transition_matrix, walk

CHANNELS, RADIUS, BETA, EXP_TIMES = 3, 5, 10.0, 8
TOLERANCE = 1e-4  # of the largest value


def main() -> None:
    show([measure(80, 80, against_dense=True), measure(120, 160, against_dense=False)])


def measure(height: int, width: int, *, against_dense: bool) -> Row:
    generator = torch.Generator().manual_seed(0)
    cam = torch.rand(CHANNELS, height, width, generator=generator).to(device())
    edge = (torch.rand(height, width, generator=generator) ** 4).to(device())
    matrix = transition_matrix(edge, RADIUS, BETA)
    products = len(chebyshev_coefficients(2**EXP_TIMES)) - 1
    vectors = 4 * cam.numel() * 4  # read twice, written twice
    floor = products * (8 * matrix.values().numel() + vectors) / bandwidth()
    ours = seconds(lambda: walk(cam, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES))
    twin = None
    if against_dense:
        walked = walk(cam, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)
        exact = step_by_step(matrix.to_dense().double(), cam, edge)
        assert (walked - exact).abs().max() < TOLERANCE * exact.max()
        made: list[Tensor] = []
        dense = matrix.to_dense()
        twin = seconds(lambda: made.append(dense_power(dense, cam, edge)), repeats=1, warm_up=False)
        assert (made[0] - exact).abs().max() < TOLERANCE * exact.max()
    return row(
        f"walk {height} x {width}",
        ours,
        twin=twin,
        floor=floor,
        products=products,
        device=str(device()),
    )


def dense_power(matrix: Tensor, cam: Tensor, edge: Tensor) -> Tensor:
    """The released formulation: the dense transition matrix, squared eight times."""
    for _ in range(EXP_TIMES):
        matrix = matrix @ matrix
    return (matrix @ (cam * (1 - edge)).flatten(1).T).T.reshape(cam.shape)


def step_by_step(matrix: Tensor, cam: Tensor, edge: Tensor) -> Tensor:
    """256 products with the matrix."""
    values = (cam * (1 - edge)).flatten(1).T.to(matrix.dtype)
    for _ in range(2**EXP_TIMES):
        values = matrix @ values
    return values.T.reshape(cam.shape).float()
