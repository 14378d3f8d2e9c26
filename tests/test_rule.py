"""The clinical rule over its grid: as many combinations as the networks have, the published one among them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from strokelib import metrics, postprocess
from strokelib.evaluation import gridsearch, rule
from strokelib.postprocess import PUBLISHED, Rule
from strokelib.run.settings import load_settings

SPACING = np.array([0.9, 0.9, 5.0])
COMBINATIONS = [*itertools.product(rule.TMAX_S, rule.RELATIVE_CBF, rule.MIN_LESION_VOXELS)]


def scan(seed):
    """Draw CBF, Tmax, brain and midline of a head with a core on one side and noise all over; then its lesion."""
    rng = np.random.default_rng([23, seed])
    shape = (48, 40, 4)
    mask = np.zeros(shape, bool)
    mask[2:46, 3:37] = True
    lesion = np.zeros(shape, bool)
    lesion[6:22, 8 : 26 + seed, 1:4] = True
    noise = [ndimage.gaussian_filter(rng.standard_normal(shape), (1.5, 1.5, 0.5)) for _ in range(2)]
    cbf = mask * (50 - 34 * lesion + 60 * noise[0]).clip(0)
    tmax = mask * (3 + 4.5 * lesion + 8 * noise[1]).clip(0)
    line = np.arange(shape[0])[:, None] - 23.5 + np.zeros(shape[:2])
    return (cbf, tmax, mask, line), lesion


def test_the_rule_has_as_many_chances_as_a_network():
    grid = load_settings("isles2018").postprocess
    assert len(COMBINATIONS) == len(grid.thresholds) * len(grid.min_lesion_voxels) == 54
    assert (PUBLISHED.tmax_s, PUBLISHED.relative_cbf, PUBLISHED.min_lesion_voxels) in COMBINATIONS


@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_is_the_rule_one_combination_at_a_time(seed):
    images, lesion = scan(seed)
    found = rule.search_rule(*images, lesion, SPACING)
    rows = []
    for tmax_s, relative_cbf, size in COMBINATIONS:
        own = Rule(relative_cbf, tmax_s, size)
        core = postprocess.conventional_rule(*images, own)
        rows.append(vars(own) | metrics.case_metrics(core, lesion, SPACING))
    expected = pd.DataFrame(rows)
    pd.testing.assert_frame_equal(found[expected.columns], expected, check_exact=True)
    assert expected["volume_ml"].nunique() > 20
    assert (found["diagonal_mm"] == np.linalg.norm(np.array(lesion.shape) * SPACING)).all()


def test_a_head_without_lesion_and_without_core_is_searched_too():
    (cbf, tmax, mask, line), lesion = scan(0)
    found = rule.search_rule(cbf, np.zeros_like(tmax), mask, line, np.zeros_like(lesion), SPACING)
    assert len(found) == 54 and (found["dsc"] == 1).all() and (found["hd_mm"] == 0).all()
    missed = rule.search_rule(cbf, np.zeros_like(tmax), mask, line, lesion, SPACING)
    assert (missed["dsc"] == 0).all() and np.isinf(missed["hd_mm"]).all()


def test_the_rule_is_tuned_on_the_other_folds():
    searched = [rule.search_rule(*images, lesion, SPACING) for images, lesion in map(scan, range(4))]
    grid = pd.concat([rows.assign(case=case) for case, rows in enumerate(searched)])
    tuned = gridsearch.nested_choice(grid, [0, 0, 1, 1], rule.choose_rule)
    assert tuned == {0: rule.choose_rule(grid[grid["case"] > 1]), 1: rule.choose_rule(grid[grid["case"] < 2])}
    best = rule.choose_rule(grid)
    assert [type(value) for value in vars(best).values()] == [float, float, int]
    assert (best.tmax_s, best.relative_cbf, best.min_lesion_voxels) in COMBINATIONS


def test_wrong_input_is_named():
    (cbf, tmax, mask, line), lesion = scan(0)
    with pytest.raises(ValueError, match="expected cbf, tmax and mask"):
        rule.search_rule(cbf[1:], tmax, mask, line, lesion, SPACING)
    with pytest.raises(ValueError, match="one shape"):
        rule.search_rule(cbf, tmax, mask, line, lesion[1:], SPACING)
