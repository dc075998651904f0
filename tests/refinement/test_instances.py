"""Pseudo-instances and refined maps: released numbers, and the released chain as a twin."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.golden.reference import golden
from tris_core.refinement.instances import (
    find_centroids,
    instance_maps,
    refine_maps,
    walk_instances,
)
from tris_core.refinement.random_walk import walk

G = golden("instances")
FULL = G["label"].shape
CENTRES = [(5, 6), (6, 25), (18, 14)]


def released_chain(cam: torch.Tensor, edge: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """One map, as released.

    Arg max over all parts and a background of 0.25, components, the sum of their masks.
    """
    walked = walk(cam * masks, edge)
    large = F.interpolate(walked[:, None], scale_factor=4, mode="bilinear", align_corners=False)
    large = large[:, 0, : FULL[0], : FULL[1]]
    label = F.pad(large / large.max(), (0, 0, 0, 0, 1, 0), value=0.25).argmax(0).numpy()
    components = []
    for k in range(1, len(masks) + 1):
        parts, count = ndimage.label(label == k)
        components += [parts == i for i in range(1, count + 1)]
    return np.sum(components, axis=0)


def field(seed: int, height: int = 24, width: int = 32) -> torch.Tensor:
    """A smooth random field, some pixels long."""
    noise = np.random.default_rng(seed).normal(size=(2, height, width))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 3, 3)) * 60).float()


def towards(centres: list[tuple[int, int]], height: int = 20, width: int = 40) -> torch.Tensor:
    """Displacements to the nearest centre."""
    grid = np.indices((height, width))
    gaps = np.stack([np.array(c)[:, None, None] - grid for c in centres])
    nearest = np.hypot(gaps[:, 0], gaps[:, 1]).argmin(axis=0)
    return torch.from_numpy(np.take_along_axis(gaps, nearest[None, None], axis=0)[0]).float()


def test_centroids_and_instances_are_the_released_ones() -> None:
    displacement = torch.from_numpy(G["displacement"])
    np.testing.assert_array_equal(find_centroids(displacement[None])[0], G["centroids"])
    np.testing.assert_array_equal(instance_maps(displacement[None])[0], G["instance_masks"])


def test_walked_parts_are_the_released_ones() -> None:
    cams, edge, masks = (torch.from_numpy(G[key]) for key in ("cam", "edge", "instance_masks"))
    (walked,) = walk_instances(cams, edge[0], masks, radius=5, beta=10, exp_times=8)
    large = F.interpolate(walked[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    large = large[:, : FULL[0], : FULL[1]]
    parts = (large / large.max()).numpy()
    np.testing.assert_allclose(parts, G["walked_up"], atol=1e-4)
    # The released mask keeps fragments under 1 % of the image, so it is the closed form.
    np.testing.assert_array_equal(parts.max(axis=0) > 0.25, G["pseudo_mask"])


@pytest.mark.parametrize("seed", range(3))
def test_refined_above_threshold_is_the_released_chain(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cams = F.interpolate(torch.rand(1, 3, 4, 5, generator=generator) ** 3, FULL, mode="bicubic")[
        0
    ].clamp(0, 1)
    edge, displacement = torch.from_numpy(G["edge"][0]), towards(CENTRES, 24, 32) + field(seed) / 10
    (instances,) = instance_maps(displacement[None])
    refined = refine_maps(cams, edge, instances)
    assert refined.shape == cams.shape
    assert len(instances) >= len(CENTRES)
    small = F.interpolate(cams[None], edge.shape, mode="bilinear", align_corners=True)[0]
    for r in range(3):
        expected = released_chain(small[r : r + 1], edge, instances)
        assert 0.01 < expected.mean() < 0.99
        assert ((refined[r] > 0.25).numpy() != expected).mean() <= 1e-4


def test_a_zero_map_stays_zero_and_maps_are_independent() -> None:
    cams = torch.rand(3, *FULL, generator=torch.Generator().manual_seed(1))
    cams[1] = 0
    edge, displacement = torch.from_numpy(G["edge"][0]), torch.from_numpy(G["displacement"])
    (instances,) = instance_maps(displacement[None])
    refined = refine_maps(cams, edge, instances)
    assert refined[1].abs().max() == 0
    assert [refined[0].max().item(), refined[2].max().item()] == [1, 1]
    assert refined.min() >= 0
    torch.testing.assert_close(
        refined[2:],
        refine_maps(cams[2:], edge, instances),
        rtol=0,
        atol=1e-5,
    )
    assert refine_maps(cams[1:2], edge, instances).abs().max() == 0
    assert refine_maps(cams[:1], torch.ones_like(edge), instances).abs().max() == 0


def test_two_centres_make_two_halves() -> None:
    maps = instance_maps(towards([(9, 8), (9, 31)])[None])[0]
    assert maps.shape == (2, 20, 40)
    np.testing.assert_array_equal(maps[0], np.arange(40) < 20 + np.zeros((20, 1)))
    np.testing.assert_array_equal(maps[1], ~maps[0])


@pytest.mark.parametrize(("strength", "count"), [(2.49, 1), (2.5, 2)])
def test_centres_are_shorter_than_two_and_a_half_pixels(strength: float, count: int) -> None:
    """A moving stripe separates two resting areas once it is too strong to be a centre itself."""
    displacement = torch.zeros(2, 6, 30)
    displacement[1, :, 10:13] = -strength
    assert len(instance_maps(displacement[None])[0]) == count


def test_pixels_that_reach_no_centre_form_the_first_instance() -> None:
    """Left of column 10 pixels run to the border at full speed. The others rest."""
    displacement = torch.zeros(2, 6, 30)
    displacement[1, :, :10] = -5
    maps = instance_maps(displacement[None])[0]
    np.testing.assert_array_equal(maps[0], np.arange(30) < 10 + np.zeros((6, 1)))
    np.testing.assert_array_equal(maps[1], ~maps[0])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 12), width=st.integers(1, 12))
def test_instances_partition_the_map_and_centroids_stay_inside(
    seed: int, height: int, width: int
) -> None:
    displacement = field(seed, height, width)
    rows, columns = find_centroids(displacement[None])[0]
    assert 0 <= rows.min() <= rows.max() < height
    assert 0 <= columns.min() <= columns.max() < width
    maps = instance_maps(displacement[None])[0]
    assert (maps.sum(dim=0) == 1).all()
    assert maps.flatten(1).any(dim=1).all()


def test_images_of_one_size_are_followed_together() -> None:
    fields = torch.stack([field(seed, 17, 23) for seed in range(3)])
    alone = [instance_maps(one[None])[0] for one in fields]
    for found, expected in zip(instance_maps(fields), alone, strict=True):
        assert torch.equal(found, expected)


def test_one_step_is_the_bilinear_value() -> None:
    displacement = field(4, 9, 11) / 10
    first = np.clip(np.indices((9, 11)) + displacement.numpy(), 0, [[[8]], [[10]]])
    second = first + [
        ndimage.map_coordinates(d.astype(np.float64), first, order=1) for d in displacement.numpy()
    ]
    expected = np.round(np.clip(second, 0, [[[8]], [[10]]]))
    assert (find_centroids(displacement[None], iterations=2)[0].numpy() != expected).mean() < 0.01


def test_wrong_input_is_refused() -> None:
    displacement = torch.zeros(2, 24, 32)
    with pytest.raises(ValueError, match="not the stride-4 map"):
        refine_maps(torch.zeros(1, 97, 126), torch.zeros(24, 32), torch.ones(1, 24, 32).bool())
    displacement[0, 3, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        instance_maps(displacement[None])
