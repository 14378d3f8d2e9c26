"""In-plane alignment of the left-right flipped CT with the CT, for the mirrored modalities.

Coordinates are voxels: (x, y) of a slice, x along array axis 0 (left-right), y along axis 1. The
flip is x -> side - 1 - x. One 2-D transform serves all slices of a scan. Voxels are taken to be
as wide as they are high (as in ISLES 2018), so that a rotation in voxels is one in millimeters.
"""

from dataclasses import dataclass

import numpy as np
import torch

from strokelib.modalities import MODALITIES
from strokelib.run import runtime

KINDS = ("rigid", "affine")
SMALLEST_SIDE = 32  # voxels in plane; less leaves nothing to search at a quarter of the resolution
# Twice the yaw, since flipping reverses it: +-45 degrees covers heads turned by +-22.
ANGLES = np.deg2rad(np.arange(-45, 46, 5))
STARTS = 3  # best angles that go on from the exhaustive search to the optimizer


@dataclass(frozen=True, eq=False)
class Alignment:
    """How the flipped scan lies on the scan.

    `matrix` (3, 3) float64 maps a voxel of the scan, (x, y, 1), to the place in the *flipped* scan
    whose value belongs there: mirrored(x, y) = flipped(matrix @ (x, y, 1)). The identity is the
    plain flip. `score` and `flip_score` are the normalized cross-correlation of the windowed CT
    with the mirrored one and with the plainly flipped one; `score` is never the smaller.
    """

    matrix: np.ndarray
    score: float
    flip_score: float
    kind: str


def align_flipped(ct, kind: str = "rigid", device: str = "auto", window=MODALITIES["CT"].head) -> Alignment:
    """Find the in-plane transform that lays the left-right flipped CT onto the CT.

    An exhaustive search over rotations and shifts on a coarse image gives a few starts; a
    Gauss-Newton ascent of the normalized cross-correlation, first at a quarter and then at half of
    the resolution, refines them. The plain flip is kept where it scores better.

    Parameters
    ----------
    ct : (x, y, slice) HU, the whole head with its skull, before any stripping.
    kind : "rigid" (rotation and two shifts) or "affine" (two scales and a shear as well).
    device : "auto", "cpu" or "cuda"; a CPU result is the same each time for a number of threads.
    window : values between which the images are compared; of a CT, 0 to 100 HU: skull clipped to the top, air and
        background to the bottom. `modalities` has it for another image of the head.

    Raises
    ------
    ValueError : the shape, the kind or the device cannot be used; a value is not finite; the CT is
        constant in the window.

    Source: Clèrigues et al. 2019, sec. 2.1.1 (flip, then register in the axial plane).
    Differs: the paper runs FSL FLIRT "constrained to an axial affine transformation"; FLIRT's 2-D
    mode is rigid by its own help, hence the default. Our choice: the cost, the window, the search,
    and the guard against transforms that score worse than the plain flip.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    ct = np.asarray(ct)
    if ct.ndim != 3 or min(ct.shape[:2]) < SMALLEST_SIDE or ct.shape[2] < 1:
        raise ValueError(f"ct must be (x, y, slice) with sides of at least {SMALLEST_SIDE}, got {ct.shape}")
    windowed = torch.as_tensor(ct.astype(np.float32), device=runtime.choose_device(device))
    if not torch.isfinite(windowed).all():
        raise ValueError("ct holds NaN or infinite values; check the file it came from")
    windowed = windowed.clamp_(*window)
    if windowed.max() == windowed.min():
        raise ValueError(
            f"ct is constant between {window[0]:g} and {window[1]:g} HU, so there is nothing "
            "to align; is it a CT in Hounsfield units?"
        )
    flipped = windowed.flip(0)

    levels, level = {}, (windowed, flipped)
    for factor in (2, 4, 8):
        levels[factor] = level = tuple(_halve(image) for image in level)
    starts = [_to_full(start, 8) for start in _search(*levels[8])]
    found = [_ascend(levels[4], start, 4, "rigid", tolerance=0.05) for start in starts]
    _, best = max(found, key=lambda item: item[0])
    candidates = [np.eye(3), _ascend(levels[2], best, 2, "rigid")[1]]
    if kind == "affine":
        candidates.append(_ascend(levels[2], candidates[-1], 2, "affine")[1])

    scores = [_correlation(windowed, flipped)]
    scores += [_correlation(windowed, _warp(flipped, matrix)) for matrix in candidates[1:]]
    chosen = int(np.argmax(np.round(scores, 6)))  # the first of equals: the plain flip
    return Alignment(candidates[chosen], scores[chosen], scores[0], kind)


def mirror(images, alignment: Alignment, device: str = "auto") -> np.ndarray:
    """Flip images left-right and lay them onto the unflipped scan, with bilinear interpolation.

    Outside the flipped field of view the result is 0. For the perfusion maps that is their own
    background; a whole-head CT has -23 HU there, which no longer matters once the mirrored CT is
    stripped with the mirrored maps, because those are 0 at the same voxels.

    Parameters
    ----------
    images : (m, x, y, slice), on the grid of the CT that was aligned.
    alignment : what `align_flipped` returned.

    Returns
    -------
    (m, x, y, slice) float32.

    Raises
    ------
    ValueError : images are not 4-D.

    Source: Clèrigues et al. 2019, sec. 2.1.1 (one transform for all modalities).
    """
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"images must be (m, x, y, slice), got shape {images.shape}")
    stack = torch.as_tensor(images.astype(np.float32), device=runtime.choose_device(device))
    return torch.stack([_warp(image.flip(0), alignment.matrix) for image in stack]).cpu().numpy()


def midline(matrix, shape) -> np.ndarray:
    """Return the signed distance to the line of symmetry in voxels, positive toward larger x.

    The flip followed by a rigid transform is a reflection plus a shift along its line; that shift
    moves no voxel across and is left out. An affine matrix is first replaced by the nearest rigid
    one that moves the center of the slice to the same place.

    Parameters
    ----------
    matrix : (3, 3) of an Alignment.
    shape : (x, y) or (x, y, slice) of the scan.

    Returns
    -------
    (x, y) float64.
    """
    yaw = np.deg2rad(yaw_degrees(matrix))
    normal = np.array([np.cos(yaw), np.sin(yaw)])
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    center = (np.asarray(shape[:2]) - 1) / 2
    image = (np.asarray(matrix) @ [*center, 1.0])[:2]
    image[0] = shape[0] - 1 - image[0]
    onto = (center + image) / 2  # half way between a point and its reflection lies the line
    return normal[0] * (x - onto[0]) + normal[1] * (y - onto[1])


def yaw_degrees(matrix) -> float:
    """Return the angle by which the line of symmetry is turned from the y axis.

    The normal of the line is (cos yaw, sin yaw) in (x, y); registering the flip turns by twice it.
    """
    m = np.asarray(matrix)
    return float(np.rad2deg(np.arctan2(m[0, 1] - m[1, 0], m[0, 0] + m[1, 1])) / 2)


def _warp(image: torch.Tensor, matrix) -> torch.Tensor:
    """Sample an image (x, y, slice) at matrix @ (x, y, 1) for every voxel; 0 outside.

    Written out rather than torch's grid_sample, whose float32 coordinates are off by up to 3e-5
    voxels: a shift by whole voxels must copy values and leave no trace of a neighbor in a mask. A
    bag of four weighted rows is also several times as fast on a CPU where slices are many.
    """
    return _sample(_bordered(image), matrix)


def _bordered(image: torch.Tensor) -> torch.Tensor:
    """Put a border of zeros around an image, one voxel below and two above: it takes all that falls outside."""
    return torch.nn.functional.pad(image, (0, 0, 1, 2, 1, 2))


def _sample(bordered: torch.Tensor, matrix) -> torch.Tensor:
    """Sample an image that has its border, as `_warp` does; an ascent puts it on once."""
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


def _products(rows: torch.Tensor) -> np.ndarray:
    """Return the scalar products (n, n) of n rows, each less its mean, which alters them."""
    if rows.is_cuda:
        rows = rows.double()  # a caller who allows TF32 for training must not lose digits here
    rows -= rows.mean(1, keepdim=True)
    return (rows @ rows.T).double().cpu().numpy()


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    products = _products(torch.stack([a.flatten(), b.flatten()]))
    size = np.sqrt(products[0, 0] * products[1, 1])
    return float(products[0, 1] / size) if size > 0 else -1.0


def _halve(image: torch.Tensor) -> torch.Tensor:
    """Halve the resolution in plane with the binomial filter (1, 3, 3, 1) / 8; 0 beyond the ends.

    Plain averages of two leave grid effects: interpolation between voxels smooths noise and edges,
    which draws the correlation toward half-voxel shifts.
    """
    for axis in (0, 1):
        image = image.movedim(axis, 0)
        image = torch.nn.functional.pad(image, (0, 0, 0, 0, 1, 1 + image.shape[0] % 2))
        inner = image[1:-2:2] + image[2:-1:2]
        image = ((image[0:-3:2] + image[3::2]).add_(inner, alpha=3) / 8).movedim(0, axis)
    return image


def _grid(factor: int) -> np.ndarray:
    """Return the matrix that maps a voxel of a shrunken image to voxels of the full one."""
    middle = (factor - 1) / 2
    return np.array([[factor, 0, middle], [0, factor, middle], [0, 0, 1.0]])


def _to_full(matrix, factor: int) -> np.ndarray:
    return _grid(factor) @ matrix @ np.linalg.inv(_grid(factor))


def _to_shrunken(matrix, factor: int) -> np.ndarray:
    return np.linalg.inv(_grid(factor)) @ matrix @ _grid(factor)


def _turn(angle: float, center) -> np.ndarray:
    """Return the rotation by `angle` about a center, from (x, y) to (x cos + y sin, ...)."""
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    matrix[:2, 2] = center - matrix[:2, :2] @ center
    return matrix


def _search(fixed: torch.Tensor, moving: torch.Tensor) -> list[np.ndarray]:
    """Return the best start of each of the STARTS best angles, over all whole-voxel shifts.

    Shifts are tried all at once by correlation in Fourier space, on images padded with their
    background to twice the size.
    """
    side_x, side_y, _ = fixed.shape
    center = (np.array([side_x, side_y]) - 1) / 2
    turns = [_turn(angle, center) for angle in ANGLES]
    bordered = _bordered(moving)
    turned = torch.stack([_sample(bordered, turn) for turn in turns])
    size = (2 * side_x, 2 * side_y)
    spectrum = torch.fft.rfft2(turned.permute(0, 3, 1, 2), s=size)
    spectrum = (spectrum * torch.fft.rfft2(fixed.permute(2, 0, 1), s=size).conj()).sum(1)
    products = torch.fft.irfft2(spectrum, s=size).reshape(len(turns), -1)
    highest, where = products.max(1)
    # Turning blurs a little and may move corners out of view, so compare correlations, not sums.
    scale = turned.flatten(1).std(1).clamp_min(1e-6)
    scores = (highest / fixed.numel() - turned.flatten(1).mean(1) * fixed.mean()) / scale
    starts = []
    for k in torch.argsort(scores, descending=True, stable=True)[:STARTS].tolist():
        shift = np.array(np.unravel_index(int(where[k]), size))
        shift = np.where(shift >= [side_x, side_y], shift - size, shift)
        move = np.eye(3)
        move[:2, 2] = shift
        starts.append(turns[k] @ move)
    return starts


def _ascend(level, start, factor: int, kind: str, steps: int = 20, tolerance: float = 5e-3):
    """Climb the normalized cross-correlation from `start`; return (correlation, matrix).

    Gauss-Newton on the difference of the two images after each is brought to zero mean and unit
    norm, whose square is 2 - 2 times the correlation. The change is applied to the voxel before
    `matrix`, so that its derivative needs the gradient of the warped image alone. A step that
    lowers the correlation is halved; the ascent ends when a step moves no voxel by `tolerance`
    voxels of the full image.
    """
    fixed, moving = level
    side_x, side_y, _ = fixed.shape
    center = (np.array([side_x, side_y]) - 1) / 2
    x = (torch.arange(side_x, device=fixed.device) - center[0]).float()[:, None, None]
    y = (torch.arange(side_y, device=fixed.device) - center[1]).float()[None, :, None]
    reach = factor * np.array([1, 1, *[center.max()] * (1 if kind == "rigid" else 4)])

    bordered = _bordered(moving)
    rows = fixed.new_empty((5 if kind == "rigid" else 8, *fixed.shape))  # one memory for all steps
    matrix = best_matrix = _to_shrunken(start, factor)
    best, change = -np.inf, None
    for _ in range(steps):
        warped = rows[-1].copy_(_sample(bordered, matrix))
        rows[-2] = fixed
        along_x, along_y = torch.gradient(warped, dim=(0, 1))
        if kind == "rigid":
            rows[0], rows[1] = along_x, along_y
            torch.sub(along_x.mul_(y), along_y.mul_(x), out=rows[2])
        else:
            for place, slope in enumerate((along_x, along_y)):
                rows[place] = slope
                torch.mul(slope, x, out=rows[2 + 2 * place])
                torch.mul(slope, y, out=rows[3 + 2 * place])
        products = _products(rows.flatten(1))
        size_fixed, size_warped = np.sqrt(np.diag(products)[-2:])
        score = products[-2, -1] / (size_fixed * size_warped) if size_warped > 0 else -1.0
        if score > best:
            best, best_matrix = score, matrix
            # Derivatives of the unit-norm warped image: project out the image itself.
            onto = products[:-2, -1] / size_warped
            normal = products[:-2, :-2] - np.outer(onto, onto)
            change = products[:-2, -2] * size_warped / size_fixed - score * onto * size_warped
            change = np.linalg.lstsq(normal, change, rcond=None)[0]
        else:
            change = change / 2
        if np.abs(change * reach).max() < tolerance:
            break
        matrix = best_matrix @ _motion(change, center)
    return best, _to_full(best_matrix, factor)


def _motion(change, center) -> np.ndarray:
    """Return the small transform of a change: shift, shift, angle; or shifts and four slopes."""
    move = np.eye(3)
    move[:2, 2] = change[:2]
    if len(change) == 3:
        return _turn(change[2], center) @ move
    slopes = np.eye(3)
    slopes[:2, :2] += np.reshape(change[2:], (2, 2))
    slopes[:2, 2] = center - slopes[:2, :2] @ center
    return slopes @ move
