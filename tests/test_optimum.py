"""The best point of a grid: its neighbors, and how often other samples of the patients choose it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import uniform_filter

from strokelib.evaluation import optimum

AXES = ("threshold", "min_lesion_voxels")
THRESHOLDS, SIZES = (0.1, 0.2, 0.3, 0.4), (10, 50, 100)


def grid(seed=0, cases=(4, 2, 9, 7, 5), shuffled=True):
    """Draw DSC and HD of some cases at every point, a few without HD, in any order."""
    rng = np.random.default_rng([17, seed])
    rows = [(case, t, s) for case in cases for t, s in itertools.product(THRESHOLDS, SIZES)]
    frame = pd.DataFrame(rows, columns=["case", *AXES])
    frame = frame.assign(dsc=rng.random(len(rows)), hd_mm=100 * rng.random(len(rows)), diagonal_mm=300.0)
    frame.loc[rng.random(len(rows)) < 0.1, "hd_mm"] = np.inf
    return frame.sample(frac=1, random_state=seed) if shuffled else frame


def test_scores_stand_case_by_case_and_point_by_point():
    frame = grid()
    scores = optimum.scores_of(frame, AXES)
    assert scores.cases.tolist() == frame["case"].unique().tolist()
    assert [tuple(row) for row in scores.points.itertuples(index=False)] == [*itertools.product(THRESHOLDS, SIZES)]
    table = frame.set_index(["case", *AXES])
    for (row, case), (column, point) in itertools.product(enumerate(scores.cases), enumerate(scores.points.values)):
        expected = table.loc[(case, *point)]
        assert scores.dsc[row, column] == expected.dsc
        assert scores.hd_mm[row, column] == min(expected.hd_mm, 300)


def test_every_point_is_needed_once_for_every_case():
    frame = grid()
    for bad in (frame.iloc[1:], pd.concat([frame, frame.iloc[:1]]), frame.iloc[:0]):
        with pytest.raises(ValueError, match="every pair exactly once"):
            optimum.scores_of(bad, AXES)


def test_a_neighborhood_is_a_window_of_three_that_ends_at_the_rim():
    scores = optimum.scores_of(grid(), AXES)
    values = scores.dsc.mean(axis=0).reshape(len(THRESHOLDS), len(SIZES))
    inside = uniform_filter(np.pad(values, 1), 3) / uniform_filter(np.pad(np.ones_like(values), 1), 3)
    near = optimum.neighborhoods(scores.points)
    np.testing.assert_allclose(near @ values.ravel(), inside[1:-1, 1:-1].ravel())
    np.testing.assert_allclose(near.sum(axis=1), 1)
    assert np.count_nonzero(near[0]) == 4 and np.count_nonzero(near[4]) == 9  # a corner, and inside


def test_neighborhoods_of_three_axes():
    points = pd.DataFrame([*itertools.product((1, 2, 3), (4.0, 6.0, 8.0), (10, 50, 200))], columns=[*"abc"])
    counts = np.count_nonzero(optimum.neighborhoods(points), axis=1)
    assert counts[13] == 27 and counts[0] == 8 and sorted(set(counts)) == [8, 12, 18, 27]


def test_the_best_column_by_hand():
    dsc = np.array([[0.9, 0.8, 0.7], [0.8, 0.9, 0.1], [0.5, 0.5, 0.5]])
    hd = np.array([[30.0, 10.0, 20.0], [10.0, 20.0, 30.0], [9.0, 8.0, 8.0]])
    # ranks 1 + 3, 2 + 1, 3 + 2; then a tie that goes to the higher DSC; then equals of which the first is taken
    assert optimum.best_columns(dsc, hd).tolist() == [1, 1, 1]
    assert optimum.best_columns(dsc, hd, (1, 0)).tolist() == [0, 1, 1]
    assert optimum.best_columns(dsc, hd, (0, 1)).tolist() == [1, 0, 1]


def test_points_that_differ_by_rounding_alone_are_equal():
    third = 0.1 + 0.2
    assert third > 0.3 and optimum.best_columns(np.array([[0.3, third]]), np.array([[5.0, 5.0]]))[0] == 0


def test_a_lonely_peak_is_not_a_stable_choice():
    frame = grid(cases=(0,), shuffled=False).assign(hd_mm=10.0)
    #                          10    50   100
    frame["dsc"] = np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.7, 0.7], [0.1, 0.7, 0.8]]).ravel()
    scores = optimum.scores_of(frame, AXES)
    assert optimum.best_point(scores) == {"threshold": 0.1, "min_lesion_voxels": 10}
    assert optimum.best_point(scores, stable=True) == {"threshold": 0.4, "min_lesion_voxels": 100}


def test_numbers_of_a_point_are_plain():
    best = optimum.best_point(optimum.scores_of(grid(), AXES), stable=True)
    assert {axis: type(value) for axis, value in best.items()} == {"threshold": float, "min_lesion_voxels": int}


def test_frequencies_are_those_of_choosing_sample_by_sample():
    frame, patients = grid(3), ["b", "a", "b", "c", "a"]
    scores = optimum.scores_of(frame, AXES)
    found = optimum.frequencies(scores, patients, 30, np.random.default_rng(5))
    drawn = np.random.default_rng(5).multinomial(3, [1 / 3] * 3, size=30)
    counts = {way: dict.fromkeys(itertools.product(THRESHOLDS, SIZES), 0) for way in (False, True)}
    for sample in drawn:
        cases = [c for c, p in zip(scores.cases, patients, strict=True) for _ in range(sample["abc".index(p)])]
        again = pd.concat([frame[frame["case"] == case].assign(case=n) for n, case in enumerate(cases)])
        for way in (False, True):
            counts[way][tuple(optimum.best_point(optimum.scores_of(again, AXES), stable=way).values())] += 1
    assert (30 * found["chosen"]).round().astype(int).tolist() == [*counts[False].values()]
    assert (30 * found["chosen_stable"]).round().astype(int).tolist() == [*counts[True].values()]
    assert max(counts[False].values()) < 30, "other samples choose otherwise"
    pd.testing.assert_frame_equal(found[[*AXES, "dsc", "hd_mm"]], optimum.means_of(scores))


def test_one_patient_leaves_no_choice():
    scores = optimum.scores_of(grid(), AXES)
    found = optimum.frequencies(scores, ["a"] * 5, 20, np.random.default_rng(0))
    for way, stable in (("chosen", False), ("chosen_stable", True)):
        assert found.loc[found[way] == 1, [*AXES]].to_dict("records") == [optimum.best_point(scores, stable)]


def test_neighborhoods_are_chosen_more_often_where_neighbors_are_told_apart_by_noise():
    """A broad hill under noise of its own at every point, as thresholds have it: fewer different points are chosen."""
    rng, firmer = np.random.default_rng(2), []
    thresholds, sizes = np.arange(1, 10) / 10, (10, 50, 100, 200, 300, 500)
    points = pd.DataFrame([*itertools.product(thresholds, sizes)], columns=[*AXES])
    hill = -((points["threshold"] - 0.5) ** 2) - (np.log(points["min_lesion_voxels"] / 80) / 5) ** 2
    for _ in range(8):
        dsc, hd = (sign * hill.to_numpy() + 0.5 * rng.standard_normal((40, 54)) for sign in (1, -1))
        scores = optimum.Scores(np.arange(40), points, dsc, hd)
        found = optimum.flatness(optimum.frequencies(scores, np.arange(40), 300, rng))
        firmer.append(found["same_stable"] > found["same"])
    assert sum(firmer) >= 7


def test_flatness_by_hand():
    points = pd.DataFrame(
        {
            "dsc": [0.50, 0.495, 0.49, 0.30],
            "hd_mm": [40.0, 30.0, 55.0, 20.0],
            "near_best": [True, True, True, False],
            "chosen": [0.5, 0.5, 0.0, 0.0],
            "chosen_stable": [0.0, 0.8, 0.1, 0.1],
        }
    )
    assert optimum.flatness(points) == pytest.approx(
        {
            "points": 4,
            "near_best": 3,
            "dsc": 0.5,
            "hd_low_mm": 30,
            "hd_high_mm": 55,
            "same": 0.5,
            "different": 2,
            "hd_sd_mm": 5,
            "same_stable": 0.66,
            "different_stable": 3,
            "hd_sd_mm_stable": np.sqrt(0.8 * 1.5**2 + 0.1 * 23.5**2 + 0.1 * 11.5**2),  # about 31.5 mm
        }
    )


def test_near_the_best_is_within_one_point():
    frame = grid(cases=(0,), shuffled=False).assign(hd_mm=10.0, dsc=0.3)
    frame.loc[[1, 5, 7], "dsc"] = [0.5, 0.4901, 0.4899]
    found = optimum.frequencies(optimum.scores_of(frame, AXES), ["a"], 5, np.random.default_rng(0))
    assert np.flatnonzero(found["near_best"]).tolist() == [1, 5]


def test_a_patient_is_needed_for_each_case():
    scores = optimum.scores_of(grid(), AXES)
    with pytest.raises(ValueError, match="the patient of each of 5 cases, got 2"):
        optimum.frequencies(scores, ["a", "b"], 5, np.random.default_rng(0))
