"""Maps from a raw CT perfusion series: the brain, the curves of an artery and a vein, and what to beware of.

The curves are found by plain criteria (early, high and narrow; later and higher) and shown; nobody has to mark them.
"""

import numpy as np
from scipy import ndimage

from strokelib.nifti import CaseError
from strokelib.own.scan import Curves
from strokelib.phantom import perfusion

USUAL_FRAMES = (28, 64)  # of ISLES 2018
FRAME_S = (0.3, 5.0)  # s from one frame to the next; slower than this no bolus is seen
BONE_HU = 150  # and more
TISSUE_HU = (0, 100)
CLOSED_MM, OPENED_MM = 6.0, 2.0  # gaps of the skull that are closed; bridges to what is outside that are cut
LEAST_BRAIN_CM2 = 15.0  # in some slice; a brain has 120 to 180 where it is widest
MOST_HEAD_CM2 = 450.0
CALM_MM = 1.2  # sigma of the blur of curves in plane in which vessels are looked for
LATE_S = 2.0  # a curve that rises this much later than the earliest is half as likely an artery's
HIGH = 0.995  # vessels are among the half per cent of voxels that enhance most
TOGETHER = 5  # voxels whose curves are averaged
LEAST_PEAK_HU = 20.0  # no artery has less
FULL_PEAK_HU = 60.0  # less is seen where a voxel is only in part an artery; ISLES 2018 has a median of 101
MOVED_MM = 1.5
MOST_WAY = 1.4  # of the mean curve, by twice its height: 0.65 to 0.87 on the phantom, 1.84 with every other frame first
MOST_FALL = 0.1  # of the height of the mean curve, from the first frame to the last; it rises by 0.3 on the phantom
EARLY_S, MOST_RISE = 2.0, 0.1  # of that height, in so many seconds: 0.03 on the phantom less 8 s, 0.18 less 10 s
NOT_DOWN = 0.5  # of the peak, at the end of the series
HOW = perfusion.Deconvolution()
VARIES = (
    "the maps were made here from the raw series and depend on the deconvolution: on one public series Tmax > 6 s was "
    "229, 329 and 242 mL where singular values below 10, 5 and 2 % were left out"
)


def maps_of_series(series, head, spacing, frame_s: float, how: perfusion.Deconvolution = HOW):
    """Make the four perfusion maps of a raw series, with the arterial and the venous curve that were found in it.

    Parameters
    ----------
    series : (x, y, slice, frame) HU, on the networks' grid
    head : (x, y, slice) HU, the CT without contrast on the same grid
    spacing : (3,) mm
    frame_s : s from one frame to the next
    how : perfusion.Deconvolution

    Returns
    -------
    maps : CBF, CBV, MTT and Tmax by name, (x, y, slice) float32 in ISLES 2018's units (CBF and CBV ten times
        mL/100 g/min and mL/100 g), 0 outside the brain
    Curves
    remarks : what a reader should know, in plain sentences; the first that maps depend on the deconvolution

    Raises
    ------
    CaseError : too few frames, a time between them that no perfusion scan has, no brain, or no artery.

    Source: perfusion.maps_from_series. Our choice: where the vein's curve has the larger area, the arterial one is
    scaled to it before the deconvolution, since all blood passes both and a small artery fills its voxels in part.
    """
    said, frames = [VARIES], series.shape[3]
    check_times(frames, frame_s)
    if not USUAL_FRAMES[0] <= frames <= USUAL_FRAMES[1]:
        said.append(f"the series has {frames} frames, those of ISLES 2018 {USUAL_FRAMES[0]} to {USUAL_FRAMES[1]}")
    brain = brain_of(head, spacing)
    curves = find_curves(series, head, brain, spacing, frame_s)
    late = _order_remarks(series[brain].mean(0, dtype=np.float64), frame_s)
    said += late + _curve_remarks(curves, frame_s, baseline=not late) + _motion_remarks(series, spacing)
    artery, share = curves.artery, _area(curves.vein) / _area(curves.artery)
    if share > 1:
        artery = artery * share
        said.append(f"the arterial curve was scaled by {share:.2f}, to the area of the venous one")
    try:
        maps = perfusion.maps_from_series(series, brain, artery, frame_s, how)
    except ValueError as error:
        raise CaseError(f"no maps can be made from the series ({error})") from error
    # A voxel at the rim of the brain is part bone.
    rim = ndimage.binary_erosion(brain, np.ones((3, 3, 1)))
    tenfold = {"CBF": 10, "CBV": 10}
    maps = {name: np.where(rim, image * np.float32(tenfold.get(name, 1)), 0) for name, image in maps.items()}
    return maps, curves, tuple(said)


def brain_of(head, spacing) -> np.ndarray:
    """Mark what the skull encloses in each slice, without what is too bright or dark for tissue and fluid.

    Parameters
    ----------
    head : (x, y, slice) HU
    spacing : (3,) mm

    Returns
    -------
    (x, y, slice) bool, in one piece.

    Raises
    ------
    CaseError : nothing of a brain's size is enclosed by bone, or the image shows something larger than a head.

    Our choice: gaps of the bone up to 6 mm are closed; where the skull is open (at its base, or stripped away), a slice
    keeps its tissue alone.
    """
    head = np.asarray(head, np.float32)
    inside, pixel = np.zeros(head.shape, bool), float(spacing[0])
    closing = disk(CLOSED_MM / 2 / pixel)
    thin = disk(OPENED_MM / pixel)
    for k in range(head.shape[2]):
        bone = head[..., k] > BONE_HU
        border = closing.shape[0] // 2
        closed = ndimage.binary_closing(np.pad(bone, border), closing)[border:-border, border:-border]
        within = ndimage.binary_fill_holes(closed | bone) & ~bone
        tissue = ndimage.gaussian_filter(np.clip(head[..., k], -200, 200), 1.0)
        within &= (tissue > TISSUE_HU[0] - 10) & (tissue < TISSUE_HU[1])
        inside[..., k] = ndimage.binary_opening(within, thin)
    labels, count = ndimage.label(inside)
    if count:
        inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    area = inside.sum((0, 1)).max() * spacing[0] * spacing[1] / 100
    if not LEAST_BRAIN_CM2 <= area <= MOST_HEAD_CM2:
        raise CaseError(
            f"the CT is not that of a head: bone encloses {area:.0f} cm2 of tissue, expected {LEAST_BRAIN_CM2:g} to "
            f"{MOST_HEAD_CM2:g} in the largest slice; check the file, its spacing and that it is in HU"
        )
    return ndimage.binary_fill_holes(inside, np.ones((3, 3, 1)))


def find_curves(series, head, brain, spacing, frame_s: float) -> Curves:
    """Find the curves of an artery and of a vein in a series.

    Parameters
    ----------
    series : (x, y, slice, frame) HU
    head : (x, y, slice) HU
    brain : (x, y, slice) bool
    spacing : (3,) mm
    frame_s : s

    Returns
    -------
    Curves : of the mean of the five best voxels of one place each, HU over the frames before contrast comes.

    Raises
    ------
    CaseError : nothing in the brain enhances as an artery does.

    Our choice: among the half per cent of voxels that enhance most, an artery is the earlier, the higher and the
    narrower the better: height by width at half height, and half of it for 2 s by which a curve reaches half its height
    later than the earliest. A vein peaks later than it and encloses the largest area.
    """
    near = ndimage.binary_dilation(brain, disk(2.0 / spacing[0])[..., None]) & (head < BONE_HU)
    calm = _calm(series, near, CALM_MM / spacing[0])
    rough = np.median(calm, 0)  # over voxels: when contrast comes to the brain
    baseline = max(1, perfusion.bolus_arrival(rough) - int(np.ceil(3 / frame_s)))
    rises = calm - calm[:, :baseline].mean(1, keepdims=True)
    peak = rises.max(1)
    high = np.flatnonzero(peak >= np.quantile(peak, HIGH))
    if not len(high) or peak[high].max() < LEAST_PEAK_HU:
        raise CaseError(
            f"no artery was found in the series: nothing in the brain rises by {LEAST_PEAK_HU:g} HU (at most "
            f"{peak.max():.0f}); is it a perfusion series in HU, and does the slab hold a large artery?"
        )
    above = rises[high] > peak[high, None] / 2
    half, width = above.argmax(1) * frame_s, above.sum(1) * frame_s
    late = np.clip(half - np.quantile(half, 0.01), 0, None) / LATE_S
    artery = high[np.argmax(peak[high] / width / (1 + late))]
    when = rises[high].argmax(1) * frame_s
    later = when > rises[artery].argmax() * frame_s
    area = np.where(later, np.clip(rises[high], 0, None).sum(1), 0)
    vein = high[area.argmax()] if later.any() else artery
    places, times = np.argwhere(near), np.arange(series.shape[3]) * frame_s
    found = [_mean_curve(series, places, place, peak, baseline) for place in (artery, vein)]
    places = [tuple(map(int, places[place])) for place in (artery, vein)]
    return Curves(times, *found, *places)


def check_times(frames: int, frame_s: float) -> None:
    """Refuse a series of too few frames, or with a time between them that no perfusion scan has.

    Raises
    ------
    CaseError : what it has, and what is expected.
    """
    if frames < perfusion.MIN_FRAMES:
        raise CaseError(f"the series has {frames} frames, at least {perfusion.MIN_FRAMES} are needed")
    if not FRAME_S[0] <= frame_s <= FRAME_S[1]:
        raise CaseError(
            f"the series has a frame every {frame_s:g} s, expected {FRAME_S[0]:g} to {FRAME_S[1]:g}; correct its "
            "header"
        )


def _calm(series, near, sigma: float) -> np.ndarray:
    """Return the curves of some voxels, (voxel, frame), filtered in time and blurred in plane among themselves."""
    curves = np.empty((int(near.sum()), series.shape[3]), np.float32)
    slices = np.argwhere(near)[:, 2]
    for k in np.flatnonzero(near.any((0, 1))):
        planes = np.moveaxis(series[:, :, k], -1, 0)
        curves[slices == k] = perfusion.smooth_in_plane(planes, near[..., k], sigma)[:, near[..., k]].T
    return ndimage.convolve1d(curves, np.array([0.25, 0.5, 0.25], np.float32), axis=1, mode="nearest")


def _mean_curve(series, places, best: int, peak, baseline: int) -> np.ndarray:
    """Return the mean enhancement of the highest voxels around the best one, in its slice."""
    offsets = places - places[best]
    around = np.flatnonzero((np.abs(offsets[:, :2]).max(1) <= 1) & (offsets[:, 2] == 0))
    around = around[np.argsort(peak[around], kind="stable")[::-1][:TOGETHER]]
    curve = series[tuple(places[around].T)].astype(np.float64).mean(0)
    return curve - curve[:baseline].mean()


def _area(curve) -> float:
    return float(np.clip(curve, 0, None).sum())


def _curve_remarks(curves: Curves, frame_s: float, baseline: bool = True) -> list[str]:
    """Say what is odd about the curves; that there is no baseline only where the brain as a whole has not told it."""
    said, calm = [], ndimage.convolve1d(curves.artery, [0.25, 0.5, 0.25], mode="nearest")
    if curves.artery_place == curves.vein_place:
        said.append("no vein was found that peaks later than the artery: blood volume and flow may be too high")
    if baseline and (arrival := perfusion.bolus_arrival(calm)) <= 1:
        said.append(
            f"contrast is there {arrival * frame_s:g} s after the series begins, so that it has no baseline: "
            "blood volume and flow are too low"
        )
    if calm.max() < FULL_PEAK_HU:
        said.append(
            f"the artery that was found rises by {calm.max():.0f} HU alone (ISLES 2018: about 100): the slab may "
            "hold no large artery; look at its place"
        )
    for name, curve in (("artery", curves.artery), ("vein", curves.vein)):
        end = float(np.mean(curve[-3:])) / max(float(curve.max()), 1e-6)
        if end > NOT_DOWN:
            said.append(
                f"the series is cut short: the {name}'s curve is still at {100 * end:.0f} % of its peak in the last "
                "frames, so that late tissue shows too little blood volume and too short times"
            )
            break
    return said


def _order_remarks(course, frame_s: float) -> list[str]:
    """Refuse frames that are not in the order of time, and say where contrast comes from the first one on.

    A brain's mean rises once and falls: its way up and down is little more than twice its height. Of frames that were
    sorted by name (1, 10, 11, 2) or by parity it is several times that. And it ends higher than it began, since what
    has passed once comes round again: in a series that runs backwards, or begins on the way down, it is lower.
    """
    height = float(np.ptp(course))
    if np.abs(np.diff(course)).sum() > MOST_WAY * 2 * height:
        raise CaseError(
            "the frames are not in the order of time: the mean of the brain goes up and down again and again, expected "
            "one rise and fall; sort them by acquisition time and export the series anew"
        )
    begins, ends = (course[0] - course.min()) / height, (course[-1] - course.min()) / height
    if begins > ends + MOST_FALL:
        raise CaseError(
            f"contrast is at {100 * begins:.0f} % of its height in the first frame and at {100 * ends:.0f} % in the "
            "last: time runs backwards, or the series begins after contrast has come, expected a baseline before "
            "that; sort the frames by acquisition time, or export the series from its first frame on"
        )
    rise = (course[min(round(EARLY_S / frame_s), len(course) - 1)] - course[0]) / height
    if rise <= MOST_RISE:
        return []
    return [
        f"contrast rises from the first frame on, by {100 * rise:.0f} % of its height in {EARLY_S:g} s, so that there "
        "is no baseline: times, flow and volume are wrong"
    ]


def _motion_remarks(series, spacing) -> list[str]:
    """Say whether the skull moves in plane; a nod, which takes the slices elsewhere, is not seen by this."""
    bright = np.clip(series, 200, 1000) - 200
    total = bright.sum((0, 1, 2))
    if total.min() <= 0:
        return []
    x = (bright.sum((1, 2)) * np.arange(series.shape[0])[:, None]).sum(0) / total * spacing[0]
    y = (bright.sum((0, 2)) * np.arange(series.shape[1])[:, None]).sum(0) / total * spacing[1]
    moved = np.hypot(x - np.median(x), y - np.median(y))
    if (most := float(moved.max())) <= MOVED_MM:
        return []
    return [
        f"the head moves by {most:.1f} mm in plane in frame {int(moved.argmax()) + 1}, and nothing corrects that here: "
        "curves at its edges are wrong; register the frames first"
    ]


def disk(radius: float) -> np.ndarray:
    """Mark the pixels within a radius in pixels of the middle one, which has neighbors at least."""
    reach = max(1, round(radius))
    x, y = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.hypot(x, y) <= max(radius, 1)
