"""What is measured on a segmented scan: one table of names, units, definitions and sources, and the values.

Every volume is that of the slab which was scanned, and not of the whole brain. Nothing here is a threshold for treating
anybody.
"""

from dataclasses import dataclass, replace

import numpy as np

from strokelib import metrics, postprocess, registration
from strokelib.evaluation.tables import number
from strokelib.modalities import MODALITIES
from strokelib.own.scan import Grid

SHARES, DELAYS = (20, 30, 34, 38), (4, 6, 8, 10)  # % of the healthy hemisphere's CBF; s of Tmax
LATE = postprocess.PUBLISHED.tmax_s
TIE_S = 0.005  # a stored 6 s reads as 6.0000001 s where its file has a scale, and is not over 6
_CORE = "networks of this repository, after Clèrigues et al. 2019"
_CONFORMAL = "split conformal prediction, strokelib/evaluation/conformal.py"
_TRIAL = "Albers et al. 2018 (DEFUSE 3)"
_BY_SHARE = {30: "convention; the rule of notebook 06", 38: "threshold: Cereda et al. 2016 (PMC5076783)"}
_BY_DELAY = {6: f"convention, e.g. {_TRIAL}", 10: "Olivot et al. 2014 (PMC4047639)"}


@dataclass(frozen=True)
class Definition:
    """How a quantity is named, in which unit it is told and to how many digits, what it is and who says so."""

    label: str
    unit: str
    definition: str
    source: str
    digits: int = 1


TABLE = {
    "core_ml": Definition("core", "mL", "voxels that the networks call core", _CORE),
    "core_low_ml": Definition("core, lower end", "mL", "lower end of the 90 % conformal interval", _CONFORMAL),
    "core_high_ml": Definition("core, upper end", "mL", "upper end of the 90 % conformal interval", _CONFORMAL),
    **{
        f"rcbf_{share}_ml": Definition(
            f"rCBF < {share} %",
            "mL",
            f"Tmax > 6 s and CBF under {share} % of the healthy side's mean, without specks",
            _BY_SHARE.get(share, "convention of perfusion software"),
        )
        for share in SHARES
    },
    **{
        f"tmax_{delay}_ml": Definition(
            f"Tmax > {delay} s",
            "mL",
            f"brain voxels with Tmax over {delay} s",
            _BY_DELAY.get(delay, "convention of perfusion software"),
        )
        for delay in DELAYS
    },
    "mismatch_ml": Definition(
        "mismatch, core", "mL", "volume of Tmax > 6 s less that of the core; below 0 if smaller", _TRIAL
    ),
    "mismatch_ratio": Definition(
        "mismatch ratio, core", "ratio", "volume of Tmax > 6 s over that of the core", _TRIAL, 2
    ),
    "mismatch_rcbf_ml": Definition(
        "mismatch, rCBF < 30 %", "mL", "volume of Tmax > 6 s less that of rCBF < 30 %", _TRIAL
    ),
    "mismatch_rcbf_ratio": Definition(
        "mismatch ratio, rCBF < 30 %", "ratio", "volume of Tmax > 6 s over that of rCBF < 30 %", _TRIAL, 2
    ),
    "hypoperfusion_index": Definition(
        "hypoperfusion index", "ratio", "volume of Tmax > 10 s over that of Tmax > 6 s", _BY_DELAY[10], 2
    ),
    "brain_ml": Definition(
        "brain in the slab", "mL", "voxels where the maps are not all 0", "Clèrigues et al. 2019, sec. 2.1.1", 0
    ),
}


@dataclass(frozen=True)
class Quantity:
    """One number about a scan, with what it takes to read it; `value` is None where it is undefined, `why` says why."""

    name: str  # in TABLE, with its unit where it has one
    value: float | None
    unit: str
    definition: str
    source: str
    why: str = ""

    @property
    def label(self) -> str:
        """Name it on a page."""
        return TABLE[self.name].label

    @property
    def text(self) -> str:
        """Tell the value without its unit, rounded; "undefined" where there is none."""
        if self.value is None:
            return "undefined"
        # More digits than that are those of a volume near 0 in the denominator.
        digits = 0 if TABLE[self.name].unit == "ratio" and self.value >= 100 else TABLE[self.name].digits
        return number(self.value, digits).replace("-", "−")


def measure(images, brain, line, core, spacing, interval=None) -> tuple[Quantity, ...]:
    """Measure a scan: the networks' core, volumes under and over thresholds, mismatch, hypoperfusion index.

    Parameters
    ----------
    images : (x, y, slice) by name in file units, as `Case.named`; CBF and Tmax (s) are used
    brain : bool (x, y, slice)
    line : (x, y), signed distance from the mid-sagittal line, as `registration.midline` returns; the healthy side is
        the one with less Tmax > 6 s
    core : bool (x, y, slice), what the networks found
    spacing : (3,) in mm
    interval : (low, high) of the core's volume in mL at 90 %, as `VolumeInterval.of` returns, high may be infinite; or
        None where there is none

    Returns
    -------
    Quantity in the order of TABLE, one of each. Undefined, with the reason, are a ratio to a volume of 0, the ends of
    an interval that is not there, and what is relative to the healthy side where a hemisphere has no brain.

    Raises
    ------
    ValueError : CBF or Tmax is not there, shapes do not fit, a value is not finite, an interval is none.

    Source: thresholds and ratios, those that TABLE names.
    Our choice: volumes of rCBF are those of `postprocess.conventional_rule`: within Tmax > 6 s, after its median
    filter, without components under 200 voxels. Volumes of Tmax are of all brain voxels. The mismatch is a difference
    of volumes, not of places.
    """
    brain, core, spacing = np.asarray(brain, bool), np.asarray(core, bool), metrics.check_spacing(spacing)
    _check(images, brain, core, line)
    low, high = _ends(interval)
    volumes = {"core_ml": metrics.volume_ml(core, spacing), "brain_ml": metrics.volume_ml(brain, spacing)}
    for delay in DELAYS:
        volumes[f"tmax_{delay}_ml"] = metrics.volume_ml(brain & (images["Tmax"] > delay + TIE_S), spacing)
    volumes |= _relative(images, brain, line, spacing)
    values, reasons = volumes | {"core_low_ml": low, "core_high_ml": high}, {}
    late = volumes["tmax_6_ml"]
    for over, name in (("core_ml", "mismatch"), ("rcbf_30_ml", "mismatch_rcbf")):
        part = values[over]
        values[f"{name}_ml"] = None if part is None else late - part
        values[f"{name}_ratio"] = late / part if part else None
        reasons[f"{name}_ratio"] = f"undefined, as the volume of {_of(over)} is 0 mL" if part == 0 else ""
    values["hypoperfusion_index"] = volumes["tmax_10_ml"] / late if late else None
    reasons["hypoperfusion_index"] = "" if late else f"undefined, as the volume of {_of('tmax_6_ml')} is 0 mL"
    if interval is None:
        reasons |= dict.fromkeys(
            ("core_low_ml", "core_high_ml"), "undefined, as no interval was fitted for these networks"
        )
    elif high is None:
        reasons["core_high_ml"] = "undefined, as the interval was fitted on too few patients to end"
    return tuple(_quantity(name, values[name], reasons.get(name, "")) for name in TABLE)


def _check(images, brain, core, line) -> None:
    """Refuse what cannot be measured."""
    if missing := [name for name in ("CBF", "Tmax") if name not in images]:
        raise ValueError(f"measuring needs CBF and Tmax, {' and '.join(missing)} is not among {', '.join(images)}")
    shapes = {name: np.shape(images[name]) for name in ("CBF", "Tmax")} | {"core": core.shape}
    if odd := [f"{name} {shape}" for name, shape in shapes.items() if shape != brain.shape]:
        raise ValueError(f"the brain is {brain.shape} in (x, y, slice), and {', '.join(odd)}; they must agree")
    if np.shape(line) != brain.shape[:2]:
        raise ValueError(f"expected the distance from the midline (x, y) {brain.shape[:2]}, got {np.shape(line)}")
    for name in ("CBF", "Tmax"):
        if not np.isfinite(images[name]).all():
            raise ValueError(f"{name} holds NaN or infinite values; replace them by 0 outside the brain")


def _ends(interval) -> tuple:
    """Return the ends of an interval, or twice None."""
    if interval is None:
        return None, None
    low, high = map(float, interval)
    if not 0 <= low <= high or low == np.inf:
        raise ValueError(f"an interval of a volume has two ends in mL, the lower first, got {low:g} to {high:g}")
    return low, None if high == np.inf else high


def _relative(images, brain, line, spacing) -> dict:
    """Measure the volumes of rCBF; None each where a hemisphere has no brain."""
    sides = [(brain & (sign * np.asarray(line) > 0)[..., None]).any() for sign in (-1, 1)]
    volumes = {}
    for share in SHARES:
        rule = replace(postprocess.PUBLISHED, relative_cbf=share / 100, tmax_s=LATE + TIE_S)
        found = postprocess.conventional_rule(images["CBF"], images["Tmax"], brain, line, rule) if all(sides) else None
        volumes[f"rcbf_{share}_ml"] = None if found is None else metrics.volume_ml(found, spacing)
    return volumes


def _of(name: str) -> str:
    label = TABLE[name].label
    return "the core" if label == "core" else label


def _quantity(name: str, value, why: str) -> Quantity:
    row = TABLE[name]
    told = why or ("undefined, as a hemisphere is without brain" if value is None else "")
    return Quantity(name, value, row.unit, row.definition, row.source, told)


def mirror_difference(image, matrix, brain, name: str = "CBF") -> np.ndarray:
    """Subtract from a map its mirror image, registered as for the networks.

    Parameters
    ----------
    image : (x, y, slice) in file units
    matrix : (3, 3) of `registration.Alignment` or `Preprocessed`
    brain : bool (x, y, slice)
    name : of the modality

    Returns
    -------
    (x, y, slice) float32 in the unit in which the modality is shown, NaN outside the brain and where there is no mirror
    image of it.
    """
    image = np.asarray(image, np.float32)
    alignment = registration.Alignment(np.asarray(matrix), np.nan, np.nan)
    image_and_brain = np.stack([image, np.asarray(brain, np.float32)])
    mirrored, inside = registration.mirror(image_and_brain, alignment, "cpu")
    both = np.asarray(brain, bool) & (inside > 0.5)
    return np.where(both, (image - mirrored) / MODALITIES[name].divisor, np.nan).astype(np.float32)


def sides(grid: Grid, spacing) -> tuple[str, str]:
    """Tell what lies at the left and at the right of a slice as it is drawn: ("R", "L"), ("L", "R"), or ("", "").

    Slices are drawn with x to the right. Nothing is told where the header states no place, as in ISLES 2018, or where
    its matrix does not have the voxels' size in a slice and is a placeholder; a tilt shears the way between slices.

    Parameters
    ----------
    grid : of the scan; its affine is in NIfTI's coordinates, x to the patient's right
    spacing : (3,) in mm, of the networks' grid
    """
    axes = np.asarray(grid.affine)[:3, :3] @ np.linalg.inv(np.asarray(grid.onto)[:3, :3])
    across = axes[:, 0]
    fits = np.allclose(np.linalg.norm(axes, axis=0)[:2], spacing[:2], rtol=0.05)
    if not (grid.stated and fits and abs(across).argmax() == 0):
        return "", ""
    return ("L", "R") if across[0] > 0 else ("R", "L")
