import numpy as np
import pandas as pd
import pytest
from test_resampling import Drawn

from strokelib.evaluation.optimism import Comparison, Estimate, budget
from strokelib.run.runtime import rng


def scores(dsc, patients="AAB", split="TRAINING"):
    return pd.DataFrame({"case": range(len(dsc)), "patient": [f"{split}{name}" for name in patients], "dsc": dsc})


def compared(flattered, fair, generator=None):
    comparison = Comparison("pair", "rt_sm", Estimate("on all scans", flattered), Estimate("nested", fair))
    return budget([comparison], rng(0, "drawn") if generator is None else generator).iloc[0]


def test_paired_scans_are_drawn_together_by_patient():
    """Differences 0.1, 0.3 (patient A) and 0.2: over the draws AA, AB, BB the means are 0.2, 0.2 and 0.2."""
    row = compared(scores([0.6, 0.8, 0.7]), scores([0.5, 0.5, 0.5]), Drawn([2, 0], [1, 1], [0, 2]))
    assert row[["step", "variant", "flattered", "fair", "metric"]].tolist() == [
        *("pair", "rt_sm", "on all scans", "nested", "dsc")
    ]
    assert row["paired"] and row[["flattered_mean", "fair_mean", "mean_difference"]].tolist() == pytest.approx(
        [0.7, 0.5, 0.2]
    )
    assert (row["low"], row["high"]) == pytest.approx((0.2, 0.2))
    assert row[["flattered_scans", "fair_scans", "flattered_patients", "fair_patients"]].tolist() == [3, 3, 2, 2]


def test_other_patients_are_drawn_alone_though_their_cases_have_the_same_numbers():
    generator = rng(1, "made up")
    hard = generator.random(60)
    here, there = scores(hard, range(60)), scores(hard - 0.1, range(60), "TESTING")
    paired, unpaired = compared(here, scores(hard - 0.1, range(60))), compared(here, there)
    assert paired["paired"] and not unpaired["paired"]
    assert paired["mean_difference"] == unpaired["mean_difference"] == pytest.approx(0.1)
    assert (paired["low"], paired["high"]) == pytest.approx((0.1, 0.1)), "every scan loses as much"
    spread = hard.std() * np.sqrt(2 / 60)
    assert unpaired["high"] - unpaired["low"] == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_networks_of_a_testing_scan_are_averaged_and_do_not_count_as_scans():
    one = scores([0.5, 0.6, 0.7], split="TESTING")
    networks = pd.concat([one.assign(dsc=one["dsc"] + shift) for shift in (-0.1, 0.1)])
    row, single = compared(scores([0.8, 0.8, 0.8]), networks), compared(scores([0.8, 0.8, 0.8]), one)
    assert row["fair_scans"] == 3 and row["fair_mean"] == pytest.approx(0.6)
    assert (row["low"], row["high"]) == pytest.approx((single["low"], single["high"]))


@pytest.mark.parametrize("missing", ["flattered", "fair", "both"])
def test_what_was_not_run_stays_in_the_table_without_a_difference(missing):
    sides = [None if missing in (name, "both") else scores([0.6, 0.8, 0.7]) for name in ("flattered", "fair")]
    row = compared(*sides)
    assert row[["mean_difference", "low", "high"]].isna().all() and not row["paired"]
    assert [row["flattered_scans"], row["fair_scans"]] == [0 if side is None else 3 for side in sides]
    assert np.isnan(row["flattered_mean"]) == (sides[0] is None)


def test_a_row_a_comparison_in_their_order():
    here = scores([0.6, 0.8, 0.7])
    one = Comparison("first", "rt", Estimate("a", here), Estimate("b", here))
    two = Comparison("second", "rt", Estimate("a", here), Estimate("b", None))
    assert budget([one, two], rng(0, "drawn"))["step"].tolist() == ["first", "second"]


def test_scans_that_are_neither_the_same_nor_of_others_are_refused():
    with pytest.raises(ValueError, match="pair: the two share patients, but not all of their scans, 3 and 2"):
        compared(scores([0.6, 0.8, 0.7]), scores([0.6, 0.8], "AA"))
    with pytest.raises(ValueError, match="lacks the columns dsc"):
        compared(scores([0.6, 0.8, 0.7]).drop(columns="dsc"), scores([0.6, 0.8, 0.7]))
