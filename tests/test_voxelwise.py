"""Voxel-wise methods: their numbers by name, the voxels they learn from, and what they give a scan."""

import numpy as np
import pytest
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from strokelib import modalities, voxelwise
from strokelib.preprocess import Preprocessed
from strokelib.voxelwise import SMOOTHING_MM, Feature

SHAPE, SPACING = (40, 36, 2), np.array([1.0, 1.0, 5.0])
NAMES = ("CT", "Tmax")


def scan(seed, lesion=True):
    """Draw a scan of two modalities, whose Tmax is high in a lesion on one side, and so are its mirror images."""
    rng = np.random.default_rng([31, seed])
    mask = np.zeros(SHAPE, bool)
    mask[3:37, 3:33] = True
    core = np.zeros(SHAPE, bool)
    core[6 : 13 + seed % 3, 10:22] = True
    given = rng.standard_normal((2, *SHAPE)) + np.array([0, 1.5])[:, None, None, None] * core
    images = np.concatenate([given, given[:, ::-1]]).astype(np.float32) * mask
    return Preprocessed(images, mask, core if lesion else None, SPACING, seed, f"p{seed}", np.eye(3), 0.9, 0.5, NAMES)


@pytest.fixture(scope="module")
def brains():
    return [voxelwise.read_voxels(scan(seed)) for seed in range(6)]


def drawn(brains):
    return [voxelwise.draw(voxels, np.random.default_rng(voxels.number), 300) for voxels in brains]


def test_every_input_has_its_value_and_smoothed_copies_by_name(brains):
    names = modalities.inputs(NAMES, with_mirrored=True)
    expected = [Feature(name, mm, False) for name in names for mm in SMOOTHING_MM]
    assert [*brains[0].features] == expected
    assert brains[0].values.shape == (brains[0].mask.sum(), len(expected)) and brains[0].values.dtype == np.float32


def test_the_value_itself_is_the_image_cut_off_and_goes_back_where_it_was(brains):
    own = scan(0)
    for place, name in enumerate(modalities.inputs(NAMES, with_mirrored=True)):
        column = brains[0].features.index(Feature(name, 0.0, False))
        back = brains[0].map(brains[0].values[:, column])
        assert np.array_equal(back, own.images[place].clip(-5, 5) * own.mask)


def test_smoothing_is_over_the_brain_alone():
    own = scan(1)
    flat = np.full_like(own.images, 2.0) * own.mask
    voxels = voxelwise.read_voxels(Preprocessed(**(vars(own) | {"images": flat})))
    np.testing.assert_allclose(voxels.values, 2.0, rtol=1e-5)


def test_more_smoothing_leaves_less_scatter_and_millimeters_count(brains):
    of = {mm: brains[0].values[:, brains[0].features.index(Feature("CT", mm, False))].std() for mm in SMOOTHING_MM}
    assert of[0.0] > 3 * of[2.0] > 3 * of[5.0]
    own = scan(0)
    coarse = voxelwise.read_voxels(Preprocessed(**(vars(own) | {"spacing": SPACING * [2, 2, 1]})))
    column = brains[0].features.index(Feature("CT", 2.0, False))
    assert coarse.values[:, column].std() > 1.5 * of[2.0]


def test_a_scan_without_outline_is_refused():
    with pytest.raises(ValueError, match="case_3 has no outline"):
        voxelwise.read_voxels(scan(3, lesion=False))


def test_a_design_holds_values_then_squares_with_or_without_mirror_images(brains):
    values, features = voxelwise.design(brains[0], mirrored=False)
    half = len(features) // 2
    assert {feature.image for feature in features} == {*NAMES}
    assert np.array_equal(values[:, half:], values[:, :half] ** 2)
    assert [f.squared for f in features] == [False] * half + [True] * half
    assert [vars(f) | {"squared": True} for f in features[:half]] == [vars(f) for f in features[half:]]
    wide, more = voxelwise.design(brains[0], mirrored=True, chosen=[4, 7])
    assert wide.shape == (2, 2 * len(features)) and {*features} < {*more}
    places = [more.index(feature) for feature in features]
    assert np.array_equal(wide[:, places], values[[4, 7]])


def test_half_of_what_is_drawn_is_lesion_as_far_as_there_is_any(brains):
    chosen = voxelwise.draw(brains[0], np.random.default_rng(0), 100)
    assert len(set(chosen.tolist())) == 100 and brains[0].lesion[chosen].sum() == 50
    everything = voxelwise.draw(brains[0], np.random.default_rng(0), 10**6)
    assert len(everything) == len(brains[0].lesion)
    again = voxelwise.draw(brains[0], np.random.default_rng(0), 100)
    assert np.array_equal(chosen, again)


@pytest.mark.parametrize("kind", voxelwise.KINDS)
def test_a_method_finds_the_lesion_of_a_scan_that_it_has_not_seen(brains, kind):
    model = voxelwise.fit(kind, brains[:5], True, drawn(brains[:5]))
    own, found = brains[5], model.predict(brains[5])
    assert found.shape == SHAPE and found.dtype == np.float32 and not found[~own.mask].any()
    lesion = own.map(own.lesion) > 0
    assert found[lesion].mean() > 0.6 > 0.1 > found[own.mask & ~lesion].mean()


def test_the_logistic_regression_has_the_least_loss_of_its_neighbors(brains):
    """The gradient of the penalized loss, worked out here, is nought."""
    chosen = drawn(brains)
    model = voxelwise.fit("logistic", brains, False, chosen)
    values = np.concatenate([voxelwise.design(b, False, c)[0] for b, c in zip(brains, chosen, strict=True)])
    lesion = np.concatenate([b.lesion[c] for b, c in zip(brains, chosen, strict=True)])
    scaled = (values - model.mean) / model.sd
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-4)
    residual = expit(model.log_odds(values) - model.shift) - lesion
    gradient = scaled.T @ residual + model.classifier.coef_[0]
    assert np.abs(gradient).max() < 1e-2 * len(lesion) ** 0.5 and abs(residual.sum()) < 1


def test_log_odds_are_moved_from_the_drawn_voxels_to_whole_brains(brains):
    model = voxelwise.fit("logistic", brains, True, drawn(brains))
    lesion = np.concatenate([voxels.lesion for voxels in brains])
    drawn_lesion = np.concatenate([b.lesion[c] for b, c in zip(brains, drawn(brains), strict=True)])
    assert model.shift == pytest.approx(logit(lesion.mean()) - logit(drawn_lesion.mean()))
    predicted = np.concatenate([model.predict(voxels)[voxels.mask] for voxels in brains])
    assert predicted.mean() == pytest.approx(lesion.mean(), rel=0.1)


@pytest.mark.parametrize("kind", voxelwise.KINDS)
def test_the_same_bits_again_whatever_the_number_of_threads(brains, kind):
    maps = []
    for threads in (1, 2, 1):
        with threadpool_limits(threads):
            maps.append(voxelwise.fit(kind, brains[:5], True, drawn(brains[:5])).predict(brains[5]))
    assert np.array_equal(maps[0], maps[1]) and np.array_equal(maps[0], maps[2])


def test_what_cannot_be_fitted_is_said(brains):
    with pytest.raises(ValueError, match=r"kind must be one of .* got 'forest'"):
        voxelwise.fit("forest", brains, True, drawn(brains))
    healthy = [np.flatnonzero(~voxels.lesion)[:20] for voxels in brains]
    with pytest.raises(ValueError, match="the 120 voxels drawn are of one class"):
        voxelwise.fit("logistic", brains, True, healthy)
