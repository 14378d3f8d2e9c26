"""What a patient's disease does to a brain: occluded artery and infarct core, older disease, true flow, CT, label.

The lesion comes from a model of collateral supply. Downstream of an occlusion, flow falls with the
distance from tissue that still has its artery; tissue whose flow falls under a limit of its own
dies. How far collaterals reach is not drawn but solved for, so that the core has the volume it
should have.

Sources: flow and volume of gray and white matter, textbook values; core and penumbra flow, Schaefer
et al. 2006, AJNR 27:20; CT attenuation of water uptake, Dzialowski et al. 2004, J Neuroimaging
14:42; leukoaraiosis and old infarcts, BMC Med Imaging 2024 (s12880-024-01340-2). Our choice: the
laws, tuned to the volumes and to the accuracy of the conventional thresholds in ISLES 2018.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from strokelib.phantom.anatomy import CENTER_Y, COARSE_STEP, SIDE, Anatomy, coarse_grid
from strokelib.phantom.fields import smooth_field
from strokelib.phantom.patient import BRANCHES, M3_BRANCHES, OCCLUSIONS, Knobs, Patient
from strokelib.run import runtime

ESCALATION = ("M2s", "M2i", "M1d", "M1", "ICA")  # where the drawn occlusion cannot make the volume in this slab
MIN_CORE_ML, MIN_CORE_VOXELS = 0.8, 110
MIN_LABEL_VOXELS, MIN_COMPONENT_ML = 60, 0.15
COLLATERAL_REACH_MM = (2.0, 120.0)


@dataclass(frozen=True, eq=False)
class Stroke:
    """The lesion on the grid of an `Anatomy`."""

    flow_ratio: np.ndarray  # f, flow as a share of normal flow, before recanalization
    core: np.ndarray  # bool
    patchiness: np.ndarray  # the random field behind uneven collaterals
    occlusion: str
    collateral_mm: float  # length over which collateral flow falls off


@dataclass(frozen=True, eq=False)
class Flow:
    """True perfusion: mL/100 g/min, mL/100 g, s; and how far confounders reach, 0 to 1."""

    cbf: np.ndarray
    cbv: np.ndarray
    delay: np.ndarray
    leukoaraiosis: np.ndarray
    old: np.ndarray

    @property
    def mtt(self) -> np.ndarray:
        return np.clip(60 * self.cbv / np.maximum(self.cbf, 0.3), 1.5, 38)


def territories(key):
    """Assign every voxel of the 4 mm grid to the branch that ends nearest, after 4 mm of wobble.

    Returns
    -------
    (50, 59, 48) int8, positions in BRANCHES.
    """
    brain, (x, y, z) = coarse_grid()
    rng = runtime.rng(*key, "territories")
    wobble = [4 * smooth_field(rng, brain.shape, (COARSE_STEP,) * 3, 22) for _ in range(3)]
    x, y, z = np.abs(x + wobble[0]), y + wobble[1], z + wobble[2]
    nearest, label = np.full(brain.shape, np.inf, np.float32), np.zeros(brain.shape, np.int8)
    for n, (name, (bx, by, bz, _parent)) in enumerate(BRANCHES.items()):
        distance = ((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2).astype(np.float32)
        if name == "LSA":
            distance = 1.6 * distance  # thin vessels supply less
        closer = distance < nearest
        nearest[closer], label[closer] = distance[closer], n
    return label


def occlude(key, slab_key, patient: Patient, anatomy: Anatomy, target_ml: float, knobs: Knobs) -> Stroke:
    """Shut an artery and find how far collaterals reach, so that the core has the wanted volume.

    With d the distance (mm) from supplied tissue, h patchy around 1 and lambda the collateral
    length,

        f = 1 - severity occluded min(1, (1 - exp(-d / lambda)) h)       core: f e < theta in tissue

    with e around 1 the voxel's own resistance. Solved for lambda, a voxel dies exactly where lambda
    is under a limit of its own, so the k voxels with the largest limits are the core of k voxels:
    no search is needed. Where the occlusion cannot make the volume, a larger one is taken; the
    largest then makes what it can.
    """
    slab, shape = anatomy.slab, anatomy.brain.shape
    wanted = round(max(target_ml, MIN_CORE_ML, MIN_CORE_VOXELS * slab.voxel_ml) / slab.voxel_ml)
    rng = runtime.rng(*slab_key, "stroke")
    patchiness = smooth_field(rng, shape, slab.spacing, 12)
    resistance = 0.75 * smooth_field(rng, shape, slab.spacing, 5) + 0.25 * anatomy.fields["gray"]
    resistance = np.exp(knobs.core_het * resistance)
    tissue = anatomy.gray + anatomy.white > 0.5
    uneven = np.maximum(1 + 0.25 * patchiness, 0.05)
    label = territories(key)
    for occlusion in (patient.occlusion, *ESCALATION):
        distance, occluded = _supply(key, patient, anatomy, label, occlusion)
        loss = patient.severity * occluded
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = (1 - patient.theta / resistance) / loss
            limit = np.where(needed > 0, -distance / np.log1p(-needed / uneven), np.inf)
        # Beyond needed = 1 or `uneven` no occlusion is enough; where loss is nil, none is there.
        limit = np.where(tissue & (loss > 0.05) & (needed < np.minimum(1, uneven)), limit, 0)
        if np.count_nonzero(limit > COLLATERAL_REACH_MM[0]) >= wanted:
            break
    wanted = min(wanted, limit.size)
    last = np.partition(limit, limit.size - wanted, axis=None)[limit.size - wanted]
    reach = float(np.clip(last, *COLLATERAL_REACH_MM))
    flow_ratio = 1 - loss * np.clip((1 - np.exp(-distance / np.float32(reach))) * uneven, 0, 1)
    # DWI lesions hold together: take away specks.
    blurred = ndimage.gaussian_filter((limit >= reach).astype(np.float32), (1 / slab.px_mm, 1 / slab.px_mm, 0))
    return Stroke(flow_ratio, (blurred > 0.5) & tissue, patchiness, occlusion, reach)


def _supply(key, patient: Patient, anatomy: Anatomy, label, occlusion: str):
    """Return the distance from supplied tissue (mm) and the share of a voxel that is cut off."""
    shut = OCCLUSIONS.get(occlusion)
    if shut is None:  # M3
        shut = M3_BRANCHES[runtime.rng(*key, "branch").integers(len(M3_BRANCHES))]
    brain, (x, _, _) = coarse_grid()
    numbers = [n for n, name in enumerate(BRANCHES) if name in shut]
    occluded = np.isin(label, numbers) & ((x >= 0) == (patient.side > 0)) & brain
    distance = ndimage.distance_transform_edt(~(brain & ~occluded)) * COARSE_STEP * brain
    if "LSA" in shut and occlusion != "M3":
        distance = distance + 12.0 * (occluded & (label == 0))  # end arteries: nothing helps them out
    blurred = [
        ndimage.gaussian_filter(distance, 0.8),
        ndimage.gaussian_filter(occluded.astype(float), 0.9),
    ]
    volumes = np.stack([b.ravel() for b in blurred], -1).astype(np.float32)
    read = (anatomy.on_coarse_grid @ volumes).reshape(*anatomy.brain.shape, 2)
    return read[..., 0], np.clip(read[..., 1], 0, 1)


# True perfusion and native CT


def true_flow(slab_key, patient: Patient, anatomy: Anatomy, stroke: Stroke, knobs: Knobs) -> Flow:
    """Return flow, volume and delay: healthy tissue, the stroke, what else the patient has."""
    gray, white, field = anatomy.gray, anatomy.white, anatomy.fields
    shape, spacing = gray.shape, anatomy.slab.spacing
    rng = runtime.rng(*slab_key, "flow")
    one_sided, delay_field = (
        smooth_field(rng, shape, spacing, 40),
        smooth_field(rng, shape, spacing, 25),
    )
    white_share = white / (gray + white + 1e-6)

    common = 0.12 * field["texture"] + knobs.asymmetry * one_sided + knobs.region * field["region 1"]
    cbf = (patient.cbf[0] * gray + patient.cbf[1] * white) * np.exp(common)
    common = 0.07 * field["texture"] + 0.7 * knobs.asymmetry * one_sided
    common += knobs.region * (0.5 * field["region 1"] + 0.35 * field["region 2"])
    cbv = (patient.cbv[0] * gray + patient.cbv[1] * white) * np.exp(common)
    delay = 0.3 + 1.2 * white_share + 0.45 * (anatomy.y < -45) + 0.35 * field["delay"]
    delay += knobs.region_delay * np.clip(field["region delay"], -1, 3)

    ratio = stroke.flow_ratio
    lag = patient.delay_max * (1 - np.exp(-np.clip(1 - ratio, 0, 1) / 0.3)) * np.exp(knobs.delay_het * delay_field)
    if patient.recanalized:  # before the scan; the core stays
        lag = 0.25 * lag
        ratio = np.clip(1 - 0.25 * (1 - ratio) + 0.25 * (ratio < patient.theta), 0, 1.5)
    cbf, delay = cbf * ratio, delay + lag
    cbv *= np.clip(_volume_ratio(ratio) * np.exp(0.1 * stroke.patchiness), 0, 2)

    rarefied = _leukoaraiosis(patient, anatomy, white_share)
    old = _old_infarcts(slab_key, patient, anatomy)
    cbf *= (1 - 0.55 * rarefied) * (1 - 0.85 * old)
    cbv *= (1 - 0.35 * rarefied) * (1 - 0.8 * old)
    delay += 2.2 * rarefied + 0.8 * old
    if patient.stenosis:
        side, seconds, factor = patient.stenosis
        downstream = expit(side * anatomy.x / 3) * (1 - np.exp(-np.abs(anatomy.x) / 25)) * expit((anatomy.y + 50) / 8)
        delay += seconds * downstream
        cbf *= 1 - (1 - factor) * downstream

    # Vessels on the surface; their blood passes in 3.6 s.
    vessel = np.clip(0.9 * (field["vessels"] - 1.35), 0, 1) * np.clip(1.5 * anatomy.csf, 0, 1) * (anatomy.depth < 22)
    cbf = cbf * patient.cbf_scale + 22 * 60 / 3.6 * vessel
    cbv = cbv * patient.cbv_scale + 22 * vessel
    return Flow(cbf, cbv, delay, rarefied, old)


def _volume_ratio(flow_ratio):
    """Return blood volume over normal: vessels widen as flow falls and collapse below 45 %."""
    widened = 1 + 0.15 * np.sin(np.pi * np.clip((1 - flow_ratio) / 0.55, 0, 1))
    return np.where(flow_ratio > 0.45, widened, np.clip(flow_ratio / 0.45, 0, 1) ** 0.9)


def _leukoaraiosis(patient: Patient, anatomy: Anatomy, white_share):
    """Return how far white matter around the ventricles is rarefied, 0-1."""
    load = patient.leukoaraiosis
    central = (np.abs(anatomy.x) < 38) & (np.abs(anatomy.y - CENTER_Y) < 60) & (anatomy.z > -5)
    ventricle = (anatomy.csf > 0.5) & (anatomy.depth > 22) & central
    if load <= 0.02 or not ventricle.any():
        return np.zeros_like(white_share)
    distance = ndimage.distance_transform_edt(~ventricle, sampling=anatomy.slab.spacing).astype(np.float32)
    extent = 1.25 * load * np.exp(-((distance / (5 + 11 * load)) ** 2) + 0.5 * anatomy.fields["leukoaraiosis"])
    return np.clip(extent, 0, 1) * white_share


def _old_infarcts(slab_key, patient: Patient, anatomy: Anatomy):
    """Return the extent of old infarcts and lacunes, 0-1."""
    extent = np.zeros_like(anatomy.x)
    rng = runtime.rng(*slab_key, "old infarcts")
    for x, y, z, radius in patient.old_infarcts:
        uneven = radius * np.exp(0.25 * smooth_field(rng, extent.shape, anatomy.slab.spacing, 15))
        distance = np.sqrt((anatomy.x - x) ** 2 + (anatomy.y - y) ** 2 + (anatomy.z - z) ** 2)
        extent = np.maximum(extent, expit((uneven - distance) / 1.5))
    for x, y, z, radius in patient.lacunes:
        distance = np.sqrt((anatomy.x - x) ** 2 + (anatomy.y - y) ** 2 + ((anatomy.z - z) / 1.2) ** 2)
        extent = np.maximum(extent, 0.9 * expit((radius - distance) / 0.7))
    return extent


def native_ct(slab_key, patient: Patient, anatomy: Anatomy, stroke: Stroke, flow: Flow, knobs: Knobs):
    """Return the noise-free CT of the brain in HU, on the grid of the anatomy."""
    x, y, z, solid = anatomy.x, anatomy.y, anatomy.z, np.clip(1 - anatomy.csf, 0, 1)
    ct = 40 * anatomy.gray + 32.5 * anatomy.white + 7 * anatomy.csf - 7 * flow.leukoaraiosis
    for (cx, cy, cz), peak in zip(((24, -40, 8), (-24, -40, 8), (0, -28, 4)), patient.calcification, strict=True):
        ct += peak * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 7 - ((z - cz) / 6) ** 2)
    ct += knobs.hardening * anatomy.fields["hardening"] * solid
    ct = ct * (1 - 0.72 * flow.old) + 0.72 * 9 * flow.old
    # Water uptake follows the core only roughly.
    rng = runtime.rng(*slab_key, "ct")
    spacing = anatomy.slab.spacing
    swollen = stroke.flow_ratio * np.exp(0.18 * smooth_field(rng, x.shape, spacing, 9)) < patient.theta
    swollen = ndimage.gaussian_filter(swollen.astype(np.float32), (2.0, 2.0, 0.3))
    return ct - patient.ct_drop * swollen * solid * np.exp(0.25 * smooth_field(rng, x.shape, spacing, 10))


def add_head(slab_key, anatomy: Anatomy, ct):
    """Return the (256, 256, slice) CT with skull, fat and skin around the brain; air is -1000 HU."""
    slab, margin = anatomy.slab, int(np.ceil(14 / anatomy.slab.px_mm)) + 2
    box = tuple(slice(max(side.start - margin, 0), min(side.stop + margin, SIDE)) for side in anatomy.box)
    inner = tuple(
        slice(own.start - outer.start, own.stop - outer.start) for own, outer in zip(anatomy.box, box, strict=True)
    )
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start, slab.slices)
    brain = np.zeros(shape, bool)
    brain[inner] = anatomy.brain
    out = np.full(shape, 1e3, np.float32)  # mm outside the brain; slices above the head stay far away
    for k in np.flatnonzero(brain.any((0, 1))):
        out[..., k] = ndimage.distance_transform_edt(~brain[..., k]) * slab.px_mm
    rng = runtime.rng(*slab_key, "head")
    bone = 6.5 + 1.2 * smooth_field(rng, shape, slab.spacing, 40)
    head = np.select(
        [out >= bone + 6, out >= bone + 4, out >= bone], [np.float32(-1000), np.float32(15), np.float32(-42)],
        900 + 150 * smooth_field(rng, shape, slab.spacing, 6),
    ).astype(np.float32)  # fmt: skip
    head -= 350 * ((out > 0.35 * bone) & (out < 0.65 * bone))  # diploe
    head = ndimage.gaussian_filter(head, (0.6, 0.6, 0)) + 3 * rng.standard_normal(shape, dtype=np.float32)
    head[inner] = np.where(anatomy.brain, ct, head[inner])
    full = np.full((SIDE, SIDE, slab.slices), -1000, np.float32)
    full[box] = head
    return full


# Label


def draw_label(slab_key, anatomy: Anatomy, core, knobs: Knobs):
    """Return the lesion as outlined on DWI minutes later: shifted, wobbling, without specks.

    Where so little is left that a scan would be as good as unlabeled, shift and wobble are halved,
    then dropped.
    """
    slab = anatomy.slab
    rng = runtime.rng(*slab_key, "label")
    shift = np.append(
        rng.normal(0, 1, 2) * knobs.reg_mm / 2**0.5 / slab.px_mm,
        rng.normal(0, 1) * knobs.reg_z / slab.dz_mm,
    )
    wobble = [knobs.label_mm / slab.px_mm * smooth_field(rng, core.shape, slab.spacing, 20) for _ in range(2)]
    soft = ndimage.gaussian_filter(core.astype(np.float32), (0.8, 0.8, 0))
    grid = np.indices(core.shape, dtype=np.float32)
    label = core
    for share in (1.0, 0.5, 0.0):
        places = [
            grid[0] + share * (shift[0] + wobble[0]),
            grid[1] + share * (shift[1] + wobble[1]),
        ]
        places.append(np.clip(grid[2] + share * shift[2], 0, slab.slices - 1))
        moved = (ndimage.map_coordinates(soft, places, order=1) > 0.5) & anatomy.brain
        label = _drop_specks(moved, slab.voxel_ml)
        if np.count_nonzero(label) >= MIN_LABEL_VOXELS:
            return label
    return core if np.count_nonzero(label) < np.count_nonzero(core) else label


def _drop_specks(mask, voxel_ml: float):
    """Drop 26-connected components under 0.15 mL, but never the largest."""
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    keep = sizes * voxel_ml > MIN_COMPONENT_ML
    keep[sizes.argmax()] = True
    return keep[parts]
