"""In-plane registration of the left-right flipped CT onto the CT: ours, SimpleITK and ANTs, with the error of each.

Work: twelve synthetic scans of 256 x 256 x 8 voxels, each of another head, whose line of symmetry is known. Each method
gets the CT in memory and returns a rigid transform in the plane. Ours correlates the tissue of all slices. Peers get
the mean of the windowed slices. SimpleITK climbs the correlation twice: at 1/4, 1/2 and full resolution with its own
tolerance, by which it stops far from the top; and at 1/4 and 1/2, where ours stops, too, until its steps get small.
ANTs runs its "Rigid" by correlation, and by the mutual information that is its default.

Error: of the angle of that line in degrees, and of the distance to it in voxels, averaged over the brain. One transform
serves all slices of a head that is also rolled, so the known line is averaged over slices. The heads are not quite
symmetric: no method reaches 0. There is no tolerance to meet: medians and worst are printed, ours being worse included.
"""

import os
import tempfile

import measure
import numpy as np

from strokelib import registration
from strokelib.modalities import MODALITIES
from strokelib.phantom.scan import SyntheticCase, make_case
from strokelib.run.settings import Cohort

SEEDS = range(1, 13)
CLOSE = 0.05  # degrees or voxels; medians that differ by less count as equal


def scan(seed: int) -> SyntheticCase:
    """Make one scan of 8 slices; each seed has its own head."""
    geometry = {"training_patients": 63, "testing_patients": 40, "max_slices": 22}  # all of the real cohort's
    cohort = Cohort(seed, **geometry, difficulty="real", series_cases=0, compress=True, jobs=1)
    return make_case(cohort, "TRAINING", 1)  # the first one has 8 slices


def errors(case, matrix) -> tuple[float, float]:
    """Return how far a transform's line of symmetry is off: degrees, voxels."""
    across, along, offset = case.truth["midline"].mean(axis=0)
    i, j, _ = np.nonzero(case.brain)
    away = registration.midline(matrix, case.brain.shape)[i, j] - (across * i + along * j - offset)
    turn = registration.yaw_degrees(matrix) - np.rad2deg(np.arctan2(along, across))
    return abs(turn), np.abs(away).mean()


def ours(ct) -> np.ndarray:
    return registration.align_flipped(ct, device="cpu").matrix


def mean_and_flip(ct) -> tuple[np.ndarray, np.ndarray]:
    """Return what the peers register: the mean of the windowed slices, and its flip."""
    mean = np.clip(ct, *MODALITIES["CT"].head).mean(axis=2, dtype=np.float32)
    return mean, np.ascontiguousarray(mean[::-1])


def matrix_of(place) -> np.ndarray:
    """Return the matrix of a function that maps a point of the fixed image to the moving one, as ours does."""
    origin, x, y = (np.array(place(point)) for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)))
    return np.vstack([np.stack([x - origin, y - origin, origin], axis=1), [0, 0, 1]])


def by_simpleitk(sitk, ct, levels: list[int], tolerance: float) -> np.ndarray:
    fixed, moving = (sitk.GetImageFromArray(image.T) for image in mean_and_flip(ct))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, gradientMagnitudeTolerance=tolerance)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([level // 2 for level in levels])
    start = sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler2DTransform())
    method.SetInitialTransform(start, inPlace=False)
    return matrix_of(method.Execute(fixed, moving).TransformPoint)


def by_ants(ants, ct, metric: str) -> np.ndarray:
    fixed, moving = (ants.from_numpy(image) for image in mean_and_flip(ct))
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(fixed, moving, "Rigid", aff_metric=metric, outprefix=f"{folder}/")
        return matrix_of(ants.read_transform(found["fwdtransforms"][0]).apply_to_point)


def compare(repeats: int) -> list:
    itk_threads = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(measure.threads())}
    os.environ |= itk_threads  # read when a peer is loaded
    cases = [scan(seed) for seed in SEEDS]
    scans = [case.images["CT"] for case in cases]
    work = f"registration of the flipped CT, a scan of 256 x 256 x 8 (mean of {len(scans)})"
    methods, absent = {"ours": ours}, []
    sitk, label = measure.peer("SimpleITK")
    if sitk is None:
        absent += measure.missing(work, label)
    else:
        methods[f"{label}, own tolerance"] = lambda ct: by_simpleitk(sitk, ct, [4, 2, 1], 1e-4)
        methods[f"{label}, converged"] = lambda ct: by_simpleitk(sitk, ct, [4, 2], 1e-8)
    ants, label = measure.peer("ants", "antspyx")
    if ants is None:
        absent += measure.missing(work, label)
    else:
        ants.config.set_ants_deterministic(True, 1)  # it looks at a fifth of the voxels, drawn at random
        os.environ |= itk_threads  # which that call has set to 1
        methods[f"{label}, correlation"] = lambda ct: by_ants(ants, ct, "GC")
        methods[f"{label}, mutual information"] = lambda ct: by_ants(ants, ct, "mattes")

    agreement, medians = {}, {}
    for name, method in methods.items():
        off = np.array([errors(case, method(ct)) for case, ct in zip(cases, scans, strict=True)])
        (yaw, line), (worst_yaw, worst_line) = medians[name], _ = np.median(off, axis=0), off.max(axis=0)
        verdict = "" if (medians["ours"] <= medians[name] + CLOSE).all() else "; ours is not as close"
        agreement[name] = f"{yaw:.2f}° (worst {worst_yaw:.2f}), {line:.2f} px (worst {worst_line:.2f}){verdict}"

    contenders = {name: lambda method=method: [method(ct) for ct in scans] for name, method in methods.items()}
    seconds = {name: value / len(scans) for name, value in measure.in_turn(contenders, repeats).items()}
    target = {name: 5 for name in methods if name != "ours"}
    return measure.rows(work, seconds, "ours", agreement, repeats, target) + absent


if __name__ == "__main__":
    measure.main(compare)
