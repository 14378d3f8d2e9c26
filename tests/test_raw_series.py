"""Fitted maps as modalities of a scan, and a series that says nothing."""

import dataclasses

import numpy as np
import pytest
from own_scans import phantom, with_vessels
from test_voxelwise import NAMES, SHAPE, scan

from strokelib import modalities, raw_series, voxelwise
from strokelib.bolus import Model
from strokelib.cases import CaseFiles
from strokelib.nifti import CaseError
from strokelib.preprocess import Preprocessed
from strokelib.raw_series import FITTED
from strokelib.run import saved
from strokelib.run.settings import Cohort

OWN = scan(2)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    return {name: (5 + rng.standard_normal(SHAPE)).astype(np.float32) * OWN.mask for name in FITTED.values()}


def whole():
    """Return the phantom as a preprocessed scan: its brain and spacing count."""
    made = phantom()
    images = np.zeros((10, *made.brain.shape), np.float32)
    return Preprocessed(images, made.brain, made.brain, np.array(made.spacing), 3, "p", np.eye(3), 0.9, 0.5)


def test_maps_stand_among_the_modalities_and_their_mirror_images_among_the_mirrored():
    made = raw_series.with_maps(OWN, maps())
    assert made.modalities == (*NAMES, *FITTED.values()) and made.images.shape == (2 * 6, *SHAPE)
    assert np.array_equal(made.provided[:2], OWN.provided) and np.array_equal(made.mirrored[:2], OWN.mirrored)
    for place, image in enumerate(maps().values(), start=2):
        inside = image[OWN.mask]
        np.testing.assert_allclose(made.provided[place][OWN.mask], (inside - inside.mean()) / inside.std(), atol=1e-5)
        flipped, behind = image[::-1], OWN.mask[::-1]  # the alignment is the plain flip
        values = flipped[behind]
        np.testing.assert_allclose(made.mirrored[place][behind], (values - values.mean()) / values.std(), atol=1e-4)
        assert not made.provided[place][~OWN.mask].any() and not made.mirrored[place][~behind].any()
    assert voxelwise.read_voxels(made).features[0].image == "CT"
    names = {feature.image for feature in voxelwise.read_voxels(made).features}
    assert names == {*modalities.inputs(made.modalities, with_mirrored=True)}


def test_the_scan_itself_stays_as_it_was():
    before = OWN.images.copy()
    raw_series.with_maps(OWN, maps())
    assert np.array_equal(OWN.images, before) and OWN.modalities == NAMES


def test_a_series_that_says_nothing_leaves_zeros():
    made = raw_series.with_maps(OWN, raw_series.nothing(OWN))
    assert not made.provided[2:].any() and not made.mirrored[2:].any() and np.isfinite(made.images).all()


def test_names_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"case_2 has CT already"):
        raw_series.with_maps(OWN, {"CT": OWN.provided[0]})
    with pytest.raises(ValueError, match=r"case_2: maps must be \(40, 36, 2\)"):
        raw_series.with_maps(OWN, {"fitted CBF": np.zeros((3, 3, 3))})


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


def test_maps_go_to_a_file_and_back(tmp_path):
    saved.write_arrays(tmp_path / "case_2.npz", maps())
    back = raw_series.load_maps(tmp_path / "case_2.npz")
    assert {*back} == {*maps()} and all(np.array_equal(back[name], image) for name, image in maps().items())
    assert [path.name for path in tmp_path.iterdir()] == ["case_2.npz"]


def test_a_file_that_is_not_there_damaged_or_of_other_maps_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="notebook 23 writes them"):
        raw_series.load_maps(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK no more")
    with pytest.raises(CaseError, match=r"bad.npz is damaged .*run notebook 23"):
        raw_series.load_maps(tmp_path / "bad.npz")
    saved.write_arrays(tmp_path / "other.npz", {"CBF": OWN.provided[0]})
    with pytest.raises(CaseError, match="holds CBF, expected fitted CBF"):
        raw_series.load_maps(tmp_path / "other.npz")


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
    assert {*maps} == {*FITTED.values()} and not any(image.any() for image in maps.values()) and other == {}
    assert facts["case"] == 2 and facts["patient"] == "p2" and "download it" in facts["problem"]


def test_the_opposite_side_is_the_mirrored_lesion_without_the_lesion():
    assert np.array_equal(raw_series.opposite(OWN), OWN.lesion[::-1])  # the alignment is the plain flip
    across = dataclasses.replace(OWN, lesion=OWN.lesion | OWN.lesion[::-1])
    assert not raw_series.opposite(across).any()
