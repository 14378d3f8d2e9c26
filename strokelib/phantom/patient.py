"""One synthetic patient: which artery closes, how large the stroke is and what older disease there is.

Sources: flow and volume of gray and white matter, textbook values. Our choice: the laws, tuned to the volumes and to
the accuracy of the conventional thresholds in ISLES 2018.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from strokelib.run import runtime

# Where arterial branches end: name, (|x|, y, z) in mm, parent artery.
BRANCHES = {
    "LSA": (22, 4, 4, "MCA"), "INS": (38, 2, 4, "MCA"), "OF": (42, 34, -6, "MCA"), "PF": (42, 36, 22, "MCA"),
    "PC": (48, 8, 34, "MCA"), "CE": (52, -8, 36, "MCA"), "AP": (50, -28, 46, "MCA"), "PP": (42, -50, 48, "MCA"),
    "AN": (52, -56, 26, "MCA"), "TO": (50, -66, 4, "MCA"), "PT": (60, -38, 4, "MCA"), "MT": (60, -18, -8, "MCA"),
    "AT": (48, 8, -24, "MCA"), "A1": (8, 52, 6, "ACA"), "A2": (8, 34, 40, "ACA"), "A3": (8, -14, 60, "ACA"),
    "A4": (8, -44, 52, "ACA"), "P1": (12, -82, 4, "PCA"), "P2": (14, -74, 30, "PCA"), "P3": (30, -46, -14, "PCA"),
    "P4": (8, -18, 6, "PCA"), "CB": (24, -60, -36, "CB"),
}  # fmt: skip
_MCA = {name for name, branch in BRANCHES.items() if branch[3] == "MCA"}
_ACA = {name for name, branch in BRANCHES.items() if branch[3] == "ACA"}
# Branches an occlusion shuts off; "M3" takes one or two neighbors of `M3_BRANCHES`.
OCCLUSIONS = {
    "ICA": _MCA | _ACA, "M1": _MCA, "M1d": _MCA - {"LSA"}, "M2s": {"INS", "OF", "PF", "PC", "CE", "AP"},
    "M2i": {"PP", "AN", "TO", "PT", "MT", "AT"}, "LAC": {"LSA"}, "A": _ACA,
}  # fmt: skip
M3_BRANCHES = (
    {"PC", "CE"}, {"CE", "AP"}, {"PP", "AN"}, {"AN", "PT"}, {"PT", "MT"}, {"TO", "AN"}, {"PF", "PC"}, {"INS", "OF"},
    {"PF"}, {"AP"}, {"AN"}, {"LSA"},
)  # fmt: skip
OCCLUSION_BY_VOLUME = (  # mL up to which, drawn from
    (3, ("M3", "M3", "LAC", "A", "M2s", "M2i")),
    (12, ("M3", "M2s", "M2i", "M2i", "M1d", "M1", "A")),
    (40, ("M2s", "M2i", "M1", "M1d", "M1")),
    (np.inf, ("M1", "M1", "M1d", "ICA")),
)


@dataclass(frozen=True)
class Knobs:
    """What makes a cohort easy or hard; defaults are the `real` preset."""

    noise: float = 3.0  # HU, in-plane correlated noise of a frame
    smooth: float = 2.4  # voxels, sigma of the vendor's smoothing
    truncation: float = 0.08  # of the singular values
    motion: float = 0.12  # voxels
    theta_mu: float = 0.26  # share of normal flow under which tissue dies: median over patients
    theta_sd: float = 0.26  # and its spread (log)
    core_het: float = 0.24  # spread of that limit inside a patient (log)
    volume_median: float = 22.0  # mL a patient
    volume_sd: float = 1.53  # log
    reg_mm: float = 1.5  # shift of the label against the scan, in plane
    reg_z: float = 1.5  # mm, across slices
    label_mm: float = 1.2  # wobble of the label's contour
    ct_drop: float = 3.2  # HU, mean of what water uptake takes from the core
    ct_noise: float = 3.5  # HU
    hardening: float = 1.0  # HU
    symmetry: float = 0.92  # share of mirror-symmetric variance in anatomy
    region: float = 0.2  # mirror-symmetric variation of regional flow (log)
    region_delay: float = 0.8  # s
    asymmetry: float = 0.04  # one-sided variation of regional flow (log)
    leukoaraiosis: float = 1.2
    p_old: float = 0.25  # old infarct
    p_stenosis: float = 0.15  # of a carotid artery
    p_recanalized: float = 0.10  # flow is back before the scan
    p_zero_csf: float = 0.5  # the vendor blanks CSF
    mtt_mix: float = 0.3
    flow_sd: float = 0.25  # scale of flow between patients (log)
    delay_het: float = 0.25  # log
    residue_shape: float = 2.0  # of the transit times, see `perfusion.residue`


KNOBS = {
    "real": Knobs(),
    "easy": replace(
        Knobs(),
        noise=2.0,
        theta_sd=0.1,
        core_het=0.1,
        p_recanalized=0.0,
        reg_mm=0.0,
        reg_z=0.0,
        label_mm=0.0,
    ),
    "hard": replace(Knobs(), noise=4.5, theta_mu=0.30, theta_sd=0.3, core_het=0.3),
}


@dataclass(frozen=True)
class Patient:
    """What one patient has, besides a head. Lengths in mm, template coordinates."""

    side: int  # of the stroke: +1 or -1 like x
    volume_ml: float
    occlusion: str
    theta: float  # share of normal flow under which tissue dies
    severity: float  # share of flow an occlusion takes where no collateral reaches
    delay_max: float  # s
    recanalized: bool
    ct_drop: float  # HU
    cbf: tuple[float, float]  # mL/100 g/min, gray and white matter
    cbv: tuple[float, float]  # mL/100 g
    cbf_scale: float
    cbv_scale: float
    leukoaraiosis: float
    old_infarcts: tuple[tuple[float, float, float, float], ...]  # x, y, z, radius
    lacunes: tuple[tuple[float, float, float, float], ...]
    stenosis: tuple[int, float, float] | None  # side, delay in s, factor of flow
    calcification: tuple[float, float, float]  # HU, two plexus and the pineal gland


def draw_patient(key, quantile: float, reperfusion: float, knobs: Knobs) -> Patient:
    """Draw a patient; `quantile` and `reperfusion` (0 to 1) are the patient's place in the cohort.

    The one is that of the core volume; where the other is below p_recanalized, flow is back before the scan.

    Every concern has a stream of its own, so that one knob reshuffles nothing else.
    """
    stroke = runtime.rng(*key, "stroke")
    side = 1 if stroke.random() < 0.5 else -1
    volume = float(np.clip(knobs.volume_median * np.exp(knobs.volume_sd * ndtri(quantile)), 0.5, 220))
    choices = next(names for limit, names in OCCLUSION_BY_VOLUME if volume < limit)
    occlusion = choices[stroke.integers(len(choices))]
    theta = float(np.clip(knobs.theta_mu * np.exp(knobs.theta_sd * stroke.standard_normal()), 0.12, 0.6))
    severity, delay_max = stroke.uniform(0.86, 0.97), stroke.uniform(3.5, 9)
    ct_drop = float(np.clip(stroke.normal(knobs.ct_drop, 1.6), 0, 7)) if knobs.ct_drop else 0.0
    flow = runtime.rng(*key, "flow")
    cbf_scale = float(np.exp(knobs.flow_sd * flow.standard_normal()))
    cbv_scale = cbf_scale**0.6 * float(np.exp(0.1 * flow.standard_normal()))
    return Patient(
        side, volume, occlusion, theta, severity, delay_max, reperfusion < knobs.p_recanalized, ct_drop,
        (flow.normal(58, 5), flow.normal(23, 2.5)), (flow.normal(4.6, 0.35), flow.normal(2.6, 0.25)),
        cbf_scale, cbv_scale, *_draw_confounders(key, knobs),
    )  # fmt: skip


def _draw_confounders(key, knobs: Knobs):
    leukoaraiosis = knobs.leukoaraiosis * runtime.rng(*key, "leukoaraiosis").beta(1, 2.2)
    rng = runtime.rng(*key, "old infarcts")
    count = int(rng.random() < knobs.p_old) * (1 if rng.random() < 0.7 else 2)
    names = [name for name, branch in BRANCHES.items() if branch[3] != "CB"]
    old = []
    for _ in range(count):
        x, y, z, _parent = BRANCHES[names[rng.integers(len(names))]]
        side = 1 if rng.random() < 0.5 else -1
        old.append(
            (
                side * x + rng.normal(0, 5),
                y + rng.normal(0, 5),
                z + rng.normal(0, 8),
                rng.uniform(7, 20),
            )
        )
    rng = runtime.rng(*key, "lacunes")
    lacunes = []
    for _ in range(rng.poisson(0.8 + 2 * leukoaraiosis)):
        side = 1 if rng.random() < 0.5 else -1
        place = side * rng.uniform(12, 32), rng.uniform(-25, 20), rng.uniform(-2, 30)
        lacunes.append((*place, rng.uniform(2.5, 5)))
    rng = runtime.rng(*key, "stenosis")
    drawn = rng.random()
    stenosis = (1 if rng.random() < 0.5 else -1, rng.uniform(0.8, 3), rng.uniform(0.72, 0.95))
    calcification = tuple((90 * runtime.rng(*key, "calcification").random(3) ** 2).tolist())
    return (
        leukoaraiosis,
        tuple(old),
        tuple(lacunes),
        stenosis if drawn < knobs.p_stenosis else None,
        calcification,
    )
