"""The ladder: methods judged as the networks are, bounds from above, steps, and what the methods look at."""

import numpy as np
import pandas as pd
import pytest
from test_voxelwise import SHAPE, SPACING, scan

from strokelib import metrics, postprocess, voxelwise
from strokelib.evaluation import ladder
from strokelib.phantom.truth import Truth
from strokelib.vocabulary import METHODS, METRICS

SCANS = [scan(seed) for seed in range(6)]
FOLD_OF = {seed: seed % 3 for seed in range(6)}


@pytest.fixture(scope="module")
def brains():
    return [voxelwise.read_voxels(own) for own in SCANS]


@pytest.fixture(scope="module")
def taught(brains):
    return {name: ladder.teach(name, brains, FOLD_OF, 7) for name in ladder.TAUGHT}


def test_every_rung_comes_from_somewhere_and_every_step_joins_two():
    sources = [*ladder.TAUGHT, *ladder.NETWORKS, *ladder.TRUTHS, "conventional_tuned"]
    assert sorted(ladder.RUNGS) == sorted(sources)
    assert {name for step in ladder.STEPS for name in step} == {*ladder.RUNGS}
    assert {*ladder.NETWORKS, "conventional_tuned"} < {*METHODS} and {*ladder.TOLD} < {*METRICS}
    order = [*ladder.RUNGS]
    assert all(order.index(new) > order.index(old) for new, old in ladder.STEPS), "a step goes up"
    for name, (kind, mirrored) in ladder.TAUGHT.items():
        assert kind in voxelwise.KINDS and ladder.RUNGS[name].mirrored == mirrored


def test_steps_are_those_of_which_both_ends_are_there():
    frame = pd.DataFrame({"variant": ["logistic", "logistic_sm", "trees_sm"]})
    assert ladder.steps_of(frame) == (("logistic_sm", "logistic"), ("trees_sm", "logistic_sm"))


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [(0.01, 0.2, 0.01, "above 0"), (-0.2, -0.01, 0.01, "below 0"), (0.01, 0.2, 0.06, "inconclusive"),
     (-0.01, 0.2, 0.04, "inconclusive"), (np.nan, np.nan, np.nan, "inconclusive")],
)  # fmt: skip
def test_a_step_has_a_side_by_interval_and_corrected_test(low, high, p, words):
    assert ladder.side(pd.Series({"low": low, "high": high, "p": 0.001, "p_holm": p})) == words


def test_a_step_up_to_a_network_is_flattered_where_judged_scans_keep_its_weights():
    flattered = [step for step in ladder.STEPS if ladder.stopped_on_judged(*step, inner_split=False)]
    assert flattered == [("rt", "trees"), ("rt_sm", "trees_sm")], "rt_sm - rt is between two networks"
    assert not any(ladder.stopped_on_judged(*step, inner_split=True) for step in ladder.STEPS)


def test_each_scan_is_predicted_by_a_model_that_has_not_seen_it(brains, taught):
    models, maps = taught["logistic"]
    assert sorted(models) == [0, 1, 2] and sorted(maps) == [0, 1, 2, 3, 4, 5]
    assert all(np.array_equal(maps[own.number], models[FOLD_OF[own.number]].predict(own)) for own in brains)
    changed = [
        voxelwise.Voxels(**(vars(own) | {"lesion": ~own.lesion} if own.number == 0 else vars(own))) for own in brains
    ]
    other, again = ladder.teach("logistic", changed, FOLD_OF, 7)
    assert np.array_equal(other[0].classifier.coef_, models[0].classifier.coef_), "scan 0 is of fold 0"
    assert not np.array_equal(other[1].classifier.coef_, models[1].classifier.coef_)
    assert np.array_equal(again[0], maps[0])


def test_all_methods_learn_from_the_same_voxels_and_a_seed_decides_which(brains, taught):
    for name in ("logistic", "trees"):
        narrow, wide = taught[name][0][0], taught[f"{name}_sm"][0][0]
        places = [wide.features.index(feature) for feature in narrow.features]
        assert np.array_equal(wide.mean[places], narrow.mean)
    first = taught["logistic"][0][0].mean
    assert np.array_equal(first, taught["trees"][0][0].mean)
    drawn_less = ladder.teach("logistic", brains, FOLD_OF, 8)[0][0].mean
    assert drawn_less.shape == first.shape


def test_a_scan_is_judged_by_the_pair_of_the_other_folds(taught):
    pairs = [(own, taught["logistic_sm"][1][own.number]) for own in SCANS]
    scores = ladder.judge(pairs, FOLD_OF, [0.1, 0.3, 0.5], [1, 20])
    assert scores["case"].tolist() == [0, 1, 2, 3, 4, 5] and scores["patient"].tolist() == [s.patient for s in SCANS]
    assert scores.groupby("fold")[["threshold", "min_lesion_voxels"]].nunique().eq(1).all(axis=None)
    for row, (own, probability) in zip(scores.itertuples(), pairs, strict=True):
        mask = postprocess.binarize(probability, postprocess.Pair(row.threshold, row.min_lesion_voxels))
        known = metrics.case_metrics(mask, own.lesion, SPACING) | metrics.further_metrics(mask, own.lesion, SPACING)
        assert {name: getattr(row, name) for name in known} == pytest.approx(known)
    inverted = [(own, 1 - probability if own.number == 0 else probability) for own, probability in pairs]
    other = ladder.judge(inverted, FOLD_OF, [0.1, 0.3, 0.5], [1, 20]).set_index("case")
    same = scores.set_index("case")
    assert (other.loc[3, ["threshold", "min_lesion_voxels"]] == same.loc[3, ["threshold", "min_lesion_voxels"]]).all()


def flows():
    """True flow that falls into the lesion, each scan's to another depth."""
    for own in SCANS:
        flow = np.where(own.lesion, np.float32(0.2 + 0.05 * (own.number % 2)), np.float32(1)) * own.mask
        flow[20, 5:15] *= 0.24  # as low as a lesion may be, and none
        yield own, Truth(flow, own.lesion)


def test_true_flow_is_cut_once_or_scan_by_scan_and_the_second_is_never_worse():
    lost = [(own, ladder.lost_flow(truth, own.mask)) for own, truth in flows()]
    one, best = ladder.judge_flow(lost, FOLD_OF)
    pd.testing.assert_frame_equal(one, ladder.judge(lost, FOLD_OF, [1 - flow for flow in ladder.FLOWS], [1]))
    assert one["case"].tolist() == best["case"].tolist()
    assert (best["dsc"] >= one["dsc"]).all() and best["dsc"].mean() > one["dsc"].mean()
    even = best[best["case"] % 2 == 0]
    assert (even["dsc"] == 1).all(), "0.2 lies below the other low flow of 0.24"
    assert even["threshold"].between(1 - 0.24, 0.8).all()


def test_lost_flow_is_nought_outside_the_brain_where_there_is_no_flow_either():
    own, truth = next(flows())
    lost = ladder.lost_flow(truth, own.mask)
    assert lost.dtype == np.float32 and not lost[~own.mask].any() and not truth.flow[~own.mask].any()
    assert np.array_equal(lost > 0.75, own.lesion | (own.mask & (truth.flow < 0.25)))


def test_masks_are_judged_as_they_are():
    scores = ladder.judge_masks([(own, own.lesion) for own in SCANS[:2]])
    assert (scores["dsc"] == 1).all() and (scores["hd95_mm"] == 0).all() and (scores["volume_error_ml"] == 0).all()
    empty = ladder.judge_masks([(SCANS[0], np.zeros(SHAPE, bool))])
    assert empty["dsc"][0] == 0 and np.isinf(empty["hd95_mm"][0])


def test_coefficients_are_named_and_averaged_over_the_folds(taught):
    models = taught["logistic_sm"][0]
    table = ladder.coefficients(models)
    values = np.stack([models[fold].classifier.coef_[0] for fold in models])
    assert np.array_equal(table["coefficient"], values.mean(0))
    assert (table["low"] <= table["coefficient"]).all() and (table["coefficient"] <= table["high"]).all()
    plain = table[~table["squared"]].groupby("image")["coefficient"].sum()
    assert plain["Tmax"] > 1 > abs(plain["CT"]), "the lesion is in Tmax alone"


@pytest.mark.parametrize("name", ["logistic_sm", "trees_sm"])
def test_shuffling_hurts_where_the_lesion_shows_and_nowhere_else(brains, taught, name):
    table = ladder.importances(taught[name][0], brains, FOLD_OF, 7)
    assert len(table) == 3 * 4 and (table.groupby("fold")["auc"].nunique() == 1).all()
    assert table["auc"].between(0.9, 1).all()
    drop = table.groupby("image")["drop"].mean()
    assert drop["Tmax"] > 0.2 and drop.drop("Tmax").abs().max() < 0.05
    again = ladder.importances(taught[name][0], brains, FOLD_OF, 7)
    pd.testing.assert_frame_equal(table, again, check_exact=True)
