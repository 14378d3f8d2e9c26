"""The embedded synthetic cohort on disk, written in exactly the layout of ISLES 2018."""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
from threadpoolctl import threadpool_limits

from strokelib.cases import hidden_truth
from strokelib.phantom.patient import KNOBS, Knobs
from strokelib.phantom.scan import FRAME_S, CasePlan, draw_scan, plan_cohort
from strokelib.run.digest import digest
from strokelib.run.runtime import write_whole
from strokelib.run.settings import Cohort

VERSION = 1  # raise it with every change that alters the scans
MARKER, SUMMARY = ".synthetic", "phantom.json"
NOTE = """\
These scans are synthetic. No patient was ever scanned for them and they say nothing about clinical
performance. Folders, file names, headers and number types copy the ISLES 2018 challenge so that one
reader serves both.

The brain under them is derived from the ICBM152 2009a symmetric template:
Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. The full notice is in data/anatomy_NOTICE.txt of the repository that
made these files.
"""


def make_cohort(root, cohort: Cohort, knobs: Knobs | None = None) -> None:
    """Write a cohort in the ISLES 2018 layout; return at once if it is already there.

    Writes TRAINING/case_N and TESTING/case_N (without the label), phantom.json (last), LICENSE.txt,
    and .truth/ with testing_ot/case_N.nii.gz and <split>_case_N.npz: f, core, G, W, midline,
    yaw_deg, aif, record. An interrupted call goes on where it was; another cohort that this
    function made in `root` is replaced.

    `knobs` stand in place of those of cohort.difficulty; such a cohort is another one, which replaces what was there.

    With `cohort.jobs` > 1 processes are spawned: notebooks may call this anywhere, a script must
    call it under its `__main__` guard. The files do not depend on jobs.

    Raises
    ------
    ValueError : `root` holds scans that this function did not write, or the cohort cannot be
        planned.
    """
    for _ in iter_cohort(root, cohort, knobs):
        pass


def iter_cohort(root, cohort: Cohort, knobs: Knobs | None = None):
    """Do what `make_cohort` does, and yield (scans done, scans in all) after every scan."""
    root, plans, knobs = Path(root), plan_cohort(cohort), knobs or KNOBS[cohort.difficulty]
    if finished(root, cohort, knobs):
        yield len(plans), len(plans)
        return
    _claim(root, cohort, knobs)
    left = [p for p in plans if not _complete(root, p)]
    done = len(plans) - len(left)
    if cohort.jobs == 1 or len(left) < 2:
        for plan in left:
            _write_case(root, cohort, knobs, plan)
            done += 1
            yield done, len(plans)
    else:
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(min(cohort.jobs, len(left)), context, _end_with_parent)
        try:
            waiting = [pool.submit(_write_case, root, cohort, knobs, plan) for plan in left]
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
        "digest": cohort_digest(cohort, knobs),
        "cohort": settings,
        "knobs": dataclasses.asdict(knobs),
        "cases": cases,
    }
    _write_text(root / SUMMARY, json.dumps(summary, indent=1))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: killed, that cannot tell it to."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def cohort_digest(cohort: Cohort, knobs: Knobs | None = None) -> str:
    """Return what tells two cohorts apart: all settings but jobs, the knobs (by default the preset), the version."""
    told = dataclasses.asdict(knobs or KNOBS[cohort.difficulty])
    if told["residue_shape"] == Knobs.residue_shape:  # it came later, and cohorts that are there stay as they are
        del told["residue_shape"]
    return digest(VERSION, dataclasses.replace(cohort, jobs=1), told)


def finished(root, cohort: Cohort, knobs: Knobs | None = None) -> bool:
    """Tell whether `root` holds this very cohort, complete."""
    root = Path(root)
    try:
        same = json.loads((root / SUMMARY).read_text())["digest"] == cohort_digest(cohort, knobs)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return same and all(_complete(root, plan) for plan in plan_cohort(cohort))


def _claim(root: Path, cohort: Cohort, knobs: Knobs) -> None:
    """Mark the folder as ours before the first scan, and clear out another cohort of ours."""
    own = [root / name for name in ("TRAINING", "TESTING", ".truth", SUMMARY, "LICENSE.txt")]
    marker, digest = root / MARKER, cohort_digest(cohort, knobs)
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


def _write_case(root: Path, cohort: Cohort, knobs: Knobs, plan: CasePlan) -> None:
    """Make one scan and write it; the truth file comes last and says that the scan is complete."""
    with_series = plan.split == "TRAINING" and plan.number <= cohort.series_cases
    case_folder = root / plan.split / f"case_{plan.number}"
    _truth_path(root, plan).unlink(missing_ok=True)
    shutil.rmtree(case_folder, ignore_errors=True)  # what a killed run left
    with threadpool_limits(1):
        case = draw_scan(plan, cohort.seed, knobs, with_series)
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
