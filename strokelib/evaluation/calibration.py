"""How scans compare with every figure known of the real ones: lesions, slices, intensities, the rule, the maps, curves.

The figures are the anchors in data/isles18_anchors.csv. What is measured here goes by the same names, on any scans: on
the synthetic cohort it says where that is off, on a download of ISLES 2018 it checks the reading.
"""

import re

import numpy as np
import pandas as pd
from scipy import ndimage

from strokelib import metrics, postprocess, preprocess, registration
from strokelib.evaluation.agreement import auc
from strokelib.modalities import MODALITIES
from strokelib.run.checks import require_columns
from strokelib.run.runtime import ROOT

TOLERANCE = 0.1  # of a figure that came without a range
BASELINE_FRAMES = 3  # from which a curve's baseline is told
NOISE_VOXELS = 5  # side of the median filter that parts noise from anatomy
LOW_IN_LESION = ("CBF", "CBV")  # maps whose low values mean lesion; high ones do in the others
COLUMNS = ("theme", "quantity", "group", "value", "low", "high", "unit", "source")


def anchors() -> pd.DataFrame:
    """Read the figures known of real scans: COLUMNS, a row a figure; a missing value has a range alone.

    Source: the last column, figure by figure; data/README.md tells how ranges were made.
    """
    return pd.read_csv(ROOT / "data" / "isles18_anchors.csv", dtype={"group": str})


def tabulated_scans() -> tuple[int, int]:
    """Read off the anchors of how many real scans lesion sizes are known, and how many training scans there are.

    Source: the column source of the anchors, "78 of the 94 training scans".
    """
    known = anchors()
    (words,) = set(known.loc[known["quantity"] == "lesion voxels of a scan", "source"])
    count, scans = re.search(r"(\d+) of the (\d+) training scans", words).groups()
    return int(count), int(scans)


def scan_facts(case) -> dict:
    """Measure one scan with an outline.

    Parameters
    ----------
    case : cases.Case

    Returns
    -------
    dict : patient; slices, slice_mm, pixel_mm; volume_ml, lesion_voxels, components (26-connected); voxels,
    brain_voxels, lesion_in_brain; area_mm2 (of the brain, a slice); rule_dsc and rule_error_ml (of the rule without
    learning; NaN where the head shows no line of symmetry); of each modality mean, sd, largest (of the whole volume, in
    the unit in which it is shown) and brain_mean, as mean_CBF; of the CT brain_sd and brain_noise, where there is one.

    Our choice: noise is the SD of what a median filter of 5 x 5 in plane takes away, over the brain.
    """
    brain, spacing = preprocess.brain_mask(case.maps), case.spacing
    core = clinical_core(case, brain)
    volume = metrics.volume_ml(case.lesion, spacing)
    row = {"patient": case.patient, "slices": brain.shape[2], "slice_mm": spacing[2], "pixel_mm": spacing[0]}
    row |= {"volume_ml": volume, "lesion_voxels": int(case.lesion.sum())}
    row["components"] = ndimage.label(case.lesion, np.ones((3, 3, 3)))[1]
    row |= {"voxels": brain.size, "brain_voxels": int(brain.sum()), "lesion_in_brain": int((case.lesion & brain).sum())}
    row["area_mm2"] = brain.sum() / brain.shape[2] * spacing[0] * spacing[1]
    row["rule_dsc"] = np.nan if core is None else metrics.dsc(core, case.lesion)
    row["rule_error_ml"] = np.nan if core is None else abs(metrics.volume_ml(core, spacing) - volume)
    for name, image in case.named.items():
        image = image.astype(np.float64) / MODALITIES[name].divisor
        row |= {f"mean_{name}": image.mean(), f"sd_{name}": image.std(), f"largest_{name}": image.max()}
        row[f"brain_mean_{name}"] = image[brain].mean()
    if "CT" in case.modalities:
        ct = case.image("CT")
        fine = ct - ndimage.median_filter(ct, (NOISE_VOXELS, NOISE_VOXELS, 1))
        row |= {"brain_sd_CT": float(ct[brain].std()), "brain_noise_CT": float(fine[brain].std())}
    return row


def clinical_core(case, brain) -> np.ndarray | None:
    """Segment the core by the rule without learning; bool (x, y, slice), None where no line of symmetry is found.

    Parameters
    ----------
    case : cases.Case
    brain : bool (x, y, slice)
    """
    try:
        line = registration.midline(registration.align_flipped(case.head, device="cpu").matrix, brain.shape)
        return postprocess.conventional_rule(case.image("CBF"), case.image("Tmax"), brain, line)
    except ValueError:  # notebook 02 says of such a scan what is wrong with it
        return None


def map_values(case) -> pd.DataFrame:
    """Return the maps' values in the brain, a row a voxel, and whether it is lesion (column lesion)."""
    brain = preprocess.brain_mask(case.maps)
    names = [name for name in case.modalities if not MODALITIES[name].head]
    return pd.DataFrame({name: case.image(name)[brain] for name in names} | {"lesion": case.lesion[brain]})


def curve_facts(curve, step_s: float = 1.0, over_baseline: bool = False) -> dict[str, float]:
    """Measure an arterial curve.

    Parameters
    ----------
    curve : (frame,) HU
    step_s : between two frames
    over_baseline : whether the baseline has been subtracted, so that it cannot be told any more

    Returns
    -------
    dict : baseline (HU, of the first three frames), enhancement (HU, the peak over it), peak_s (when), width_s (of the
    peak at half its height, between frames by straight lines; NaN where the scan ends before).

    Raises
    ------
    ValueError : fewer than four frames, or one that is missing.
    """
    curve = np.asarray(curve, float)
    if curve.ndim != 1 or len(curve) <= BASELINE_FRAMES or not np.isfinite(curve).all():
        raise ValueError(f"expected a curve of more than {BASELINE_FRAMES} finite values, got shape {curve.shape}")
    baseline = curve[:BASELINE_FRAMES].mean()
    rise, peak = curve - baseline, int(curve.argmax())
    low = rise <= rise[peak] / 2
    before, after = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak:])
    width = np.nan
    if len(before) and len(after):
        ends = []
        for inner, outer in ((before[-1] + 1, before[-1]), (peak + after[0] - 1, peak + after[0])):
            share = (rise[inner] - rise[peak] / 2) / (rise[inner] - rise[outer])
            ends.append(inner + share * (outer - inner))
        width = (ends[1] - ends[0]) * step_s
    found = {"baseline": np.nan if over_baseline else baseline, "enhancement": rise[peak]}
    return {name: float(value) for name, value in (found | {"peak_s": peak * step_s, "width_s": width}).items()}


def measure(scans, values, curves=None) -> pd.Series:
    """Sum scans up in the quantities and groups of the anchors.

    Parameters
    ----------
    scans : frame, a row a scan, of `scan_facts`
    values : frame of `map_values`, the scans one after another
    curves : frame, a row a scan, of `curve_facts`; None where no arterial curve is known

    Returns
    -------
    series of numbers, indexed by (quantity, group); what cannot be told is not in it.
    """
    require_columns(scans, "volume_ml", "components", "brain_voxels", "rule_dsc")
    volume, count = scans["volume_ml"], scans["components"].clip(upper=5)
    found = _spread("lesion volume of a scan", volume)
    for slices, own in volume.groupby(scans["slices"]):
        found["lesion volume of a scan", f"median, {slices} slices"] = own.median()
    found |= _spread("lesion voxels of a scan", scans["lesion_voxels"])
    found |= _spread("lesion volume of a patient", volume.groupby(scans["patient"]).mean())
    found["scans with a lesion under 5 mL", "all"] = 100 * (volume < 5).mean()
    for number in range(1, 6):
        group = "5 or more" if number == 5 else f"{number} component{'s' * (number > 1)}"
        found["scans by lesion components", group] = 100 * (count == number).mean()
    found["lesion share of all voxels", "pooled"] = 100 * scans["lesion_voxels"].sum() / scans["voxels"].sum()
    inside = 100 * scans["lesion_in_brain"].sum() / scans["brain_voxels"].sum()
    found["lesion share of brain voxels", "pooled"] = inside
    for slices in (2, 4, 8, 16, 22):
        found["scans by slices", f"{slices} slices"] = 100 * (scans["slices"] == slices).mean()
    found |= _spread("distance of slices", scans["slice_mm"]) | _spread("side of a voxel in plane", scans["pixel_mm"])
    found |= _spread("coverage of a scan", scans["slices"] * scans["slice_mm"])
    found |= _spread("brain, area of a slice", scans["area_mm2"])
    for column, value in scans.filter(regex="^(mean|sd|largest|brain_mean|brain_sd|brain_noise)_").items():
        kind, _, name = column.rpartition("_")
        place = "brain" if kind.startswith("brain") else "largest value" if kind == "largest" else "whole volume"
        group = {"mean": "mean", "sd": "SD", "noise": "noise", "largest": "median"}[kind.rpartition("_")[2]]
        found[f"{place}, {name}", group] = value.median() if kind == "largest" else value.mean()
    found["rule, DSC", "mean"], found["rule, DSC", "SD"] = scans["rule_dsc"].mean(), scans["rule_dsc"].std(ddof=0)
    found["rule, |ΔV|", "mean"] = scans["rule_error_ml"].mean()
    lesion = values["lesion"].to_numpy()
    for name in values.columns.drop("lesion"):
        above = auc(values[name].to_numpy(), lesion)
        found[f"AUC in the brain, {name}", "pooled"] = 1 - above if name in LOW_IN_LESION else above
    if curves is not None:
        named = {"enhancement": "enhancement", "peak_s": "frame of the peak", "width_s": "width at half the peak"}
        for column, name in (named | {"baseline": "baseline"}).items():
            found |= _spread(f"artery, {name}", curves[column].dropna())
    return pd.Series(found, dtype=float).dropna()


def _spread(quantity: str, values) -> dict[tuple[str, str], float]:
    """Return the usual groups of a quantity; nothing where there is no value."""
    if not len(values):
        return {}
    groups = {f"P{percent}": np.percentile(values, percent) for percent in (5, 25, 75, 95)}
    groups |= {"min": values.min(), "median": values.median(), "mean": values.mean(), "max": values.max()}
    return {(quantity, group): float(value) for group, value in groups.items()}


def compare(found, known) -> pd.DataFrame:
    """Lay what was measured beside the anchors.

    Parameters
    ----------
    found : of `measure`
    known : of `anchors`

    Returns
    -------
    frame, a row an anchor in their order: theme, quantity, group, unit; real, low, high; here (NaN where nothing could
    be measured), verdict: "inside" the range, "off by -2.2 HU" from its nearer end, or "not measured".

    Our choice: a figure that came without a range gets one of a tenth to both sides.
    """
    require_columns(known, *COLUMNS)
    table = known[["theme", "quantity", "group", "unit"]].copy()
    table["unit"] = table["unit"].fillna("")
    table["real"] = known["value"]
    table["low"] = known["low"].fillna(known["value"] - TOLERANCE * known["value"].abs())
    table["high"] = known["high"].fillna(known["value"] + TOLERANCE * known["value"].abs())
    names = pd.MultiIndex.from_frame(known[["quantity", "group"]])
    table["here"] = found.reindex(names).to_numpy()
    table["verdict"] = [_verdict(row) for row in table.itertuples()]
    return table


def _verdict(row) -> str:
    if np.isnan(row.here):
        return "not measured"
    away = min(row.here - row.low, 0) + max(row.here - row.high, 0)
    if not away:
        return "inside"
    return f"off by {'+' if away > 0 else '-'}{_number(abs(away))} {row.unit}".strip()


def in_words(table, cohort: str) -> list[str]:
    """Say where scans are like the real ones and where they are off: a sentence on all of it, then one a theme.

    Parameters
    ----------
    table : of `compare`, or as read from a file
    cohort : whose scans they are
    """
    table = table.astype({"unit": object})
    told = table[table["verdict"] != "not measured"]
    inside = told["verdict"].eq("inside")
    counts, lines = [], []
    for theme, rows in told.groupby("theme", sort=False):
        off = [f"{row.quantity}, {row.group}: {_number(row.here)} for {_real(row)} {row.unit}".strip()
               for row in rows[~inside[rows.index]].fillna({"unit": ""}).itertuples()]  # fmt: skip
        counts.append(f"{len(rows) - len(off)} of {len(rows)} on {theme}")
        if off:
            lines.append(f"Off on {theme}: {'; '.join(off)}.")
    whole = (
        f"Of {len(told)} figures of real scans that can be measured on the {cohort}, {inside.sum()} come out inside "
        f"their range: {', '.join(counts)}."
    )
    return [whole, *lines]


def _real(row) -> str:
    return f"{row.low:g} to {row.high:g}" if np.isnan(row.real) else _number(row.real)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
