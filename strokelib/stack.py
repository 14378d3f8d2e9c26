"""All slices of a cohort in one tensor, out of which patches are cut."""

from dataclasses import dataclass

import numpy as np
import torch

from strokelib import modalities
from strokelib.nifti import CaseError
from strokelib.preprocess import Preprocessed, load_preprocessed, read_arrays
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


def stack_scans(cases, mirrored: bool, device: str = "auto", pad: int = 0, dtype: str = "float32") -> Resident:
    """Put the preprocessed scans of a cohort into one tensor, channels last, on the device.

    Scans given by path are read one after the other straight into their place, so that no more
    than the tensor and one scan are held.

    Parameters
    ----------
    cases : sequence of Preprocessed, or of paths that `save_preprocessed` wrote.
    mirrored : the modalities and their mirror images, or the first only.
    pad : voxels of 0 added on all four sides of a slice; half a patch fits every center.
    dtype : "float32", or "float16" for half the memory: normalized values keep three digits.

    Returns
    -------
    Resident; a scan without a lesion mask gets labels of 0.

    Raises
    ------
    ValueError : no cases or a negative pad.
    CaseError : a scan whose slices have another size than the first one's, or that has other modalities.
    RuntimeError : the GPU's memory is too small.
    """
    cases = list(cases)
    if not cases:
        raise ValueError("there are no cases to load")
    if pad < 0:
        raise ValueError(f"pad must be >= 0, got {pad}")
    shapes = [_shape(case) for case in cases]
    side_x, side_y, _ = shapes[0]
    first_slice = np.cumsum([0, *(shape[2] for shape in shapes)])
    size = (int(first_slice[-1]), side_x + 2 * pad, side_y + 2 * pad)
    provided = _modalities(cases[0])
    inputs = modalities.inputs(provided, mirrored)

    place = runtime.choose_device(device)
    try:
        images = torch.zeros(*size, len(inputs), dtype=getattr(torch, dtype), device=place)
        labels = torch.zeros(size, dtype=torch.uint8, device=place)
    except torch.cuda.OutOfMemoryError as error:
        raise RuntimeError(
            f"the GPU's memory is too small for all {len(cases)} scans; set compute.folds_at_once = 1 or "
            "compute.resident = 'float16', or device = 'cpu'"
        ) from error
    numbers = []
    for case, shape, first in zip(cases, shapes, first_slice, strict=False):
        p = case if isinstance(case, Preprocessed) else load_preprocessed(case)
        if p.modalities != provided:
            raise CaseError(
                f"case_{p.number} has {', '.join(p.modalities)}, the first case {', '.join(provided)}; one tensor "
                "needs the same modalities of all"
            )
        if shape[:2] != (side_x, side_y):
            raise CaseError(
                f"case_{p.number} has slices of {shape[:2]} voxels, the first case "
                f"{shapes[0][:2]}; one tensor needs one size"
            )
        inner = (
            slice(first, first + shape[2]),
            slice(pad, pad + side_x),
            slice(pad, pad + side_y),
        )
        images[inner].copy_(torch.from_numpy(p.inputs(mirrored)).permute(3, 1, 2, 0))
        if p.lesion is not None:
            labels[inner].copy_(torch.from_numpy(p.lesion).permute(2, 0, 1))
        numbers.append(p.number)
    return Resident(images, labels, first_slice[:-1], np.array(numbers), pad, inputs)


def _shape(case) -> tuple[int, ...]:
    """Return (x, y, slice) of a scan, of a saved one without reading its images."""
    if isinstance(case, Preprocessed):
        return case.mask.shape
    return read_arrays(case, ["mask"])["mask"].shape


def _modalities(case) -> tuple[str, ...]:
    if isinstance(case, Preprocessed):
        return case.modalities
    return tuple(read_arrays(case, ["modalities"])["modalities"].tolist())
