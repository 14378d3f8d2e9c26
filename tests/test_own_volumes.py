import gzip

import nibabel as nib
import numpy as np
import pytest
from own_scans import place, save, turned

from strokelib.nifti import CaseError
from strokelib.own import volumes
from strokelib.own.volumes import from_networks, read_volume

IMAGE = np.random.default_rng(0).integers(0, 90, (12, 10, 4)).astype(np.int16)


def header(path, change):
    """Change the header of a file that is there."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj).copy()
    written = nib.Nifti1Image(data, None, image.header)
    change(written.header)
    written.to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_values_spacing_and_place_are_those_of_the_file(tmp_path, suffix):
    volume = read_volume(save(tmp_path / f"ct{suffix}", IMAGE, place()))
    assert np.array_equal(volume.values, IMAGE) and volume.shape == (12, 10, 4) and volume.axes == "LAS"
    assert np.allclose(volume.spacing, (0.9, 0.9, 5)) and np.allclose(volume.affine, place(), atol=1e-5)


@pytest.mark.parametrize(("written", "named"), [("ct.nii", "ct.nii.gz"), ("ct.nii.gz", "ct.nii")])
def test_whether_a_file_is_packed_its_content_tells(tmp_path, written, named):
    path = save(tmp_path / written, IMAGE, place()).rename(tmp_path / f"renamed_{named}")
    assert np.array_equal(read_volume(path).values, IMAGE)


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(IMAGE, place())
    image.header.set_slope_inter(2, -1024)
    image.to_filename(tmp_path / "ct.nii")
    assert np.array_equal(read_volume(tmp_path / "ct.nii").values, 2 * IMAGE.astype(float) - 1024)


def test_an_identity_beside_another_spacing_says_nothing(tmp_path):
    """As in ISLES 2018: 1 mm by the affine, the truth in pixdim."""
    volume = read_volume(save(tmp_path / "ct.nii", IMAGE))
    assert volume.affine is None and volume.axes == "" and np.allclose(volume.spacing, (0.9, 0.9, 5))
    assert np.allclose(volume.place, np.diag([-0.9, 0.9, 5, 1]))


def test_a_place_without_a_code_says_nothing(tmp_path):
    path = save(tmp_path / "ct.nii", IMAGE, place())
    header(path, lambda h: (h.set_sform(None, 0), h.set_qform(None, 0)))
    assert read_volume(path).affine is None


def test_a_qform_counts_where_the_sform_is_of_another_space(tmp_path):
    path = save(tmp_path / "ct.nii", IMAGE, place())
    header(path, lambda h: (h.set_qform(place(), 1), h.set_sform(np.diag([2.0, 2, 2, 1]), 4)))
    header(path, lambda h: h["pixdim"].__setitem__(slice(1, 4), (0.9, 0.9, 5)))
    volume = read_volume(path)
    assert np.allclose(volume.affine, place(), atol=1e-3)
    assert volume.remarks == (passed_over("2 x 2 x 2"),)


def passed_over(sides):
    return (
        f"its sform, of voxels of {sides} mm, does not fit its pixdim, 0.9 x 0.9 x 5 mm: the qform was taken; if the "
        "sform is right, every volume is wrong"
    )


@pytest.mark.parametrize("code", [1, 2])
def test_an_sform_that_does_not_count_beside_a_qform_is_remarked(tmp_path, code):
    """As where a program mended the sform alone: every volume is 3.4 times as large by that."""
    path = save(tmp_path / "ct.nii", IMAGE, place())
    header(path, lambda h: (h.set_qform(place(), 1), h.set_sform(place((1.35, 1.35, 7.5)), code)))
    volume = read_volume(path)
    assert np.allclose(volume.spacing, (0.9, 0.9, 5)) and volume.remarks == (passed_over("1.35 x 1.35 x 7.5"),)
    header(path, lambda h: h.set_sform(np.zeros((4, 4)), code))
    assert read_volume(path).remarks == (passed_over("0 x 0 x 0"),)


@pytest.mark.parametrize(("degrees", "moved"), [(30, 7), (6, 1), (3, None)])
def test_forms_that_turn_an_image_about_its_first_voxel_are_remarked(tmp_path, degrees, moved):
    """Their axes point alike and they begin at one place: the corner across moves by 2 sin(half of it) of 12.8 mm."""
    path, a = save(tmp_path / "ct.nii", IMAGE, place()), np.deg2rad(degrees)
    turned_by = place()
    turned_by[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] @ place()[:2, :2]
    header(path, lambda h: (h.set_sform(place(), 1), h.set_qform(turned_by, 1)))
    said = f"sform and qform put it up to {moved} mm apart: the sform was taken; where it lies is uncertain"
    assert read_volume(path).remarks == ((said,) if moved else ())


def test_an_affine_that_contradicts_the_spacing_is_refused(tmp_path):
    path = save(tmp_path / "ct.nii", IMAGE, place())
    header(path, lambda h: h["pixdim"].__setitem__(slice(1, 4), (0.5, 0.5, 5)))
    with pytest.raises(
        CaseError, match=r"ct\.nii .*by its affine the sides of a voxel are 0\.9 x 0\.9 x 5 mm, by pixdim 0\.5 x"
    ):
        read_volume(path)


@pytest.mark.parametrize("shape", [(12, 10, 4, 7), (12, 10, 4, 1, 7)])
@pytest.mark.parametrize(("stored", "units", "seconds"), [(1.5, 8, 1.5), (1500, 16, 1.5), (2e6, 24, 2), (1.0, 0, 1.0)])
def test_a_series_has_its_frames_last_and_its_time_in_seconds(tmp_path, shape, stored, units, seconds):
    image = np.arange(np.prod(shape)).reshape(shape).astype(np.float32)
    volume = read_volume(save(tmp_path / "ctp.nii", image, place(), frame_s=stored, units=units))
    assert volume.values.shape == (12, 10, 4, 7) and np.array_equal(volume.values.ravel(), image.ravel())
    assert volume.frame_s == pytest.approx(seconds)


def test_a_series_without_a_time_says_so(tmp_path):
    path = save(tmp_path / "ctp.nii", np.zeros((12, 10, 4, 7), np.float32), place())
    assert read_volume(header(path, lambda h: h["pixdim"].__setitem__(4, 0))).frame_s is None


def test_one_second_without_a_unit_is_remarked_as_what_programs_write_by_default(tmp_path):
    for units, frame_s, said in ((0, 1.0, (volumes.NO_TIME_UNIT,)), (8, 1.0, ()), (0, 1.5, ())):
        path = save(tmp_path / "ctp.nii", np.ones((12, 10, 4, 7), np.int16), place(), frame_s=frame_s, units=units)
        assert volumes.read_volume(path).remarks == said


def test_the_time_is_that_of_the_axis_that_holds_the_frames(tmp_path):
    path = save(tmp_path / "ctp.nii", np.ones((12, 10, 4, 1, 7), np.int16), place(), frame_s=1.0)
    header(path, lambda raw: raw["pixdim"].__setitem__(5, 1.5))
    assert volumes.read_volume(path).frame_s == 1.5


def test_want_of_memory_and_too_large_a_file_are_no_damage(tmp_path, monkeypatch):
    path = save(tmp_path / "ct.nii", np.ones((12, 10, 4), np.int16), place())
    monkeypatch.setattr(volumes, "MOST_BYTES", 100)
    with pytest.raises(CaseError, match=r"ct.nii holds more than .* GB; average its thin slices, or crop it"):
        volumes.read_volume(path)

    def full(path):
        raise MemoryError

    monkeypatch.setattr(volumes, "_content", full)
    with pytest.raises(CaseError, match=r"ct.nii does not fit into this machine's memory; average its thin slices"):
        volumes.read_volume(path)


def test_a_fourth_axis_of_one_is_none(tmp_path):
    volume = read_volume(save(tmp_path / "ct.nii", IMAGE[..., None], place()))
    assert volume.values.shape == IMAGE.shape and volume.frame_s is None


def colors(shape):
    return np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((12, 10), np.int16), r"2-D \[12, 10\], a picture; expected a volume"),
        (np.zeros((1, 12, 10), np.int16), r"3-D \[1, 12, 10\], a picture"),
        (np.zeros((4, 4, 4, 3, 3), np.int16), r"5-D .* expected \(x, y, slice\), or"),
        (colors((12, 10, 4)), "it holds colors, a picture of a map and no map; expected one real number"),
        (np.zeros((12, 10, 4), np.complex64), "it holds complex64; expected one real number"),
        (np.full((12, 10, 4), np.inf, np.float32), "infinite values"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_name(tmp_path, image, words):
    path = tmp_path / "cbf.nii"
    nib.Nifti1Image(image, place()).to_filename(path)
    with pytest.raises(CaseError, match=f"cannot use .*cbf.nii .*{words}.*; replace the file, or correct its header"):
        read_volume(path)


@pytest.mark.parametrize(("side", "word"), [(0.0, "0"), (900.0, "900"), (-0.9, "-0.9")])
def test_a_spacing_that_is_none_is_refused(tmp_path, side, word):
    path = save(tmp_path / "ct.nii", IMAGE)
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32(side).tobytes()  # pixdim[1]
    path.write_bytes(content)
    with pytest.raises(CaseError, match=rf"its spacing is {word} x 0\.9 x 5 mm, expected 0\.1 to 30"):
        read_volume(path)


def test_a_file_that_is_cut_damaged_or_none_is_refused(tmp_path):
    path = save(tmp_path / "ct.nii", IMAGE, place())
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CaseError, match=f"its header promises {len(whole)} bytes, it holds {len(whole) - 100}"):
        read_volume(path)
    packed = gzip.compress(whole)
    (tmp_path / "cut.nii.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "flipped.nii.gz").write_bytes(packed[:60] + bytes([packed[60] ^ 255]) + packed[61:])
    (tmp_path / "text.nii").write_text("no image\n" * 60)
    for name in ("cut.nii.gz", "flipped.nii.gz", "text.nii", "missing.nii"):
        with pytest.raises(CaseError, match=f"cannot use .*{name}"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "ASL", "IRP"])
def test_the_way_to_the_networks_axes_is_nibabels(tmp_path, axes):
    image, affine = turned(IMAGE, place(), axes)
    volume = read_volume(save(tmp_path / "ct.nii", image, affine))
    assert volume.axes == axes
    onto = from_networks(volume)
    assert nib.aff2axcodes(volume.affine @ onto) == ("L", "A", "S")
    for voxel in ((0, 0, 0), (11, 9, 3), (5, 2, 1)):  # of the image turned to LAS, which IMAGE is
        there = tuple(np.rint(onto @ [*voxel, 1])[:3].astype(int))
        assert image[there] == IMAGE[voxel]


@pytest.mark.parametrize(
    ("axes", "what"), [("RAS", "which side is left"), ("LPS", "where the axes point"), ("LAS", None)]
)
def test_a_qform_that_lets_the_axes_point_elsewhere_is_remarked(tmp_path, axes, what):
    path = save(tmp_path / "ct.nii", IMAGE, place())
    header(path, lambda h: (h.set_sform(place(), 1), h.set_qform(turned(IMAGE, place(), axes)[1], 1)))
    said = (f"sform says LAS, qform {axes}: the sform was taken; {what} is uncertain",) if what else ()
    volume = read_volume(path)
    assert volume.remarks == said and volume.axes == "LAS"


def test_an_identity_that_says_nothing_contradicts_no_qform(tmp_path):
    path = save(tmp_path / "ct.nii", IMAGE)
    header(path, lambda h: h.set_qform(place(), 1))
    assert read_volume(path).remarks == () and read_volume(path).axes == "LAS"
