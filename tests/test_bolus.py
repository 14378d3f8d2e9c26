"""Flow, volume, transit time and delay from curves that the forward model made."""

import numpy as np
import pytest

from strokelib import bolus
from strokelib.phantom import perfusion

FRAMES, STEP = 50, 0.1
FINE = perfusion.arterial_input(np.arange(0, FRAMES + 1, STEP), 8.0, 200.0)
ARTERY = np.interp(np.arange(FRAMES), np.arange(len(FINE)) * STEP, FINE)
MASK = np.zeros((12, 12, 2), bool)
MASK[1:11, 1:11] = True
SHARP = bolus.Model(smoothing_px=0.0)


def series(cbf=50.0, mtt=5.0, delay=1.0, noise=0.0, seed=0):
    """Make a series in which every voxel of the mask has the same curve, with white noise on it."""
    flat = (np.full(MASK.shape, float(value)) for value in (cbf, mtt, delay))
    curves = perfusion.tissue_curves(*flat, FINE, STEP, np.arange(FRAMES))
    found = np.moveaxis(curves, 0, -1) + noise * np.random.default_rng(seed).standard_normal((*MASK.shape, FRAMES))
    return (found + 30).astype(np.float32)


@pytest.mark.parametrize(("cbf", "mtt", "delay"), [(60.0, 4.0, 0.5), (20.0, 9.0, 3.0), (12.0, 15.0, 6.0)])
def test_what_the_forward_model_was_given_comes_back(cbf, mtt, delay):
    found = bolus.fit(series(cbf, mtt, delay, noise=0.02), MASK, ARTERY, 1.0, SHARP)
    means = {name: float(values[MASK].mean()) for name, values in found.items()}
    assert means["CBF"] == pytest.approx(cbf, rel=0.15) and means["MTT"] == pytest.approx(mtt, rel=0.15)
    assert means["CBV"] == pytest.approx(cbf * mtt / 60, rel=0.05) and means["delay"] == pytest.approx(delay, abs=0.5)


def test_names_sizes_and_zeros_outside_the_mask():
    found = bolus.fit(series(noise=1.0), MASK, ARTERY, 1.0)
    assert tuple(found) == bolus.NAMES
    for values in found.values():
        assert values.shape == MASK.shape and values.dtype == np.float32 and not values[~MASK].any()


def test_a_constant_in_time_counts_for_nothing():
    moved = series(noise=0.5) + np.linspace(-50, 400, MASK.size).reshape(MASK.shape)[..., None].astype(np.float32)
    for name, values in bolus.fit(series(noise=0.5), MASK, ARTERY, 1.0, SHARP).items():
        np.testing.assert_allclose(bolus.fit(moved, MASK, ARTERY, 1.0, SHARP)[name], values, rtol=2e-3, atol=2e-3)


def test_flow_goes_with_the_curve_and_a_voxel_without_one_gets_none():
    single = bolus.fit(series(noise=0.2), MASK, ARTERY, 1.0, SHARP)["CBF"]
    double = bolus.fit(2 * series(noise=0.2), MASK, ARTERY, 1.0, SHARP)["CBF"]
    np.testing.assert_allclose(double, 2 * single, rtol=1e-3)
    empty = np.random.default_rng(3).normal(30, 1.0, (*MASK.shape, FRAMES)).astype(np.float32)
    assert bolus.fit(empty, MASK, ARTERY, 1.0, SHARP)["CBF"][MASK].mean() < 0.1 * single[MASK].mean()


def test_more_noise_draws_transit_times_and_delays_to_the_middle_and_not_to_the_ends():
    """Deconvolution reads an extreme off a noisy curve; a mean over what is possible does not."""
    calm, noisy = (bolus.fit(series(noise=noise), MASK, ARTERY, 1.0, SHARP)["MTT"][MASK] for noise in (0.1, 6.0))
    assert abs(calm.mean() - 5) < 0.5 and SHARP.transit_s[0] < noisy.min() and noisy.max() < SHARP.transit_s[-1]
    read = perfusion.maps_from_series(
        series(noise=6.0), MASK, ARTERY, 1.0, perfusion.Deconvolution(smoothing_px=0.0, mtt_mix=0.0)
    )["MTT"][MASK]
    assert np.std(noisy) < np.std(read)


def test_a_voxel_outside_the_mask_enters_nothing():
    spoilt = series(noise=0.5)
    spoilt[~MASK] = 3000
    for name, values in bolus.fit(spoilt, MASK, ARTERY, 1.0).items():
        assert np.array_equal(values, bolus.fit(series(noise=0.5), MASK, ARTERY, 1.0)[name])


def test_a_series_that_begins_with_contrast_in_it_gives_nearly_the_same_flow():
    whole = bolus.fit(series(noise=0.1), MASK, ARTERY, 1.0, SHARP)["CBF"][MASK].mean()
    cut = bolus.fit(series(noise=0.1)[..., 10:], MASK, ARTERY[10:], 1.0, SHARP)["CBF"][MASK].mean()
    assert cut == pytest.approx(whole, rel=0.2)


def test_the_best_curve_is_the_one_that_was_made():
    curve = series(30.0, SHARP.transit_s[10], 2.0)[5, 5, 0]
    found, said = bolus.explain(curve, ARTERY, 1.0)
    assert (said["MTT"], said["delay"]) == (SHARP.transit_s[10], 2.0)
    assert said["CBV"] == pytest.approx(said["CBF"] * said["MTT"] / 60)
    np.testing.assert_allclose(found, curve - curve.mean(), atol=0.6)


def test_templates_are_named_by_transit_time_and_delay_and_have_no_mean():
    curves, columns = bolus.templates(ARTERY, 1.0)
    model = bolus.Model()
    assert curves.shape == (len(model.transit_s) * len(model.delay_s), FRAMES) and columns.shape == (len(curves), 2)
    assert np.abs(curves.mean(1)).max() < 1e-5
    at = [np.flatnonzero((columns == (model.transit_s[9], delay)).all(1))[0] for delay in (0.0, 6.0)]
    peaks = [curves[place].argmax() for place in at]
    assert peaks[1] - peaks[0] == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"smoothing_px": -1.0}, "smoothing_px"), ({"shape": 0.5}, "shape must be 1"), ({"transit_s": ()}, "transit_s"),
     ({"transit_s": (0.0, 2.0)}, "positive"), ({"delay_s": ()}, "hold values")],
)  # fmt: skip
def test_a_model_that_cannot_be_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        bolus.Model(**changed)


def test_what_cannot_be_fitted_is_refused_as_for_deconvolution():
    with pytest.raises(ValueError, match="mask is empty"):
        bolus.fit(series(), np.zeros_like(MASK), ARTERY, 1.0)
    with pytest.raises(ValueError, match="aif is flat"):
        bolus.fit(series(), MASK, np.full(FRAMES, 3.0), 1.0)
    spoilt = series()
    spoilt[tuple(np.argwhere(MASK)[0])][3] = np.nan
    with pytest.raises(ValueError, match="series holds NaN or infinite values in the mask"):
        bolus.fit(spoilt, MASK, ARTERY, 1.0)
