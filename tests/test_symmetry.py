"""Correlation with the own flip, gains by symmetry, and slopes worked by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_voxelwise import scan

from strokelib.evaluation import symmetry


def mirrored_by(scan, change):
    """Return a scan whose mirror images are what `change` makes of its modalities, and no lesion."""
    own = scan.provided
    return dataclasses.replace(scan, images=np.concatenate([own, change(own)]), lesion=None)


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


def test_one_world_has_no_slope():
    assert symmetry.slopes(worlds_of(0.1, symmetries=(0.5,)), "dsc", 1).slope.isna().all()


def test_a_gain_is_told_for_each_world_and_misfit():
    scores = worlds_of(0.1)
    off = scores[scores.variant == "logistic_sm"].assign(misfit_mm=5.0, dsc=0.4)
    found = symmetry.responses(pd.concat([scores, off]), "dsc", 1)
    assert len(found) == 3 * 2 + 3 and (found.n == 6).all()
    aligned = found[(found.misfit_mm == 0) & (found.new == "logistic_sm")].set_index("symmetry")
    assert aligned.mean_difference.to_dict() == pytest.approx({0.0: 0.0, 0.5: 0.05, 1.0: 0.1})
