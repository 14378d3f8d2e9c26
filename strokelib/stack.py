"""All slices of a cohort in one tensor, out of which patches are cut."""

from dataclasses import dataclass

import numpy as np
import torch

from strokelib import modalities
from strokelib.nifti import CaseError
from strokelib.run import runtime


@dataclass(frozen=True, eq=False)
class Resident:
    """All slices of a cohort in one place, padded so that a patch at the border always fits.

    `images` (slice, x + 2 pad, y + 2 pad, input) float32 or float16 and `labels` (slice, x + 2 pad,
    y + 2 pad) uint8 are contiguous tensors; voxel (x, y, s) of case i is at
    [first_slice[i] + s, x + pad, y + pad]. `first_slice` and `numbers` hold one entry a case, `inputs` the name of
    each input.
    """

    images: torch.Tensor
    labels: torch.Tensor
    first_slice: np.ndarray
    numbers: np.ndarray
    pad: int
    inputs: tuple[str, ...]


def stack_scans(scans, mirrored: bool, device: str = "auto", pad: int = 0, dtype: str = "float32") -> Resident:
    """Put the preprocessed scans of a cohort into one tensor, channels last, on the device.

    Parameters
    ----------
    scans : sequence of Preprocessed
    mirrored : the modalities and their mirror images, or the first only.
    pad : voxels of 0 added on all four sides of a slice; half a patch fits every center.
    dtype : "float32", or "float16" for half the memory: normalized values keep three digits.

    Returns
    -------
    Resident; a scan without a lesion mask gets labels of 0.

    Raises
    ------
    CaseError : a scan of other modalities than the first one's, or whose slices have another size.
    RuntimeError : the GPU's memory is too small.
    """
    kind, (side_x, side_y, _) = scans[0].modalities, scans[0].mask.shape
    for scan in scans:
        if scan.modalities != kind or scan.mask.shape[:2] != (side_x, side_y):
            raise CaseError(
                f"case_{scan.number} has {', '.join(scan.modalities)} in slices of {scan.mask.shape[:2]} voxels, the "
                f"first case {', '.join(kind)} in {(side_x, side_y)}; one tensor needs one kind and one size"
            )
    inputs = modalities.inputs(kind, mirrored)
    first_slice = np.cumsum([0, *(scan.mask.shape[2] for scan in scans)])
    size, place = (int(first_slice[-1]), side_x + 2 * pad, side_y + 2 * pad), runtime.choose_device(device)
    advice = "set compute.folds_at_once = 1 or compute.resident = 'float16', or device = 'cpu'"
    with runtime.gpu_memory(f"for all {len(scans)} scans; {advice}"):
        images = torch.zeros(*size, len(inputs), dtype=getattr(torch, dtype), device=place)
        labels = torch.zeros(size, dtype=torch.uint8, device=place)
    for scan, first, after in zip(scans, first_slice, first_slice[1:], strict=False):
        inner = slice(first, after), slice(pad, pad + side_x), slice(pad, pad + side_y)
        images[inner].copy_(torch.from_numpy(scan.inputs(mirrored)).permute(3, 1, 2, 0))
        if scan.lesion is not None:
            labels[inner].copy_(torch.from_numpy(scan.lesion).permute(2, 0, 1))
    return Resident(images, labels, first_slice[:-1], np.array([scan.number for scan in scans]), pad, inputs)
