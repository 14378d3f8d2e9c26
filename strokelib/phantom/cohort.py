"""The embedded synthetic cohort, written in exactly the layout of ISLES 2018.

Every scan goes through the chain a real one goes through: a brain with a stroke, contrast passing
it, a noisy CT series with a little motion, smoothing, deconvolution into maps, and an expert's
outline on a later DWI. Slices, spacings, patients and slabs are those of the 156 real scans
(data/isles18_cases.csv); nothing else is real.
"""

import concurrent.futures
import csv
import dataclasses
import json
import multiprocessing
import os
import shutil
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from threadpoolctl import threadpool_limits

from strokelib.cases import hidden_truth
from strokelib.phantom import pathology, perfusion
from strokelib.phantom.anatomy import SIDE, Anatomy, Slab, build_anatomy, draw_head, midline
from strokelib.phantom.pathology import KNOBS, Knobs
from strokelib.run import runtime
from strokelib.run.digest import digest
from strokelib.run.runtime import write_whole
from strokelib.run.settings import Cohort

VERSION = 1  # raise it with every change that alters the scans
MARKER, SUMMARY = ".synthetic", "phantom.json"
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
NOTE = """\
These scans are synthetic. No patient was ever scanned for them and they say nothing about clinical
performance. Folders, file names, headers and number types copy the ISLES 2018 challenge so that one
reader serves both.

The brain under them is derived from the ICBM152 2009a symmetric template:
Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. The full notice is in data/anatomy_NOTICE.txt of the repository that
made these files.
"""


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
        return _make(plans[number - 1], cohort.seed, knobs or KNOBS[cohort.difficulty], keep_series)


def _make(plan: CasePlan, seed: int, knobs: Knobs, keep_series: bool) -> SyntheticCase:
    key = (seed, plan.split, plan.patient)
    slab_key = (*key, plan.slab)
    head = draw_head(runtime.rng(*key, "head"), plan.field_of_view_mm)
    patient = pathology.draw_patient(key, plan.quantile, plan.reperfusion, knobs)
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
    curves = perfusion.tissue_curves(60 * cbv / mtt, mtt, voxels(flow.delay), artery, AIF_STEP_S, times)
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


# Files


def make_cohort(root, cohort: Cohort) -> None:
    """Write a cohort in the ISLES 2018 layout; return at once if it is already there.

    Writes TRAINING/case_N and TESTING/case_N (without the label), phantom.json (last), LICENSE.txt,
    and .truth/ with testing_ot/case_N.nii.gz and <split>_case_N.npz: f, core, G, W, midline,
    yaw_deg, aif, record. An interrupted call goes on where it was; another cohort that this
    function made in `root` is replaced.

    With `cohort.jobs` > 1 processes are spawned: notebooks may call this anywhere, a script must
    call it under its `__main__` guard. The files do not depend on jobs.

    Raises
    ------
    ValueError : `root` holds scans that this function did not write, or the cohort cannot be
        planned.
    """
    for _ in iter_cohort(root, cohort):
        pass


def iter_cohort(root, cohort: Cohort):
    """Do what `make_cohort` does, and yield (scans done, scans in all) after every scan."""
    root, plans = Path(root), plan_cohort(cohort)
    if finished(root, cohort):
        yield len(plans), len(plans)
        return
    _claim(root, cohort)
    left = [p for p in plans if not _complete(root, p)]
    done = len(plans) - len(left)
    if cohort.jobs == 1 or len(left) < 2:
        for plan in left:
            _write_case(root, cohort, plan)
            done += 1
            yield done, len(plans)
    else:
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(min(cohort.jobs, len(left)), context, _end_with_parent)
        try:
            waiting = [pool.submit(_write_case, root, cohort, plan) for plan in left]
            for future in concurrent.futures.as_completed(waiting):
                future.result()
                done += 1
                yield done, len(plans)
        finally:
            pool.shutdown(cancel_futures=True)
    _write_text(root / "LICENSE.txt", NOTE)
    cases = [_public(_read_record(root, plan)) for plan in plans]
    settings = {name: value for name, value in dataclasses.asdict(cohort).items() if name != "jobs"}
    summary = {
        "note": "synthetic cohort, no patient data",
        "version": VERSION,
        "digest": cohort_digest(cohort),
        "cohort": settings,
        "knobs": dataclasses.asdict(KNOBS[cohort.difficulty]),
        "cases": cases,
    }
    _write_text(root / SUMMARY, json.dumps(summary, indent=1))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: killed, that cannot tell it to."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def cohort_digest(cohort: Cohort) -> str:
    """Return what tells two cohorts apart: all settings but jobs, the knobs, the version."""
    return digest(VERSION, dataclasses.replace(cohort, jobs=1), KNOBS[cohort.difficulty])


def finished(root, cohort: Cohort) -> bool:
    """Tell whether `root` holds this very cohort, complete."""
    root = Path(root)
    try:
        same = json.loads((root / SUMMARY).read_text())["digest"] == cohort_digest(cohort)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and all(_complete(root, plan) for plan in plan_cohort(cohort))


def _claim(root: Path, cohort: Cohort) -> None:
    """Mark the folder as ours before the first scan, and clear out another cohort of ours."""
    own = [root / name for name in ("TRAINING", "TESTING", ".truth", SUMMARY, "LICENSE.txt")]
    marker, digest = root / MARKER, cohort_digest(cohort)
    if not marker.is_file():
        strangers = [path.name for path in own if path.exists()]
        if strangers:
            raise ValueError(
                f"{root} holds {', '.join(strangers)} but no {MARKER}, so the synthetic cohort did not write it and "
                "will not touch it; choose another data.folder or move these away"
            )
    elif marker.read_text() != digest:
        for path in own:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    _write_text(marker, digest)


def _truth_path(root: Path, plan: CasePlan) -> Path:
    return root / ".truth" / f"{plan.split}_case_{plan.number}.npz"


def _complete(root: Path, plan: CasePlan) -> bool:
    """Tell whether a scan was written to its end, and its folder has not been removed since."""
    return _truth_path(root, plan).is_file() and (root / plan.split / f"case_{plan.number}").is_dir()


def _write_case(root: Path, cohort: Cohort, plan: CasePlan) -> None:
    """Make one scan and write it; the truth file comes last and says that the scan is complete."""
    with_series = plan.split == "TRAINING" and plan.number <= cohort.series_cases
    case_folder = root / plan.split / f"case_{plan.number}"
    _truth_path(root, plan).unlink(missing_ok=True)
    shutil.rmtree(case_folder, ignore_errors=True)  # what a killed run left
    with threadpool_limits(1):
        case = _make(plan, cohort.seed, KNOBS[cohort.difficulty], with_series)
        images = dict(case.images)
        if with_series:
            images["CT_4DPWI"] = np.rint(case.series).astype(np.float32)
        suffix = ".nii.gz" if cohort.compress else ".nii"
        for modality, array in images.items():
            if modality == "OT" and plan.split == "TESTING":
                _write_image(hidden_truth(root, plan.number), array, case.spacing)
                continue
            name = f"SMIR.Brain.XX.O.{modality}.{plan.ids[modality]}"
            folder = case_folder / name
            _write_image(folder / f"{name}{suffix}", array, case.spacing)
            kind = "TRAIN" if plan.split == "TRAINING" else "TEST"
            description = f"ISLES 2018 - {kind} - {plan.name}_{plan.slab} - {modality}"
            _write_text(folder / f"{name}.json", json.dumps({"description": description, "synthetic": True}))
    truth = {
        "f": case.truth["f"].astype(np.float16), "core": case.truth["core"],
        "G": case.truth["G"].round(2).astype(np.float16), "W": case.truth["W"].round(2).astype(np.float16),
        "midline": case.truth["midline"], "yaw_deg": np.array(case.record["head"]["yaw_deg"]),
        "aif": case.aif, "record": np.array(json.dumps(case.record)),
    }  # fmt: skip

    def save(path):
        with open(path, "wb") as file:  # a file object, or savez would change the temporary name
            np.savez_compressed(file, **truth)

    write_whole(_truth_path(root, plan), save)


def read_truth(root, split: str, case: int) -> dict:
    """Read what made a synthetic scan: "aif" (HU, a value a frame), "midline", "record" (a dict), and maps.

    For explaining and scoring; nothing that trains or predicts opens it.
    """
    with np.load(Path(root) / ".truth" / f"{split}_case_{case}.npz", allow_pickle=False) as file:
        truth = dict(file)
    return truth | {"record": json.loads(str(truth["record"]))}


def read_records(root) -> list[dict]:
    """Read the public draws of every scan of a synthetic cohort, such as its head and slab."""
    return json.loads((Path(root) / "phantom.json").read_text())["cases"]


def _write_image(path: Path, array: np.ndarray, spacing) -> None:
    """Write NIfTI with the challenge's header: identity sform (code 2), no qform, pixdim in mm."""
    image = nib.Nifti1Image(array, np.eye(4))
    header = image.header
    header.set_sform(np.eye(4), code=2)
    header.set_qform(None, code=0)
    header.set_xyzt_units(0, 0)
    header["pixdim"][:4] = (-1, *spacing)
    if array.ndim == 4:
        header["pixdim"][4] = FRAME_S
    write_whole(path, image.to_filename)


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(text))


def _read_record(root: Path, plan: CasePlan) -> dict:
    with np.load(_truth_path(root, plan), allow_pickle=False) as file:
        return json.loads(str(file["record"]))


def _public(record: dict) -> dict:
    """Leave the lesion out of a testing case's record: its truth is for scoring only."""
    hidden = ("lesion", "quantile", "reperfusion") if record["split"] == "TESTING" else ()
    return {name: value for name, value in record.items() if name not in hidden}
