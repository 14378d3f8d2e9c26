"""Patches: balanced centers, elastic deformation, gathering a batch, the grid of overlapping patches."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from torch.nn import functional

from strokelib.run.settings import Sampling


@dataclass(frozen=True)
class Centers:
    """Patch centers of one scan: voxels (n, 3), which of them aim at the lesion, which are repeats to deform."""

    voxels: np.ndarray
    lesion: np.ndarray
    deform: np.ndarray


@dataclass(frozen=True)
class PatchList:
    """The patches of a training or stopping set: starts (n, 3) in the resident stack (slice, x, y), deform (n,)."""

    starts: np.ndarray
    deform: np.ndarray

    def __len__(self):
        return len(self.starts)


def sample_centers(lesion, mask, sampling: Sampling, patch_size: int, rng, preferred=None) -> Centers:
    """Choose patch centers of one scan, half on lesion voxels and half on healthy ones.

    Parameters
    ----------
    lesion, mask : bool (x, y, slice), the lesion core, all False where there is none, and the brain
    sampling : Sampling, which says how many centers a scan gets; one without lesion gets them all on healthy voxels.
        For notebook 09 it may keep lesion centers where they are, or spread all centers evenly over the brain
    patch_size : int, voxels a side
    rng : numpy.random.Generator
    preferred : bool (x, y, slice) or None, healthy voxels to take first, such as a first network's false positives

    Returns
    -------
    Centers : lesion centers are moved by a uniform offset such that the patch still holds the chosen voxel. Where a
        scan has fewer lesion voxels than its share, they repeat, and the repeats are marked for elastic deformation.

    Raises
    ------
    ValueError : the brain has no healthy voxel.

    Source: Clèrigues et al. 2019, sec. 3.1. Our choice: the regular steps run along the voxels of each slice in
    Z-order, from a random start; lesion voxels outside of the brain mask are no centers; a center that its offset
    carries off the image is moved back to the image's edge.
    """
    count = sampling.patches_per_case
    sought = lesion & mask if sampling.balanced else np.zeros_like(mask)
    on_lesion = _ordered(sought)
    healthy = mask & ~sought
    n_lesion = count // 2 if len(on_lesion) else 0
    chosen, repeat = _regular_steps(on_lesion, n_lesion, rng)
    # Offsets are drawn as fractions of the patch, so that variants with other patch sizes stay paired.
    offset = np.floor(rng.random((n_lesion, 2)) * patch_size).astype(int) - (patch_size // 2 - 1)
    moved = chosen.copy()
    if sampling.lesion_offset:
        moved[:, :2] = np.clip(chosen[:, :2] + offset, 0, np.array(mask.shape[:2]) - 1)

    n_healthy = count - n_lesion
    first = _ordered(healthy & preferred) if preferred is not None else np.empty((0, 3), int)
    others = _ordered(healthy & ~preferred if preferred is not None else healthy)
    if len(first) + len(others) == 0:
        raise ValueError("the brain mask holds no healthy voxel to center a patch on; check mask and lesion")
    hard, _ = _regular_steps(first, min(n_healthy, len(first)) if len(others) else n_healthy, rng)
    easy, _ = _regular_steps(others, n_healthy - len(hard), rng)
    voxels = np.concatenate([moved, hard, easy])
    return Centers(
        voxels,
        np.arange(len(voxels)) < n_lesion,
        np.concatenate([repeat, np.zeros(len(voxels) - n_lesion, bool)]),
    )


def _ordered(mask) -> np.ndarray:
    """List the voxels of a mask (x, y, slice) slice by slice, each along a Z-order curve.

    Neighbors on that curve are neighbors in the slice, so regular steps along it spread evenly over the area; along
    rows they would fall into lines.
    """
    nx, ny, slices = mask.shape
    order = _curve(nx, ny)
    k, place = np.nonzero(mask.reshape(nx * ny, slices)[order].T)
    x, y = np.divmod(order[place], ny)
    return np.column_stack([x, y, k])


@functools.lru_cache
def _curve(nx: int, ny: int) -> np.ndarray:
    """List the voxels of a slice, x * ny + y, along the curve; sorted once for each size of slice."""
    x, y = np.divmod(np.arange(nx * ny), ny)
    curve = np.zeros_like(x)
    for bit in range(max(nx, ny).bit_length()):
        curve |= (x >> bit & 1) << (2 * bit + 1) | (y >> bit & 1) << (2 * bit)
    return np.argsort(curve)


def _regular_steps(voxels: np.ndarray, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Take `count` voxels at regular steps; where there are fewer, every voxel and then repeats, marked."""
    start = rng.random()  # drawn in every case, so that what follows does not depend on the voxel count
    if count == 0 or len(voxels) == 0:
        return np.empty((0, 3), int), np.zeros(0, bool)
    once = min(count, len(voxels))
    rounds, rest = divmod(count - once, len(voxels))

    def steps(n):
        return np.floor((np.arange(n) + start) * len(voxels) / max(n, 1)).astype(int)

    index = np.concatenate([steps(once), np.tile(np.arange(len(voxels)), rounds), steps(rest)])
    return voxels[index], np.arange(count) >= once


def patch_list(centers, first_slice, pad: int, patch_size: int) -> PatchList:
    """Join the centers of several scans into one list over the resident stack.

    Parameters
    ----------
    centers : sequence of Centers, one a scan
    first_slice : int sequence, where each of these scans starts in the stack
    pad : int, voxels of zero around every slice of the stack; at least half the patch

    Returns
    -------
    PatchList : the corner of each patch, such that the center voxel lies at patch_size // 2.
    """
    if pad < patch_size // 2:
        raise ValueError(f"a pad of {pad} voxels is too small for patches of {patch_size}")
    starts = [
        np.column_stack([c.voxels[:, 2] + first, c.voxels[:, :2] - patch_size // 2 + pad])
        for c, first in zip(centers, first_slice, strict=True)
    ]
    return PatchList(np.concatenate(starts), np.concatenate([c.deform for c in centers]))


def on_device(starts, device):
    """Bring patch corners to where their stack lies, once, so that no batch waits for the transfer.

    On the CPU they stay a numpy array.
    """
    return starts if torch.device(device).type == "cpu" else torch.as_tensor(starts, device=device)


def gather(stack, starts, patch_size: int, margin: int = 0):
    """Cut patches out of a resident stack.

    Parameters
    ----------
    stack : torch tensor (slice, x, y) or (slice, x, y, modality), contiguous
    starts : int (n, 3) of slice, x, y corners, as `on_device` returns them
    margin : voxels around a patch that are cut out with it, on each side

    Returns
    -------
    tensor (n, h, w), or (n, modality, h, w) in channels_last memory, which the stack's own order gives for free.

    Raises
    ------
    ValueError : on the CPU, the stack has no margin there.
    """
    if stack.device.type == "cpu":
        # numpy copies a window in runs of memory; torch's indexing goes voxel by voxel.
        side, starts = patch_size + 2 * margin, np.asarray(starts)
        if margin and len(starts) and (first := starts[:, 1:].min()) < margin:
            raise ValueError(f"a patch at {first} has no margin of {margin} voxels; pad the stack by more")
        view = sliding_window_view(stack.numpy(), (side, side), axis=(1, 2))
        view = np.moveaxis(view, (-2, -1), (3, 4)) if stack.ndim == 4 else view
        batch = torch.from_numpy(view[starts[:, 0], starts[:, 1] - margin, starts[:, 2] - margin])
    else:
        corner = on_device(starts, stack.device)
        side = torch.arange(-margin, patch_size + margin, device=stack.device)
        batch = stack[
            corner[:, 0, None, None],
            (corner[:, 1, None] + side)[:, :, None],
            (corner[:, 2, None] + side)[:, None, :],
        ]
    return batch if stack.ndim == 3 else batch.permute(0, 3, 1, 2)


def within(images, margin: int):
    """Return a view of patches (n, ..., h, w) without the margin around them."""
    return images[..., margin : images.shape[-2] - margin, margin : images.shape[-1] - margin]


def displacement(count: int, side: int, rng, alpha: float = 2.5, gamma: float = 0.12, device="cpu"):
    """Draw smooth random displacement fields, voxels, float32 tensor (count, 2, side, side).

    Uniform noise in (-1, 1), smoothed by a Gaussian of sigma gamma * side, times alpha * side.

    Source: Simard et al. 2003, with the factors of Clèrigues et al. 2019, sec. 3.1; that they are factors of the
    patch side is how the authors' release reads them. Our choice: no noise beyond the patch.
    """
    shape = (count, 2, side, side)
    if torch.device(device).type == "cpu":
        noise = torch.from_numpy(rng.random(shape, dtype=np.float32))
    else:  # drawn where it is needed; copying it there would make the device wait
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        noise = torch.rand(shape, generator=generator, device=device)
    return smooth_field(noise, alpha, gamma)


def smooth_field(noise, alpha: float = 2.5, gamma: float = 0.12):
    """Turn uniform noise (n, 2, side, side) in (0, 1) into displacement fields; see `displacement`."""
    side = noise.shape[-1]
    smooth = _gaussian(side, gamma * side, str(noise.device))
    return (alpha * side) * (smooth @ (noise * 2 - 1) @ smooth.T)


@functools.lru_cache
def _gaussian(side: int, sigma: float, device: str) -> torch.Tensor:
    """Return the matrix that smooths a line of `side` voxels."""
    rows = ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode="constant")
    return torch.from_numpy(rows.astype(np.float32)).to(device)


def elastic_deform(images, labels, rng, alpha: float = 2.5, gamma: float = 0.12):
    """Deform every patch of a batch by a random elastic field of its own.

    Parameters
    ----------
    images : float tensor (n, modality, side, side)
    labels : tensor (n, side, side)
    rng : numpy.random.Generator

    Returns
    -------
    images by linear interpolation with zeros from outside, labels by nearest neighbor; same shapes and types.

    Source: Clèrigues et al. 2019, sec. 3.1. Our choice: nearest neighbor for the labels.
    """
    n, _, side, _ = images.shape
    return warp(images, labels, displacement(n, side, rng, alpha, gamma, images.device))


def warp(images, labels, field):
    """Resample patches at their voxels' places plus `field` (n, 2, side, side), in voxels along x and y."""
    n, _, side, _ = images.shape
    line = torch.arange(side, device=images.device, dtype=torch.float32)
    x = line[:, None] + field[:, 0]
    y = line[None, :] + field[:, 1]
    # grid_sample names the last axis first and measures from -1 to 1.
    place = torch.stack([y, x], dim=-1) * (2 / (side - 1)) - 1
    warped = functional.grid_sample(images, place, mode="bilinear", padding_mode="zeros", align_corners=True)
    i, j = (x + 0.5).floor().long(), (y + 0.5).floor().long()
    inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
    batch = torch.arange(n, device=images.device)[:, None, None]
    nearest = labels[batch, i.clamp(0, side - 1), j.clamp(0, side - 1)]
    return warped, torch.where(inside, nearest, torch.zeros_like(nearest))


def flip(images, labels, turned):
    """Turn some patches of a batch left to right, images (n, input, x, y) and labels (n, x, y), where turned (n,) is.

    A mirror image of the other hemisphere turns with its patch and stays what it is, so no channels are exchanged.
    """
    chosen = turned[:, None, None]
    return torch.where(chosen[:, None], images.flip(2), images), torch.where(chosen, labels.flip(1), labels)


def count_within(mask, voxels, patch_size: int) -> np.ndarray:
    """Count the true voxels of a mask in the patches around some centers, without cutting them.

    Parameters
    ----------
    mask : bool (x, y, slice)
    voxels : int (n, 3), patch centers

    Returns
    -------
    int (n,) : from running sums of the mask, in which a rectangle takes four look-ups. Nothing counts beyond the image.
    """
    side = patch_size
    sums = np.pad(mask, ((side, side), (side, side), (0, 0))).cumsum(0).cumsum(1)
    (i, j), k = (voxels[:, :2] + (side - side // 2 - 1)).T, voxels[:, 2]
    a, b = i + side, j + side
    return sums[a, b, k] - sums[i, b, k] - sums[a, j, k] + sums[i, j, k]


def patch_grid(mask, step: int, patch_size: int, needed=None) -> np.ndarray:
    """Place overlapping patches at regular steps over the brain.

    Parameters
    ----------
    mask : bool (x, y, slice)
    step : int, voxels between centers in x and y
    needed : bool (x, y, slice) or None, drop the patches that hold none of these voxels

    Returns
    -------
    int array (n, 3) : slice, x and y corners in slices padded by patch_size // 2. Each brain voxel is in a patch.

    Source: Clèrigues et al. 2019, sec. 3.3. Our choice: the center of a step x step cell is taken wherever the cell
    holds brain, so that no brain voxel can be left out, however coarse the step.
    """
    if step < 1 or step > patch_size:
        raise ValueError(f"step must be 1 to the patch side {patch_size}, got {step}")
    nx, ny, nz = mask.shape
    cells = np.zeros((-(-nx // step) * step, -(-ny // step) * step, nz), bool)
    cells[:nx, :ny] = mask
    cells = cells.reshape(cells.shape[0] // step, step, -1, step, nz).any(axis=(1, 3))
    found = _ordered(cells)
    limit = np.array([nx, ny]) - 1
    corners = np.minimum(found[:, :2] * step + step // 2, limit)  # the center, as the pad is half a patch
    starts = np.column_stack([found[:, 2], corners])
    if needed is not None:
        pad = patch_size // 2
        total = np.pad(needed, ((pad + 1, pad), (pad + 1, pad), (0, 0))).cumsum(0).cumsum(1)
        k, i, j = starts.T
        i2, j2 = i + patch_size, j + patch_size
        starts = starts[(total[i2, j2, k] - total[i, j2, k] - total[i2, j, k] + total[i, j, k]) > 0]
    return starts


def accumulate(total, starts, values) -> None:
    """Add patches `values` (n, h, w) in place to `total` (slice, x, y), float32, at their corners."""
    side = values.shape[-1]
    if total.device.type == "cpu":
        target, values = total.numpy(), values.numpy()
        for (k, i, j), patch in zip(starts.tolist(), values, strict=True):
            target[k, i : i + side, j : j + side] += patch
        return
    corner = on_device(starts, total.device)
    line = torch.arange(side, device=total.device)
    index = (corner[:, 0] * total.shape[1] + corner[:, 1])[:, None] + line
    index = (index * total.shape[2] + corner[:, 2:])[:, :, None] + line
    total.view(-1).index_add_(0, index.reshape(-1), values.reshape(-1))


def coverage(starts, shape, patch_size: int) -> np.ndarray:
    """Count how many patches cover each voxel of a padded stack (slice, x, y), without the network."""
    corners = np.zeros(shape, np.int64)
    np.add.at(corners, tuple(starts.T), 1)
    for axis in (1, 2):
        running = corners.cumsum(axis)
        behind = np.zeros_like(running)
        source = [slice(None)] * 3
        target = [slice(None)] * 3
        source[axis], target[axis] = slice(None, -patch_size), slice(patch_size, None)
        behind[tuple(target)] = running[tuple(source)]
        corners = running - behind
    return corners
