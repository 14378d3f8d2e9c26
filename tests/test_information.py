"""What images hold before any network: one by one, under voxel-wise methods, and in words."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_voxelwise import SHAPE, scan

from strokelib import voxelwise
from strokelib.evaluation import information, ladder
from strokelib.extra_inputs import FITTED
from strokelib.modalities import ISLES, inputs
from strokelib.raw_series import SHAPES
from strokelib.vocabulary import METRICS

FOLD_OF = {seed: seed % 3 for seed in range(6)}
NAMES = (*ISLES, *FITTED.values(), *SHAPES)


def complete(seed):
    """Draw a scan with all modalities and fitted maps, of which the fitted CBF alone knows the lesion."""
    own, rng = scan(seed), np.random.default_rng([5, seed])
    given = rng.standard_normal((len(NAMES), *SHAPE)).astype(np.float32)
    given[NAMES.index("fitted CBF")] -= 2.5 * own.lesion
    images = np.concatenate([given, given[:, ::-1]]) * own.mask
    return dataclasses.replace(own, images=images, modalities=NAMES)


SCANS = [complete(seed) for seed in range(6)]
BRAINS = [voxelwise.read_voxels(own) for own in SCANS]


def test_every_image_has_a_direction_and_every_provided_map_a_fitted_one_beside_it():
    assert {*information.TOWARDS} == {*ISLES, "delay", "peak", "moment"}
    assert {*information.BESIDE.values()} == {*FITTED.values()}
    assert {*information.BESIDE} == {*ISLES} - {"CT"}
    assert {*information.METHODS.values()} <= {*ladder.TAUGHT} and {*ladder.TOLD} < {*METRICS}
    assert {name for step in information.STEPS for name in step} == {*information.VARIANTS}


def test_areas_are_in_the_direction_known_beforehand():
    own = SCANS[0]
    image = np.where(own.lesion, 1.0, 3.0) * own.mask
    same = dict.fromkeys(("CBF", "fitted CBF", "Tmax", "fitted delay"), image)
    found = information.aucs(same, own.lesion, own.mask)
    assert found == {"CBF": 1, "fitted CBF": 1, "Tmax": 0, "fitted delay": 0}
    known = information.aucs({"time to peak": image, "component 1": image}, own.lesion, own.mask)
    assert known == {"time to peak": 0}, "a pattern has no direction that is known beforehand"
    assert np.isnan(information.aucs({"CT": image}, np.zeros_like(own.lesion), own.mask)["CT"])


def test_gains_are_of_the_same_scans_with_intervals_by_patient():
    frame = pd.DataFrame({"patient": ["a", "a", "b", "c"]} | {name: [0.8, 0.6, 0.7, np.nan] for name in
                         information.BESIDE} | {name: [0.9, 0.8, 0.7, 0.99] for name in information.BESIDE.values()})
    found = information.compare_aucs(frame, 1).set_index("map")
    assert list(found.index) == list(information.BESIDE) and (found.scans == 3).all() and (found.patients == 2).all()
    assert found.provided_auc["CBF"] == pytest.approx(0.7) and found.gain["CBF"] == pytest.approx(0.1)
    assert found.p["CBF"] == pytest.approx(0.5), "of 0.15 and 0: t = 1 of one degree of freedom"
    assert (found.p_holm == 1).all()
    # Patients a (two scans, 0.1 and 0.2) and b (0): of four equally likely draws the ends are b alone and a alone.
    assert found.low["CBF"] == pytest.approx(0) and found.high["CBF"] == pytest.approx(0.15)


def test_a_method_sees_the_images_that_it_is_given_and_no_copy():
    for kind, (_, names) in information.INPUTS.items():
        (given,) = information.given(BRAINS[:1], kind)
        assert given.values is BRAINS[0].values
        features = voxelwise.design(given, True, [0])[1]
        assert {feature.image for feature in features} == {*inputs(names, with_mirrored=True)}


def test_maps_that_know_the_lesion_win_and_their_names_are_told_apart():
    grid = SimpleNamespace(thresholds=(0.3, 0.5), min_lesion_voxels=(1, 10))
    kinds = ("provided", "fitted", "both", "shapes")
    assert [*information.VARIANTS] == [f"{method}_{kind}" for method in ("logistic", "trees") for kind in kinds]
    means = {
        name: information.judge(name, BRAINS, SCANS, FOLD_OF, grid, 7).dsc.mean() for name in information.VARIANTS
    }
    for method in ("logistic", "trees"):
        assert means[f"{method}_provided"] < 0.5 < means[f"{method}_fitted"]
        assert means[f"{method}_both"] > 0.5 > means[f"{method}_shapes"]
    assert information.named("trees_both") == "trees: provided and fitted maps"


@pytest.mark.parametrize(
    ("mean", "low", "high", "p", "said"),
    [(0.03, 0.01, 0.05, 0.01, "helps"), (0.03, 0.01, 0.05, 0.2, "inconclusive"),
     (0.005, 0.001, 0.02, 0.01, "helps, by less than the margin"),
     (-0.02, -0.04, -0.01, 0.04, "harms"), (-0.02, -0.04, -0.01, 0.05, "inconclusive"),
     (0.002, -0.004, 0.008, 1.0, "adds less than the margin"), (0.01, -0.02, 0.04, 0.3, "inconclusive")],
)  # fmt: skip
def test_a_verdict_follows_interval_margin_and_holms_correction(mean, low, high, p, said):
    row = SimpleNamespace(mean_difference=mean, low=low, high=high, p_holm=p, sd=0.0, n=20)
    assert information.verdict(row, 0.01) == said
