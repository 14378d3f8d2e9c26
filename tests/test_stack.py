"""The cohort as one tensor: every voxel in its place, and one kind of scan only."""

import numpy as np
import pytest
import torch
from heads import OTHER, fewer, make_case

from strokelib.modalities import ISLES, inputs
from strokelib.nifti import CaseError
from strokelib.preprocess import preprocess_case
from strokelib.stack import stack_scans


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("pad", [0, 5])
def test_the_resident_tensor_holds_the_cases(mirrored, pad):
    scans = [preprocess_case(make_case(n, slices=n + 1, number=n, labelled=n != 2)) for n in (1, 2, 3)]
    cohort = stack_scans(scans, mirrored, "cpu", pad)
    side = 96 + 2 * pad
    assert cohort.images.shape == (2 + 3 + 4, side, side, 10 if mirrored else 5)
    assert cohort.labels.shape == (9, side, side)
    assert (cohort.images.dtype, cohort.labels.dtype) == (torch.float32, torch.uint8)
    assert cohort.images.is_contiguous()
    assert cohort.first_slice.tolist() == [0, 2, 5]
    assert cohort.numbers.tolist() == [1, 2, 3]
    assert cohort.inputs == inputs(ISLES, mirrored)
    assert cohort.pad == pad
    for p, first in zip(scans, cohort.first_slice, strict=True):
        for s in range(p.mask.shape[2]):
            inner = np.s_[first + s, pad : pad + 96, pad : pad + 96]
            stored = cohort.images[inner].numpy()
            expected = p.inputs(mirrored)[..., s]
            np.testing.assert_array_equal(stored, np.moveaxis(expected, 0, -1))
            label = np.zeros((96, 96)) if p.lesion is None else p.lesion[:, :, s]
            np.testing.assert_array_equal(cohort.labels[inner].numpy(), label)
    border = torch.ones(side, side, dtype=torch.bool)
    border[pad : pad + 96, pad : pad + 96] = False
    assert not cohort.images[:, border].any()
    assert not cohort.labels[:, border].any()
    half = stack_scans(scans, mirrored, "cpu", pad, "float16")
    assert half.images.dtype == torch.float16
    assert torch.allclose(half.images.float(), cohort.images, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_scan_of_other_modalities_is_laid_out_by_their_names(mirrored):
    some = preprocess_case(fewer(make_case()))
    cohort = stack_scans([some], mirrored, "cpu")
    assert cohort.inputs == inputs(OTHER, mirrored) and cohort.images.shape[-1] == len(cohort.inputs)
    for place, name in enumerate(OTHER):
        stored = cohort.images[..., place].numpy()
        np.testing.assert_array_equal(stored, np.moveaxis(some.provided[some.modalities.index(name)], 2, 0))


def test_one_tensor_needs_one_kind_and_one_size():
    usual, other = preprocess_case(make_case()), preprocess_case(fewer(make_case(number=9)))
    larger = preprocess_case(make_case(side=104, number=8))
    with pytest.raises(CaseError, match=r"case_9 has CT, CBF, Tmax in .* the first case CT, CBF, CBV, MTT, Tmax in"):
        stack_scans([usual, other], True, "cpu")
    with pytest.raises(CaseError, match=r"case_7 has CT, CBF, CBV.* the first case CT, CBF, Tmax in \(96, 96\)"):
        stack_scans([other, usual], True, "cpu")
    with pytest.raises(CaseError, match=r"case_8 has .* of \(104, 104\) voxels, .* in \(96, 96\); one tensor"):
        stack_scans([usual, larger], True, "cpu")
