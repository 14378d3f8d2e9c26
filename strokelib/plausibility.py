"""Does a scan look like one: the background of its maps, its outline, and the axis that mirrors it."""

import numpy as np
import torch

from strokelib import modalities, registration, warp
from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError

# A perfusion map is not negative, and is 0 where the CT shows air or bone. Of the voxels where a map of our 201 scans
# is not 0, at most 0.1 % break that; of real ones some per cent may, at fluid darker than water by its noise and at
# the skull of a head that moved. A map whose outside is filled breaks it in 36 % or more, cropped to the head as well.
MOST_OUTSIDE = 0.2
# A core is on one side. In our scans it covers up to 28 % of the brain in the field of view; ISLES 2018's largest has
# 35 000 voxels, of some 18 000 a slice. Inside out, an outline covers more than half.
LARGEST_CORE = 0.6
# How much better front and back may mirror each other than left and right: in slabs near the top of the head the skull
# is a mere ring. In our 201 scans they do in two, by 0.05 at most; two real heads have 0.08 and 0.26 less.
MOST_OTHER_AXIS = 0.07
_SIDE = 64  # voxels in plane, at least, at which the two are compared


def check_background(case, mask) -> None:
    """Refuse a scan whose maps are not 0 outside the brain.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, where the maps do not sum to 0

    Raises
    ------
    CaseError : a map is negative, or not 0 where the image of the head shows neither tissue nor fluid, in more than a
        fifth of its voxels; or that image is not in its units where all maps are positive.
    """
    head = modalities.head(case.modalities)
    (low, high), name = MODALITIES[head].head, f"case_{case.number}"
    everywhere = (case.maps > 0).all(axis=0)  # which a wrong background of one map leaves alone
    typical = np.median(case.head[everywhere if everywhere.any() else mask])
    if not low < typical < high:
        raise CaseError(
            f"{name}: {head} has a median of {typical:g} in the brain, expected {low:g} to {high:g} "
            f"{MODALITIES[head].unit}; check its unit, and that it belongs to these maps"
        )
    tissue = (case.head > low) & (case.head < high)
    for modality, image in case.named.items():
        if MODALITIES[modality].head or not image.any():
            continue
        wrong = image[(image < 0) | ((image != 0) & ~tissue)]
        share = wrong.size / np.count_nonzero(image)
        if share > MOST_OUTSIDE:
            values, counts = np.unique(wrong, return_counts=True)
            raise CaseError(
                f"{name}: {modality} is negative, or not 0 where the {head} shows no tissue, in {100 * share:.0f} % of "
                f"its voxels (most often {values[counts.argmax()]:g} there), expected 0 outside the brain; save it "
                "with a background of 0, or check that it belongs to this scan"
            )


def check_outline(case, mask) -> None:
    """Refuse a scan whose outline cannot be that of a core.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, its brain

    Raises
    ------
    CaseError : the outline lies wholly outside the brain, or covers most of it.
    """
    if case.lesion is None or not case.lesion.any():
        return
    share = (case.lesion & mask).sum() / mask.sum()
    if share == 0:
        raise CaseError(
            f"case_{case.number}: none of the {case.lesion.sum()} lesion voxels lies in the brain; check that the "
            "outline (OT) belongs to this scan"
        )
    if share > LARGEST_CORE:
        raise CaseError(
            f"case_{case.number}: the outline (OT) covers {100 * share:.0f} % of the brain, expected a core, at most "
            f"{100 * LARGEST_CORE:.0f} %; check that 1 marks the core and 0 the rest"
        )


def remarks(case, mask) -> list[str]:
    """Say what a reader should know of a scan that can be used.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, its brain

    Returns
    -------
    sentences: those of `cases.load_case`; an empty outline, or one mostly outside the brain; another axis than
    left-right that mirrors the head better, with both scores.
    """
    said = [*case.remarks]
    if case.lesion is not None and not case.lesion.any():
        said.append("its outline (OT) is empty: it counts as a scan without a core")
    elif case.lesion is not None and (outside := (case.lesion & ~mask).sum() / case.lesion.sum()) > 0.5:
        said.append(f"{100 * outside:.0f} % of its outline (OT) lies outside the brain: is it of this scan?")
    sides, ends = mirror_scores(case.head, MODALITIES[modalities.head(case.modalities)].head)
    if ends > sides + MOST_OTHER_AXIS:
        said.append(
            f"its second axis mirrors the head better ({ends:.2f}) than its first ({sides:.2f}), which should be left "
            "and right: are the axes exchanged?"
        )
    return said


def mirror_scores(head, window=MODALITIES["CT"].head) -> tuple[float, float]:
    """Score how well a head is its own mirror image along the first and along the second axis.

    Parameters
    ----------
    head : (x, y, slice)
    window : values between which it is compared; of a CT, air and background count as 0

    Returns
    -------
    The largest correlations with the two mirror images, over all rotations and shifts of a coarse resolution.

    `registration.align_flipped` is no help here: it compares what both fields of view hold, so that along the wrong
    axis it may find a part of the head that fits.
    """
    factor = max(1, min(head.shape[:2]) // _SIDE)
    x, y = (side // factor for side in head.shape[:2])
    coarse = np.clip(head[: x * factor, : y * factor], *window).astype(np.float32) - np.float32(window[0])
    coarse = torch.from_numpy(coarse.reshape(x, factor, y, factor, -1).mean((1, 3)))
    center, size = np.array([x - 1, y - 1]) / 2, (2 * x, 2 * y)
    fixed, scores = torch.fft.rfft2(coarse.permute(2, 0, 1), s=size).conj(), []
    for axis in (0, 1):
        bordered = warp.bordered(coarse.flip(axis))
        turned = torch.stack([warp.sample(bordered, warp.turn(angle, center)) for angle in registration.ANGLES])
        moving = torch.fft.rfft2(turned.permute(0, 3, 1, 2), s=size)
        highest = torch.fft.irfft2((moving * fixed).sum(1), s=size).amax((1, 2)) / coarse.numel()
        means, deviations = turned.flatten(1).mean(1), turned.flatten(1).std(1) * coarse.std()
        scores.append(float(((highest - means * coarse.mean()) / deviations).max()))
    return tuple(scores)
