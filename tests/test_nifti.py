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
