"""Candidates: what they gain, what they cost, which of them are gone on with."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_settings import changed

from strokelib.evaluation import beyond, stats
from strokelib.modalities import ISLES
from strokelib.run.checks import SettingsError
from strokelib.run.settings import load_settings
from strokelib.run.variants import BEYOND, EXTRA, TRIED, VARIANTS, kept_as, method, reference, weights

STUDY = load_settings("study")
PATIENTS = 12


def scores(**gains):
    """A reference whose DSC rises from patient to patient, and variants that gain so much on every scan, and noise."""
    rng = np.random.default_rng(0)
    base = np.repeat(np.linspace(0.3, 0.8, PATIENTS), 2)
    frames = []
    for name, gain in {"rt_sm": 0.0, **gains}.items():
        noise = 0 if name == "rt_sm" else rng.normal(0, 0.004, len(base))
        frames.append(pd.DataFrame({
            "variant": name, "case": range(len(base)), "patient": [f"p{i // 2}" for i in range(len(base))],
            "dsc": base + gain + noise, "hd_mm": 20 - 100 * (gain + noise), "volume_ml": 30 - 50 * (gain + noise),
            "truth_volume_ml": 20.0,
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def test_a_gain_is_the_paired_difference_with_patients_as_the_unit():
    found = beyond.gains(scores(flips=0.03, fitted=0.0), {"flips": "rt_sm", "fitted": "rt_sm"}, 0)
    assert {*found.metric} == {*beyond.METRICS_TOLD} and (found.n == PATIENTS).all()
    dsc = found[found.metric == "dsc"].set_index("new")
    assert dsc.mean_difference["flips"] == pytest.approx(0.03, abs=0.003) and dsc.low["flips"] > 0.02
    assert dsc.low["fitted"] < 0 < dsc.high["fitted"] and dsc.p_holm["fitted"] > 0.05
    assert (dsc.detectable > 0).all() and dsc.detectable["flips"] < 0.01
    error = found[found.metric == "volume_error_ml"].set_index("new")
    assert error.mean_difference["flips"] == pytest.approx(-50 * dsc.mean_difference["flips"])
    plain = stats.paired_tests(scores(flips=0.03), "dsc", [("flips", "rt_sm")], "patient").iloc[0]
    assert plain.mean_difference == pytest.approx(dsc.mean_difference["flips"])


def test_what_is_told_is_told_with_the_references_pairs_too():
    """A gain of 3 points that is one of 3, of none and of -3 points where pairs are those of the reference."""
    own = beyond.gains(scores(flips=0.03, fitted=0.0), {"flips": "rt_sm", "fitted": "rt_sm"}, 0)
    said = []
    for gain in (0.03, 0.0, -0.03):
        lent = beyond.gains(scores(flips=gain, fitted=0.0), {"flips": "rt_sm", "fitted": "rt_sm"}, 0)
        both = beyond.beside(own, lent)
        assert both[own.columns].equals(own.reset_index(drop=True)) and len(both) == len(own)
        row = both[(both.metric == "dsc") & (both.new == "flips")].iloc[0]
        assert row.mean_difference_lent == pytest.approx(gain, abs=0.003)
        assert beyond.lent_in_words(row).startswith(f"{100 * row.mean_difference_lent:+.1f} (")
        said.append(beyond.verdict(row))
        assert beyond.verdict(both[(both.metric == "dsc") & (both.new == "fitted")].iloc[0]) != "helps"
    assert said == ["helps", "hangs on the choice of pair", "hangs on the choice of pair"]


def held(**gains):
    """DSC alone, and an HD that is longer for `longer` alone; for `perhaps` by the bootstrap and not by the t-test."""
    rows = [{"metric": "dsc", "new": name, "mean_difference": gain, "low": gain - 0.02} for name, gain in gains.items()]
    rows += [{"metric": "hd_mm", "new": name, "mean_difference": 1.0, "high": 2.5,
              "low": 0.5 if name in ("longer", "perhaps") else -0.5, "p": 0.06 if name == "perhaps" else 0.01}
             for name in gains]  # fmt: skip
    return pd.DataFrame(rows)


def test_what_is_gone_on_with_gains_the_margin_at_a_fair_cost_without_a_longer_distance():
    gains = {"small": 0.009, "just": 0.01, "large": 0.04, "longer": 0.05, "dear": 0.06, beyond.VOTE: 0.07}
    gains |= {"perhaps": 0.03}
    costs = dict.fromkeys(gains, 1.0) | {"dear": 3.5}
    del costs[beyond.VOTE]
    assert beyond.survivors(held(**gains), costs) == ["large", "perhaps", "just"]


def test_at_most_four_go_on_the_largest_first_and_perhaps_none():
    gains = {f"c{i}": 0.01 * i for i in range(1, 8)}
    assert beyond.survivors(held(**gains), dict.fromkeys(gains, 1.0)) == ["c7", "c6", "c5", "c4"]
    assert beyond.survivors(held(none=-0.1), {"none": 1.0}) == []


def cost(name):
    row, how = method(name, STUDY)
    return beyond.prediction_cost(row, how.prediction, ISLES)


def test_costs_of_what_can_be_reckoned_by_hand():
    """Turned patches are predicted twice; another loss, window, rate or normalization asks the same of a prediction."""
    plain = cost("rt_sm")
    assert cost("flips_twice") == pytest.approx(2 * plain) and cost("flips") == pytest.approx(plain)
    assert cost("scan_statistics") == pytest.approx(2 * plain), "at most as much again"
    for name in ("one_cycle", "averaged", "loss_dice_cross_entropy", "boundary", "deep_supervision", "windowed"):
        assert cost(name) == pytest.approx(plain)
    assert 2 < cost("rt_sm_uf") / plain < 3, "three passes that share their beginning"
    assert cost("rt_cascade") == pytest.approx(2 * cost("rt"))


def test_more_inputs_cost_what_the_first_convolution_takes():
    """10 inputs more of 8 maps and kernels of 9 numbers, at each of the patch's voxels, over steps of 16 voxels."""
    assert cost("difference") - cost("rt_sm") == pytest.approx(10 * 8 * 9 * 64**2 / 16**2)
    assert [beyond.input_count(dataclasses.replace(VARIANTS["rt_sm"], extra=extra), ISLES) for extra in EXTRA] == [
        10, 20, 20, 20, 18, 10, 10, 42
    ]  # fmt: skip
    assert beyond.input_count(dataclasses.replace(VARIANTS["rt"], extra="fitted"), ISLES) == 9


@pytest.mark.parametrize("name", STUDY.further.candidates)
def test_every_candidate_has_words_and_is_held_against_its_row_after_as_many_updates(name):
    assert name in beyond.WORDS and beyond.named(name) == beyond.WORDS[name]
    assert reference(name, STUDY) == "rt_sm_at_1500"
    row, how = method(name, STUDY)
    assert how.training.max_updates == STUDY.sensitivity.updates and row.networks == 1


def test_a_candidate_that_trains_nothing_uses_the_networks_of_as_many_updates_as_the_others():
    assert weights("scan_statistics", STUDY) == "rt_sm" and kept_as("scan_statistics", STUDY) == ".at1500"
    row, how = method("scan_statistics", STUDY)
    assert row.scan_statistics and how.training.max_updates == 1500
    demo = load_settings("demo")  # where all have one budget
    assert weights("scan_statistics", demo) == "rt_sm" and kept_as("scan_statistics", demo) == ""
    assert reference("scan_statistics", demo) == "rt_sm"


def test_all_that_is_listed_as_beyond_is_among_the_candidates_or_leads_to_one():
    assert {*BEYOND} <= {*STUDY.further.candidates} and {*beyond.WORDS} <= {*TRIED}
    assert beyond.named("no_balance") == "sampling.balanced = False" and beyond.named("rt_sm") == "rt_sm"
    assert beyond.named(beyond.VOTE) == "all of them voting"
    assert beyond.named(beyond.VOTE_AGAIN) == "trainings of the reference voting"


@pytest.mark.parametrize("n", [1, 2])
def test_what_is_trained_again_differs_from_the_reference_in_its_seed_alone(n):
    name = f"again_{n}"
    assert weights(name, STUDY) == name, "networks of its own"
    again, reference_ = method(name, STUDY), method(reference(name, STUDY), STUDY)
    assert again[0] == reference_[0] == VARIANTS["rt_sm"]
    assert again[1].seed == STUDY.seed + n and dataclasses.replace(again[1], seed=STUDY.seed) == reference_[1]


def test_another_seed_is_refused_where_it_would_make_other_folds(tmp_path):
    mixed = {"folds.scheme": "balanced"}
    assert load_settings(changed(tmp_path, {})).further.candidates[-1] == "again_1"
    with pytest.raises(SettingsError, match=r"\['again_1'\], and another seed makes other folds .* 'balanced'; leave"):
        load_settings(changed(tmp_path, mixed))
    load_settings(changed(tmp_path, mixed | {"further.candidates": ["flips"]}))
