from dataclasses import replace

import numpy as np
import pytest

from strokelib.phantom import pathology
from strokelib.phantom.anatomy import Head, Slab, build_anatomy
from strokelib.phantom.patient import KNOBS, Knobs, draw_patient

HEAD = Head(0.0, 0.0, 0.0, (0.0, 0.0), (1.0, 1.0, 1.0), 0.3, 0.1)
KEY, SLAB_KEY = (5, "TRAINING", 1), (5, "TRAINING", 1, "A")
SLAB = Slab(0.95, 4, 6.0, 14.0)


@pytest.fixture(scope="module")
def anatomy():
    return build_anatomy(KEY, HEAD, SLAB, 0.92)


@pytest.fixture(scope="module")
def patient():
    """Return a patient with a stroke of the middle cerebral artery and nothing else."""
    drawn = draw_patient(KEY, 0.5, 0.5, KNOBS["real"])
    return replace(
        drawn, side=1, occlusion="M1", theta=0.26, recanalized=False, leukoaraiosis=0.0, old_infarcts=(), lacunes=(),
        stenosis=None, cbf_scale=1.0, cbv_scale=1.0, ct_drop=3.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stroke(anatomy, patient):
    return pathology.occlude(KEY, SLAB_KEY, patient, anatomy, 20.0, KNOBS["real"])


@pytest.fixture(scope="module")
def flow(anatomy, patient, stroke):
    return pathology.true_flow(SLAB_KEY, patient, anatomy, stroke, KNOBS["real"])


def volume_ml(mask):
    return mask.sum() * SLAB.voxel_ml


# Occlusion and core


def test_every_branch_has_a_territory_on_both_sides():
    label = pathology.territories(KEY)
    assert label.shape == (50, 59, 48)
    for half in (label[:25], label[25:]):
        assert set(np.unique(half)) == set(range(len(pathology.BRANCHES)))


@pytest.mark.parametrize("target", [2.0, 8.0, 20.0, 45.0])
def test_the_core_has_the_wanted_volume(anatomy, patient, target):
    stroke = pathology.occlude(KEY, SLAB_KEY, patient, anatomy, target, KNOBS["real"])
    # Taking away specks changes it a little.
    assert volume_ml(stroke.core) == pytest.approx(target, rel=0.3)
    assert 2.0 <= stroke.collateral_mm <= 120.0


def test_poorer_collaterals_make_a_larger_core(anatomy, patient):
    small, large = (
        pathology.occlude(KEY, SLAB_KEY, patient, anatomy, target, KNOBS["real"]) for target in (10.0, 30.0)
    )
    assert large.collateral_mm < small.collateral_mm
    assert (large.flow_ratio <= small.flow_ratio + 1e-6).all()
    assert (small.core & large.core).sum() > 0.97 * small.core.sum()


def test_the_core_lies_in_tissue_on_the_side_of_the_occlusion(anatomy, stroke):
    assert stroke.core.any() and not stroke.core[anatomy.gray + anatomy.white <= 0.5].any()
    assert (anatomy.x[stroke.core] > -6).all()
    assert stroke.flow_ratio[anatomy.x < -12].min() > 0.95
    assert stroke.flow_ratio[stroke.core].mean() < 0.35
    ischemic = (stroke.flow_ratio < 0.6) & (anatomy.x > 0)
    assert ischemic.sum() > 1.5 * stroke.core.sum()  # there is a penumbra


def test_an_occlusion_that_cannot_make_the_volume_is_enlarged(anatomy, patient):
    lacune = replace(patient, occlusion="LAC")
    stroke = pathology.occlude(KEY, SLAB_KEY, lacune, anatomy, 60.0, KNOBS["real"])
    assert stroke.occlusion != "LAC"
    everything = pathology.occlude(KEY, SLAB_KEY, lacune, anatomy, 5000.0, KNOBS["real"])
    assert everything.occlusion == "ICA" and everything.collateral_mm == 2.0


def test_a_tiny_target_still_leaves_a_core(anatomy, patient):
    stroke = pathology.occlude(KEY, SLAB_KEY, replace(patient, occlusion="M3"), anatomy, 0.01, KNOBS["real"])
    assert stroke.core.sum() >= 60


# Flow


def test_healthy_flow_has_textbook_values(anatomy, patient, stroke, flow):
    healthy = (stroke.flow_ratio > 0.99) & (anatomy.fields["vessels"] < 1)
    gray, white = healthy & (anatomy.gray > 0.9), healthy & (anatomy.white > 0.9)
    assert np.median(flow.cbf[gray]) == pytest.approx(patient.cbf[0], rel=0.25)
    assert np.median(flow.cbf[white]) == pytest.approx(patient.cbf[1], rel=0.25)
    assert 3.5 < np.median(flow.mtt[gray]) < 6.5
    assert np.median(flow.mtt[white]) > np.median(flow.mtt[gray])
    assert np.median(flow.delay[white]) > np.median(flow.delay[gray])


def test_ischemia_lowers_flow_and_volume_and_delays(anatomy, stroke, flow):
    healthy = (stroke.flow_ratio > 0.99) & anatomy.brain
    for array, sign in ((flow.cbf, -1), (flow.cbv, -1), (flow.mtt, 1), (flow.delay, 1)):
        assert sign * (np.median(array[stroke.core]) - np.median(array[healthy])) > 0
    penumbra = (stroke.flow_ratio > 0.45) & (stroke.flow_ratio < 0.7)
    assert np.median(flow.cbv[penumbra]) > 1.5 * np.median(flow.cbv[stroke.core])


def test_volume_ratio_by_hand():
    found = pathology._volume_ratio(np.array([1.0, 0.725, 0.45, 0.225, 0.0]))
    np.testing.assert_allclose(found, [1, 1.15, 1, 0.5**0.9, 0], atol=1e-6)


def test_recanalization_restores_flow_and_leaves_the_core(anatomy, patient, stroke, flow):
    back = pathology.true_flow(SLAB_KEY, replace(patient, recanalized=True), anatomy, stroke, KNOBS["real"])
    assert np.median(back.cbf[stroke.core]) > 2 * np.median(flow.cbf[stroke.core])
    assert np.median(back.delay[stroke.core]) < np.median(flow.delay[stroke.core])


def test_old_infarcts_are_dark_and_without_flow(anatomy, patient, stroke, flow):
    scarred = replace(patient, old_infarcts=((-45.0, -20.0, 14.0, 15.0),))
    changed = pathology.true_flow(SLAB_KEY, scarred, anatomy, stroke, KNOBS["real"])
    scar = changed.old > 0.9
    assert volume_ml(scar) > 3
    assert changed.cbf[scar].mean() < 0.3 * flow.cbf[scar].mean()
    ct = pathology.native_ct(SLAB_KEY, scarred, anatomy, stroke, changed, KNOBS["real"])
    assert np.median(ct[scar]) < 22
    np.testing.assert_array_equal(changed.cbf[changed.old == 0], flow.cbf[changed.old == 0])


# CT


def test_ct_values_of_tissue_and_the_swelling_core(anatomy, patient, stroke, flow):
    ct = pathology.native_ct(SLAB_KEY, patient, anatomy, stroke, flow, Knobs(hardening=0.0))
    healthy = (stroke.flow_ratio > 0.99) & (np.abs(anatomy.x) > 10)
    assert np.median(ct[healthy & (anatomy.gray > 0.95)]) == pytest.approx(40, abs=0.5)
    assert np.median(ct[healthy & (anatomy.white > 0.95)]) == pytest.approx(32.5, abs=0.5)
    assert np.median(ct[healthy & (anatomy.csf > 0.98)]) == pytest.approx(7, abs=1)
    dry = pathology.native_ct(SLAB_KEY, replace(patient, ct_drop=0.0), anatomy, stroke, flow, Knobs(hardening=0.0))
    assert 1 < (dry - ct)[stroke.core].mean() < 4
    assert (dry - ct)[anatomy.x < -15].max() < 0.2


def test_skull_surrounds_the_brain(anatomy):
    ct = pathology.add_head(SLAB_KEY, anatomy, np.full(anatomy.brain.shape, 35, np.float32))
    assert ct.shape == (256, 256, 4)
    brain = np.zeros(ct.shape, bool)
    brain[anatomy.box] = anatomy.brain
    np.testing.assert_array_equal(ct[brain], 35)
    for k in range(4):
        (i, j) = np.argwhere(brain[..., k])[0]  # leftmost voxel of the brain
        assert ct[i - 5 : i, j, k].max() > 500  # bone within 5 voxels
        assert ct[0, 0, k] == -1000 and ct[128, 0, k] == -1000


# Label


def test_label_without_error_is_the_core(anatomy, stroke):
    label = pathology.draw_label(SLAB_KEY, anatomy, stroke.core, KNOBS["easy"])
    overlap = 2 * (label & stroke.core).sum() / (label.sum() + stroke.core.sum())
    assert overlap > 0.93


def test_label_error_has_the_size_of_the_knob(anatomy, stroke):
    def overlap(mm):
        knobs = Knobs(reg_mm=mm, reg_z=0.0, label_mm=0.0)
        labels = [pathology.draw_label((s, "TRAINING", 1, "A"), anatomy, stroke.core, knobs) for s in range(6)]
        return np.mean([2 * (m & stroke.core).sum() / (m.sum() + stroke.core.sum()) for m in labels])

    assert overlap(0.0) > overlap(1.5) > overlap(6.0)


def test_a_small_core_never_loses_its_label(anatomy):
    core = np.zeros(anatomy.brain.shape, bool)
    core[80:88, 60:71, 2] = True
    for seed in range(8):
        label = pathology.draw_label((seed, "TRAINING", 1, "A"), anatomy, core, Knobs(reg_mm=8.0, reg_z=8.0))
        assert label.sum() >= pathology.MIN_LABEL_VOXELS


def test_specks_are_dropped_but_not_the_largest():
    mask = np.zeros((20, 20, 3), bool)
    mask[2:8, 2:8, 1] = True  # 36 voxels
    mask[12, 12, 1] = mask[13, 13, 2] = True  # 2 voxels that touch at a corner
    kept = pathology._drop_specks(mask, 0.005)
    assert kept.sum() == 36
    np.testing.assert_array_equal(pathology._drop_specks(mask, 0.1), mask)  # 2 voxels are 0.2 mL
    np.testing.assert_array_equal(pathology._drop_specks(kept, 1e-6), kept)
    assert not pathology._drop_specks(np.zeros((4, 4, 2), bool), 1.0).any()
