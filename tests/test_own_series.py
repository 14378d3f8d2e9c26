import re

import numpy as np
import pytest
from own_scans import SPACING, phantom, with_vessels

from strokelib.nifti import CaseError
from strokelib.own import series
from strokelib.own.scan import Curves

CT = phantom().images["CT"].astype(np.float32)
BRAIN = series.brain_of(CT, SPACING)


def curves_of(artery, vein=None, frame_s=1.0):
    """Return curves that were found in some series."""
    vein = artery if vein is None else vein
    times = np.arange(len(artery)) * frame_s
    return Curves(times, np.array(artery, float), np.array(vein, float), (5, 5, 0), (9, 9, 0))


def bolus(peak=200.0, arrival=8, frames=45, width=4.0):
    time = np.arange(frames) - arrival
    return peak * np.where(time > 0, np.abs(time / width) * np.exp(1 - np.abs(time) / width), 0)


def test_the_brain_is_what_the_skull_encloses():
    true = phantom().brain
    assert 2 * (BRAIN & true).sum() / (BRAIN.sum() + true.sum()) > 0.98


@pytest.mark.parametrize("gap", [0, 4])
def test_a_gap_in_the_skull_is_closed(gap):
    """A ring of bone with a gap of 4 voxels, 3.6 mm, still encloses 60 x 60 mm."""
    x, y = np.mgrid[-64:64, -64:64]
    radius = np.hypot(x, y)
    head = np.select([radius < 45, radius < 52, radius < 58], [35.0, 900.0, 40.0], -1000.0)
    head[110:120, 64 : 64 + gap] = 20
    brain = series.brain_of(head[..., None], SPACING)
    assert np.array_equal(brain[..., 0] & (radius < 44), radius < 44) and not brain[..., 0][radius > 46].any()


@pytest.mark.parametrize(
    "head", [np.full((64, 64, 2), -1000.0), np.full((64, 64, 2), 40.0), np.full((64, 64, 2), 900.0)]
)
def test_what_encloses_no_brain_is_no_head(head):
    with pytest.raises(CaseError, match=r"not that of a head: bone encloses 0 cm2 of tissue, expected 15 to 450"):
        series.brain_of(head, SPACING)


def test_artery_and_vein_are_found_where_they_were_drawn():
    scanned, artery, vein = with_vessels()
    found = series.find_curves(scanned, CT, BRAIN, SPACING, 1.0)
    true = phantom().aif
    assert np.abs(np.subtract(found.artery_place, artery)).max() <= 1
    assert np.abs(np.subtract(found.vein_place, vein)).max() <= 1
    assert np.corrcoef(found.artery, true)[0, 1] > 0.99 and found.artery.max() == pytest.approx(true.max(), rel=0.1)
    assert (
        found.vein.argmax() - found.artery.argmax() == pytest.approx(6, abs=2) and found.vein.max() > found.artery.max()
    )
    assert np.array_equal(found.times, np.arange(len(true)))


def test_without_a_large_artery_one_of_the_surface_is_taken():
    """The phantom's own series has small vessels of the surface alone: later and lower than the true curve."""
    found = series.find_curves(phantom().series, CT, BRAIN, SPACING, 1.0)
    assert np.corrcoef(found.artery, phantom().aif)[0, 1] > 0.6
    assert 40 < found.artery.max() < phantom().aif.max() and phantom().brain[found.artery_place]


def test_maps_are_like_those_that_the_scanner_made():
    """One slice; the phantom's maps come from the true arterial curve, ours from the one that was found."""
    scanned, _, _ = with_vessels()
    one = (slice(None), slice(None), slice(1, 2))
    maps, curves, said = series.maps_of_series(scanned[one], CT[one], SPACING, 1.0)
    made, inside = phantom().images, (maps["CBF"] > 0) & (phantom().images["CT_CBF"][one] > 0)
    for name in ("CBF", "CBV", "MTT", "Tmax"):
        found, true = maps[name][inside], made[f"CT_{name}"][one][inside]
        assert np.corrcoef(found, true)[0, 1] > 0.9, name
        assert np.median(found) == pytest.approx(np.median(true), rel=0.3), name
        assert maps[name].dtype == np.float32 and not maps[name][~BRAIN[one]].any()
    assert said[0] == series.VARIES and "229, 329 and 242 mL" in said[0]
    assert curves.artery_place[2] == 0


def test_an_arterial_curve_below_the_vein_is_scaled_to_its_area(monkeypatch):
    given = []

    def maps(scanned, brain, aif, dt, how):
        given.append(aif)
        return {name: np.ones(brain.shape, np.float32) for name in ("CBF", "CBV", "MTT", "Tmax")}

    artery, vein = bolus(60), bolus(240, arrival=12)
    monkeypatch.setattr(series, "find_curves", lambda *_: curves_of(artery, vein))
    monkeypatch.setattr(series.perfusion, "maps_from_series", maps)
    found, _, said = series.maps_of_series(phantom().series, CT, SPACING, 1.0)
    assert given[0].sum() == pytest.approx(vein.sum()) and any(
        "scaled by 3." in s or "scaled by 4.0" in s for s in said
    )
    assert found["CBF"].max() == found["CBV"].max() == 10 and found["MTT"].max() == 1


def test_a_series_in_which_nothing_enhances_is_refused():
    flat = np.repeat(CT[..., None], 30, -1) + np.random.default_rng(0).normal(0, 3, (*CT.shape, 30)).astype(np.float32)
    with pytest.raises(CaseError, match=r"no artery was found in the series: nothing in the brain rises by 20 HU"):
        series.find_curves(flat, CT, BRAIN, SPACING, 1.0)


@pytest.mark.parametrize(
    ("frames", "frame_s", "words"),
    [
        (9, 1.0, "the series has 9 frames, at least 10 are needed"),
        (40, 12.0, "a frame every 12 s, expected 0.3 to 5; correct its header$"),
        (40, 0.001, "a frame every 0.001 s"),
    ],
)
def test_too_few_frames_or_an_impossible_time_are_refused(frames, frame_s, words):
    with pytest.raises(CaseError, match=words):
        series.maps_of_series(np.zeros((*CT.shape, frames), np.float32), CT, SPACING, frame_s)


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        (curves_of(bolus(), bolus(260, arrival=12)), ""),
        (curves_of(bolus(arrival=0)), "contrast is there 1 s after the series begins"),
        (curves_of(bolus(35)), "the artery that was found rises by 3"),
        (curves_of(bolus(frames=16)), "cut short: the artery's curve is still at"),
        (curves_of(bolus(), bolus(260, arrival=40)), "cut short: the vein's curve is still at"),
    ],
)
def test_what_is_said_of_curves(curves, words):
    said = series._curve_remarks(curves, 1.0)
    assert any(words in s for s in said) if words else said == []


def test_no_vein_is_said():
    one = curves_of(bolus())
    said = series._curve_remarks(Curves(one.times, one.artery, one.artery, (5, 5, 0), (5, 5, 0)), 1.0)
    assert len(said) == 1 and "no vein was found" in said[0]


def test_a_head_that_moves_is_said():
    still = np.repeat(CT[::2, ::2, :1, None], 12, -1)
    assert series._motion_remarks(still, (1.8, 1.8, 5.0)) == []
    moved = still.copy()
    moved[..., 7] = np.roll(still[..., 7], 2, 0)
    (said,) = series._motion_remarks(moved, (1.8, 1.8, 5.0))
    assert "moves by 3.6 mm in plane in frame 8" in said, "counted from 1, as empty frames are"


def test_frames_out_of_order_are_refused_and_a_late_beginning_is_said():
    """As sorted by parity or by name; a series that runs backwards, or begins behind the bolus, or with it."""
    course = bolus(peak=8, width=5) + 30
    names = sorted(range(len(course)), key=str)
    assert series._order_remarks(course, 1.0) == []
    for order in ([*range(0, 45, 2), *range(1, 45, 2)], names):
        with pytest.raises(CaseError, match="the frames are not in the order of time"):
            series._order_remarks(course[order], 1.0)
    rest = np.maximum(course, np.where(np.arange(len(course)) > course.argmax(), 33.0, 0))  # contrast comes round again
    assert series._order_remarks(rest, 1.0) == []
    for wrong in (rest[::-1], rest[int(rest.argmax()) :]):
        with pytest.raises(CaseError, match="time runs backwards, or the series begins after contrast has come"):
            series._order_remarks(wrong, 1.0)
    (said,) = series._order_remarks(rest[int(np.argmax(rest > rest[0])) - 1 :], 1.0)
    assert re.match(r"contrast rises from the first frame on, by \d+ % of its height in 2 s, so that there is no", said)
