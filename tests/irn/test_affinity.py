"""Paths, affinities, pairs and losses of IRN against the release, plain loops and formulas."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.golden.reference import golden
from tris_core.irn.affinity import edge_to_affinity, irn_losses, pair_masks, search_paths


def label_map(seed: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).choice(np.uint8([0, 1, 255]), (2, height, width))
    )


def sources(height: int, width: int, radius: int) -> list[tuple[int, int]]:
    reach = radius - 1
    return [(y, x) for y in range(height - reach) for x in range(reach, width - reach)]


def on_path(dy: int, dx: int, y: int, x: int) -> bool:
    """Near the line (by the sine of the angle) and within the box."""
    distance = math.hypot(y, x) * abs(math.sin(math.atan2(dx, dy) - math.atan2(x, y)))
    return distance < 1 - 1e-9 and 0 <= y <= dy and min(0, dx) <= x <= max(0, dx)


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_paths_are_the_pixels_near_the_segment(radius: int) -> None:
    paths = search_paths(radius)
    half_plane = [
        (y, x) for y in range(radius) for x in range(1 - radius, radius)
        if math.hypot(y, x) < radius and (y > 0 or x > 0)
    ]  # fmt: skip
    assert set(paths) == set(half_plane)
    for (dy, dx), path in paths.items():
        grid = [(y, x) for y in range(radius) for x in range(1 - radius, radius)]
        assert set(path) == {p for p in grid if on_path(dy, dx, *p)}
        assert (0, 0) in path
        assert (dy, dx) in path


def test_affinity_equals_the_release() -> None:
    g = golden("random_walk")
    padded = F.pad(torch.from_numpy(g["edge"]), (5, 5, 0, 5), value=1.0)
    affinity = edge_to_affinity(padded, 5).flatten(2)[0]
    row = {offset: k for k, offset in enumerate(search_paths(5))}
    order = [row[tuple(offset)] for offset in g["search_dst"].tolist()]
    assert sorted(order) == list(range(34))
    np.testing.assert_allclose(affinity[order].numpy(), g["affinity_padded"], atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    radius=st.integers(2, 5),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    seed=st.integers(0, 2**31),
)
def test_affinity_is_one_minus_the_largest_edge_on_the_path(
    radius: int, extra: tuple[int, int], seed: int
) -> None:
    height, width = radius + extra[0], 2 * radius - 1 + extra[1]
    edge = torch.from_numpy(np.random.default_rng(seed).random((height, width), np.float32))
    affinity = edge_to_affinity(edge, radius)
    for k, path in enumerate(search_paths(radius).values()):
        expected = [
            1 - max(edge[y + py, x + px].item() for py, px in path)
            for y, x in sources(height, width, radius)
        ]
        np.testing.assert_allclose(affinity[k].flatten().numpy(), expected, atol=1e-6)


def test_pair_counts_equal_the_release() -> None:
    g = golden("irn_net")
    counts = [mask.sum().item() for mask in pair_masks(torch.from_numpy(g["label"]), 10)]
    assert counts == g["counts"].tolist()


def test_pair_masks_equal_a_loop_over_pairs() -> None:
    label = label_map(3, 9, 13)
    masks = pair_masks(label, 4)
    for k, (dy, dx) in enumerate(search_paths(4)):
        for at, (y, x) in enumerate(sources(9, 13, 4)):
            ends = (label[1, y, x].item(), label[1, y + dy, x + dx].item())
            found = tuple(bool(mask[1, k].flatten()[at]) for mask in masks)
            assert found == (ends == (0, 0), ends == (1, 1), sorted(ends) == [0, 1])


def test_losses_equal_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(5)
    logits = torch.from_numpy(rng.normal(size=(2, 1, 8, 12)))
    displacement = torch.from_numpy(rng.normal(size=(2, 2, 8, 12)) * 3)
    label = label_map(7, 8, 12)
    edge = torch.sigmoid(logits)
    terms: dict[str, list[float]] = {
        "bg": [],
        "fg": [],
        "negative": [],
        "apart_bg": [],
        "apart_fg": [],
    }
    for image in range(2):
        for (dy, dx), path in search_paths(4).items():
            for y, x in sources(8, 12, 4):
                ends = {label[image, y, x].item(), label[image, y + dy, x + dx].item()}
                affinity = 1 - max(edge[image, 0, y + py, x + px].item() for py, px in path)
                moved = displacement[image, :, y, x] - displacement[image, :, y + dy, x + dx]
                if ends == {0}:
                    terms["bg"].append(-math.log(affinity + 1e-5))
                    terms["apart_bg"] += moved.abs().tolist()
                elif ends == {1}:
                    terms["fg"].append(-math.log(affinity + 1e-5))
                    terms["apart_fg"] += (moved - torch.tensor([dy, dx])).abs().tolist()
                elif ends == {0, 1}:
                    terms["negative"].append(-math.log(1 + 1e-5 - affinity))
    mean = {name: float(np.mean(values)) for name, values in terms.items()}
    expected = {
        "affinity_positive": (mean["bg"] + mean["fg"]) / 2,
        "affinity_negative": mean["negative"],
        "displacement_fg": mean["apart_fg"],
        "displacement_bg": mean["apart_bg"],
    }
    losses = irn_losses(logits, displacement, label, 4)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-5), name
    assert losses["total"].item() == pytest.approx(sum(expected.values()) / 2, rel=1e-5)


def test_displacements_to_a_common_centre_cost_nothing() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    to_centre = torch.stack([9 - y, 11 - x])[None]
    ones = torch.ones(1, 20, 24, dtype=torch.uint8)
    losses = irn_losses(torch.full((1, 1, 20, 24), -20.0), to_centre, ones, 5)
    assert losses["displacement_fg"].item() == pytest.approx(0, abs=1e-6)
    assert losses["affinity_positive"].item() == pytest.approx(0, abs=1e-4)
    assert irn_losses(torch.zeros(1, 1, 20, 24), -to_centre, ones, 5)["displacement_fg"].item() > 1


def test_a_batch_without_any_pair_costs_nothing() -> None:
    ignored = torch.full((1, 8, 12), 255, dtype=torch.uint8)
    losses = irn_losses(torch.zeros(1, 1, 8, 12), torch.zeros(1, 2, 8, 12), ignored, 4)
    assert all(value.item() == 0 for value in losses.values())


def test_a_map_smaller_than_the_radius_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(9, 30\) has no pairs at radius 10"):
        edge_to_affinity(torch.zeros(9, 30), 10)
