import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelib import patches
from strokelib.run.runtime import rng
from strokelib.run.settings import load_settings

DEMO = load_settings("demo").sampling


def sampling(count, **changes):
    """Return how centers are sampled by default, so many of them."""
    return dataclasses.replace(DEMO, patches_per_case=count, **changes)


def scan(lesion_voxels=40, shape=(64, 60, 3)):
    """A block of brain with a lesion of so many voxels in one corner of it."""
    mask = np.zeros(shape, bool)
    mask[6:58, 8:52] = True
    lesion = np.zeros(shape, bool)
    inside = np.argwhere(mask)
    lesion[tuple(inside[:lesion_voxels].T)] = True
    return lesion, mask


def contains(center, voxel, size):
    return all(c - size // 2 <= v < c - size // 2 + size for c, v in zip(center[:2], voxel[:2], strict=True))


def test_half_the_centers_aim_at_the_lesion_and_their_patch_holds_lesion():
    lesion, mask = scan(4000)
    found = patches.sample_centers(lesion, mask, sampling(300), 32, rng(1))
    assert found.voxels.shape == (300, 3) and found.lesion.sum() == 150 and not found.deform.any()
    targets = np.argwhere(lesion)
    for center in found.voxels[found.lesion][::10]:
        same_slice = targets[targets[:, 2] == center[2]]
        assert any(contains(center, voxel, 32) for voxel in same_slice)
    healthy = found.voxels[~found.lesion]
    assert mask[tuple(healthy.T)].all() and not lesion[tuple(healthy.T)].any()


def test_steps_are_regular_and_cover_every_slice_alike():
    lesion, mask = scan(300)
    found = patches.sample_centers(lesion, mask, sampling(600), 16, rng(0))
    healthy = found.voxels[~found.lesion]
    assert len(np.unique(healthy, axis=0)) == len(healthy)
    per_slice = np.bincount(healthy[:, 2], minlength=3)
    expected = (mask & ~lesion).sum(axis=(0, 1)) / (mask & ~lesion).sum() * 300
    assert np.abs(per_slice - expected).max() <= 1
    # Spread over the area, too: tiles of 16 x 16 that are all brain hold alike, in expectation 11.2 each.
    for x, y in ((16, 16), (32, 16), (16, 32), (32, 32)):
        here = ((healthy >= (x, y, 1)) & (healthy < (x + 16, y + 16, 2))).all(axis=1).sum()
        assert 10 <= here <= 13


@pytest.mark.parametrize(("voxels", "target"), [(7, 50), (50, 50), (51, 50), (1, 3)])
def test_only_missing_lesion_voxels_repeat_and_only_repeats_deform(voxels, target):
    lesion, mask = scan(voxels)
    found = patches.sample_centers(lesion, mask, sampling(2 * target), 16, rng(2))
    assert found.lesion.sum() == target
    assert found.deform.sum() == max(0, target - voxels)
    assert not found.deform[~found.lesion].any()


def test_offsets_fill_the_patch_evenly():
    """One lesion voxel in the middle: centers spread over all places whose patch still holds it."""
    mask = np.ones((64, 64, 1), bool)
    lesion = np.zeros_like(mask)
    lesion[32, 32, 0] = True
    found = patches.sample_centers(lesion, mask, sampling(40_000), 16, rng(0))
    moved = found.voxels[found.lesion][:, :2] - 32
    assert moved.min() == -7 and moved.max() == 8  # a patch spans center - 8 to center + 7
    counts = np.unique(moved[:, 0], return_counts=True)[1]
    assert len(counts) == 16 and counts.min() > 0.85 * 20_000 / 16


def test_a_scan_without_lesion_gives_healthy_patches_alone():
    empty, mask = scan(0)
    found = patches.sample_centers(empty, mask, sampling(100), 16, rng(0))
    assert len(found.voxels) == 100 and not found.lesion.any() and not found.deform.any()


def test_a_scan_gets_all_its_centers_where_every_healthy_voxel_is_preferred():
    """A first network may call a whole small brain lesion."""
    mask = np.zeros((25, 25, 1), bool)
    mask[5:15, 5:15] = True
    lesion = np.zeros_like(mask)
    lesion[8:10, 8:10] = True
    found = patches.sample_centers(lesion, mask, sampling(400), 16, rng(0), mask)
    healthy = found.voxels[~found.lesion]
    assert len(found.voxels) == 400 and len(healthy) == 200 and not lesion[tuple(healthy.T)].any()
    assert len(np.unique(healthy, axis=0)) == 96, "evenly, so each of them comes"


def test_preferred_voxels_come_first_and_are_topped_up():
    lesion, mask = scan(30)
    preferred = np.zeros_like(mask)
    preferred[40:43, 40:43, 1] = True
    found = patches.sample_centers(lesion, mask, sampling(100), 16, rng(0), preferred | lesion)
    healthy = found.voxels[~found.lesion]
    assert preferred[tuple(healthy.T)].sum() == 9 and len(healthy) == 50
    assert not lesion[tuple(healthy.T)].any()


def test_same_lesion_centers_whatever_the_healthy_ones():
    """The second network of the cascade trains on the first one's lesion centers."""
    lesion, mask = scan(400)
    preferred = np.zeros_like(mask)
    preferred[50:, 30:, :] = True
    one = patches.sample_centers(lesion, mask, sampling(100), 48, rng(5))
    two = patches.sample_centers(lesion, mask, sampling(100), 48, rng(5), preferred)
    assert np.array_equal(one.voxels[one.lesion], two.voxels[two.lesion])


def test_all_lesion_no_healthy_voxel_is_an_error():
    mask = np.ones((8, 8, 1), bool)
    with pytest.raises(ValueError, match="no healthy voxel"):
        patches.sample_centers(mask, mask, sampling(10), 16, rng(0))


def test_gather_cuts_the_patch_around_the_center():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 40, 36, 3, generator=generator)
    padded = torch.nn.functional.pad(image, (0, 0, 8, 8, 8, 8))
    centers = patches.Centers(np.array([[0, 0, 1], [39, 35, 0], [20, 7, 1]]), np.zeros(3, bool), np.zeros(3, bool))
    starts = patches.patch_list([centers], [0], 8, 16).starts
    batch = patches.gather(padded, starts, 16)
    assert batch.shape == (3, 3, 16, 16) and batch.is_contiguous(memory_format=torch.channels_last)
    for patch, (x, y, k) in zip(batch, centers.voxels, strict=True):
        assert torch.equal(patch[:, 8, 8], image[k, x, y])
    assert (batch[0, :, :8] == 0).all() and (batch[0, :, :, :8] == 0).all()  # the corner's outside
    labels = patches.gather(padded[..., 0].contiguous(), starts, 16)
    assert torch.equal(labels, batch[:, 0])


def test_patch_list_shifts_slices_by_case():
    one = patches.Centers(np.array([[5, 6, 1]]), np.ones(1, bool), np.zeros(1, bool))
    joined = patches.patch_list([one, one], [0, 10], 32, 64)
    assert joined.starts.tolist() == [[1, 5, 6], [11, 5, 6]]
    with pytest.raises(ValueError, match="too small"):
        patches.patch_list([one], [0], 16, 64)


def test_displacement_is_simards():
    side, noise = 32, rng(3).random((2, 2, 32, 32), dtype=np.float32) * 2 - 1
    expected = 2.5 * side * ndimage.gaussian_filter(noise, (0, 0, 0.12 * side, 0.12 * side), mode="constant")
    assert np.allclose(patches.displacement(2, side, rng(3)), expected, atol=1e-4)
    # The spread seen with the paper's factors at 64 x 64: a few voxels, so a visible but gentle bend.
    assert 2 < patches.displacement(50, 64, rng(0)).std() < 5


def test_warp_agrees_with_scipy_and_keeps_labels_binary():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 32, 32, generator=generator)
    labels = (torch.rand(4, 32, 32, generator=generator) > 0.7).to(torch.uint8)
    field = patches.displacement(4, 32, rng(7))
    warped, moved = patches.warp(images, labels, field)
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"))
    for n in range(4):
        place = grid + field[n].numpy()
        for c in range(3):
            # Zero beyond the patch, as in torch: scipy's grid-constant interpolates towards it.
            expected = ndimage.map_coordinates(images[n, c].numpy(), place, order=1, mode="grid-constant")
            assert np.abs(warped[n, c].numpy() - expected).max() < 1e-4
        inside = ((place > -0.5) & (place < 31.5)).all(axis=0)
        nearest = ndimage.map_coordinates(labels[n].numpy(), place, order=0, mode="nearest") * inside
        assert np.array_equal(moved[n].numpy(), nearest)


def test_no_displacement_changes_nothing_and_seeds_repeat():
    images, labels = torch.rand(2, 5, 16, 16), torch.ones(2, 16, 16, dtype=torch.uint8)
    same, kept = patches.warp(images, labels, torch.zeros(2, 2, 16, 16))
    assert torch.allclose(same, images, atol=1e-5) and torch.equal(kept, labels)
    one, two = (patches.elastic_deform(images, labels, rng(4))[0] for _ in range(2))
    assert torch.equal(one, two) and not torch.allclose(one, images)


@pytest.mark.parametrize("step", [1, 3, 7, 16, 32])
def test_the_grid_covers_every_brain_voxel(step):
    mask = ndimage.binary_opening(np.random.default_rng(0).random((70, 50, 2)) > 0.4)
    mask[69, 49, 0] = mask[0, 0, 1] = True  # the corners, too
    starts = patches.patch_grid(mask, step, 32)
    count = patches.coverage(starts, (2, 70 + 32, 50 + 32), 32)[:, 16:-16, 16:-16]
    assert (np.moveaxis(count, 0, 2)[mask] > 0).all()


def test_the_finest_grid_has_a_patch_on_every_brain_voxel_and_no_other():
    _, mask = scan()
    centers = patches.patch_grid(mask, 1, 64)
    assert len(centers) == mask.sum() and mask[centers[:, 1], centers[:, 2], centers[:, 0]].all()


def test_needed_keeps_exactly_the_patches_that_touch_it():
    _, mask = scan()
    needed = np.zeros_like(mask)
    needed[30, 30, 1] = True
    every, kept = patches.patch_grid(mask, 5, 16), patches.patch_grid(mask, 5, 16, needed)
    touching = [s for s in every.tolist() if s[0] == 1 and all(0 <= 30 + 8 - c < 16 for c in s[1:])]
    assert kept.tolist() == touching and len(kept) > 0
    assert len(patches.patch_grid(mask, 5, 16, np.zeros_like(mask))) == 0


def test_accumulated_ones_are_the_coverage():
    starts = patches.patch_grid(scan()[1], 5, 32)
    total = torch.zeros(3, 64 + 32, 60 + 32)
    patches.accumulate(total, starts, torch.ones(len(starts), 32, 32))
    assert np.array_equal(total.numpy(), patches.coverage(starts, total.shape, 32))


def test_steps_beyond_the_patch_are_refused():
    with pytest.raises(ValueError, match="step must be 1 to"):
        patches.patch_grid(scan()[1], 33, 32)


def test_counting_within_patches_is_cutting_and_summing():
    generator = np.random.default_rng(5)
    mask = generator.random((40, 30, 3)) < 0.3
    voxels = np.array([(x, y, k) for x in (0, 7, 39) for y in (0, 15, 29) for k in (0, 2)])
    for side in (2, 16, 32):
        half = side // 2
        padded = np.pad(mask, ((half, half), (half, half), (0, 0)))
        expected = [padded[x : x + side, y : y + side, k].sum() for x, y, k in voxels]
        assert patches.count_within(mask, voxels, side).tolist() == expected


def test_lesion_centers_stay_where_no_offset_is_wanted():
    lesion, mask = np.zeros((64, 64, 1), bool), np.ones((64, 64, 1), bool)
    lesion[20:30, 20:30] = True
    drawn = [
        patches.sample_centers(lesion, mask, sampling(100, lesion_offset=offset), 32, np.random.default_rng(1))
        for offset in (True, False)
    ]
    moved, kept = (c.voxels[c.lesion] for c in drawn)
    assert lesion[tuple(kept.T)].all() and not lesion[tuple(moved.T)].all()
    healthy = [c.voxels[~c.lesion] for c in drawn]
    assert np.array_equal(*healthy), "all else stays paired"


def test_unbalanced_centers_are_spread_over_the_brain_whatever_is_lesion():
    lesion, mask = np.zeros((64, 64, 1), bool), np.ones((64, 64, 1), bool)
    lesion[:32] = True
    chosen = patches.sample_centers(lesion, mask, sampling(256, balanced=False), 32, np.random.default_rng(1))
    assert len(chosen.voxels) == 256 and not chosen.lesion.any() and not chosen.deform.any()
    assert lesion[tuple(chosen.voxels.T)].sum() == pytest.approx(128, abs=4)


def test_chosen_patches_are_turned_left_to_right_with_their_labels():
    images, labels = torch.randn(3, 2, 4, 5), torch.randint(0, 2, (3, 4, 5))
    found, moved = patches.flip(images, labels, torch.tensor([False, True, False]))
    assert torch.equal(found[[0, 2]], images[[0, 2]]) and torch.equal(moved[[0, 2]], labels[[0, 2]])
    assert torch.equal(found[1], images[1].flip(1)) and torch.equal(moved[1], labels[1].flip(0))
