from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_postprocess import SIZES, SPACING, THRESHOLDS, scan, search

from strokelib import metrics
from strokelib.evaluation import gridsearch, optimum
from strokelib.postprocess import Pair, binarize


def grid_of(rows, diagonal=200.0):
    """Make a grid frame from (case, threshold, S_min, dsc, hd)."""
    frame = pd.DataFrame(rows, columns=["case", "threshold", "min_lesion_voxels", "dsc", "hd_mm"])
    return frame.assign(diagonal_mm=diagonal)


def test_grid_reads_iterables_and_sorts_its_axes():
    scans = [scan(seed) for seed in range(2)]
    lazy = gridsearch.grid_search(
        (p for p, _ in scans), (t for _, t in scans), (SPACING for _ in scans), THRESHOLDS[::-1], SIZES[::-1], [7, 9]
    )
    assert lazy["case"].unique().tolist() == [7, 9]
    pd.testing.assert_frame_equal(lazy.drop(columns="case"), search(scans).drop(columns="case"), check_exact=True)


def test_maps_of_a_run_are_searched_scan_by_scan():
    scans = [scan(seed) for seed in range(2)]
    maps = [(SimpleNamespace(lesion=t, spacing=SPACING, number=n), p) for n, (p, t) in zip((7, 9), scans, strict=True)]
    found = gridsearch.search_maps(iter(maps), THRESHOLDS, SIZES)
    pd.testing.assert_frame_equal(found, search(scans, cases=[7, 9]), check_exact=True)


def test_further_scores_are_of_the_masks_at_the_chosen_pairs():
    scans = [scan(seed) for seed in range(2)]
    maps = [(SimpleNamespace(lesion=t, spacing=SPACING, number=n), p) for n, (p, t) in zip((7, 9), scans, strict=True)]
    rows = [(7, 0.3, 10), (9, 0.5, 50), (9, 0.3, 10), (7, 0.3, 10)]
    found = gridsearch.further_scores(iter(maps), pd.DataFrame(rows, columns=["case", *gridsearch.PAIR]))
    expected = [(7, 0.3, 10), (9, 0.5, 50), (9, 0.3, 10)]
    assert [tuple(row) for row in found[["case", *gridsearch.PAIR]].itertuples(index=False)] == expected
    for (case, *pair), row in zip(expected, found.to_dict("records"), strict=True):
        probability, truth = scans[(7, 9).index(case)]
        scores = metrics.further_metrics(binarize(probability, Pair(*pair)), truth, SPACING)
        assert scores.items() <= row.items() and row["nsd"] > 0


def test_the_pair_of_a_variant_is_the_one_chosen_over_all_folds():
    rows = [("rt", 0.3, 100, None), ("rt", 0.4, 50, 0), ("rt_sm", 0.2, 10, None), ("rt_sm", 0.2, 10, None)]
    choice = pd.DataFrame(rows, columns=["variant", "threshold", "min_lesion_voxels", "fold"])
    assert gridsearch.chosen_pair(choice, "rt") == Pair(0.3, 100)
    with pytest.raises(ValueError, match="2 pairs chosen over all folds for rt_sm, expected 1"):
        gridsearch.chosen_pair(choice, "rt_sm")
    with pytest.raises(ValueError, match="0 pairs chosen over all folds for baseline"):
        gridsearch.chosen_pair(choice, "baseline")


def test_grid_names_wrong_input():
    probability, truth = scan(0)
    with pytest.raises(ValueError, match="scan 1 lacks one"):
        gridsearch.grid_search([probability] * 2, [truth], [SPACING] * 2, THRESHOLDS, SIZES)
    with pytest.raises(ValueError, match="cases names 2"):
        search([(probability, truth)], cases=[1, 2])
    with pytest.raises(ValueError, match="one shape"):
        search([(probability, truth[1:])])
    with pytest.raises(ValueError, match="min_lesion_voxels >= 1"):
        search([(probability, truth)], sizes=(0, 10))
    with pytest.raises(ValueError, match="no scan"):
        gridsearch.grid_search([], [], [], THRESHOLDS, SIZES)


def test_choice_is_the_least_sum_of_ranks():
    grid = grid_of([(0, 0.1, 10, 0.9, 30.0), (0, 0.2, 10, 0.8, 10.0), (0, 0.3, 10, 0.7, 20.0)])
    assert gridsearch.choose_pair(grid) == Pair(0.2, 10)  # ranks 1+3, 2+1, 3+2
    assert gridsearch.choose_pair(grid, weights=(1, 0)) == Pair(0.1, 10)


def test_ties_of_ranks_go_to_the_higher_dsc():
    grid = grid_of([(0, 0.1, 10, 0.8, 10.0), (0, 0.2, 10, 0.9, 20.0)])
    assert gridsearch.choose_pair(grid) == Pair(0.2, 10)


def test_equal_pairs_give_the_first():
    grid = grid_of([(0, 0.2, 50, 0.9, 10.0), (0, 0.2, 10, 0.9, 10.0), (0, 0.3, 10, 0.9, 10.0)])
    assert gridsearch.choose_pair(grid) == Pair(0.2, 10)


def test_the_stable_pair_is_good_all_around():
    pairs = [(t, s) for t in (0.1, 0.2, 0.3, 0.4) for s in (10, 50, 100)]
    dsc = [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.7, 0.1, 0.7, 0.8]
    grid = grid_of([(0, *pair, value, 10.0) for pair, value in zip(pairs, dsc, strict=True)])
    assert gridsearch.choose_pair(grid) == Pair(0.1, 10)
    assert gridsearch.choose_stable_pair(grid) == Pair(0.4, 100)
    assert gridsearch.choose_stable_pair(grid.assign(hd_mm=100 * (1 - grid.dsc)), weights=(0, 1)) == Pair(0.4, 100)


def test_the_only_pair_is_chosen_either_way():
    grid = grid_of([(c, 0.2, 10, 0.5, 5.0) for c in range(3)])
    assert gridsearch.choose_pair(grid) == gridsearch.choose_stable_pair(grid) == Pair(0.2, 10)


def test_missing_a_lesion_never_looks_better_than_finding_it():
    found = [(0, 0.1, 10, 0.5, 50.0), (1, 0.1, 10, 0.5, 50.0)]
    missed = [(0, 0.9, 10, 0.6, 1.0), (1, 0.9, 10, 0.0, np.inf)]
    grid = grid_of(found + missed)
    means = optimum.means_of(optimum.scores_of(grid, gridsearch.PAIR)).set_index("threshold")
    assert means.loc[0.9, "hd_mm"] == pytest.approx((1 + 200) / 2)
    assert gridsearch.choose_pair(grid) == Pair(0.1, 10)


def test_choice_needs_every_pair_of_every_case():
    rows = [(c, t, 10, 0.5, 5.0) for c in range(2) for t in (0.1, 0.2)]
    for bad in (rows[:-1], rows + rows[:1], []):
        with pytest.raises(ValueError, match="every pair exactly once"):
            gridsearch.choose_pair(grid_of(bad))


def test_nested_choice_ignores_the_own_fold():
    good = {0: 0.1, 1: 0.1, 2: 0.9, 3: 0.9}  # the threshold that suits each case
    rows = [(c, t, 10, 0.8 if t == best else 0.2, 5.0) for c, best in good.items() for t in (0.1, 0.9)]
    chosen = gridsearch.nested_choice(grid_of(rows), [0, 0, 1, 1])
    assert chosen == {0: Pair(0.9, 10), 1: Pair(0.1, 10)}


def test_nested_choice_is_the_choice_on_the_rest():
    grid = search([scan(seed, (40, 36, 2), 1.5) for seed in range(5)], cases=[4, 8, 15, 16, 23])
    folds = np.array([1, 0, 1, 2, 2])
    for choose in (gridsearch.choose_pair, gridsearch.choose_stable_pair):
        chosen = gridsearch.nested_choice(grid, folds, choose)
        assert list(chosen) == [0, 1, 2]
        for fold, pair in chosen.items():
            others = np.array([4, 8, 15, 16, 23])[folds != fold]
            assert pair == choose(grid[grid["case"].isin(others)])
    assert gridsearch.nested_choice(grid, folds) == gridsearch.nested_choice(grid, folds, gridsearch.choose_pair)


def test_nested_choice_names_wrong_folds():
    grid = grid_of([(c, 0.1, 10, 0.5, 5.0) for c in range(3)])
    for folds in ([0, 1], [0, 0, 0]):
        with pytest.raises(ValueError, match=r"one fold \(or patient\) for each of the 3 cases"):
            gridsearch.nested_choice(grid, folds)


def of_patients():
    """Two variants of three patients, the last with two scans; 0.1 is good for the first, 0.9 for the others."""
    parts = []
    for variant, good in (("one", (0.1, 0.9, 0.9, 0.9)), ("other", (0.9, 0.1, 0.1, 0.1))):
        rows = [(c, t, 10, 0.8 if t == good[c] else 0.2, 5.0) for c in range(4) for t in (0.1, 0.9)]
        patients = np.repeat(["p0", "p1", "p2", "p2"], 2)
        parts.append(grid_of(rows).assign(variant=variant, patient=patients, fold=np.repeat([0, 0, 1, 1], 2)))
    return pd.concat(parts, ignore_index=True)


def test_each_variant_and_patient_takes_the_pair_of_the_other_patients():
    """Without p1 two scans of three say 0.9 of the first variant; the scans of p2 have one pair."""
    found = gridsearch.choice_of_patients(of_patients())
    assert found.variant.tolist() == 3 * ["one"] + 3 * ["other"] and found.patient.tolist() == 2 * ["p0", "p1", "p2"]
    assert found.threshold.tolist()[:2] == [0.9, 0.9] and found.threshold.tolist()[3:5] == [0.1, 0.1]
    scores = found.merge(of_patients())
    assert len(scores) == 8 and (scores[scores.patient == "p0"].dsc == 0.2).all()


def test_a_patient_has_no_say_in_its_own_pair():
    """Whatever its own scans show, and however they are spread over folds."""
    grid = of_patients()
    own = grid.patient == "p2"
    turned = grid.assign(dsc=np.where(own, 1 - grid.dsc, grid.dsc), fold=grid.fold.where(~own, 0))
    pairs = [gridsearch.choice_of_patients(each).query("patient == 'p2'") for each in (grid, turned)]
    assert pairs[0].equals(pairs[1])


def test_a_patient_alone_chooses_on_its_own_scans():
    found = gridsearch.choice_of_patients(of_patients().query("patient == 'p2'"))
    assert found.patient.tolist() == ["p2", "p2"] and found.threshold.tolist() == [0.9, 0.1]


def test_a_change_of_prediction_takes_the_pairs_of_its_row_in_its_own_place():
    grid = of_patients()
    first = pd.concat([grid.query("variant == 'one'").assign(variant="asked again"), grid], ignore_index=True)
    found = gridsearch.choice_of_patients(first, borrowed={"asked again": "other"})
    assert found.variant.tolist() == ["asked again"] * 3 + ["one"] * 3 + ["other"] * 3
    assert found.threshold.tolist()[:3] == found.threshold.tolist()[6:]
    assert found[3:].reset_index(drop=True).equals(gridsearch.choice_of_patients(grid))
    with pytest.raises(ValueError, match="asked again is to take the pairs of nobody, which chooses none"):
        gridsearch.choice_of_patients(first, borrowed={"asked again": "nobody"})
