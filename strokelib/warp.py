"""Sampling of images at turned and shifted places, and images of lower resolution.

Images are (x, y, slice) tensors; one 2-D transform, a matrix (3, 3) from (x, y, 1) to (x, y, 1), serves all slices.
"""

import numpy as np
import torch


def warp(image: torch.Tensor, matrix) -> torch.Tensor:
    """Sample an image (x, y, slice) at matrix @ (x, y, 1) for every voxel; 0 outside.

    Written out rather than torch's grid_sample, whose float32 coordinates are off by up to 3e-5
    voxels: a shift by whole voxels must copy values and leave no trace of a neighbor in a mask. A
    bag of four weighted rows is also several times as fast on a CPU where slices are many.
    """
    return sample(bordered(image), matrix)


def bordered(image: torch.Tensor) -> torch.Tensor:
    """Put a border of zeros around an image, one voxel below and two above: it takes all that falls outside."""
    return torch.nn.functional.pad(image, (0, 0, 1, 2, 1, 2))


def sample(bordered: torch.Tensor, matrix) -> torch.Tensor:
    """Sample an image that has its border, as `warp` does; an ascent puts it on once."""
    width, slices = bordered.shape[1:]
    side_x, side_y = bordered.shape[0] - 3, width - 3
    x = torch.arange(side_x, dtype=torch.float64, device=bordered.device)[:, None]
    y = torch.arange(side_y, dtype=torch.float64, device=bordered.device)[None, :]
    (a, b, c), (d, e, f) = np.asarray(matrix, dtype=np.float64)[:2].tolist()
    u = (a * x + (b * y + c)).clamp_(-1, side_x).add_(1)
    v = (d * x + (e * y + f)).clamp_(-1, side_y).add_(1)
    low_u, low_v = u.floor(), v.floor()
    part_u, part_v = (u - low_u).float(), (v - low_v).float()
    first = low_u.mul_(width).add_(low_v).reshape(-1, 1).int()
    rows = first + torch.tensor([0, 1, width, width + 1], dtype=torch.int32, device=bordered.device)
    both = part_u * part_v
    weights = (1 - part_u - part_v + both, part_v - both, part_u - both, both)
    sampled = torch.nn.functional.embedding_bag(
        rows,
        bordered.view(-1, slices),
        mode="sum",
        per_sample_weights=torch.stack(weights, -1).reshape(-1, 4),
    )
    return sampled.view(side_x, side_y, slices)


def halve(image: torch.Tensor) -> torch.Tensor:
    """Halve the resolution in plane with the binomial filter (1, 3, 3, 1) / 8; ends go on.

    Plain averages of two leave grid effects: interpolation between voxels smooths noise and edges,
    which draws the correlation toward half-voxel shifts.
    """
    for axis in (0, 1):
        image = image.movedim(axis, 0)
        image = torch.cat([image[:1], image, *[image[-1:]] * (1 + image.shape[0] % 2)])
        inner = image[1:-2:2] + image[2:-1:2]
        image = ((image[0:-3:2] + image[3::2]).add_(inner, alpha=3) / 8).movedim(0, axis)
    return image


def _grid(factor: int) -> np.ndarray:
    """Return the matrix that maps a voxel of a shrunken image to voxels of the full one."""
    middle = (factor - 1) / 2
    return np.array([[factor, 0, middle], [0, factor, middle], [0, 0, 1.0]])


def to_full(matrix, factor: int) -> np.ndarray:
    """Return the transform between full images that this one is between shrunken ones."""
    return _grid(factor) @ matrix @ np.linalg.inv(_grid(factor))


def to_shrunken(matrix, factor: int) -> np.ndarray:
    """Return the transform between shrunken images that this one is between full ones."""
    return np.linalg.inv(_grid(factor)) @ matrix @ _grid(factor)


def turn(angle: float, center) -> np.ndarray:
    """Return the rotation by `angle` about a center, from (x, y) to (x cos + y sin, ...)."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = center - matrix[:2, :2] @ center
    return matrix


def motion(change, center) -> np.ndarray:
    """Return the small transform of a change: shift, shift, angle; or shifts and four slopes."""
    move = np.eye(3)
    move[:2, 2] = change[:2]
    if len(change) == 3:
        return turn(change[2], center) @ move
    slopes = np.eye(3)
    slopes[:2, :2] += np.reshape(change[2:], (2, 2))
    slopes[:2, 2] = center - slopes[:2, :2] @ center
    return slopes @ move
