import gzip

import nibabel as nib
import numpy as np
import pytest

from strokelib import nifti
from strokelib.nifti import CaseError

SHAPE, SPACING = (32, 32, 3), (0.9, 0.9, 5.0)


def write(path, array, spacing=SPACING, kind=nib.Nifti1Image):
    """Write an image with the header quirks of ISLES 2018: identity for affine, true spacing in pixdim."""
    image = kind(array, None)
    image.header["pixdim"][1 : 1 + len(spacing)] = spacing
    image.header.set_sform(np.eye(4), 2)
    image.to_filename(path)
    return path


def values(kind=np.int16):
    return np.random.default_rng(0).integers(-23, 90, SHAPE).astype(kind)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_an_image_is_read_in_its_own_type_with_the_spacing_of_its_header(tmp_path, suffix, kind):
    array, spacing = nifti.read_image(write(tmp_path / f"a{suffix}", values(), kind=kind), 3)
    assert array.dtype == np.int16 and np.array_equal(array, values())
    assert np.allclose(spacing, SPACING)  # although the affine says 1 mm


def test_other_axes_are_read_with_their_own_steps(tmp_path):
    series = np.random.default_rng(0).normal(size=(*SHAPE, 5)).astype(np.float32)
    path = write(tmp_path / "series.nii", series, (*SPACING, 1.5))
    array, spacing = nifti.read_axes(path, 3, ("x", "y", "slice", "time"))
    assert np.array_equal(array, series) and np.allclose(spacing, (*SPACING, 1.5))
    with pytest.raises(CaseError, match=r"it is 4-D \[32, 32, 3, 5\], expected \(x, y, slice\)"):
        nifti.read_image(path, 3)


@pytest.mark.parametrize(
    ("array", "spacing", "message"),
    [
        (np.full(SHAPE, np.nan, np.float32), SPACING, "NaN or infinite"),
        (np.full(SHAPE, np.inf, np.float32), SPACING, "NaN or infinite"),
        (values(np.complex64), SPACING, "complex64, expected real numbers"),
        (values()[..., 0], SPACING, "2-D"),
        (values(), (0.0, 0.9, 5.0), "spacing"),
        (values(), (0.0009, 0.0009, 0.005), "expected 0.1 to 30"),
        (values(), (900.0, 900.0, 5000.0), "expected 0.1 to 30"),
    ],
)
def test_what_is_no_scan_is_one_error_that_names_case_and_file(tmp_path, array, spacing, message):
    path = write(tmp_path / "a.nii", array, spacing)
    with pytest.raises(CaseError, match=rf"^case_3: cannot read .*a\.nii \(.*{message}.*\); replace the file"):
        nifti.read_image(path, 3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_was_cut_off_or_is_none_is_refused(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", values())
    whole = path.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", b"not an image"):
        path.write_bytes(content)
        with pytest.raises(CaseError, match="case_3: cannot read"):
            nifti.read_image(path, 3)
    with pytest.raises(CaseError, match="no file, or a link that leads to none"):
        nifti.read_image(tmp_path / "none.nii", 3)


def test_a_saved_map_keeps_the_header(tmp_path):
    ct = write(tmp_path / "ct.nii", values())
    probability = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    path = nifti.save_map(tmp_path / "out" / "map.nii.gz", probability, ct, np.float32)
    saved, source = nib.load(path), nib.load(ct)
    assert np.array_equal(np.asanyarray(saved.dataobj), probability)
    assert np.array_equal(saved.affine, source.affine) and saved.header["sform_code"] == 2
    assert np.allclose(saved.header.get_zooms(), SPACING)
    assert np.array_equal(nifti.read_image(path, 3)[0], probability)
    with pytest.raises(ValueError, match="cannot take the header"):
        nifti.save_map(path, probability[:-1], ct, np.float32)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII", ".NII.GZ"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_header_is_read_without_the_voxels(tmp_path, monkeypatch, suffix, kind):
    path = write(tmp_path / f"a{suffix.lower()}", values(), kind=kind).rename(tmp_path / f"b{suffix}")
    expected = nifti.read_image(path, 3)
    monkeypatch.setattr(nifti, "_MOST_BYTES", 0)
    monkeypatch.setattr(nifti, "_HEADER_BYTES", 600)  # a Nifti-2 header takes 540
    shape, spacing = nifti.read_header(path, 3)
    assert shape == expected[0].shape == SHAPE and np.array_equal(spacing, expected[1])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", values())
    whole = path.read_bytes()
    for left in (len(whole) - 1, len(whole) // 2, 300, 3, 0):
        path.write_bytes(whole[:left])
        with pytest.raises(CaseError, match=rf"^case_3: cannot read .*a{suffix} .*; replace the file"):
            nifti.read_header(path, 3)


def test_gzip_in_several_parts_is_read_to_its_end(tmp_path):
    whole = write(tmp_path / "a.nii", values()).read_bytes()
    for more in (b"", b"something behind the data"):
        parts = [whole[:1000], whole[1000:] + more, b""]  # an empty one comes last where bgzip wrote it
        (tmp_path / "a.nii.gz").write_bytes(b"".join(map(gzip.compress, parts)))
        assert nifti.read_header(tmp_path / "a.nii.gz", 3)[0] == SHAPE


@pytest.mark.parametrize(
    ("array", "spacing", "message"),
    [
        (values(np.complex64), SPACING, "complex64, expected real numbers"),
        (values()[..., 0], SPACING, "2-D"),
        (values(), (0.0, 0.9, 5.0), "spacing"),
        (values(), (900.0, 900.0, 5000.0), "expected 0.1 to 30"),
    ],
)
def test_a_header_of_no_scan_is_refused_as_the_image_is(tmp_path, array, spacing, message):
    path = write(tmp_path / "a.nii", array, spacing)
    with pytest.raises(CaseError, match=rf"^case_3: cannot read .*a\.nii \(.*{message}.*\); replace the file"):
        nifti.read_header(path, 3)


def directed(path, array, flips=(1, 1, 1), order=(0, 1, 2), spacing=SPACING, origin=(-30.0, -40.0, 5.0)):
    """Write an image of a place in space, stored along other axes than to the right, front and top."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    turn = np.array([[order.index(axis), flips[axis]] for axis in range(3)], float)
    nib.Nifti1Image(array, affine).as_reoriented(turn).to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("order", "axes"), [((0, 1, 2), "LPI"), ((1, 0, 2), "PLI"), ((2, 0, 1), "ILP")])
def test_an_image_is_turned_to_the_axes_of_another(tmp_path, suffix, order, axes):
    array = np.random.default_rng(0).normal(size=(20, 30, 4)).astype(np.float32)
    spacing = (0.9, 1.1, 5.0)
    first = directed(tmp_path / f"first{suffix}", array, spacing=spacing)
    other = directed(tmp_path / f"other{suffix}", array, (-1, -1, -1), order, spacing)
    assert nifti.directions(first) == "RAS" and nifti.directions(other) == axes
    assert not np.array_equal(nifti.read_image(other, 3)[0], array)
    found, found_spacing = nifti.read_image(other, 3, first)
    assert np.array_equal(found, array) and np.allclose(found_spacing, spacing)
    same, _ = nifti.read_image(first, 3, first)
    assert np.array_equal(same, array)


def test_a_series_is_turned_in_space_and_not_in_time(tmp_path):
    array = np.random.default_rng(0).normal(size=(20, 30, 4, 6)).astype(np.float32)
    first = directed(tmp_path / "first.nii", array[..., 0])
    other = directed(tmp_path / "other.nii", array, (-1, 1, 1))
    found, _ = nifti.read_axes(other, 3, ("x", "y", "slice", "time"), first)
    assert np.array_equal(found, array)


def test_headers_that_contradict_each_other_are_refused(tmp_path):
    first = directed(tmp_path / "first.nii", values())
    image = nib.load(first)
    affine = image.affine.copy()
    affine[0, 0] *= -1  # to the left, from the same corner
    nib.Nifti1Image(values(), affine).to_filename(tmp_path / "other.nii")
    with pytest.raises(CaseError, match=r"axes point to LAS and those of first.nii to RAS.* 28 mm away.*; replace"):
        nifti.read_image(tmp_path / "other.nii", 3, first)


def test_the_identity_beside_true_forms_turns_nothing(tmp_path):
    """As in ISLES 2018, whose forms say 1 mm for every voxel, beside an outline saved by another program."""
    first = write(tmp_path / "first.nii", values())
    other = directed(tmp_path / "other.nii", values(), origin=(0.0, 0.0, 0.0))
    for path, like in ((other, first), (first, other)):
        assert np.array_equal(nifti.read_image(path, 3, like)[0], values())


def test_a_header_without_a_code_says_nothing(tmp_path):
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(values(), None)
    image.header["pixdim"][1:4] = SPACING
    image.to_filename(path)
    assert nifti.directions(path) == ""
    other = directed(tmp_path / "other.nii", values(), (-1, 1, 1))
    assert np.array_equal(nifti.read_image(path, 3, other)[0], values())
    image.header.set_qform(np.diag([-0.9, 0.9, 5.0, 1.0]), 1)
    image.header.set_sform(None, 0)
    nib.Nifti1Image(values(), None, image.header).to_filename(path)
    assert nifti.directions(path) == "LAS"


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_saved_map_has_no_words_of_its_model(tmp_path, kind):
    ct = write(tmp_path / "ct.nii", values(), kind=kind)
    source = nib.load(ct)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        if field in source.header:
            source.header[field] = b"DOE^JANE"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE, born 1950"))
    marked = kind(values(), None, source.header)
    marked.to_filename(tmp_path / "marked.nii")
    assert (tmp_path / "marked.nii").read_bytes().count(b"DOE^JANE") >= 4
    path = nifti.save_map(tmp_path / "map.nii", values(), tmp_path / "marked.nii", np.float32)
    assert b"DOE" not in path.read_bytes()
    saved = nib.load(path)
    assert np.array_equal(np.asanyarray(saved.dataobj), values().astype(np.float32))
    assert np.array_equal(saved.affine, source.affine)


@pytest.mark.parametrize("name", ["Ct.Nii", "Ct.Nii.gz", "CT.NII", "ct.NII.GZ"])
def test_a_header_is_read_whatever_the_capitals_of_the_suffix(tmp_path, name):
    nib.save(nib.Nifti1Image(values(), np.diag([-2.0, 2.0, 5.0, 1.0])), tmp_path / "plain.nii.gz")
    content = (tmp_path / "plain.nii.gz").read_bytes()
    (tmp_path / name).write_bytes(content if name.lower().endswith("gz") else gzip.decompress(content))
    header, expected = nifti.load_header(tmp_path / name), nib.load(tmp_path / "plain.nii.gz")
    assert header.get_zooms() == expected.header.get_zooms() and header.get_data_shape() == expected.shape
    np.testing.assert_array_equal(header.get_best_affine(), expected.affine)
    path = nifti.save_map(tmp_path / "map.nii", values(), tmp_path / name, np.int16)
    np.testing.assert_array_equal(nib.load(path).affine, expected.affine)


def test_a_file_that_is_gone_is_one_sentence(tmp_path):
    with pytest.raises(nifti.CaseError, match=r"cannot read the header of .*gone\.nii .*replace the file"):
        nifti.load_header(tmp_path / "gone.nii")


@pytest.mark.parametrize(("written", "named"), [("a.nii", "b.nii.gz"), ("a.nii.gz", "b.nii")])
def test_whether_a_file_is_packed_its_bytes_tell_and_not_its_name(tmp_path, written, named):
    """A scan was segmented and then refused, when its CT's header was to be copied."""
    path = directed(tmp_path / written, values()).rename(tmp_path / named)
    expected = nib.load(directed(tmp_path / written, values()))
    np.testing.assert_array_equal(nifti.load_header(path).get_best_affine(), expected.affine)
    saved = nib.load(nifti.save_map(tmp_path / "map.nii.gz", values(), path, np.int16))
    np.testing.assert_array_equal(saved.affine, expected.affine)
    assert np.array_equal(nifti.read_image(path, 3)[0], values())
    assert nifti.read_header(path, 3)[0] == SHAPE and nifti.directions(path) == "RAS"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(CaseError, match="case_3: cannot read"):
        nifti.read_header(path, 3)
