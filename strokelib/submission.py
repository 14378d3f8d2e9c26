"""Files and zip for the ISLES 2018 challenge, and rows of its leaderboard."""

import io
import re
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from strokelib import nifti
from strokelib.evaluation.summary import mean_interval, paper_table, summarize
from strokelib.facts import case_table
from strokelib.metrics import volume_ml
from strokelib.run.runtime import write_whole

UNDEFINED_HD = 1e8  # what the leaderboard charges for a scan without a finite distance
TEST_CASES = 62  # of ISLES 2018
_HALF_DECIMAL = 0.0501  # of what Table 2 prints, and a little for the distances that are defined
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest; the same masks give the same bytes


def write_submission(masks, cases, folder, name) -> Path:
    """Write one file per test case, and the zip of them to hand in.

    Parameters
    ----------
    masks : iterable of bool arrays (x, y, slice), in the order of cases
    cases : sequence of cases.CaseFiles, with the MTT's SMIR id and the CT
    folder : path; made where it is missing
    name : str of letters, digits, _ and -, in the file names

    Returns
    -------
    path of <folder>/submission.zip: flat, SMIR.<name>.<MTT id>.nii for every case, uint16 0/1,
    header as the CT's.

    Raises
    ------
    ValueError : a bad name; a mask of another shape than its CT or with values other than 0 and 1,
        by case; more or fewer masks than cases; a case without an MTT id, or two with the same.

    Source: Clèrigues et al. 2019, sec. 4.2. Our choice, where no official text is left: the layout
    of the zip, and the MTT's id as the one that names a case (as other participants' code has it).
    """
    folder, cases = Path(folder), list(cases)
    files = _file_names(cases, name)
    masks = iter(masks)
    for case, file in zip(cases, files, strict=True):
        mask = next(masks, None)
        if mask is None:
            raise ValueError(f"there is no mask for case_{case.number}; give one for each of {len(cases)} cases")
        nifti.save_map(folder / file, _checked(mask, case).astype(np.uint16), case.files["CT"], np.uint16)
    if next(masks, None) is not None:
        raise ValueError(f"there are more masks than the {len(cases)} cases")

    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                entry = zipfile.ZipInfo(file, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # the same bytes on every system
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, (folder / file).read_bytes(), compresslevel=9)

    return write_whole(folder / "submission.zip", write)


def _file_names(cases, name) -> list[str]:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
        raise ValueError(f"the name of a submission takes letters, digits, _ and - only, got {name!r}")
    if not cases:
        raise ValueError("there are no testing scans, and a submission needs at least one case")
    nameless = [case for case in cases if "MTT" not in case.ids]
    if nameless:
        case, others = nameless[0], f", like {len(nameless)} of {len(cases)}"
        raise ValueError(
            f"case_{case.number} has no SMIR id in the name of its MTT file {case.files.get('MTT')}{others}; the "
            "challenge knows a case by that number"
        )
    first = {}
    for case in cases:
        if (other := first.setdefault(case.ids["MTT"], case)) is not case:
            raise ValueError(f"case_{other.number} and case_{case.number} have the same MTT id {case.ids['MTT']}")
    return [f"SMIR.{name}.{case.ids['MTT']}.nii" for case in cases]


def hindrance(cases) -> str:
    """Say in a sentence why `write_submission` would refuse these cases, whatever their masks; nothing if it would not.

    Parameters
    ----------
    cases : sequence of cases.CaseFiles
    """
    try:
        _file_names(cases, "name")
    except ValueError as error:
        return f"No submission is written, which does not affect Table 1: {error}."
    return ""


def completeness(cases) -> str:
    """Say in a sentence how many of the challenge's testing scans a submission of these cases holds.

    Parameters
    ----------
    cases : sequence of cases.CaseFiles, told by the SMIR id of their MTT
    """
    known = {int(row["mtt_id"]) for (split, _), row in case_table().items() if split == "TESTING"}
    held = len(known & {case.ids.get("MTT") for case in cases})
    if not held:
        return f"None of the ids in the submission is that of one of the challenge's {TEST_CASES} testing scans."
    whole = "complete" if held == TEST_CASES else "not complete"
    return f"The submission is {whole}: it holds {held} of the challenge's {TEST_CASES} testing scans."


def _checked(mask, case) -> np.ndarray:
    mask, shape = np.asarray(mask), tuple(nifti.load_header(case.files["CT"]).get_data_shape()[:3])
    if mask.shape != shape:
        raise ValueError(f"the mask of case_{case.number} has shape {mask.shape}, its CT {shape}; they must agree")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError(f"the mask of case_{case.number} holds values other than 0 and 1; binarize it first")
    return mask


def check_submission(path, cases) -> pd.DataFrame:
    """Open a submission as the challenge would, and verify all of it; `completeness` says whether it is all of them.

    Parameters
    ----------
    path : of the zip
    cases : sequence of cases.CaseFiles that it must hold, no more and no fewer

    Returns
    -------
    frame, a row per case: case, file, lesion_voxels, volume_ml

    Raises
    ------
    FileNotFoundError : there is no such file.
    ValueError : what is wrong, by file or case: not a zip, a folder in it, a foreign, missing or
        repeated file, another type than uint16, values other than 0 and 1, another shape, spacing
        or orientation than the CT's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no submission {path}; write_submission makes it")
    try:
        with zipfile.ZipFile(path) as archive:
            contents = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"{path} is damaged or not a zip file ({error}); write it again") from error
    found, names = {}, set()
    for file, data in contents:
        match = re.fullmatch(r"SMIR\.([A-Za-z0-9_-]+)\.(\d+)\.nii", file)
        if not match:
            raise ValueError(f"{path}: {file!r} is not SMIR.<name>.<MTT id>.nii at the top of the zip")
        if int(match[2]) in found:
            raise ValueError(f"{path} holds MTT id {match[2]} twice")
        found[int(match[2])] = (file, data)
        names.add(match[1])
    if len(names) > 1:
        raise ValueError(f"{path} mixes files of several names; write the submission again")
    rows = []
    for case in cases:
        if case.ids.get("MTT") not in found:
            raise ValueError(f"{path} has no file for case_{case.number}, MTT id {case.ids.get('MTT')}")
        rows.append(_check_file(case, *found.pop(case.ids["MTT"])))
    if found:
        raise ValueError(f"{path} holds files of no case: {sorted(file for file, _ in found.values())}")
    return pd.DataFrame(rows)


def _check_file(case, file, data) -> dict:
    def require(condition, message):
        if not condition:
            raise ValueError(f"case_{case.number}: {file} {message}")

    try:
        image = nib.Nifti1Image.from_stream(io.BytesIO(data))
        mask = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel raises many kinds
        raise ValueError(f"case_{case.number}: {file} cannot be read as NIfTI ({error})") from error
    header, ct = image.header, nifti.load_header(case.files["CT"])
    require(header.get_data_dtype() == np.uint16, f"has type {header.get_data_dtype()}, expected uint16")
    require(np.isin(mask, (0, 1)).all(), "holds values other than 0 and 1")
    require(mask.shape == ct.get_data_shape()[:3], f"has shape {mask.shape}, the CT {ct.get_data_shape()}")
    require(header.get_slope_inter() in ((1, 0), (None, None)), "has a scale factor, expected none")
    for field in ("pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z"):
        same = np.array_equal(header[field], ct[field], equal_nan=True)  # in places that a header leaves unused
        require(same, f"has {field} {header[field]}, the CT {ct[field]}; it must have the CT's header")
    row = {"case": case.number, "file": file, "lesion_voxels": int(np.count_nonzero(mask))}
    return row | {"volume_ml": volume_ml(mask, ct.get_zooms()[:3])}


def leaderboard_row(frame, user="this run") -> dict:
    """Score test cases as the challenge's leaderboard does.

    Parameters
    ----------
    frame : a row per case, with dsc, ppv, sensitivity, hd_mm, volume_ml, truth_volume_ml

    Returns
    -------
    dict with the columns of data/paper/table2.csv: mean and population SD of dsc, ppv, sensitivity
    (fractions, over the defined ones), and of HD in millions, where a scan without a distance (an
    empty prediction or an empty truth) counts as 1e8; and n, hd_undefined.

    Source: Clèrigues et al. 2019, Table 2, as decoded in `decode_leaderboard_hd`. Our choice: an
    undefined PPV or sensitivity is left out, since the leaderboard's rule for them is not known.
    """
    if frame.empty:
        raise ValueError("the leaderboard row needs at least one scored case")
    empty = (frame["volume_ml"] == 0) | (frame["truth_volume_ml"] == 0)
    undefined = empty | ~np.isfinite(frame["hd_mm"])
    hd = frame["hd_mm"].mask(undefined, UNDEFINED_HD) / 1e6
    row = {"rank": None, "user": user, "reference": None}
    for metric in ("dsc", "ppv", "sensitivity"):
        row[f"{metric}_mean"], row[f"{metric}_sd"], _ = summarize(frame[metric])
    row["hd_millions_mean"], row["hd_millions_sd"], _ = summarize(hd)
    return row | {"n": len(frame), "hd_undefined": int(undefined.sum())}


def decode_leaderboard_hd(mean, sd, n=TEST_CASES) -> int:
    """Tell from a printed leaderboard HD how many scans had no distance.

    Parameters
    ----------
    mean, sd : float, in millions with one decimal, as Table 2 prints them
    n : int, scans

    Returns
    -------
    int k such that k scans at 1e8 and the others near 0 have this mean and this population SD: 11.3
    ± 31.6 gives 7.

    Raises
    ------
    ValueError : no k does.
    """
    each = UNDEFINED_HD / 1e6
    for k in range(n + 1):
        share = k / n
        near_mean = abs(share * each - mean) <= _HALF_DECIMAL
        if near_mean and abs(np.sqrt(share * (1 - share)) * each - sd) <= _HALF_DECIMAL:
            return k
    raise ValueError(f"HD {mean} ± {sd} million is not k of {n} scans at 1e8 for any k")


def table2(paper=None, ours=None) -> pd.DataFrame:
    """Join the paper's leaderboard and our row.

    Parameters
    ----------
    paper : frame, optional; the ten rows of data/paper/table2.csv by default
    ours : dict of `leaderboard_row`, optional

    Returns
    -------
    frame with source ("paper" or "this run"), n, hd_undefined, dsc_low and dsc_high (the 95 % interval of
    the mean) added; our row comes last and without a rank, because the leaderboard closed and other scans
    than its own cannot be ranked there.
    """
    paper = paper_table("table2") if paper is None else paper
    decoded = [
        decode_leaderboard_hd(mean, sd)
        for mean, sd in zip(paper["hd_millions_mean"], paper["hd_millions_sd"], strict=True)
    ]
    table = paper.assign(n=TEST_CASES, hd_undefined=decoded, source="paper")
    rows = table.to_dict("records") + ([] if ours is None else [ours | {"source": "this run"}])
    for row in rows:
        row["dsc_low"], row["dsc_high"] = mean_interval(row["dsc_mean"], row["dsc_sd"], row["n"])
    return pd.DataFrame(rows, columns=[*table.columns, "dsc_low", "dsc_high"]).astype({"rank": "Int64"})
