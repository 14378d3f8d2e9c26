"""The cohort as one tensor: every voxel in its place, and one kind of scan only."""

import numpy as np
import pytest
import torch
from heads import OTHER, fewer, make_case

from strokelib.modalities import ISLES, inputs
from strokelib.nifti import CaseError
from strokelib.preprocess import preprocess_case, save_preprocessed
from strokelib.stack import stack_scans


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("pad", [0, 5])
def test_the_resident_tensor_holds_the_cases(tmp_path, mirrored, pad):
    scans = [preprocess_case(make_case(n, slices=n + 1, number=n, labelled=n != 2)) for n in (1, 2, 3)]
    paths = [tmp_path / f"case_{p.number}.npz" for p in scans]
    for path, p in zip(paths, scans, strict=True):
        save_preprocessed(path, p)
    cohort = stack_scans(paths, mirrored, "cpu", pad)
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
    from_memory = stack_scans(scans, mirrored, "cpu", pad)
    assert torch.equal(from_memory.images, cohort.images)
    assert torch.equal(from_memory.labels, cohort.labels) and from_memory.inputs == cohort.inputs


def test_resident_refuses_what_does_not_fit(tmp_path):
    p = preprocess_case(make_case())
    with pytest.raises(ValueError, match="no cases"):
        stack_scans([], True)
    with pytest.raises(ValueError, match="pad must be"):
        stack_scans([p], True, pad=-1)
    with pytest.raises(CaseError, match="case_9 has slices"):
        stack_scans([p, preprocess_case(make_case(side=104, number=9))], True, "cpu")
    with pytest.raises(FileNotFoundError, match=r"case_1\.npz"):
        stack_scans([tmp_path / "case_1.npz"], True)
    np.savez(tmp_path / "case_2.npz", images=p.images, mask=p.mask)  # as of an earlier version
    for cases in ([tmp_path / "case_2.npz"], [p, tmp_path / "case_2.npz"]):
        with pytest.raises(CaseError, match=r"case_2\.npz is .*run notebook 02"):
            stack_scans(cases, True, "cpu")


def test_a_scan_of_other_modalities_is_laid_out_by_their_names(tmp_path):
    some = preprocess_case(fewer(make_case()))
    save_preprocessed(tmp_path / "case_7.npz", some)
    for mirrored in (False, True):
        one, two = (stack_scans([scan], mirrored, "cpu") for scan in (some, tmp_path / "case_7.npz"))
        assert one.inputs == two.inputs == inputs(OTHER, mirrored)
        assert torch.equal(one.images, two.images) and one.images.shape[-1] == len(one.inputs)


def test_one_tensor_needs_the_same_modalities_of_all(tmp_path):
    usual, other = preprocess_case(make_case()), preprocess_case(fewer(make_case(number=9)))
    save_preprocessed(tmp_path / "case_9.npz", other)
    for second in (other, tmp_path / "case_9.npz"):
        for cases in ([usual, second], [second, usual]):
            with pytest.raises(CaseError, match=r"case_[79] has CT, CBF.* the first case CT, CBF.* same modalities"):
                stack_scans(cases, True, "cpu")
