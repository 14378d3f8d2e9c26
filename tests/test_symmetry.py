"""Correlation with the own flip, gains by symmetry, and slopes worked by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_voxelwise import scan

from strokelib.evaluation import symmetry


def mirrored_by(scan, change):
    """Return a scan whose mirror images are what `change` makes of its modalities, and no lesion."""
    own = scan.provided
    return dataclasses.replace(scan, images=np.concatenate([own, change(own)]), lesion=None)


def test_the_opposite_side_is_the_mirrored_lesion_without_the_lesion():
    own = scan(2)
    assert np.array_equal(symmetry.opposite_lesion(own), own.lesion[::-1])  # the alignment is the plain flip
    across = dataclasses.replace(own, lesion=own.lesion | own.lesion[::-1])
    assert not symmetry.opposite_lesion(across).any()


def test_a_symmetric_scan_correlates_with_its_own_flip_by_one():
    values = symmetry.own_flip(mirrored_by(scan(0), lambda own: own))
    assert values == pytest.approx(dict.fromkeys(scan(0).modalities, 1.0))
    opposite = symmetry.own_flip(mirrored_by(scan(0), lambda own: -own))
    assert opposite == pytest.approx(dict.fromkeys(scan(0).modalities, -1.0))


def test_a_modality_that_does_not_vary_has_no_correlation():
    flat = mirrored_by(scan(0), lambda own: np.ones_like(own))
    assert np.isnan([*symmetry.own_flip(flat).values()]).all()


def test_a_scan_is_placed_between_those_most_like_it():
    likeness = pd.Series([0.2, 0.6, 0.8], index=[0.0, 0.5, 1.0])
    assert symmetry.place(likeness, 0.4) == pytest.approx(0.25)
    assert symmetry.place(likeness, 0.95) == 1.0 and symmetry.place(likeness, 0.1) == 0.0
    assert np.isnan(symmetry.place(likeness[:1], 0.4))


def worlds_of(slope, symmetries=(0.0, 0.5, 1.0), patients=6):
    """Make scores in which mirror images gain slope * symmetry, a little more in every other patient."""
    rows = []
    for share in symmetries:
        for n in range(patients):
            gain = (slope + 0.02 * (-1) ** n) * share
            common = {"world": f"symmetry_{share}", "symmetry": share, "registration": "rigid", "seed": 1}
            common |= {"case": n, "patient": f"p{n}", "misfit_mm": 0.0, "misfit_deg": 0.0}
            for name, more in (("logistic", 0.0), ("logistic_sm", gain), ("rt", 0.0), ("rt_sm", 2 * gain)):
                rows.append(common | {"variant": name, "dsc": 0.4 + 0.01 * n + more})
    return pd.DataFrame(rows)


def test_the_slope_is_that_of_each_patient_averaged():
    found = symmetry.slopes(worlds_of(0.1), "dsc", 1).set_index("new")
    assert found.slope.to_dict() == pytest.approx({"logistic_sm": 0.1, "rt_sm": 0.2})
    assert (found.low > 0.07).all() and (found.high < 0.25).all() and (found.worlds == 3).all()


def test_a_scan_without_a_value_on_one_side_is_left_out_on_both():
    """Scan A has a PPV of .8 by both methods, B of .2: nothing is gained, though at symmetry 1 the new one has no B."""
    rows = [
        {"symmetry": share, "registration": "rigid", "seed": 1, "case": 2 * n + place, "patient": f"p{n}",
         "variant": name, "misfit_mm": 0.0, "misfit_deg": 0.0,
         "ppv": np.nan if (name, share, place) == ("logistic_sm", 1.0, 1) else value}
        for share in (0.0, 1.0) for n in range(3) for name in ("logistic_sm", "logistic")
        for place, value in enumerate((0.8, 0.2))
    ]  # fmt: skip
    found = symmetry.slopes(pd.DataFrame(rows), "ppv", 1).set_index("new").loc["logistic_sm"]
    assert (found.slope, found.patients) == (pytest.approx(0), 3)


def test_trainings_are_paired_and_two_registrations_are_not_mixed():
    scores = worlds_of(0.1)
    again = scores.assign(seed=2, dsc=scores.dsc + 0.1 * (scores.symmetry == 1))  # this training is better at 1
    lost = (again.variant == "rt_sm") & (again.symmetry == 1)
    found = symmetry.slopes(pd.concat([scores, again.assign(dsc=again.dsc.where(~lost))]), "dsc", 1).set_index("new")
    assert found.slope.to_dict() == pytest.approx({"logistic_sm": 0.1, "rt_sm": 0.2})
    with pytest.raises(ValueError, match="one symmetry has two registrations"):
        symmetry.slopes(pd.concat([scores, scores.assign(registration="affine")]), "dsc", 1)


def test_one_world_has_no_slope():
    assert symmetry.slopes(worlds_of(0.1, symmetries=(0.5,)), "dsc", 1).slope.isna().all()


def test_a_gain_is_told_for_each_world_and_misfit():
    scores = worlds_of(0.1)
    off = scores[scores.variant == "logistic_sm"].assign(misfit_mm=5.0, dsc=0.4)
    found = symmetry.responses(pd.concat([scores, off]), "dsc", 1)
    assert len(found) == 3 * 2 + 3 and (found.n == 6).all()
    aligned = found[(found.misfit_mm == 0) & (found.new == "logistic_sm")].set_index("symmetry")
    assert aligned.mean_difference.to_dict() == pytest.approx({0.0: 0.0, 0.5: 0.05, 1.0: 0.1})
    old = scores[scores.variant == "logistic"].groupby("symmetry").dsc.mean()
    assert aligned.old_mean.to_dict() == pytest.approx(old.to_dict()), "the level that it starts from"
    assert (aligned.new_mean - aligned.old_mean).to_numpy() == pytest.approx(aligned.mean_difference.to_numpy())


@pytest.mark.parametrize(
    ("new", "trainings", "p_holm", "words"),
    [("logistic_sm", 1, 0.01, "rises"), ("logistic_sm", 1, 0.06, "inconclusive"), ("rt_sm", 2, 0.01, "rises"),
     ("rt_sm", 1, 0.01, "not told, one training each")],
)  # fmt: skip
def test_networks_that_were_trained_once_show_no_slope(new, trainings, p_holm, words):
    row = SimpleNamespace(new=new, trainings=trainings, low=0.01, high=0.2, p_holm=p_holm)
    assert symmetry.rising(row) == words


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.01, 0.015, "the same"), (0.005, 0.019, "the same"), (0.005, 0.03, "better"), (-0.03, -0.001, "worse"),
     (-0.03, 0.01, "inconclusive"), (np.nan, np.nan, "inconclusive")],
)  # fmt: skip
def test_two_registrations_are_the_same_within_a_margin_alone(low, high, verdict):
    told = {"low": low, "high": high, "mean_difference": (low + high) / 2, "sd": 0.0, "n": 20}
    assert symmetry.same(SimpleNamespace(**told, p=0.01), 0.02) == verdict
    chance = SimpleNamespace(**told, p=0.06)
    assert symmetry.same(chance, 0.02) == (verdict if verdict == "the same" else "inconclusive")


def test_the_other_registration_is_held_against_the_own_on_the_same_heads():
    scores = worlds_of(0.1, symmetries=(0.0, 0.5))
    twin = scores[(scores.symmetry == 0.5) & scores.variant.isin(["logistic_sm", "rt_sm"])]
    twin = twin.assign(world="affine", registration="affine", dsc=twin.dsc + 0.005 + 0.001 * (twin.case % 2))
    found = symmetry.registrations(pd.concat([scores, twin]), "dsc", "affine", 1).set_index("method")
    assert found.mean_difference.to_dict() == pytest.approx({"logistic_sm": 0.0055, "rt_sm": 0.0055})
    assert found.verdict.to_dict() == {"logistic_sm": "the same", "rt_sm": "not told, one training each"}
    again = pd.concat([scores, twin])
    again = pd.concat([again, again.assign(seed=2019)])
    assert (symmetry.registrations(again, "dsc", "affine", 1).verdict == "the same").all(), "trained twice each"
    assert (found.symmetry == 0.5).all() and (found.n == 6).all()
    assert [*found.new] == ["affine"] * 2 and [*found.old] == ["rigid"] * 2
    with pytest.raises(ValueError, match="two registrations of the same heads"):
        symmetry.registrations(scores, "dsc", "affine", 1)


def test_the_other_registration_borrows_what_has_no_mirror_images():
    scores = worlds_of(0.1, symmetries=(0.0, 0.5))
    twin = scores[(scores.symmetry == 0.5) & scores.variant.isin(["logistic", "logistic_sm", "rt_sm"])]
    whole = symmetry.completed(pd.concat([scores, twin.assign(world="affine", registration="affine")]))
    added = whole[(whole.world == "affine") & (whole.variant == "rt")]
    own = scores[(scores.symmetry == 0.5) & (scores.variant == "rt")]
    assert [*added.dsc] == [*own.dsc] and (added.registration == "affine").all() and len(whole) == 48 + 18 + 6


def test_scans_are_placed_by_each_modality_they_have():
    scans = [mirrored_by(scan(n), lambda own: own) for n in range(2)]  # wholly symmetric
    first, last = scans[0].modalities[0], scans[0].modalities[-1]
    likeness = pd.DataFrame([[0.2, 0.6], [0.3, 1.2], [0.1, 0.2]], index=[first, last, "pH"], columns=[0.0, 1.0])
    found = symmetry.placed(scans, likeness).set_index("modality")
    assert [*found.index] == [first, last] and (found.scans == 2).all()
    assert found.correlation.to_dict() == pytest.approx({first: 1.0, last: 1.0})
    assert found.symmetry.to_dict() == pytest.approx({first: 1.0, last: 0.7 / 0.9})


def test_scans_that_scatter_over_the_axis_are_placed_with_its_whole_width(monkeypatch):
    values = {"p0": 0.1, "p1": 0.9, "p2": 0.2, "p3": 0.8}
    monkeypatch.setattr(symmetry, "own_flip", lambda scan: {"CT": values[scan.patient]})
    likeness = pd.DataFrame([[0.45, 0.55]], index=["CT"], columns=[0.0, 1.0])
    (row,) = symmetry.placed([SimpleNamespace(patient=name) for name in values], likeness).itertuples()
    assert row.symmetry == pytest.approx(0.5) and row.low < 0.3 and row.high > 0.7
    assert (row.symmetry_low, row.symmetry_high) == (0.0, 1.0)
    alone = symmetry.placed([SimpleNamespace(patient="p0")], likeness).iloc[0]
    assert alone["symmetry"] == 0 and np.isnan(alone["low"]) and np.isnan(alone["symmetry_high"])
