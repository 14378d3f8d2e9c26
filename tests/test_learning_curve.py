"""The learning curve: slopes and steps worked by hand, the ceiling, and scores that are written once."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from test_cohort import COHORT
from test_learning import roots, settings  # noqa: F401, fixtures

from strokelib import learning
from strokelib.evaluation import learning_curve, symmetry
from strokelib.phantom.cohort import make_cohort


def scores(slope=0.02, noise=0.0, rows=("rt_sm", "one_cycle"), patients=12):
    """DSC that rises by `slope` per doubling from 0.5 at 10 scans, in every scan but for noise."""
    draw, found = np.random.default_rng(1), []
    for row in rows:
        for size, count in enumerate((10, 20, 40)):
            for patient in range(patients):
                for slab in range(1 + patient % 2):
                    dsc = 0.5 + slope * size + 0.1 * (patient % 3) + noise * draw.standard_normal()
                    found.append(
                        {"variant": row, "scans": count, "training_scans": count, "training_patients": count // 2,
                         "case": 2 * patient + slab, "patient": f"testing {patient}", "dsc": dsc, "hd_mm": 20 - size,
                         "volume_ml": 10 - size, "truth_volume_ml": 10, "threshold": 0.5, "min_lesion_voxels": 10}
                        | dict.fromkeys(learning_curve.FACTS, 1.0) | {"training_loss": 1 / count}
                    )  # fmt: skip
    return pd.DataFrame(found)


def core():
    own = scores().query("variant == 'rt_sm' and scans == 10")
    return own[["case", "patient", "hd_mm", "volume_ml", "truth_volume_ml"]].assign(dsc=0.8)


def test_a_slope_per_doubling_is_found_as_it_was_put_in():
    tests = learning_curve.steps(scores(0.02, noise=1e-4), 7)
    slopes = tests[tests.kind == "slope"].set_index("variant")
    assert slopes.mean_difference.to_numpy() == pytest.approx(0.02, abs=2e-4) and (slopes.low > 0).all()
    assert (slopes.before == 10).all() and (slopes.after == 40).all() and (slopes.n == 12).all()
    assert {learning_curve.verdict(row) for row in slopes.itertuples()} == {"more scans help"}


def test_the_slope_is_that_of_a_fitted_line():
    """numpy's polynomial fit, scan by scan, is the oracle; patients count alike, whatever their scans."""
    frame = scores(0.01, noise=0.05, rows=("rt_sm",))
    table = frame.pivot(index=["patient", "case"], columns="training_scans", values="dsc")
    fits = np.polyfit(np.log2([10, 20, 40]), table.to_numpy().T, 1)[0]
    expected = pd.Series(fits, table.index).groupby("patient").mean().mean()
    tests = learning_curve.steps(frame, 7)
    assert tests[tests.kind == "slope"].mean_difference.item() == pytest.approx(expected)


def test_what_patients_tell_and_four_networks_do_not_is_not_told():
    """Every patient agrees on each step, so patients are sure; the means of the networks rise, fall and rise."""
    frame = scores(0.0, noise=1e-3, rows=("rt_sm",))
    sizes = {10: 0.0, 20: 0.04, 40: 0.02}
    slope = learning_curve.steps(frame.assign(dsc=frame.dsc + frame.scans.map(sizes)), 7).iloc[-1]
    assert slope.low > 0 and slope.p_holm < 0.001 and slope.networks == 3
    assert slope.network_low < 0 < slope.network_high and learning_curve.verdict(slope) == symmetry.ONCE
    of_two = learning_curve.steps(frame[frame.scans < 40].assign(dsc=frame.dsc + frame.scans.map(sizes)), 7).iloc[-1]
    assert np.isnan(of_two.network_low) and learning_curve.verdict(of_two) == symmetry.ONCE


def test_the_interval_over_networks_is_that_of_their_line():
    """By hand: means 0, 1, 3 at 0, 1, 2 doublings; slope 1.5, residuals 1/6, -1/3, 1/6, standard error sqrt(1/12)."""
    frame = scores(0.0, rows=("rt_sm",)).assign(dsc=lambda own: own.scans.map({10: 0.0, 20: 1.0, 40: 3.0}))
    slope = learning_curve.steps(frame, 7).iloc[-1]
    half = 12.7062 * np.sqrt(1 / 12)  # Student's t, one degree of freedom
    assert [slope.network_low, slope.network_high] == pytest.approx([1.5 - half, 1.5 + half], rel=1e-4)


def test_noise_without_a_slope_is_inconclusive_and_a_fall_is_told():
    flat = learning_curve.steps(scores(0.0, noise=0.05), 7)
    down = learning_curve.steps(scores(-0.05, noise=1e-3), 7)
    assert {learning_curve.verdict(row) for row in flat[flat.kind == "slope"].itertuples()} == {"inconclusive"}
    assert {learning_curve.verdict(row) for row in down[down.kind == "slope"].itertuples()} == {"more scans hurt"}


def test_steps_are_from_size_to_size_of_one_row_and_corrected_together():
    tests = learning_curve.steps(scores(0.02, noise=0.02), 7)
    dsc = tests[(tests.metric == "dsc") & (tests.kind == "step")]
    assert list(zip(dsc.variant, dsc.before, dsc.after, strict=True)) == [
        ("rt_sm", 10, 20), ("rt_sm", 20, 40), ("one_cycle", 10, 20), ("one_cycle", 20, 40)
    ]  # fmt: skip
    assert (dsc.p_holm >= dsc.p).all() and dsc.p_holm.min() == pytest.approx(4 * dsc.p.min())
    errors = tests[tests.metric == "volume_error_ml"]
    assert (errors.mean_difference == 1).all(), "the volume falls by 1 mL a size, away from the true one"
    assert (tests[tests.metric == "hd_mm"].mean_difference == -1).all()


def test_means_hold_sizes_and_facts_and_the_core_has_none():
    table = learning_curve.means(scores(), core(), 7)
    dsc = table[table.metric == "dsc"]
    assert list(dsc.variant) == ["rt_sm"] * 3 + ["one_cycle"] * 3 + ["core"]
    assert dsc[dsc.variant == "core"]["mean"].item() == pytest.approx(0.8)
    assert dsc[dsc.variant == "core"].scans.isna().all()
    first = scores().query("variant == 'rt_sm' and scans == 10")
    assert dsc["mean"].iloc[0] == pytest.approx(first.dsc.mean()) and dsc.patients.iloc[0] == 12
    assert dsc.training_loss.iloc[2] == pytest.approx(1 / 40) and (dsc.low <= dsc["mean"]).all()


def test_a_row_is_told_in_words_with_what_is_left():
    table, tests = learning_curve.means(scores(), core(), 7), learning_curve.steps(scores(0.0, noise=0.05), 7)
    words = learning_curve.in_words("rt_sm", table, tests)
    assert words.startswith("Single + RT + SM: ") and "**inconclusive**" in words and "with 40" in words
    assert "The true core scores 80.0 % against the label" in words
    assert "over patients, " in words and "over 3 networks: **" in words
    two = scores(0.0, noise=0.05).query("scans < 40")
    words = learning_curve.in_words("rt_sm", learning_curve.means(two, core(), 7), learning_curve.steps(two, 7))
    assert "over patients, none over two networks: **inconclusive**" in words and "nan" not in words
    assert learning_curve.in_words("one_cycle", table, tests).startswith("AdamW, one cycle of rates: ")


@pytest.mark.parametrize("column", ["scans", "training_scans", "patient", "truth_volume_ml"])
def test_a_missing_column_is_named(column):
    with pytest.raises(ValueError, match=f"lacks the columns {column}"):
        learning_curve.steps(scores().drop(columns=column), 7)


def test_the_ceiling_is_the_true_core_against_the_outline(tmp_path):
    made = dataclasses.replace(COHORT, seed=7, testing_patients=1, series_cases=0)
    make_cohort(tmp_path, made)
    found = learning_curve.ceiling(tmp_path, made)
    assert len(found) >= 2 and found.patient.str.startswith("testing Train_").all()
    assert found.dsc.max() > 0.5 and (found.dsc < 1).all(), "near the outline, and not the outline"


def test_scores_are_written_once_and_made_again_for_another_pair(roots, settings, tmp_path):  # noqa: F811
    held_out, own = learning.stored(roots / "held_out"), learning.stored(roots / "training_1")
    part = learning.together(own, held_out, "rt_sm", settings)
    device = torch.device("cpu")
    found = learning_curve.scores_of(tmp_path, part, held_out, "rt_sm", settings, device)
    assert list(found.case) == [scan.number for scan in held_out]
    assert {*learning_curve.COLUMNS, *learning_curve.FACTS} < {*found} and found.dsc.between(0, 1).all()
    before = (tmp_path / "scores.csv").stat().st_mtime_ns
    again = learning_curve.scores_of(tmp_path, part, held_out, "rt_sm", settings, device)
    pd.testing.assert_frame_equal(found, again)
    assert (tmp_path / "scores.csv").stat().st_mtime_ns == before
    other = dataclasses.replace(
        settings, postprocess=dataclasses.replace(settings.postprocess, thresholds=(0.4,))
    )
    changed = learning_curve.scores_of(tmp_path, part, held_out, "rt_sm", other, device)
    assert (changed.threshold == 0.4).all() and (changed.made_from != found.made_from).all()
