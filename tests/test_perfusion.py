import numpy as np
import pytest
from scipy import ndimage

from strokelib.phantom import perfusion
from strokelib.phantom.perfusion import Deconvolution

STEP = 0.1
FINE = np.arange(0, 61, STEP)
TIMES = np.arange(60.0)
AIF_FINE = perfusion.arterial_input(FINE, 7.0, 300.0)
AIF = np.interp(TIMES, FINE, AIF_FINE)


def series_of(cbf, mtt, delay):
    """Return a noise-free series (x, y, 1, time) and its mask, a voxel for every entry of the 2-D arrays."""
    cbf, mtt, delay = np.broadcast_arrays(cbf, mtt, delay)
    curves = perfusion.tissue_curves(cbf, mtt, delay, AIF_FINE, STEP, TIMES)
    return np.moveaxis(curves, 0, -1)[:, :, None], np.ones((*cbf.shape, 1), bool)


def maps_of(series, mask, **options):
    return perfusion.maps_from_series(series, mask, AIF, 1.0, Deconvolution(**{"smoothing_px": 0} | options))


# Forward model


def test_kappa_is_the_hematocrit_factor_over_density():
    assert perfusion.KAPPA == pytest.approx(0.55 / 0.75 / 1.04) == pytest.approx(0.7051, abs=1e-4)


def test_gamma_variate_peaks_where_it_should():
    curve = perfusion.gamma_variate(FINE, 5.0, 200.0, 3.0, 2.0)
    assert FINE[curve.argmax()] == pytest.approx(11.0)  # 5 + 3 * 2
    assert curve.max() == pytest.approx(200.0)
    assert not curve[FINE <= 5.0].any()


def test_arterial_width_follows_cardiac_output():
    def width(factor):
        above = FINE[perfusion.arterial_input(FINE, 5.0, 300.0, factor) > 150]
        return above[-1] - above[0]

    assert 10 < width(1.0) < 13
    assert width(0.8) < width(1.0) < width(1.3)


@pytest.mark.parametrize("shape", [1.0, 2.0, 5.0])
def test_residue_starts_at_one_falls_and_has_the_transit_time_as_area(shape):
    fine = np.arange(0, 120, 0.01)
    curve = perfusion.residue(fine, 5.0, shape)
    assert curve[0] == 1
    assert (np.diff(curve) <= 0).all()
    assert np.trapezoid(curve, fine) == pytest.approx(5.0, rel=1e-3)


def test_residue_of_two_compartments_by_hand():
    # Two exponentials of 2.5 s in a row: R = (1 + t / 2.5) exp(-t / 2.5), at 5 s 3 exp(-2).
    assert perfusion.residue(5.0, 5.0) == pytest.approx(3 * np.exp(-2))


@pytest.mark.parametrize(("mtt", "delay"), [(2.0, 0.0), (5.0, 1.5), (15.0, 4.0)])
def test_arterial_response_is_the_delayed_convolution(mtt, delay):
    fine = np.arange(0, 61, 0.005)
    aif = perfusion.arterial_input(fine, 7.0, 300.0)
    integral = np.convolve(aif, perfusion.residue(fine, mtt))[: len(fine)] * 0.005
    expected = np.interp(TIMES - delay, fine, integral)
    (found,) = perfusion.arterial_response(AIF_FINE, STEP, [mtt], [delay], TIMES)[0]
    np.testing.assert_allclose(found, expected, atol=0.005 * expected.max())


def test_response_before_the_scan_is_zero():
    assert perfusion.arterial_response(AIF_FINE + 50, STEP, [5.0], [10.0], TIMES)[0, 0, :10].max() == 0


def test_blood_volume_is_the_ratio_of_areas():
    times = np.arange(200.0)
    fine = np.arange(0, 201, STEP)
    aif = perfusion.gamma_variate(fine, 5.0, 300.0, 3.0, 2.0)
    curve = perfusion.tissue_curves(np.array(30.0), np.array(8.0), np.array(2.0), aif, STEP, times)
    volume = 100 * perfusion.KAPPA * curve.sum() / aif[::10].sum()
    assert volume == pytest.approx(30 * 8 / 60, rel=0.01)


# Deconvolution


def block_circulant_svd(aif, dt, truncation):
    """Deconvolve as in the textbook: the circulant matrix of the padded curve, its SVD, truncated."""
    padded = np.append(aif, np.zeros_like(aif))
    n = len(padded)
    circulant = dt * padded[(np.arange(n)[:, None] - np.arange(n)) % n]
    u, s, vt = np.linalg.svd(circulant)
    inverse = np.where(s > truncation * s[0], 1 / np.where(s > 0, s, 1), 0)
    return (vt.T * inverse) @ u.T[:, : len(aif)]


@pytest.mark.parametrize("truncation", [0.03, 0.08, 0.2])
@pytest.mark.parametrize("dt", [0.5, 1.0, 2.0])
def test_deconvolution_is_the_block_circulant_svd(dt, truncation):
    aif = perfusion.gamma_variate(np.arange(0, 60, dt), 7.0, 300.0, 3.0, 2.0)
    expected = block_circulant_svd(aif, dt, truncation)
    found = perfusion.deconvolution_matrix(aif, dt, truncation)
    every = int(np.ceil(dt / 0.5))  # rows between are interpolated
    rows = found[::every]
    np.testing.assert_allclose(rows, expected[: len(rows)], atol=2e-5 * np.abs(expected).max())
    assert len(found) == 41


def test_interpolated_rows_lie_between_their_neighbors_on_a_smooth_curve():
    matrix = perfusion.deconvolution_matrix(AIF, 1.0)
    curve = perfusion.tissue_curves(np.array(50.0), np.array(5.0), np.array(2.0), AIF_FINE, STEP, TIMES)
    k = matrix @ curve
    assert np.abs(k[1:-1:2] - (k[:-2:2] + k[2::2]) / 2).max() < 0.1 * k.max()


# Maps


def test_delay_moves_tmax_and_nothing_else():
    delays = np.arange(0, 8.1, 1.0)[None]
    maps = maps_of(*series_of(50.0, 5.0, delays))
    tmax = maps["Tmax"][0, :, 0]
    assert (np.diff(tmax) > 0).all()
    np.testing.assert_allclose(np.diff(tmax), 1.0, atol=0.51)
    assert np.ptp(maps["CBF"]) < 0.05 * maps["CBF"].mean()
    assert np.ptp(maps["CBV"]) < 0.15 * maps["CBV"].mean()  # the first pass ends a little early for the late ones


def test_volume_is_recovered_and_flow_is_underestimated_in_order():
    cbf = np.array([[10.0, 23.0, 40.0, 58.0]])
    cbv = np.array([[1.5, 2.6, 3.5, 4.6]])
    maps = maps_of(*series_of(cbf, 60 * cbv / cbf, 1.0))
    np.testing.assert_allclose(maps["CBV"][..., 0], cbv, rtol=0.15)
    assert (np.diff(maps["CBF"][0, :, 0]) > 0).all()
    assert (maps["CBF"][..., 0] < cbf).all()


def test_longer_transit_gives_longer_mtt():
    maps = maps_of(*series_of(30.0, np.array([[3.0, 5.0, 8.0, 12.0]]), 1.0))
    assert (np.diff(maps["MTT"][0, :, 0]) > 0).all()


def test_mtt_without_mix_is_volume_over_flow():
    maps = maps_of(*series_of(np.array([[20.0, 50.0]]), 6.0, 1.0), mtt_mix=0.0)
    np.testing.assert_allclose(maps["MTT"], 60 * maps["CBV"] / maps["CBF"], rtol=1e-5)


def test_series_scale_and_baselines():
    series, mask = series_of(np.array([[20.0, 50.0]]), 6.0, 1.0)
    plain = maps_of(series, mask)
    lifted = perfusion.maps_from_series(series + 40, mask, AIF + 35, 1.0, Deconvolution(smoothing_px=0))
    both = perfusion.maps_from_series(2 * series, mask, 2 * AIF, 1.0, Deconvolution(smoothing_px=0))
    double = maps_of(2 * series, mask)
    for name, value in plain.items():
        np.testing.assert_allclose(lifted[name], value, rtol=1e-3, err_msg=name)
        np.testing.assert_allclose(both[name], value, rtol=1e-4, err_msg=name)
        factor = 2 if name in ("CBF", "CBV") else 1
        np.testing.assert_allclose(double[name], factor * value, rtol=1e-4, err_msg=name)


def test_maps_of_random_noise_stay_within_limits_and_are_finite():
    rng = np.random.default_rng(0)
    maps = maps_of(30 * rng.standard_normal((20, 20, 2, 60)), np.ones((20, 20, 2), bool))
    for name, limit in perfusion.LIMITS.items():
        assert np.isfinite(maps[name]).all() and maps[name].min() >= 0 and maps[name].max() <= limit, name


def test_nothing_outside_the_mask_matters_or_is_mapped():
    series, mask = series_of(np.full((12, 10), 40.0), 5.0, 1.0)
    mask[:4] = False
    empty = np.where(mask[..., None], series, np.nan)
    maps = maps_of(empty, mask, smoothing_px=2.0)
    for name, value in maps.items():
        assert not value[~mask].any(), name
        np.testing.assert_allclose(value[mask], value[5, 5, 0], rtol=1e-4, err_msg=name)
        assert value[5, 5, 0] > 0


def test_smoothing_is_a_gaussian_normalized_in_the_mask():
    rng = np.random.default_rng(1)
    planes, mask = rng.standard_normal((3, 30, 24)).astype(np.float32), rng.random((30, 24)) < 0.7

    def blur(array):
        return ndimage.gaussian_filter(array, (0, 2.0, 2.0), mode="constant", truncate=2.5)

    expected = blur(planes * mask) / blur(mask[None].astype(float))
    found = perfusion.smooth_in_plane(planes, mask, 2.0)
    np.testing.assert_allclose(found[:, mask], expected[:, mask], atol=1e-5)
    np.testing.assert_array_equal(perfusion.smooth_in_plane(planes, mask, 0), planes * mask)


def test_smoothing_averages_noise_away():
    series, mask = series_of(np.full((30, 30), 50.0), 5.0, 1.0)
    series = series + 5 * np.random.default_rng(2).standard_normal(series.shape)
    rough, smooth = maps_of(series, mask)["CBV"], maps_of(series, mask, smoothing_px=2.4)["CBV"]
    assert smooth.std() < 0.4 * rough.std()
    assert smooth.mean() == pytest.approx(50 * 5 / 60, rel=0.15)


def test_bolus_arrival_by_hand():
    aif = np.array([40, 41, 39, 40, 43, 60, 140, 240, 180, 90, 60, 50.0])
    assert perfusion.bolus_arrival(aif) == 5  # a tenth of the rise of 201 over 39 is reached at 60
    assert perfusion.bolus_arrival(aif[6:]) == 1  # no frame before contrast


def test_baseline_ends_before_contrast_unless_told_otherwise():
    series, mask = series_of(np.array([[50.0]]), 5.0, 1.0)
    default = maps_of(series, mask)["CBV"]
    assert maps_of(series, mask, baseline_frames=7)["CBV"] == pytest.approx(default, rel=0.01)  # contrast at 7 s
    assert maps_of(series, mask, baseline_frames=14)["CBV"] != pytest.approx(default, rel=0.1)


def broken(**change):
    series, mask = series_of(np.full((4, 4), 40.0), 5.0, 1.0)
    good = {"series": series, "mask": mask, "aif": AIF, "dt": 1.0}
    return good | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": np.zeros((4, 4, 60))}, r"series must be \(x, y, slice, time\)"),
        ({"mask": np.ones((4, 4, 2), bool)}, "mask must be bool"),
        ({"mask": np.ones((4, 4, 1))}, "mask must be bool"),
        ({"mask": np.zeros((4, 4, 1), bool)}, "mask is empty"),
        ({"aif": AIF[:50]}, "one value for each of 60 frames"),
        ({"aif": np.full(60, 40.0)}, "aif is flat"),
        ({"aif": np.append(AIF[:-1], np.nan)}, "aif holds NaN"),
        ({"aif": np.linspace(100, 0, 60)}, "does not rise"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"how": Deconvolution(baseline_frames=60)}, "baseline_frames must be 1 to 59"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        perfusion.maps_from_series(**broken(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truncation": 0.0}, "truncation must be in"),
        ({"truncation": 1.0}, "truncation must be in"),
        ({"smoothing_px": -1.0}, "smoothing_px must not be negative"),
        ({"mtt_mix": 1.5}, "mtt_mix must be 0 to 1"),
        ({"mtt_mix": -0.1}, "mtt_mix must be 0 to 1"),
    ],
)
def test_a_way_to_compute_maps_that_cannot_be_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        Deconvolution(**change)


def test_few_frames_and_nan_in_the_mask_are_named():
    good = broken()
    with pytest.raises(ValueError, match="at least 10 are needed"):
        perfusion.maps_from_series(good["series"][..., :9], good["mask"], AIF[:9], 1.0)
    good["series"][1, 2, 0, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite values inside the mask in slice 0"):
        perfusion.maps_from_series(**good)
