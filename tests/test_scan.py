import csv
import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from test_cohort import COHORT

from strokelib.phantom import perfusion
from strokelib.phantom.patient import Knobs
from strokelib.phantom.scan import make_case, plan_cohort
from strokelib.run import runtime

FULL = replace(COHORT, training_patients=63, testing_patients=40, max_slices=22)
QUIET = replace(Knobs(), noise=0.0, motion=0.0, p_zero_csf=0.0, p_recanalized=0.0)


@pytest.fixture(scope="module")
def quiet():
    """Return a scan without noise and motion, smoothed hardly at all, and its 4-D series."""
    return make_case(COHORT, "TRAINING", 1, replace(QUIET, smooth=0.5), keep_series=True)


# Plan


def test_the_full_cohort_has_the_geometry_of_the_real_one():
    with open(runtime.ROOT / "data" / "isles18_cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    plans = plan_cohort(FULL)
    assert len(rows) == len(plans) == 94 + 62
    for row, plan in zip(rows, plans, strict=True):
        assert (row["split"] == "train") == (plan.split == "TRAINING")
        assert (int(row["case"]), int(row["patient"]), row["slab"]) == (plan.number, plan.patient, plan.slab)
        assert (int(row["slices"]), int(row["timepoints"])) == (plan.slices, plan.frames)
        assert (float(row["spacing_x_mm"]), float(row["spacing_z_mm"])) == (plan.px_mm, plan.dz_mm)


def test_a_smaller_cohort_keeps_the_mix_the_limit_and_whole_patients():
    plans = plan_cohort(replace(COHORT, training_patients=20, testing_patients=8, max_slices=8))
    assert {p.slices for p in plans} == {2, 4, 8}
    for split, count in (("TRAINING", 20), ("TESTING", 8)):
        own = [p for p in plans if p.split == split]
        assert [p.number for p in own] == list(range(1, len(own) + 1))
        assert sorted({p.patient for p in own}) == list(range(1, count + 1))
        for patient in range(1, count + 1):
            slabs = [p for p in own if p.patient == patient]
            assert [p.slab for p in slabs] == ["A", "B"][: len(slabs)]
            assert len({(p.slices, p.quantile, p.reperfusion, p.two_slabs) for p in slabs}) == 1
            assert slabs[0].two_slabs == (len(slabs) == 2)
        # Each patient has a volume stratum of its own.
        strata = sorted({p.quantile for p in own})
        np.testing.assert_allclose(strata, (np.arange(count) + 0.5) / count)
        # So is the chance of reperfusion: a tenth of a split has it, give or take one patient.
        chance = sorted({p.reperfusion for p in own})
        np.testing.assert_array_equal(np.floor(np.array(chance) * count), np.arange(count))


def test_too_many_patients_are_refused():
    with pytest.raises(ValueError, match=r"training_patients is 60 but only \d+ have at most 2 slices"):
        plan_cohort(replace(COHORT, training_patients=60))
    with pytest.raises(ValueError, match="no TESTING case 99; this cohort has cases 1 to"):
        make_case(COHORT, "TESTING", 99)


def test_ids_are_unique_and_of_no_real_case():
    with open(runtime.ROOT / "data" / "isles18_cases.csv", newline="") as file:
        real = {int(r[c]) for r in csv.DictReader(file) for c in r if c.endswith("_id") and r[c]}
    ids = [n for plan in plan_cohort(FULL) for n in plan.ids.values()]
    assert len(ids) == len(set(ids)) == 7 * 156
    assert not real & set(ids)
    first = plan_cohort(COHORT)[0].ids
    assert first["CT_4DPWI"] == 900000 and first["OT"] == 900005 and first["CT_Tmax"] == 900006


# Physics


def test_the_series_gives_the_maps(quiet):
    how = perfusion.Deconvolution(smoothing_px=0.5)
    maps = perfusion.maps_from_series(quiet.series, quiet.brain, quiet.aif, 1.0, how)
    shown = quiet.images["CT_Tmax"] + quiet.images["CT_CBV"] > 0
    assert shown.sum() > 0.9 * quiet.brain.sum()
    for name, scale, step in (("CBF", 10, 1), ("CBV", 10, 1), ("MTT", 1, 0.1), ("Tmax", 1, 0.1)):
        difference = np.abs(scale * maps[name] - quiet.images[f"CT_{name}"])[shown]
        assert np.mean(difference <= 0.51 * step + 1e-3) > 0.99, name


def test_noise_free_maps_follow_the_truth(quiet):
    gray = (quiet.truth["G"] > 0.9) & (quiet.images["CT_CBV"] > 0) & (quiet.truth["cbv"] < 7)
    measured, true = quiet.images["CT_CBV"][gray] / 10, quiet.truth["cbv"][gray]
    assert np.median(np.abs(measured / true - 1)) < 0.15
    assert np.corrcoef(measured, true)[0, 1] > 0.8
    cbf = quiet.images["CT_CBF"][gray] / 10
    assert 0.4 < np.median(cbf / quiet.truth["cbf"][gray]) < 1  # deconvolution flattens peaks
    assert np.corrcoef(cbf, quiet.truth["cbf"][gray])[0, 1] > 0.8
    solid = (quiet.truth["G"] + quiet.truth["W"] > 0.9) & (quiet.images["CT_CBV"] > 0)
    delay, tmax = quiet.truth["delay"][solid], quiet.images["CT_Tmax"][solid]
    edges = np.quantile(delay, np.linspace(0, 1, 9))
    means = [tmax[(delay >= a) & (delay <= b)].mean() for a, b in itertools.pairwise(edges)]
    assert (np.diff(means) > 0).all()


def test_noise_reaches_the_maps():
    smooth = replace(QUIET, smooth=2.4)
    clean = make_case(COHORT, "TRAINING", 1, smooth)
    noisy = make_case(COHORT, "TRAINING", 1, replace(smooth, noise=3.0))
    np.testing.assert_array_equal(clean.images["CT"], noisy.images["CT"])
    np.testing.assert_array_equal(clean.images["OT"], noisy.images["OT"])
    inside = clean.truth["G"] + clean.truth["W"] > 0.9
    for name, low, high in (("CT_CBF", 3, 60), ("CT_CBV", 0.5, 8), ("CT_Tmax", 0.1, 3)):
        change = (noisy.images[name].astype(float) - clean.images[name])[inside]
        assert low < change.std() < high, name


def test_ct_noise_has_the_asked_standard_deviation():
    flat = make_case(COHORT, "TRAINING", 1, replace(QUIET, ct_noise=0.0))
    noisy = make_case(COHORT, "TRAINING", 1, replace(QUIET, ct_noise=3.5))
    difference = (noisy.images["CT"] - flat.images["CT"])[flat.brain]
    assert difference.std() == pytest.approx(3.5, rel=0.1)


def test_a_confounder_changes_maps_but_not_the_stroke():
    plain = make_case(COHORT, "TRAINING", 2, replace(QUIET, p_old=0.0))
    scarred = make_case(COHORT, "TRAINING", 2, replace(QUIET, p_old=1.0))
    for name in ("core", "f", "G"):
        np.testing.assert_array_equal(plain.truth[name], scarred.truth[name], err_msg=name)
    np.testing.assert_array_equal(plain.images["OT"], scarred.images["OT"])
    assert scarred.record["lesion"]["old_infarcts"] and not plain.record["lesion"]["old_infarcts"]


def test_difficulty_moves_label_and_noise():
    def ceiling(difficulty):
        dice = []
        for number in (1, 3, 4):
            case = make_case(replace(COHORT, difficulty=difficulty), "TRAINING", number)
            core, label = case.truth["core"], case.images["OT"] > 0
            dice.append(2 * (core & label).sum() / (core.sum() + label.sum()))
        return np.mean(dice)

    assert ceiling("easy") > 0.93 > ceiling("hard")


def test_the_head_looks_like_its_reflection_at_the_midline_and_nowhere_else():
    case = make_case(COHORT, "TRAINING", 1)
    ct = np.clip(case.images["CT"][..., 0], 0, 100).astype(float)
    (nx, ny, offset) = case.truth["midline"][0]

    def likeness(turn_deg=0.0, shift_px=0.0):
        angle = np.arctan2(ny, nx) + np.deg2rad(turn_deg)
        normal = np.array([np.cos(angle), np.sin(angle)])
        # A point of the line in the middle of the head, and the reflection at the line through it.
        point = np.array([127.5, 127.5]) + (offset - 127.5 * (nx + ny)) * np.array([nx, ny]) + shift_px * normal
        matrix = np.eye(2) - 2 * np.outer(normal, normal)
        mirrored = ndimage.affine_transform(ct, matrix, 2 * (normal @ point) * normal, order=1)
        return np.corrcoef(mirrored.ravel(), ct.ravel())[0, 1]

    best = likeness()
    assert best > 0.75
    assert best > max(likeness(shift_px=-5), likeness(shift_px=5), likeness(turn_deg=-6), likeness(turn_deg=6)) + 0.03
