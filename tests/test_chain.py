"""The chain of rows: how changes stand one upon the other, what its steps are, when it is confirmed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_beyond import PATIENTS, scores
from test_worlds import with_further

from strokelib.evaluation import chain, stats
from strokelib.evaluation.beyond import GOAL
from strokelib.run import variants
from strokelib.run.checks import SettingsError
from strokelib.run.settings import load_settings
from strokelib.run.stages import flat
from strokelib.run.variants import Change, at, chain_rows, compared, kept_as, links, method, weights

STUDY = load_settings("study")
SIGNS = {"dsc": 1, "hd_mm": -100, "volume_error_ml": -50, "volume_bias_ml": -50}  # of `scores`, for a gain of 1


def chained(*names, settings=STUDY):
    return with_further(settings, chain=names)


def test_the_rows_of_a_chain_by_hand():
    """One cycle stands upon AdamW and its rate; turning at prediction comes before turning in training."""
    assert links(("one_cycle", "flips_twice")) == {
        "beyond_1_training_optimizer": Change("rt_sm", "training.optimizer", "adamw"),
        "beyond_1_training_learning_rate": Change("beyond_1_training_optimizer", "training.learning_rate", 3e-3),
        "beyond_1": Change("beyond_1_training_learning_rate", "training.schedule", "one_cycle"),
        "beyond_prediction_flips": Change("beyond_1", "prediction.flips", True),
        "beyond": Change("beyond_prediction_flips", "sampling.flips", True),
    }
    assert links(("neighbors",)) == {"beyond": Change("rt_sm", "extra", "neighbors")} and links(()) == {}
    assert chain_rows(chained("averaged", "flips", "neighbors")) == ["beyond_1", "beyond_2", "beyond"]
    assert chain_rows(chained()) == [] and variants.chain(chained()).keys() == {"rt_sm_uf_at_1500"}


def values(name, settings):
    row, how = method(name, settings)
    return {key: value for part in (how, row) for key, value in flat(dataclasses.asdict(part)).items()}


def test_the_last_row_has_the_union_of_the_changes_and_nothing_else():
    settings = chained("one_cycle", "flips_twice", "group_norm", "neighbors")
    before, after = values("rt_sm_at_1500", settings), values("beyond", settings)
    assert {key: value for key, value in after.items() if value != before[key]} == {
        "training.optimizer": "adamw", "training.learning_rate": 3e-3, "training.schedule": "one_cycle",
        "sampling.flips": True, "prediction.flips": True, "network": "group_norm", "extra": "neighbors",
    }  # fmt: skip
    for name in chain_rows(settings):
        _, how = method(name, settings)
        assert (how.training.max_updates, how.training.snapshots) == (1500, ())
        assert weights(name, settings) == name and kept_as(name, settings) == ""


def test_a_row_that_differs_at_prediction_alone_trains_nothing():
    settings = chained("flips", "flips_twice", "step_8")
    assert [weights(name, settings) for name in chain_rows(settings)] == ["beyond_1"] * 3
    assert method("beyond", settings)[1].prediction.step == 8
    assert weights("beyond", chained("step_8", settings=load_settings("demo"))) == "rt_sm", "there it has one budget"
    with pytest.raises(SettingsError, match=r"starts with .*step_8.*its row would be one of 6000 updates.* of 1500"):
        weights("beyond", chained("step_8", "flips"))
    twice = chained("flips_twice")
    assert weights("beyond", twice) == "beyond" and method("beyond", twice)[1].sampling.flips


@pytest.mark.parametrize(
    ("names", "batch", "updates", "step"),
    [
        (("patch_96", "flips"), 28, 1500, 24),  # 64 patches of 64 x 64 voxels are 28 of 96 x 96
        (("flips", "patch_96"), 28, 1500, 24),
        (("batch_16", "flips"), 16, 6000, 16),  # as many patches
        (("flips", "batch_16"), 16, 6000, 16),
    ],
)
def test_budgets_and_batches_are_those_of_the_changes_in_any_order(names, batch, updates, step):
    _, how = method("beyond", chained(*names))
    assert (how.training.batch_size, how.training.max_updates, how.prediction.step) == (batch, updates, step)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("adamw_1e-3", "sgd_1e-2"), "sets training.optimizer twice, to 'adamw' and, by sgd_1e-2, to 'sgd'; keep one"),
        (("adamw_1e-3", "one_cycle"), "sets training.learning_rate twice"),
        (("neighbors", "fitted"), "sets extra twice, to 'neighbors'"),
        (("passes_2",), "starts from rt_sm, and passes_2 is a change of rt_sm_uf"),
        (("flips_twice", "flips"), "flips adds nothing to what stands before it"),
        (("flips", "again_1"), "again_1 changes nothing but the seed"),
    ],
)
def test_changes_that_cannot_stand_together_are_refused_by_name(names, message):
    with pytest.raises(SettingsError, match=message):
        links(names)
    with pytest.raises(SettingsError, match=message):
        chained(*names)


def test_what_a_chain_is_held_against_has_as_many_updates():
    names, folds = compared("27_chain", STUDY)
    assert names == ["rt_sm_uf_at_1500", "rt_sm_at_1500", "beyond_1", "beyond"] and folds == 5
    assert weights(names[0], STUDY) == "rt_sm" and kept_as(names[0], STUDY) == ".at1500"
    row, how = method(names[0], STUDY)
    assert row == variants.VARIANTS["rt_sm_uf"] and how.training.max_updates == 1500
    demo = load_settings("demo")
    assert compared("27_chain", demo) == (["rt_sm_uf", "rt_sm", "beyond_1", "beyond"], 3), "the whole budget"
    assert at("rt_sm_uf", 120) not in variants.changes(demo)


def test_titles_say_what_each_row_adds():
    assert chain.titles(["beyond_1", "beyond"], ("one_cycle", "group_norm")) == {
        "beyond_1": "+ AdamW, one cycle of rates", "beyond": "+ group normalization"
    }  # fmt: skip
    with pytest.raises(ValueError, match="zip"):
        chain.titles(["beyond"], ("flips", "fitted"))


def test_each_step_is_held_against_the_row_before_and_the_last_against_the_other():
    found = chain.steps(scores(uf=0.01, beyond_1=0.03, beyond=0.05), ["rt_sm", "beyond_1", "beyond"], "uf", 0)
    assert found.groupby("metric", sort=False).size().to_dict() == dict.fromkeys(chain.TOLD, 3)
    dsc = found[found.metric == "dsc"].set_index("step")
    assert [*zip(dsc.new, dsc.old, strict=True)] == [("beyond_1", "rt_sm"), ("beyond", "beyond_1"), ("beyond", "uf")]
    assert dsc.mean_difference.to_dict() == pytest.approx({"1": 0.03, "2": 0.02, "whole": 0.04}, abs=0.004)
    assert (dsc.n == PATIENTS).all() and (dsc.detectable > 0).all()
    for metric, own in found.groupby("metric"):
        assert own.mean_difference.to_numpy() == pytest.approx(SIGNS[metric] * dsc.mean_difference.to_numpy())
    with pytest.raises(ValueError, match=r"further\.chain"):
        chain.steps(scores(), ["rt_sm"], "rt_sm", 0)


def trained(gain, noise=0.004, seeds=(1, 2, 3)):
    """Scores of rt_sm_uf and beyond, trained once a seed, beyond better by `gain` and a share of its own for each."""
    frames = []
    for place, seed in enumerate(seeds):
        own = scores(beyond=gain + noise * (place - 1)).replace({"variant": {"rt_sm": "rt_sm_uf"}})
        frames.append(own.assign(seed=seed))
    return pd.concat(frames, ignore_index=True)


def told(table, metric, training=chain.ALL):
    return table[(table.metric == metric) & (table.training == training)].iloc[0]


def test_trainings_are_averaged_scan_by_scan_before_patients_are_compared():
    frame = trained(0.05)
    found = chain.confirm(frame, "beyond", "rt_sm_uf", 0)
    assert [*dict.fromkeys(found.training)] == ["1", "2", "3", chain.ALL]
    assert [*dict.fromkeys(found.metric)] == [*chain.TOLD, chain.BIAS_SIZE]
    means = frame.groupby(["variant", "patient", "case"], as_index=False)["dsc"].mean()
    expected = stats.paired_tests(means, "dsc", [("beyond", "rt_sm_uf")], "patient").iloc[0]
    row = told(found, "dsc")
    assert (row.n, row.p, row.mean_difference) == pytest.approx((PATIENTS, expected.p, expected.mean_difference))
    singles = [told(found, "dsc", seed).mean_difference for seed in ("1", "2", "3")]
    assert np.mean(singles) == pytest.approx(row.mean_difference) and singles[0] < singles[2]


def test_holms_correction_is_over_the_three_claims_and_over_nothing_else():
    found = chain.confirm(trained(0.02), "beyond", "rt_sm_uf", 0)
    whole = found[(found.training == chain.ALL) & (found.claim != "")]
    assert {*whole.claim} == {*chain.CLAIMS.values()} and len(whole) == 3
    assert whole.p_claim_holm.to_numpy() == pytest.approx(stats.holm(whole.p_claim))
    assert found.p_claim_holm.notna().sum() == 3


def test_a_scan_without_a_distance_in_some_trainings_is_left_out_of_it_in_all():
    """The new row outlines nothing in the first five scans, in two trainings of three."""
    frame = trained(0.05)
    cases = frame["case"].unique()[:5]
    frame.loc[(frame["variant"] == "beyond") & frame["case"].isin(cases) & (frame["seed"] < 3), "hd_mm"] = np.inf
    found = chain.confirm(frame, "beyond", "rt_sm_uf", 0)
    assert [told(found, "hd_mm", seed).n_dropped for seed in ("1", "2", "3", chain.ALL)] == [5, 5, 0, 5]
    assert told(found, "dsc").n_dropped == 0, "which it has a DSC of"


def test_no_distance_is_confirmed_of_a_row_that_outlines_nothing_in_more_scans():
    """Where it outlines something, its distances are shorter by 5 mm."""
    frame = trained(0.05)
    first = told(chain.confirm(frame, "beyond", "rt_sm_uf", 0), "hd_mm")
    assert first.missed == 0 and chain.held(first) == "confirmed"
    cases = frame["case"].unique()[:5]
    frame.loc[(frame["variant"] == "beyond") & frame["case"].isin(cases), "hd_mm"] = np.inf
    less = told(chain.confirm(frame, "beyond", "rt_sm_uf", 0), "hd_mm")
    assert less.missed == 5 and less.p_claim_holm < 0.05
    assert chain.held(less) == "not confirmed, nothing is outlined in 5 scans more"


def test_rows_that_are_alike_in_every_scan_are_no_worse():
    frame = trained(0.05)
    one = frame[frame["variant"] == "rt_sm_uf"]
    same = told(chain.confirm(pd.concat([one, one.assign(variant="beyond")]), "beyond", "rt_sm_uf", 0), "hd_mm")
    assert same.mean_difference == 0 and same.p_claim == 0 and chain.held(same) == "confirmed"


def test_a_vote_is_held_against_the_single_trainings_it_is_of():
    """The votes of both rows are better than single trainings by 0.02; single ones of the last row by 0.05."""
    frame = trained(0.05)
    means = frame.groupby(["variant", "patient", "case"], as_index=False).mean(numeric_only=True)
    better = 0.02 + 0.001 * (np.arange(len(means)) % 5)
    voted = means.assign(variant=means["variant"] + chain.VOTING, dsc=means["dsc"] + better, seed=1)
    found = chain.votes(pd.concat([frame, voted]), ["beyond", "rt_sm_uf"], 0)
    assert [*found.metric] == ["dsc"] * 3 + ["hd_mm"] * 3 and (found.n == PATIENTS).all()
    over = dict(zip(found.pair[:3], found.mean_difference[:3], strict=True))
    single = told(chain.confirm(frame, "beyond", "rt_sm_uf", 0), "dsc").mean_difference
    assert over == pytest.approx({
        "beyond_voting over beyond": 0.02, "rt_sm_uf_voting over rt_sm_uf": 0.02,
        "beyond_voting over rt_sm_uf": 0.02 + single,
    }, abs=0.004)  # fmt: skip
    assert found.p_holm[:3].to_numpy() == pytest.approx(stats.holm(found.p[:3]))


def test_the_bias_that_shrinks_is_told_from_one_that_turns_round():
    """Biases of 10 mL too much, by which 0.1 takes 5 away and 0.5 leaves 15 too little."""
    less = told(chain.confirm(trained(0.1, 0), "beyond", "rt_sm_uf", 0), chain.BIAS_SIZE)
    assert less.mean_difference == pytest.approx(-5, abs=0.2) and less.p_claim < 0.001
    assert chain.held(less) == "confirmed"
    turned = told(chain.confirm(trained(0.5, 0), "beyond", "rt_sm_uf", 0), chain.BIAS_SIZE)
    assert turned.mean_difference == pytest.approx(5, abs=0.2) and turned.p_claim > 0.99
    assert chain.held(turned) == "not confirmed, the opposite is seen"


def test_a_distance_is_no_worse_where_it_grows_by_less_than_the_margin():
    """A gain of 1 shortens HD by 100 mm: of -0.01 it grows by 1 mm, of -0.03 by 3."""
    grown = told(chain.confirm(trained(-0.01, 0), "beyond", "rt_sm_uf", 0), "hd_mm")
    assert grown.low > 0 and grown.p_claim < 0.001 and chain.held(grown) == "confirmed"
    worse = told(chain.confirm(trained(-0.03, 0), "beyond", "rt_sm_uf", 0), "hd_mm")
    assert worse.p_claim > 0.99 and chain.held(worse) == "not confirmed, the opposite is seen"
    lower = told(chain.confirm(trained(-0.03, 0), "beyond", "rt_sm_uf", 0), "dsc")
    assert chain.held(lower) == "not confirmed, the opposite is seen"
    nothing = told(chain.confirm(trained(0.0, 0), "beyond", "rt_sm_uf", 0), "dsc")
    assert chain.held(nothing) == "not confirmed"


@pytest.mark.parametrize(
    ("low", "mean", "high", "p", "verdict"),
    [
        (0.081, 0.09, 0.1, 0.001, "reached: +9.0 of +8"),
        (0.081, 0.09, 0.1, 0.02, "inconclusive: +9.0 of +8, and the interval goes from +8.1 to +10.0"),
        (0.06, 0.085, 0.11, 0.001, "inconclusive: +8.5 of +8, and the interval goes from +6.0 to +11.0"),
        (0.0, 0.031, 0.062, 0.05, "not reached: +3.1 of +8"),
        (-0.05, 0.02, 0.09, 0.6, "inconclusive: +2.0 of +8, and the interval goes from -5.0 to +9.0"),
        (np.nan, 0.02, np.nan, np.nan, "inconclusive: +2.0 of +8, and the interval goes from +nan to +nan"),
    ],
)
def test_the_goal_is_never_told_beyond_the_interval(low, mean, high, p, verdict):
    assert GOAL == 0.08
    row = pd.Series({"mean_difference": mean, "sd": 0.0, "n": 20, "low": low, "high": high, "p_claim_holm": p})
    assert chain.goal(row) == verdict


def test_the_gain_is_told_by_the_size_of_the_lesion():
    frame = trained(0.05)
    frame["truth_volume_ml"] = np.where(frame.case < 8, 3.0, 80.0)  # of patients p0 to p3, and p4 to p11
    frame.loc[(frame.case >= 8) & (frame.variant == "beyond"), "dsc"] += 0.1
    found = chain.by_size(frame, "beyond", "rt_sm_uf", 0).set_index("volume_group")
    assert [*found.index] == ["< 5", "> 60"] and found.n.tolist() == [4, 8] and found.scans.tolist() == [8, 16]
    assert found.mean_difference.tolist() == pytest.approx([0.05, 0.15], abs=0.004)
    assert (found.new_mean - found.old_mean).tolist() == pytest.approx(found.mean_difference.tolist())


def test_differences_are_written_in_their_units_and_a_missing_column_is_named():
    row = pd.Series({"metric": "dsc", "mean_difference": 0.0123, "low": -0.01, "high": 0.03, "detectable": 0.02})
    assert (chain.difference(row), chain.interval(row)) == ("+1.2 points", "-1.0 to +3.0")
    assert chain.difference(row, "detectable") == "+2.0 points"
    size = row.replace({"dsc": chain.BIAS_SIZE})
    assert chain.difference(size) == "+0.0 mL" and chain.title(chain.BIAS_SIZE) == "|bias of volume|"
    assert chain.title("volume_bias_ml") == "ΔV" and chain.title("hd_mm") == "HD"
    with pytest.raises(ValueError, match="truth_volume_ml"):
        chain.with_volumes(trained(0.0).drop(columns="truth_volume_ml"))


def test_the_bias_keeps_its_sign_and_the_error_has_none():
    frame = chain.with_volumes(pd.DataFrame({"volume_ml": [3.0, 8.0], "truth_volume_ml": [5.0, 5.0]}))
    assert frame.volume_bias_ml.tolist() == [-2, 3] and frame.volume_error_ml.tolist() == [2, 3]
