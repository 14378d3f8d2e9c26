"""Further modalities of a scan stand among its own, and have mirror images as all do."""

import dataclasses

import numpy as np
import pytest
from test_voxelwise import NAMES, SHAPE, scan

from strokelib import extra_inputs, modalities, preprocess, raw_series, voxelwise
from strokelib.cases import Case
from strokelib.extra_inputs import FITTED, SHARP
from strokelib.nifti import CaseError
from strokelib.registration import Alignment
from strokelib.run import saved
from strokelib.run.variants import EXTRA
from strokelib.stack import stack_scans

OWN = scan(2)


def maps(seed=0, names=FITTED):
    rng = np.random.default_rng(seed)
    return {name: (5 + rng.standard_normal(SHAPE)).astype(np.float32) * OWN.mask for name in names.values()}


def all_maps():
    own = {f"windowed {name}": name for name in NAMES}
    curves = {name: name for name in extra_inputs.CURVES}
    return maps() | maps(1, SHARP) | maps(2, {name: name for name in own}) | maps(3, curves)


def files_maps():
    """Return those that notebook 23 writes."""
    return maps() | maps(1, SHARP)


def test_maps_stand_among_the_modalities_and_their_mirror_images_among_the_mirrored():
    made = extra_inputs.with_maps(OWN, maps())
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
    extra_inputs.with_maps(OWN, maps())
    assert np.array_equal(OWN.images, before) and OWN.modalities == NAMES


def test_a_series_that_says_nothing_leaves_zeros():
    made = extra_inputs.with_maps(OWN, raw_series.nothing(OWN))
    assert not made.provided[2:].any() and not made.mirrored[2:].any() and np.isfinite(made.images).all()


def test_names_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"case_2 has CT already"):
        extra_inputs.with_maps(OWN, {"CT": OWN.provided[0]})
    with pytest.raises(ValueError, match=r"case_2: maps must be \(40, 36, 2\)"):
        extra_inputs.with_maps(OWN, {"fitted CBF": np.zeros((3, 3, 3))})


def test_maps_go_to_a_file_and_back(tmp_path):
    saved.write_arrays(tmp_path / "case_2.npz", files_maps())
    back = extra_inputs.load_maps(tmp_path / "case_2.npz")
    assert {*back} == {*files_maps()} and all(np.array_equal(back[name], image) for name, image in files_maps().items())
    assert [path.name for path in tmp_path.iterdir()] == ["case_2.npz"]
    shapes = raw_series.nothing(OWN)  # which holds the shapes of curves, too: no network takes them
    saved.write_arrays(tmp_path / "case_2.npz", shapes | files_maps())
    assert {*extra_inputs.load_maps(tmp_path / "case_2.npz")} == {*files_maps()} < {*shapes}


def test_a_file_that_is_not_there_damaged_or_of_other_maps_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="notebook 23 writes them"):
        extra_inputs.load_maps(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK no more")
    with pytest.raises(CaseError, match=r"bad.npz is damaged .*run notebook 23"):
        extra_inputs.load_maps(tmp_path / "bad.npz")
    saved.write_arrays(tmp_path / "other.npz", {"CBF": OWN.provided[0]})
    with pytest.raises(CaseError, match=r"holds CBF, expected fitted CBF, .*sharp MTT, sharp delay; delete it and run"):
        extra_inputs.load_maps(tmp_path / "other.npz")
    saved.write_arrays(tmp_path / "fewer.npz", maps())  # of a project that knew no sharper ones
    with pytest.raises(CaseError, match=r"fewer\.npz holds fitted CBF"):
        extra_inputs.load_maps(tmp_path / "fewer.npz")


PERFUSION = ("CT", "CBF", "CBV", "MTT", "Tmax")


def complete():
    """Return a scan with all modalities of the challenge, each with values of its own."""
    rng = np.random.default_rng(5)
    images = rng.standard_normal((10, *SHAPE)).astype(np.float32)
    images[:5, ~OWN.mask] = 0
    images[5:, ~OWN.mask[::-1]] = 0
    return dataclasses.replace(OWN, images=images, modalities=PERFUSION)


def test_sharper_maps_stand_in_place_of_the_perfusion_maps_that_came_and_the_ct_stays():
    whole = complete()
    made = extra_inputs.extended(whole, "sharp", all_maps())
    assert made.modalities == ("CT", *SHARP.values()) and made.images.shape == whole.images.shape
    assert np.array_equal(made.provided[0], whole.provided[0]) and np.array_equal(made.mirrored[0], whole.mirrored[0])
    beside = extra_inputs.with_maps(whole, maps(1, SHARP))
    assert np.array_equal(made.provided[1:], beside.provided[5:])
    assert np.array_equal(made.mirrored[1:], beside.mirrored[5:])


def test_a_scan_whose_series_says_nothing_keeps_the_maps_that_it_came_with():
    whole = complete()
    made = extra_inputs.extended(whole, "sharp", raw_series.nothing(whole))
    assert np.array_equal(made.images, whole.images), "CBF, CBV, MTT and delay stand as CBF, CBV, MTT and Tmax did"
    assert made.modalities == ("CT", "sharp CBF", "sharp CBV", "sharp MTT", "sharp delay")
    fewer = extra_inputs.extended(OWN, "sharp", raw_series.nothing(OWN))  # of a scan that came with CT and Tmax alone
    assert np.array_equal(fewer.provided[[0, 4]], OWN.provided) and not fewer.provided[1:4].any()


def test_a_difference_is_what_a_side_is_above_the_other_where_both_have_brain():
    made = extra_inputs.extended(OWN, "difference")
    assert made.modalities == (*NAMES, *(f"difference of {name}" for name in NAMES))
    count = len(NAMES)
    assert np.array_equal(made.provided[:count], OWN.provided) and np.array_equal(made.mirrored[:count], OWN.mirrored)
    both = (OWN.provided != 0).any(axis=0) & (OWN.mirrored != 0).any(axis=0)
    assert both.any() and not both.all()
    assert np.array_equal(made.provided[count:][:, both], (OWN.provided - OWN.mirrored)[:, both])
    assert not made.provided[count:][:, ~both].any()
    assert np.array_equal(made.mirrored[count:], -made.provided[count:])


def test_neighbors_are_the_mean_of_the_slices_below_and_above():
    """Three slices of 1, 2 and 6: the first takes (1 + 2) / 2, the second (1 + 6) / 2, the last (2 + 6) / 2."""
    base = scan(2)
    level = np.array([1, 2, 6], np.float32)
    mask = np.ones((*SHAPE[:2], 3), bool)
    mask[0, 0, 1] = False
    images = np.ones((2 * len(NAMES), *mask.shape), np.float32) * level * mask
    made = extra_inputs.extended(dataclasses.replace(base, images=images, mask=mask), "neighbors")
    assert made.modalities == (*NAMES, *(f"{name} beside" for name in NAMES))
    for images in (made.provided[len(NAMES) :], made.mirrored[len(NAMES) :]):
        assert (images[:, 3, 3] == [1.5, 3.5, 4]).all()
        assert (images[:, 0, 0] == [0.5, 0, 3]).all(), "outside of the slice's own brain there is nothing"


def test_surroundings_are_the_mean_of_the_brain_around_each_voxel_within_its_slice():
    """What is the same everywhere stays so up to the edge; a bright voxel spreads by the window; slices do not mix."""
    base = scan(2)
    mask = np.zeros((60, 70, 2), bool)
    mask[5:55, 5:60] = True
    images = np.ones((2 * len(NAMES), *mask.shape), np.float32) * np.array([3, 7], np.float32) * mask
    made = extra_inputs.extended(dataclasses.replace(base, images=images, mask=mask), "surroundings")
    assert made.modalities == (*NAMES, *(f"{name} around" for name in NAMES))
    for images in (made.provided[len(NAMES) :], made.mirrored[len(NAMES) :]):
        for image in images:
            np.testing.assert_allclose(image, np.where(mask, [3, 7], 0), rtol=1e-5)
    x, y, k = 30, 32, 1
    bright = np.where(mask, 1e-6, 0).astype(np.float32)
    bright[x, y, k] = 1
    made = extra_inputs.extended(
        dataclasses.replace(base, images=np.stack([bright] * 2 * len(NAMES)), mask=mask), "surroundings"
    )
    spread = made.provided[len(NAMES)]
    expected = np.exp(-(10**2) / (2 * extra_inputs.AROUND**2))  # 10 voxels away, as a share of the middle
    assert spread[x, y + 10, k] / spread[x, y, k] == pytest.approx(expected, rel=0.1)
    assert spread[x, y, k] > spread[x + 3, y, k] > spread[x + 20, y, k] and spread[..., 0].max() < 1e-5


@pytest.mark.parametrize("extra", EXTRA)
def test_a_stack_takes_every_extra_input_with_its_mirror_image(extra):
    made = extra_inputs.extended(OWN, extra, all_maps())
    stack = stack_scans([made], True, "cpu")
    assert stack.inputs == modalities.inputs(made.modalities, True) and len(set(stack.inputs)) == len(stack.inputs)
    assert np.array_equal(np.moveaxis(stack.images.numpy(), (0, 3), (3, 0)), made.images)
    kept = np.float16 if extra in extra_inputs.HALVED else np.float32
    assert made.modalities == extra_inputs.given(extra, NAMES) and made.images.dtype == kept
    assert (extra == "") == (made.modalities == NAMES)


def came():
    """Return a scan as it came, with a bright skull: CT of -10, 40 and 90 HU, CBF, stored tenfold, to 90, CBV of 1."""
    images = np.zeros((5, *SHAPE), np.float32)
    images[:, OWN.mask] = 1
    images[0, OWN.mask] = np.resize([-10, 40, 90], OWN.mask.sum())
    images[1, OWN.mask] = np.resize([100, 600, 900], OWN.mask.sum())
    images[0, ~OWN.mask] = 300
    return Case(images, None, OWN.spacing, 2, "p", PERFUSION)


def test_windows_cut_what_lies_beyond_them_and_stand_in_place_of_all_modalities():
    """CT is shown from 0 to 80 HU, CBF to 60 mL/100 g/min."""
    cut = extra_inputs.within_windows(came())
    assert tuple(cut) == tuple(f"windowed {name}" for name in PERFUSION)
    assert np.unique(cut["windowed CT"]).tolist() == [0, 40, 80] and cut["windowed CT"].dtype == np.float32
    assert np.unique(cut["windowed CBF"]).tolist() == [0, 100, 600]
    made = extra_inputs.extended(complete(), "windowed", cut)
    assert made.modalities == tuple(cut) and made.images.shape == (10, *SHAPE)
    inside = cut["windowed CT"][OWN.mask]
    np.testing.assert_allclose(made.provided[0][OWN.mask], (inside - inside.mean()) / inside.std(), atol=1e-5)
    assert not made.provided[:, ~OWN.mask].any() and not made.mirrored[:, ~OWN.mask[::-1]].any()
    assert not made.provided[2].any(), "what is the same everywhere says nothing"


def test_mirror_images_of_maps_are_those_that_preprocessing_makes():
    """With their rim, where a turned head is bent between brain and nothing."""
    images = np.random.default_rng(0).uniform(1, 79, came().images.shape) * OWN.mask
    case = dataclasses.replace(came(), images=images.astype(np.float32))
    alignment = Alignment(np.array([[1, 0.02, 0.4], [-0.02, 1, 0.7], [0, 0, 1]]), 0.9, 0.5, 1.0)
    plain = preprocess._aligned(case, OWN.mask, alignment, "cpu")
    again = {f"{name} again": image for name, image in zip(case.modalities, case.images, strict=True)}
    made = extra_inputs.with_maps(plain, again)
    count = len(plain.modalities)
    np.testing.assert_allclose(made.provided[count:], plain.provided, atol=1e-5)
    np.testing.assert_allclose(made.mirrored[count:], plain.mirrored, atol=1e-5)


def test_windows_change_nothing_where_all_lies_within_them():
    """What is mirrored, stripped and normalized anew is then what notebook 02 made."""
    case = dataclasses.replace(came(), images=came().images * 0)
    rng = np.random.default_rng(0)
    for image, top in zip(case.images, (79, 590, 79, 19, 19), strict=True):
        image[OWN.mask] = rng.uniform(1, top, OWN.mask.sum())
    case.images[0, ~OWN.mask] = 50  # of the head around, which bends the rim of its mirror image
    alignment = Alignment(np.array([[1, 0.02, 0.4], [-0.02, 1, 0.7], [0, 0, 1]]), 0.9, 0.5, 1.0)
    plain = preprocess._aligned(case, OWN.mask, alignment, "cpu")
    made = extra_inputs.extended(plain, "windowed", extra_inputs.within_windows(case))
    np.testing.assert_allclose(made.images, plain.images, atol=1e-5)


def test_scans_whose_series_gave_nothing_are_listed_and_none_at_all_is_refused():
    silent, rng = {name: np.zeros(SHAPE, np.float32) for name in extra_inputs.CURVES}, np.random.default_rng(0)
    told = {name: rng.standard_normal(SHAPE).astype(np.float32) * OWN.mask for name in silent}
    other = dataclasses.replace(OWN, number=5)
    made = [extra_inputs.extended(OWN, "curves", silent), extra_inputs.extended(other, "curves", told)]
    assert extra_inputs.without_series(made, "curves") == [2] and extra_inputs.without_series(made[1:], "curves") == []
    with pytest.raises(CaseError, match=r"no scan has a usable raw series \(4DPWI\), and 'curves' is made of nothing"):
        extra_inputs.without_series(made[:1], "curves")
    assert extra_inputs.without_series([OWN], "") == extra_inputs.without_series([OWN], "sharp") == []


def test_curves_are_normalized_together_so_that_their_shape_is_kept():
    curves = {name: (place * OWN.mask).astype(np.float32) for place, name in enumerate(extra_inputs.CURVES)}
    made = extra_inputs.extended(OWN, "curves", curves)
    assert made.modalities == (*NAMES, *extra_inputs.CURVES)
    levels = made.provided[len(NAMES) :][:, OWN.mask]
    steps = np.arange(len(curves))
    expected = (steps - steps.mean()) / steps.std()
    np.testing.assert_allclose(levels, np.broadcast_to(expected[:, None], levels.shape), atol=1e-3)  # as float16
    np.testing.assert_allclose(made.mirrored[len(NAMES) :][:, OWN.mask[::-1]], levels, atol=1e-3)
    silent = extra_inputs.extended(OWN, "curves", {name: np.zeros(SHAPE, np.float32) for name in curves})
    assert not silent.provided[len(NAMES) :].any() and not silent.mirrored[len(NAMES) :].any()


def test_unknown_extra_inputs_and_missing_maps_are_refused():
    names = ", ".join(map(repr, EXTRA))
    with pytest.raises(ValueError, match=f"must be one of {names}, got 'more'"):
        extra_inputs.extended(OWN, "more")
    for extra in ("fitted", "sharp"):
        with pytest.raises(ValueError, match=f"case_2: no maps for '{extra}' were given; notebook 23 writes them"):
            extra_inputs.extended(OWN, extra)
    for extra in ("windowed", "curves"):
        with pytest.raises(ValueError, match=f"case_2: no maps for '{extra}' were given$"):
            extra_inputs.extended(OWN, extra)
