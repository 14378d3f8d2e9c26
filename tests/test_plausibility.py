import dataclasses

import numpy as np
import pytest
from heads import change, fewer, make_case

from strokelib import plausibility
from strokelib.nifti import CaseError
from strokelib.plausibility import check_background, check_outline, mirror_scores, remarks
from strokelib.preprocess import brain_mask, check_case


def outlined(case, lesion):
    return dataclasses.replace(case, lesion=lesion)


def test_a_usual_scan_passes_and_needs_no_remark():
    for case in (make_case(), make_case(labelled=False), make_case(slices=1, side=120), fewer(make_case())):
        mask = brain_mask(case.maps)
        assert check_background(case, mask) is None and check_outline(case, mask) is None
        assert remarks(case, mask) == []
        np.testing.assert_array_equal(check_case(case), mask)


@pytest.mark.parametrize("modality", ["CBF", "CBV", "MTT", "Tmax"])
@pytest.mark.parametrize("cropped", [False, True])
@pytest.mark.parametrize("fill", [-1.0, 0.5, "ringing"])
def test_a_map_that_is_not_0_outside_is_named_and_not_the_ct(modality, cropped, fill):
    case, rng = make_case(side=112), np.random.default_rng(0)

    def filled(image):
        outside = rng.normal(0, 0.05 * image.max(), image.shape) if fill == "ringing" else fill
        return np.where(image == 0, outside, image)

    case = change(case, modality, filled)
    if cropped:  # to the head
        x, y = (np.flatnonzero((case.head > -23).any(axis)) for axis in ((1, 2), (0, 2)))
        inside = np.s_[:, x[0] : x[-1] + 1, y[0] : y[-1] + 1]
        case = dataclasses.replace(case, images=case.images[inside], lesion=case.lesion[inside[1:]])
        assert case.head[brain_mask(case.maps)].mean() > 0
    with pytest.raises(CaseError, match=rf"^case_7: {modality} is negative, or not 0 where the CT shows no tissue, in"):
        check_case(case)


def test_the_value_of_the_background_is_told():
    case = change(make_case(), "MTT", lambda mtt: np.where(mtt == 0, -1, mtt))
    with pytest.raises(CaseError, match=r"most often -1 there\), expected 0 outside the brain; save it"):
        check_case(case)


def test_a_fault_of_the_ct_is_still_the_ct_s():
    for wrong in (lambda ct: ct + 1024, lambda ct: ct - 1000):
        with pytest.raises(CaseError, match=r"case_7: CT has a median of .* expected 0 to 100 HU; check its unit"):
            check_case(change(make_case(), "CT", wrong))


def test_a_few_wrong_voxels_are_no_fault():
    """Fluid darker than water by its noise, and a skull that moved: some per cent."""
    case = make_case()
    brain = case.image("CBF") != 0
    chance = np.random.default_rng(0).random(brain.shape)
    check_case(change(case, "CT", lambda ct: np.where(brain & (chance < 0.15), -5, ct)))
    with pytest.raises(CaseError, match="CBF is negative, or not 0 where the CT shows no tissue, in 2"):
        check_case(change(case, "CT", lambda ct: np.where(brain & (chance < 0.25), -5, ct)))


@pytest.mark.parametrize("inside_brain", [False, True])
def test_an_outline_inside_out_is_refused(inside_brain):
    case = make_case()
    mask = brain_mask(case.maps)
    with pytest.raises(CaseError, match=r"case_7: the outline \(OT\) covers 9\d % of the brain, .*1 marks the core"):
        check_case(outlined(case, ~case.lesion & mask if inside_brain else ~case.lesion))


def test_a_hemisphere_may_be_lost_and_more_may_not():
    case = make_case()
    mask = brain_mask(case.maps)
    within = np.flatnonzero(mask)
    for share, refused in ((0.5, False), (0.7, True)):
        lesion = np.zeros(mask.size, bool)
        lesion[within[: int(share * within.size)]] = True
        half = outlined(case, lesion.reshape(mask.shape))
        if refused:
            with pytest.raises(CaseError, match="covers 70 % of the brain"):
                check_outline(half, mask)
        else:
            check_outline(half, mask)


def test_an_outline_elsewhere_is_refused_and_one_that_is_mostly_elsewhere_or_empty_is_remarked_upon():
    case = make_case()
    mask = brain_mask(case.maps)
    outside = np.zeros_like(mask)
    outside[:4] = True
    with pytest.raises(CaseError, match="none of the 768 lesion voxels lies in the brain"):
        check_outline(outlined(case, outside), mask)
    both = outlined(case, case.lesion | outside)
    check_outline(both, mask)
    (remark,) = remarks(both, mask)
    assert remark.endswith("% of its outline (OT) lies outside the brain: is it of this scan?")
    empty = outlined(case, np.zeros_like(mask))
    check_outline(empty, mask)
    assert remarks(empty, mask) == ["its outline (OT) is empty: it counts as a scan without a core"]


def test_exchanged_axes_are_remarked_upon_with_both_scores():
    case = make_case(side=128)
    # The face makes front and back unlike, as in a head.
    y = np.arange(128)[None, :, None]
    case = change(case, "CT", lambda ct: np.where((ct == 900) & (y > 70), -23, ct))
    mask = brain_mask(case.maps)
    sides, ends = mirror_scores(case.head)
    assert sides > ends + plausibility.MOST_OTHER_AXIS and remarks(case, mask) == []
    turned = dataclasses.replace(case, images=case.images.swapaxes(1, 2), lesion=case.lesion.swapaxes(0, 1))
    assert mirror_scores(turned.head) == pytest.approx((ends, sides))
    (remark,) = remarks(turned, mask.swapaxes(0, 1))
    assert f"mirrors the head better ({sides:.2f}) than its first ({ends:.2f})" in remark


def test_remarks_of_the_reader_come_first():
    case = dataclasses.replace(make_case(), remarks=("MTT is stored in minutes",))
    assert remarks(case, brain_mask(case.maps)) == ["MTT is stored in minutes"]


def test_scores_do_not_need_a_size():
    for side in (64, 65, 96, 131):
        case = make_case(side=side)
        assert all(0.3 < score <= 1 for score in mirror_scores(case.head))


def test_a_negative_background_is_seen_where_the_ct_shows_tissue_all_over():
    """As of a scan cropped to the brain, with the scalp in the corners."""
    case = change(make_case(), "CT", lambda ct: np.where((ct > 100) | (ct < 0), 45, ct))
    check_case(case)
    with pytest.raises(CaseError, match=r"case_7: Tmax is negative, .* \(most often -1 there\)"):
        check_case(change(case, "Tmax", lambda tmax: np.where(tmax == 0, -1, tmax)))
