import numpy as np
import pytest

from strokelib import facts
from strokelib.evaluation import leakage


def isles():
    rows = [row for (split, _), row in facts.case_table().items() if split == "TRAINING"]
    return [row["patient"] for row in rows], [int(row["slices"]) for row in rows]


def test_what_each_scheme_splits_of_isles_2018():
    """By scan, two scans of a patient part with 1 - (4 * 19 * 18 + 18 * 17) / (94 * 93) = .8085: 25 of 31."""
    patients, slices = isles()
    found = leakage.schemes(patients, slices, seeds=60).set_index("scheme")
    assert found["patients"].tolist() == [63] * 4 and found["units"].tolist() == [94, 94, 94, sum(slices)]
    assert found["split"].iloc[:2].tolist() == [0, 1] and found["judged_share"].iloc[:2].tolist() == [0, 2 / 94]
    shuffled = found.loc["by scan, shuffled"]
    assert shuffled["split"] == pytest.approx(25.07, abs=1) and shuffled["low"] <= 24 <= shuffled["high"]
    assert shuffled["judged_share"] == pytest.approx(2 * shuffled["split"] / 94)
    sliced = found.loc["by slice, shuffled"]
    assert sliced["split"] > 55 and sliced["judged_share"] > 0.95


def test_by_hand_of_four_scans():
    """a has both blocks' scans; of the four scans, two are judged by a network that saw the other of a."""
    found = leakage.schemes(["b", "a", "a", "c"], [1, 1, 1, 1], n_folds=2, seeds=5).set_index("scheme")
    blocks = found.loc["by scan, blocks in case order"]
    assert (blocks["split"], blocks["judged_share"]) == (1, 0.5)
    assert found.loc["by patient, case order", "split"] == 0
    one, other = found.loc["by scan, shuffled"], found.loc["by slice, shuffled"]
    assert one.drop("unit").equals(other.drop("unit")), "scans of one slice are slices"
    assert np.isfinite(found["judged_share"]).all()


def test_every_scan_needs_its_slices():
    with pytest.raises(ValueError, match="the slices of each of 3 scans, got 2"):
        leakage.schemes(list("abc"), [2, 2])
