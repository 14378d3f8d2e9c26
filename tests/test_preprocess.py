import dataclasses
import zipfile

import numpy as np
import pytest
from heads import OTHER, change, fewer, make_case
from scipy import ndimage

from strokelib import preprocess, registration
from strokelib.modalities import ISLES, inputs, maps
from strokelib.nifti import CaseError
from strokelib.preprocess import (
    brain_mask,
    check_case,
    load_preprocessed,
    preprocess_case,
    save_preprocessed,
)


def test_the_brain_is_where_the_maps_do_not_sum_to_zero():
    perfusion = np.zeros((4, 4, 4, 1), np.float32)
    for m in range(4):
        perfusion[m, m, 2, 0] = m + 1
    expected = np.zeros((4, 4, 1), bool)
    expected[:, 2] = True
    np.testing.assert_array_equal(brain_mask(perfusion), expected)
    with pytest.raises(ValueError, match=r"maps must be \(map, x, y, slice\), got shape \(4, 4, 1\)"):
        brain_mask(perfusion.sum(axis=0))


def test_the_ct_has_no_say_in_the_brain_mask():
    case = make_case()
    other = change(case, "CT", lambda ct: ct + 1)
    np.testing.assert_array_equal(check_case(other), brain_mask(case.maps))


def test_every_modality_is_normalized_over_its_own_brain():
    case = make_case()
    p = preprocess_case(case)
    mask = brain_mask(case.maps)
    alignment = registration.align_flipped(case.head)
    mirrored_mask = brain_mask(registration.mirror(case.maps, alignment))
    assert p.images.shape == (10, 96, 96, 2) and p.modalities == ISLES
    assert p.images.dtype == np.float32
    np.testing.assert_array_equal(p.mask, mask)
    for images, inside in ((p.provided, mask), (p.mirrored, mirrored_mask)):
        assert len(images) == len(ISLES)
        for image in images:
            values = image[inside].astype(np.float64)
            assert values.mean() == pytest.approx(0, abs=1e-5)
            assert values.std() == pytest.approx(1, abs=1e-5)
            assert (image[~inside] == 0).all()


def test_what_a_network_takes_are_the_provided_modalities_and_then_the_mirrored_ones():
    p = preprocess_case(make_case())
    np.testing.assert_array_equal(p.inputs(False), p.provided)
    np.testing.assert_array_equal(p.inputs(True), np.concatenate([p.provided, p.mirrored]))
    assert len(p.inputs(True)) == len(inputs(p.modalities, True)) == 10


def test_z_scores_by_hand():
    case = make_case()
    p = preprocess_case(case)
    values = case.image("CBV")[p.mask].astype(np.float64)
    expected = (values - np.sum(values) / values.size) / np.sqrt(np.var(values))
    np.testing.assert_allclose(p.provided[ISLES.index("CBV")][p.mask], expected, atol=1e-6)


def test_the_mirrored_modalities_are_the_mirrored_scan_stripped_by_its_own_maps():
    case = make_case()
    p = preprocess_case(case)
    alignment = registration.Alignment(p.matrix, p.score, p.flip_score)
    mirrored = registration.mirror(case.images, alignment)
    inside = mirrored[maps(ISLES)].sum(0) != 0
    for ours, image in zip(p.mirrored, mirrored, strict=True):
        assert np.corrcoef(ours[inside], image[inside])[0, 1] > 0.99999
    # The skull, at 900 HU, would show: stripped CT values stay within a few deviations.
    ct = ISLES.index("CT")
    assert np.abs([p.provided[ct], p.mirrored[ct]]).max() < 10
    assert p.score > p.flip_score + 0.05


def test_mirroring_makes_the_two_hemispheres_comparable():
    """A head that is symmetric but turned: its mirrored CBF must look like its CBF."""
    case = make_case()
    i, j = np.meshgrid(np.arange(96) - 45.0, np.arange(96) - 50.0, indexing="ij")
    x, y = i * 0.998 + j * 0.06, j * 0.998 - i * 0.06
    pattern = 300 + 100 * np.cos(abs(x) / 4) * np.cos(y / 5)
    symmetric = change(case, "CBF", lambda cbf: np.where(cbf > 0, pattern[:, :, None], 0))
    p = preprocess_case(symmetric)
    cbf = ISLES.index("CBF")
    both = ndimage.binary_erosion(p.mask & (p.mirrored[cbf] != 0), np.ones((5, 5, 1)))
    plain = registration.Alignment(np.eye(3), 0.0, 0.0)
    flipped = registration.mirror(symmetric.images, plain)[cbf]
    aligned = np.corrcoef(p.provided[cbf][both], p.mirrored[cbf][both])[0, 1]
    assert aligned > 0.95
    assert aligned > np.corrcoef(p.provided[cbf][both], flipped[both])[0, 1] + 0.2


@pytest.mark.parametrize("modality", ["CBF", "Tmax"])
def test_the_unit_of_a_map_does_not_matter(modality):
    case = make_case()
    scaled = preprocess_case(change(case, modality, lambda image: image * 10))
    np.testing.assert_allclose(scaled.images, preprocess_case(case).images, atol=2e-5)


def test_contrast_that_leaves_the_alignment_alone_leaves_the_ct_alone():
    """CT is only normalized: a linear change gives the same z-scores for the same mask."""
    case = make_case()
    p = preprocess_case(case)
    scaled = preprocess_case(change(case, "CT", lambda ct: np.where(p.mask, 0.5 * ct + 20, ct)))
    ct = ISLES.index("CT")
    np.testing.assert_allclose(scaled.provided[ct], p.provided[ct], atol=2e-5)


def test_the_result_is_the_same_each_time():
    first, second = preprocess_case(make_case()), preprocess_case(make_case())
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_the_case_is_not_changed():
    case = make_case()
    before = case.images.copy()
    preprocess_case(case)
    np.testing.assert_array_equal(case.images, before)


@pytest.mark.parametrize(
    ("modality", "function", "message"),
    [
        ("CBV", lambda cbv: np.where(cbv > 0, 3.0, 0.0), "case_7: CBV is constant"),
        ("MTT", lambda mtt: mtt * 0, "case_7: MTT is constant"),
        ("CT", lambda ct: ct * 0 + 35, "case_7: CT is constant"),
        ("CT", lambda ct: np.where(ct > 35, np.nan, ct), "case_7: CT holds NaN"),
        ("Tmax", lambda tmax: np.where(tmax > 2, np.inf, tmax), "case_7: Tmax holds NaN"),
    ],
)
def test_a_useless_modality_is_named(modality, function, message):
    with pytest.raises(CaseError, match=message):
        preprocess_case(change(make_case(), modality, function))


def test_an_empty_brain_is_an_error():
    case = make_case()
    images = case.images * np.array([1, 0, 0, 0, 0], np.float32).reshape(-1, 1, 1, 1)
    with pytest.raises(CaseError, match="case_7: the brain mask is empty"):
        preprocess_case(dataclasses.replace(case, images=images))


def test_what_is_checked_first_is_what_preprocessing_refuses():
    case = make_case()
    np.testing.assert_array_equal(check_case(case), brain_mask(case.maps))
    outside = np.zeros_like(case.lesion)
    outside[:2, :2] = True
    small = make_case(side=24)
    wrong = {
        "none of the 8 lesion voxels lies in the brain": dataclasses.replace(case, lesion=outside),
        "CT has a median of .* expected 0 to 100 HU": change(case, "CT", lambda ct: ct + 1024),
        "slices have .* expected sides of at least 32": small,
        "the brain mask is empty or nearly so": dataclasses.replace(
            case, images=np.where(np.arange(96)[:, None, None] < 20, case.images, 0)
        ),
    }
    for message, bad in wrong.items():
        for refuse in (check_case, preprocess_case):
            with pytest.raises(CaseError, match=f"case_7: .*{message}"):
                refuse(bad)
    for lesion in (None, np.zeros_like(case.lesion), outside | case.lesion):
        check_case(dataclasses.replace(case, lesion=lesion))


@pytest.mark.parametrize("labelled", [True, False])
def test_saving_and_loading_changes_nothing(tmp_path, labelled):
    p = preprocess_case(make_case(labelled=labelled))
    digest = save_preprocessed(tmp_path / "new" / "case_7.npz", p)
    loaded = load_preprocessed(tmp_path / "new" / "case_7.npz")
    for field in dataclasses.fields(p):
        before, after = getattr(p, field.name), getattr(loaded, field.name)
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
        if isinstance(before, np.ndarray):
            assert before.dtype == after.dtype
    assert (loaded.lesion is not None) == labelled
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["case_7.npz"]
    assert save_preprocessed(tmp_path / "again.npz", loaded) == digest
    assert len(digest) == 64


def test_the_digest_follows_the_contents(tmp_path):
    p = preprocess_case(make_case())
    images = p.images.copy()
    images[3, 40, 40, 1] = np.nextafter(images[3, 40, 40, 1], np.float32(np.inf))
    other = dataclasses.replace(p, images=images)
    path = tmp_path / "case_7.npz"
    assert save_preprocessed(path, p) != save_preprocessed(path, other)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "case_7.npz"
    save_preprocessed(path, preprocess_case(make_case()))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[: len(whole) // 2], bytes(flipped), b"not a zip file"):
        path.write_bytes(content)
        with pytest.raises(CaseError, match=r"case_7\.npz is damaged"):
            load_preprocessed(path)
    with zipfile.ZipFile(path, "w") as archive:
        for field in dataclasses.fields(preprocess.Preprocessed):
            archive.writestr(f"{field.name}.npy", "nothing")
    with pytest.raises(CaseError, match="not a preprocessed scan"):
        load_preprocessed(path)
    np.savez(path, images=np.zeros((10, 4, 4, 1)), mask=np.zeros((4, 4, 1)))
    with pytest.raises(CaseError, match="not a preprocessed scan"):
        load_preprocessed(path)
    p = preprocess_case(make_case())
    before = {field.name: getattr(p, field.name) for field in dataclasses.fields(p)}
    np.savez(path, **{name: value for name, value in before.items() if name != "modalities"})  # an earlier version's
    with pytest.raises(CaseError, match=r"case_7\.npz is not a preprocessed scan of this version; .* run notebook 02"):
        load_preprocessed(path)
    np.savez(path, **before | {"modalities": ("CT", "CBF")})
    with pytest.raises(CaseError, match="not a preprocessed scan of this version"):
        load_preprocessed(path)
    np.savez(path, images=np.array([{}], dtype=object))  # a pickle must not be opened
    with pytest.raises(CaseError, match="allow_pickle"):
        load_preprocessed(path)
    with pytest.raises(FileNotFoundError, match=r"case_8\.npz"):
        load_preprocessed(tmp_path / "case_8.npz")
    with pytest.raises(ValueError, match="npz"):
        save_preprocessed(tmp_path / "case_7.h5", preprocess_case(make_case()))


def test_a_scan_of_other_modalities_is_prepared_as_its_own_kind(tmp_path):
    whole, some = preprocess_case(make_case()), preprocess_case(fewer(make_case()))
    assert some.modalities == OTHER and some.images.shape == (6, 96, 96, 2)
    for name, provided, mirrored in zip(OTHER, some.provided, some.mirrored, strict=True):
        np.testing.assert_array_equal(provided, whole.provided[ISLES.index(name)])
        np.testing.assert_array_equal(mirrored, whole.mirrored[ISLES.index(name)])
    save_preprocessed(tmp_path / "case_7.npz", some)
    loaded = load_preprocessed(tmp_path / "case_7.npz")
    assert loaded.modalities == OTHER


def test_the_order_of_the_modalities_is_that_of_the_scan():
    turned = preprocess_case(fewer(make_case(), tuple(reversed(ISLES))))
    usual = preprocess_case(make_case())
    for name in ISLES:
        ours, theirs = (p.provided[p.modalities.index(name)] for p in (turned, usual))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_scan_without_an_image_of_the_head_is_refused():
    with pytest.raises(ValueError, match="needs one modality that shows the head, such as CT; among CBF, Tmax are 0"):
        preprocess_case(fewer(make_case(), ("CBF", "Tmax")))


def test_a_scan_of_one_map_is_named_by_it_where_it_is_empty():
    case = fewer(make_case(), ("CT", "Tmax"))
    assert preprocess_case(case).images.shape[0] == 4
    with pytest.raises(CaseError, match=r"the perfusion maps \(Tmax\) are 0 almost everywhere"):
        preprocess_case(change(case, "Tmax", lambda tmax: 0 * tmax))
