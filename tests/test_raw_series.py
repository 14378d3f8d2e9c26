"""A raw series is fitted, drawn again or missed, and one that says nothing leaves zeros."""

from types import SimpleNamespace

import numpy as np
import pytest
from own_scans import phantom, with_vessels
from test_voxelwise import SHAPE, scan

from strokelib import raw_series
from strokelib.bolus import Model
from strokelib.cases import CaseFiles
from strokelib.extra_inputs import CURVES, FITTED, SAMPLES_S, SHARP
from strokelib.nifti import CaseError
from strokelib.phantom.scan import make_case
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import Cohort

OWN = scan(2)


def whole():
    """Return the phantom as a preprocessed scan: its brain and spacing count."""
    made = phantom()
    images = np.zeros((10, *made.brain.shape), np.float32)
    return Preprocessed(images, made.brain, made.brain, np.array(made.spacing), 3, "p", np.eye(3), 0.9, 0.5)


def test_a_series_with_vessels_is_fitted_and_flow_is_lower_where_it_truly_is():
    scanned, artery, _ = with_vessels()
    fitted = raw_series.fit_scan(scanned, 1.0, phantom().images["CT"].astype(np.float32), whole())
    assert tuple(fitted.maps) == tuple(FITTED.values())
    assert np.abs(np.subtract(fitted.curves.artery_place, artery)).max() <= 1
    true, found, inside = phantom().truth["cbf"], fitted.maps["fitted CBF"], phantom().brain
    low = inside & (phantom().truth["f"] < 0.3)
    assert low.sum() > 50 and np.median(found[low]) < 0.6 * np.median(found[inside & ~low])
    assert np.corrcoef(true[inside], found[inside])[0, 1] > 0.6
    later, delay = inside & (phantom().truth["delay"] > 4), fitted.maps["fitted delay"]
    assert np.median(delay[later]) > np.median(delay[inside & ~later]) + 1


def test_a_series_without_an_artery_or_too_short_is_refused_by_name():
    calm = np.full((*phantom().brain.shape, 30), 35, np.float32)
    head = phantom().images["CT"].astype(np.float32)
    with pytest.raises(CaseError, match="no artery was found"):
        raw_series.fit_scan(calm, 1.0, head, whole())
    with pytest.raises(CaseError, match="8 frames, at least 10"):
        raw_series.fit_scan(calm[..., :8], 1.0, head, whole(), Model())


COHORT = Cohort(seed=3, training_patients=1, testing_patients=1, max_slices=2, difficulty="easy", series_cases=0,
                compress=False, jobs=1)  # fmt: skip


def test_a_series_comes_from_its_file_or_is_drawn_again_or_is_missed_by_name(tmp_path):
    file = CaseFiles(1, "p", "A", tmp_path / "case_1", {}, {})
    series, frame_s, origin = raw_series.series_of(file, "TRAINING", COHORT)
    assert origin == "drawn again" and frame_s == 1 and series.ndim == 4
    with pytest.raises(CaseError, match=r"case_1: no raw series \(4DPWI\) lies in case_1; download it, too"):
        raw_series.series_of(file, "TRAINING", None)


def test_a_scan_without_a_series_is_read_as_nothing_with_its_problem(tmp_path):
    file = CaseFiles(2, "p2", "A", tmp_path / "case_2", {}, {})
    maps, other, facts = raw_series.read(file, OWN.provided[0], OWN, "TRAINING", None)
    assert {*maps} == {*FITTED.values(), *SHARP.values(), *raw_series.SHAPES} and {*other} == {*FITTED.values()}
    assert not any(image.any() for image in (*maps.values(), *other.values()))
    assert facts["case"] == 2 and facts["patient"] == "p2" and "download it" in facts["problem"]


def test_a_scan_is_read_with_both_smoothings_and_the_sharper_maps_are_the_grainier(monkeypatch):
    made, _, _ = with_vessels()
    monkeypatch.setattr(raw_series, "series_of", lambda *_: (made, 1.0, "file"))
    file, head = CaseFiles(3, "p", "A", None, {}, {}), phantom().images["CT"].astype(np.float32)
    maps, other, facts = raw_series.read(file, head, whole(), "TRAINING", None)
    assert tuple(maps) == (*FITTED.values(), *SHARP.values(), *raw_series.SHAPES)
    assert tuple(other) == tuple(FITTED.values())
    assert facts["problem"] == "" and facts["frames"] == made.shape[3]
    inside = whole().mask

    def grain(image):
        """Return the median difference of neighbors, as a share of the spread over the brain."""
        pairs = inside[1:] & inside[:-1]
        return np.median(np.abs(np.diff(image, axis=0)[pairs])) / image[inside].std()

    assert raw_series.SHARPER.smoothing_px == raw_series.MODEL.smoothing_px / 2
    assert grain(maps["sharp CBF"]) > 1.2 * grain(maps["fitted CBF"])
    assert np.corrcoef(maps["sharp CBF"][inside], maps["fitted CBF"][inside])[0, 1] > 0.7


def test_curves_are_sampled_around_the_arterial_peak_and_stay_as_they_are_past_either_end():
    """A ramp of 1 HU/s, a frame every 1.5 s, the peak at 9 s: 3 s after it comes 12 s, between two frames."""
    frames, frame_s = 14, 1.5
    artery = np.zeros(frames)
    artery[6] = 100
    series = np.broadcast_to(np.arange(frames, dtype=np.float32) * frame_s, (*SHAPE, frames)).copy()
    found = raw_series.samples(series, OWN.mask, artery, frame_s)
    assert tuple(found) == CURVES and not any(image[~OWN.mask].any() for image in found.values())
    expected = np.clip(9 + np.array(SAMPLES_S), 0, 13 * frame_s)
    levels = np.stack([image[OWN.mask] for image in found.values()])
    np.testing.assert_allclose(levels, np.tile(expected - expected.mean(), (levels.shape[1], 1)).T, atol=1e-4)


def test_samples_of_a_scan_rise_later_where_its_flow_is_late(monkeypatch):
    made, _, _ = with_vessels()
    monkeypatch.setattr(raw_series, "series_of", lambda *_: (made, 1.0, "file"))
    case = SimpleNamespace(head=phantom().images["CT"].astype(np.float32))
    monkeypatch.setattr(raw_series, "load_case", lambda _: case)
    found = raw_series.beside("curves", CaseFiles(3, "p", "A", None, {}, {}), whole(), "TRAINING", None)
    early = found["curve at +0 s"] - found["curve at +16 s"]
    later = phantom().brain & (phantom().truth["delay"] > 4)
    assert np.median(early[later]) < np.median(early[phantom().brain & ~later])


def test_what_a_variant_takes_of_a_scans_files(monkeypatch, tmp_path):
    file = CaseFiles(2, "p2", "A", tmp_path / "case_2", {}, {})
    for extra in ("", "difference", "neighbors", "surroundings"):
        assert raw_series.beside(extra, file, OWN, "TRAINING", None) is None
    monkeypatch.setattr(raw_series, "load_case", lambda _: SimpleNamespace(head=OWN.provided[0]))
    for extra, names in (("fitted", FITTED.values()), ("sharp", SHARP.values()), ("curves", CURVES)):
        nothing = raw_series.beside(extra, file, OWN, "TRAINING", None)  # no series came with it
        assert {*names} <= {*nothing} and not any(image.any() for image in nothing.values())


def test_shapes_tell_when_a_curve_peaks_and_where_its_middle_lies():
    """Bumps of one form, 0 to 6 s after the artery's: peak and moment are the delays, the components size and delay."""
    times, frame_s = np.arange(0, 60, 1.5), 1.5

    def bump(at, height=1.0):
        return height * np.exp(-((times - at) ** 2) / 50)

    mask = np.zeros((4, 5, 2), bool)
    mask[1:3, 1:4] = True
    delays = np.linspace(0, 6, mask.sum()).reshape(2, 3, 2)
    series = np.zeros((*mask.shape, len(times)))
    series[1:3, 1:4] = [[[bump(20 + d, 10) for d in row] for row in rows] for rows in delays]
    found = raw_series.shapes(series + 40, mask, bump(20, 300), frame_s, smoothing_px=1e-3)
    assert tuple(found) == raw_series.SHAPES and all(not image[~mask].any() for image in found.values())
    assert np.allclose(found["time to peak"][1:3, 1:4], delays, atol=0.1)
    assert np.allclose(found["first moment"][1:3, 1:4], delays, atol=0.1)
    assert (found["component 1"][mask] > 0).all(), "every curve is high where the artery is"
    second = found["component 2"][1:3, 1:4].ravel()
    assert np.corrcoef(second, delays.ravel())[0, 1] > 0.95, "and a later one is high where the artery falls"
    twice = raw_series.shapes(2 * series, mask, bump(20, 300), frame_s, smoothing_px=1e-3)
    assert np.allclose(twice["component 1"], 2 * found["component 1"], atol=1e-3)
    assert np.allclose(twice["time to peak"], found["time to peak"], atol=1e-3)


def test_a_flat_series_has_shapes_without_an_error():
    mask = np.ones((3, 3, 1), bool)
    found = raw_series.shapes(np.full((3, 3, 1, 12), 35.0), mask, np.zeros(12), 1.0)
    assert all(np.isfinite(image).all() for image in found.values())


def test_a_scan_is_drawn_again_with_another_residue_function_and_fitted_all_the_same(monkeypatch):
    """Patient, stroke and noise stay: with the phantom's own function the very maps come back, else others."""
    monkeypatch.setattr(raw_series, "fit_scan", lambda series, *_: SimpleNamespace(maps={"series": series}))
    own = make_case(COHORT, "TRAINING", 1)
    scan_ = SimpleNamespace(number=1, mask=own.brain)
    same, lesion, inside = raw_series.redrawn(COHORT, "TRAINING", scan_, raw_series.MODEL.shape)
    for name in ("CBF", "CBV", "MTT", "Tmax"):
        assert np.array_equal(same[name], np.float32(own.images[f"CT_{name}"])), name
    assert np.array_equal(lesion, own.images["OT"] > 0) and np.array_equal(inside, own.brain)
    assert np.array_equal(same["series"], raw_series.draw_series(COHORT, "TRAINING", 1)[0])
    other, still, _ = raw_series.redrawn(COHORT, "TRAINING", scan_, raw_series.OTHER.shape)
    assert np.array_equal(still, lesion) and not np.array_equal(other["series"], same["series"])
    assert not np.array_equal(other["MTT"], same["MTT"])
