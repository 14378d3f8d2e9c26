"""One synthetic scan, made as a real one comes about.

It goes through the chain a real one goes through: a brain with a stroke, contrast passing it, a noisy CT series with a
little motion, smoothing, deconvolution into maps, and an expert's outline on a later DWI. Slices, spacings, patients
and slabs are those of the 156 real scans (data/isles18_cases.csv); nothing else is real.
"""

import csv
import dataclasses
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from threadpoolctl import threadpool_limits

from strokelib.phantom import pathology, perfusion
from strokelib.phantom.anatomy import SIDE, Anatomy, Slab, build_anatomy, draw_head, midline
from strokelib.phantom.patient import KNOBS, Knobs, draw_patient
from strokelib.run import runtime
from strokelib.run.settings import Cohort

CT_BACKGROUND = -23  # HU, as in the challenge's files
FRAME_S = 1.0
AIF_STEP_S = 0.1
# SMIR image numbers: seven a case from a range that no real file uses.
FIRST_ID = {"TRAINING": 900000, "TESTING": 950000}
ID_ORDER = ("CT_4DPWI", "CT", "CT_CBF", "CT_CBV", "CT_MTT", "OT", "CT_Tmax")
DTYPES = {
    "CT": np.int32, "CT_CBF": np.uint16, "CT_CBV": np.uint16, "CT_MTT": np.float64, "CT_Tmax": np.float64,
    "OT": np.uint8, "CT_4DPWI": np.float32,
}  # fmt: skip


@dataclass(frozen=True)
class CasePlan:
    """What is settled about one scan before anything is drawn for it."""

    split: str
    number: int  # case_N
    patient: int
    slab: str  # "A" or "B"
    two_slabs: bool
    slices: int
    frames: int
    px_mm: float
    dz_mm: float
    field_of_view_mm: float  # the smallest over the patient's slabs
    quantile: float  # of the core volume in the cohort, 0 to 1
    reperfusion: float  # 0 to 1; below the knobs' p_recanalized, flow is back before the scan

    @property
    def name(self) -> str:
        return f"{'Train' if self.split == 'TRAINING' else 'Test'}_{self.patient:02d}"

    @property
    def ids(self) -> dict[str, int]:
        first = FIRST_ID[self.split] + 7 * (self.number - 1)
        return {modality: first + n for n, modality in enumerate(ID_ORDER)}


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """One scan in memory.

    `images` holds the arrays as they go to file, by SMIR name: CT, CT_CBF, CT_CBV, CT_MTT, CT_Tmax,
    OT. `truth` holds what only a phantom knows, (256, 256, slice): f (flow as a share of normal
    flow), core, G and W (gray and white matter), cbf, cbv, mtt, delay; and, for each slice, midline
    (see `anatomy.midline`). `aif` is the measured arterial curve (HU over its baseline, a frame a
    second). `series` is (256, 256, slice, time) HU, None unless asked for; it gives the maps:
    `perfusion.maps_from_series(series, brain, aif, 1.0)`. `record` is what phantom.json says about
    the case.
    """

    images: dict[str, np.ndarray]
    brain: np.ndarray
    spacing: tuple[float, float, float]
    truth: dict[str, np.ndarray]
    aif: np.ndarray
    series: np.ndarray | None
    record: dict


@cache
def _geometry() -> tuple[dict, ...]:
    with open(runtime.ROOT / "data" / "isles18_cases.csv", newline="") as file:
        return tuple(csv.DictReader(file))


def plan_cohort(cohort: Cohort) -> list[CasePlan]:
    """List the scans of a cohort, training first.

    Patients come from the table of real scans. Case order there is by center and protocol, so equal
    steps through it keep the mix of protocols. Core volumes are stratified: each patient of a split
    gets one of n equal parts. So is reperfusion: in a small split one patient more or less whose core
    the maps do not show would decide the result.

    Raises
    ------
    ValueError : more patients are asked for than have at most `max_slices` slices.
    """
    plans = []
    wanted = {
        "TRAINING": ("train", cohort.training_patients),
        "TESTING": ("test", cohort.testing_patients),
    }
    for split, (label, count) in wanted.items():
        patients = {}
        for row in _geometry():
            if row["split"] == label:
                patients.setdefault(int(row["patient"]), []).append(row)
        fit = [rows for rows in patients.values() if max(int(r["slices"]) for r in rows) <= cohort.max_slices]
        if count > len(fit):
            raise ValueError(
                f"cohort.{split.lower()}_patients is {count} but only {len(fit)} have at most "
                f"{cohort.max_slices} slices; ask for fewer or raise cohort.max_slices"
            )
        chosen = [fit[int((n + 0.5) * len(fit) / count)] for n in range(count)]
        strata = runtime.rng(cohort.seed, split, "volumes").permutation(count)
        reperfusion = runtime.rng(cohort.seed, split, "reperfusion")
        reperfusion = (reperfusion.permutation(count) + reperfusion.random(count)) / count
        number = 0
        for patient, rows in enumerate(chosen, start=1):
            view = min(SIDE * float(r["spacing_x_mm"]) for r in rows)
            for row in rows:
                number += 1
                plans.append(
                    CasePlan(
                        split, number, patient, row["slab"], len(rows) > 1, int(row["slices"]),
                        int(row["timepoints"]), float(row["spacing_x_mm"]), float(row["spacing_z_mm"]), view,
                        float(strata[patient - 1] + 0.5) / count, float(reperfusion[patient - 1]),
                    )
                )  # fmt: skip
    return plans


def make_case(cohort: Cohort, split: str, number: int, knobs: Knobs | None = None, keep_series=False) -> SyntheticCase:
    """Make one scan, the same whether or not others are made.

    Parameters
    ----------
    cohort : settings; the scan depends on its seed, patients, max_slices and difficulty
    split : "TRAINING" or "TESTING"
    number : of the case, from 1
    knobs : instead of those of cohort.difficulty
    keep_series : return the 4-D series, too

    Raises
    ------
    ValueError : no such case in this cohort.
    """
    plans = [p for p in plan_cohort(cohort) if p.split == split]
    if not 1 <= number <= len(plans):
        raise ValueError(f"no {split} case {number}; this cohort has cases 1 to {len(plans)}")
    with threadpool_limits(1):  # sums depend on the number of threads
        return draw_scan(plans[number - 1], cohort.seed, knobs or KNOBS[cohort.difficulty], keep_series)


def draw_scan(plan: CasePlan, seed: int, knobs: Knobs, keep_series: bool) -> SyntheticCase:
    """Make the scan of a plan, to the same bits for one thread of linear algebra, which the caller sees to."""
    key = (seed, plan.split, plan.patient)
    slab_key = (*key, plan.slab)
    head = draw_head(runtime.rng(*key, "head"), plan.field_of_view_mm)
    patient = draw_patient(key, plan.quantile, plan.reperfusion, knobs)
    slab = Slab(plan.px_mm, plan.slices, plan.dz_mm, _center_z(plan, key))
    anatomy = build_anatomy(key, head, slab, knobs.symmetry)
    volume = patient.volume_ml
    if plan.slab == "B":
        volume *= runtime.rng(*key, "second slab").uniform(0.25, 0.9)
    stroke = pathology.occlude(key, slab_key, patient, anatomy, volume, knobs)
    flow = pathology.true_flow(slab_key, patient, anatomy, stroke, knobs)
    ct = pathology.native_ct(slab_key, patient, anatomy, stroke, flow, knobs)

    series, aif = _scan(key, slab_key, plan, anatomy, flow, ct, knobs)
    how = perfusion.Deconvolution(truncation=knobs.truncation, smoothing_px=knobs.smooth, mtt_mix=knobs.mtt_mix)
    maps = perfusion.maps_from_series(np.moveaxis(series, (0, 1), (3, 2)), anatomy.brain, aif, FRAME_S, how)
    noisy_ct = ct + _ct_noise(slab_key, anatomy, knobs)
    shown = _shown(key, anatomy, noisy_ct, knobs)
    label = pathology.draw_label(slab_key, anatomy, stroke.core, knobs)

    def full(array):
        out = np.zeros((SIDE, SIDE, plan.slices), array.dtype)
        out[anatomy.box] = array
        return out

    whole_ct = pathology.add_head(slab_key, anatomy, noisy_ct)
    images = {
        "CT": np.clip(np.rint(whole_ct), CT_BACKGROUND, 3071),
        "CT_CBF": full(np.rint(10 * maps["CBF"] * shown)),
        "CT_CBV": full(np.rint(10 * maps["CBV"] * shown)),
        "CT_MTT": full(np.round(maps["MTT"].astype(float) * shown, 1)),
        "CT_Tmax": full(np.round(maps["Tmax"].astype(float) * shown, 1)),
        "OT": full(label),
    }
    images = {name: array.astype(DTYPES[name]) for name, array in images.items()}
    truth = {
        "f": full(np.where(anatomy.brain, stroke.flow_ratio, 0)), "core": full(stroke.core),
        "G": full(anatomy.gray), "W": full(anatomy.white),
        "cbf": full(flow.cbf), "cbv": full(flow.cbv), "mtt": full(flow.mtt * anatomy.brain),
        "delay": full(flow.delay * anatomy.brain), "midline": midline(head, slab),
    }  # fmt: skip
    four_d = None
    if keep_series:
        still = whole_ct.copy()
        still[anatomy.box][anatomy.brain] = ct[anatomy.brain]
        four_d = np.repeat(np.clip(still, CT_BACKGROUND, 3071)[..., None], plan.frames, -1)
        four_d[anatomy.box] += np.moveaxis(series, (0, 1), (3, 2))
    record = _record(plan, head, patient, stroke, slab, label)
    return SyntheticCase(images, full(anatomy.brain), slab.spacing, truth, aif, four_d, record)


def _center_z(plan: CasePlan, key) -> float:
    """Return the height of the slab's middle; two slabs of a patient lie on top of each other."""
    cover = plan.slices * plan.dz_mm
    drawn = runtime.rng(*key, "slab").standard_normal()
    if cover >= 100:
        return 12 + 3 * drawn
    if not plan.two_slabs:
        return 14 + 6 * drawn
    return (6 if cover < 35 else 12) + 6 * drawn + (cover if plan.slab == "B" else 0)


def _scan(key, slab_key, plan: CasePlan, anatomy: Anatomy, flow, ct, knobs: Knobs):
    """Pass a bolus through the brain and scan it.

    Returns
    -------
    (time, slice, x, y) float32 HU over the baseline, 0 outside the brain; measured arterial curve
    (time,) HU.
    """
    rng = runtime.rng(*key, "bolus")
    arrival = float(np.clip(rng.normal(7, 3), 3, 15))
    peak = float(np.clip(290 * np.exp(0.3 * rng.standard_normal()), 150, 600))
    width = float(np.clip(rng.normal(1, 0.18), 0.65, 1.6))
    fine = np.arange(0, plan.frames * FRAME_S + 1, AIF_STEP_S)
    artery = perfusion.arterial_input(fine, arrival, peak, width, rng.uniform(14, 20))
    times = np.arange(plan.frames) * FRAME_S

    inside = np.moveaxis(anatomy.brain, -1, 0)  # slice, x, y

    def voxels(array):
        return np.moveaxis(array, -1, 0)[inside]

    cbv, mtt = voxels(flow.cbv), voxels(flow.mtt)
    told = (60 * cbv / mtt, mtt, voxels(flow.delay))
    curves = perfusion.tissue_curves(*told, artery, AIF_STEP_S, times, knobs.residue_shape)
    rng = runtime.rng(*slab_key, "noise")
    # White noise of this size has, once correlated over 0.7 voxels, the SD that scanners quote.
    level = knobs.noise * float(np.exp(0.2 * rng.standard_normal())) * 2 * np.pi**0.5 * 0.7
    curves += np.float32(level) * rng.standard_normal(curves.shape, dtype=np.float32)
    curves += _motion(slab_key, anatomy, ct, plan.frames, knobs, voxels)
    series = np.zeros((plan.frames, *inside.shape), np.float32)
    series[:, inside] = curves

    rng = runtime.rng(*slab_key, "artery")
    measured = np.interp(times - rng.uniform(0, 0.4), fine, artery) * float(np.clip(rng.normal(0.92, 0.06), 0.7, 1))
    return series, measured + 2.5 * (knobs.noise > 0) * rng.standard_normal(plan.frames)


def _motion(slab_key, anatomy: Anatomy, ct, frames: int, knobs: Knobs, voxels):
    """Return what a slight random walk of the head changes, to first order: (time, voxel) HU."""
    rng = runtime.rng(*slab_key, "motion")
    walk = np.cumsum(rng.standard_normal((frames, 2)), 0)
    walk = (knobs.motion * (walk - walk.mean(0)) / walk.std(0)).astype(np.float32)
    image = np.where(anatomy.brain, ct, np.float32(250))  # a rim of bone
    image = ndimage.gaussian_filter(image, (1.2, 1.2, 0))
    gradient = np.stack([voxels(np.gradient(image, axis=axis)) for axis in (0, 1)])
    return walk @ gradient


def _ct_noise(slab_key, anatomy: Anatomy, knobs: Knobs):
    """Return noise with an SD of `ct_noise` HU, correlated over 0.7 voxels in plane."""
    white = runtime.rng(*slab_key, "ct noise").standard_normal(anatomy.brain.shape, dtype=np.float32)
    return knobs.ct_noise * 2 * np.pi**0.5 * 0.7 * ndimage.gaussian_filter(white, (0.7, 0.7, 0))


def _shown(key, anatomy: Anatomy, ct, knobs: Knobs):
    """Return where maps are shown: a voxel inside the edge, and not in CSF if that is blanked."""
    shown = ndimage.binary_erosion(anatomy.brain, np.ones((3, 3, 1)))
    if runtime.rng(*key, "vendor").random() < knobs.p_zero_csf:
        sigma, brain = (1.5, 1.5, 0), anatomy.brain.astype(np.float32)
        smooth = ndimage.gaussian_filter(ct * brain, sigma) / np.maximum(ndimage.gaussian_filter(brain, sigma), 0.05)
        shown &= smooth >= 13
    return shown


def _record(plan: CasePlan, head, patient, stroke, slab: Slab, label) -> dict:
    lesion = dataclasses.asdict(patient) | {
        "occlusion": stroke.occlusion,
        "collateral_mm": round(stroke.collateral_mm, 3),
        "core_ml": round(float(stroke.core.sum()) * slab.voxel_ml, 3),
        "label_ml": round(float(label.sum()) * slab.voxel_ml, 3),
        "label_voxels": int(label.sum()),
    }
    record = dataclasses.asdict(plan) | {"name": f"{plan.name}_{plan.slab}", "ids": plan.ids}
    return record | {"center_z": slab.center_z, "head": dataclasses.asdict(head), "lesion": lesion}
