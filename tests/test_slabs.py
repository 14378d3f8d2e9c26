import gzip

import nibabel as nib
import numpy as np
import pytest
import twin2024

from strokelib import cases, isles2024, preprocess, slabs
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError, directions

MAPS = ISLES[1:]


def volumes(slices=20, spacing=twin2024.SPACING, number=1):
    drawn = twin2024.head(number, slices)
    images = {name: drawn.images[name] for name in ISLES}
    return slabs.Volumes(number, images, drawn.images["OT"].astype(bool), np.array(spacing), drawn.affine)


def box(shape=(64, 64, 8), spacing=(3.6, 3.6, 5.0), value=1.0):
    """A brain that is a box with the same value everywhere, in a head that is one, too."""
    inside = np.zeros(shape, bool)
    inside[16:48, 12:52, 1:-1] = True
    images = {name: np.where(inside, value, 0) for name in MAPS}
    images = {"CT": np.where(inside, 35.0, -1000.0)} | images
    return slabs.Volumes(1, images, inside & (np.indices(shape)[0] < 24), np.array(spacing), np.diag([*spacing, 1.0]))


# ---------------------------------------------------------------- shares and means


def test_shares_by_hand():
    # Four voxels of 2 mm, from 0 to 8; three new ones of 3 mm, from 1 to 10.
    expected = np.array([[1, 2, 0, 0], [0, 0, 2, 1], [0, 0, 0, 1]]) / 3
    np.testing.assert_allclose(slabs.overlaps(4, 2.0, 1.0, 3, 3.0), expected, atol=1e-15)
    np.testing.assert_allclose(slabs.overlaps(3, 1.0, 0.0, 3, 1.0), np.eye(3))


@pytest.mark.parametrize(("count", "width", "new_width"), [(512, 0.45, 0.9), (37, 1.3, 0.4), (10, 5.0, 7.3)])
def test_whatever_the_grids_all_of_the_inside_is_shared_once(count, width, new_width):
    reach = int(np.ceil(count * width / new_width)) + 2
    shares = slabs.overlaps(count, width, -0.7 * new_width, reach, new_width)
    np.testing.assert_allclose(shares.sum(0) * new_width, width)  # no millimeter is lost or counted twice
    assert (shares.sum(1) <= 1 + 1e-12).all()


def test_means_agree_with_plain_blocks():
    image = np.random.default_rng(3).normal(size=(12, 8, 6))
    sides = ((12, 1.0, 0.0, 6, 2.0), (8, 1.0, 0.0, 2, 4.0), (6, 1.0, 0.0, 2, 3.0))
    blocks = image.reshape(6, 2, 2, 4, 2, 3).mean((1, 3, 5))
    found = slabs.average(image, [slabs.overlaps(*side) for side in sides])
    np.testing.assert_allclose(found, blocks, atol=1e-6)


def test_a_sum_over_all_voxels_is_kept():
    image = np.random.default_rng(4).uniform(size=(20, 17, 9))
    sides = ((20, 0.5, -1.0, 15, 0.9), (17, 0.7, -2.0, 20, 0.9), (9, 2.0, -3.0, 5, 6.0))
    found = slabs.average(image, [slabs.overlaps(*side) for side in sides])
    np.testing.assert_allclose(found.sum() * 0.9 * 0.9 * 6.0, image.sum() * 0.5 * 0.7 * 2.0, rtol=1e-5)


# ---------------------------------------------------------------- one slab


@pytest.mark.parametrize(
    ("dz", "slices", "together", "left"),
    [(0.4, 41, 13, 3), (1.0, 23, 5, 4), (2.5, 9, 2, 3), (4.9, 8, 2, 3), (5.0, 6, 1, 4), (12.0, 4, 1, 2)],
)
def test_whole_slices_are_averaged_to_five_millimeters_or_more(dz, slices, together, left):
    slab = slabs.make_slab(box((64, 64, slices), (3.6, 3.6, dz)))
    assert slab.lesion.shape == (256, 256, left)  # of the slices whose maps are not 0, two fewer than there are
    np.testing.assert_allclose(slab.spacing, (0.9, 0.9, together * dz))
    assert together * dz >= 5 and (together - 1) * dz < 5


def test_a_box_keeps_its_values_volume_and_place():
    given = box(value=7.0)
    slab = slabs.make_slab(given)
    for name in MAPS:
        assert set(np.unique(slab.images[name]).round(4)) == {0, 7}  # at the edge, too: no mean with what is outside
    assert np.allclose(slab.images["CT"][128, 128], 35) and np.allclose(slab.images["CT"][0, 0], -1000)
    inside = np.argwhere(slab.images["CBF"] > 0)
    np.testing.assert_array_equal(inside.min(0) + inside.max(0), (255, 255, 5))  # the brain is in the middle
    for voxel in (inside.min(0), inside.max(0)):
        there = np.linalg.inv(given.affine) @ slab.affine @ [*voxel, 1]
        low, high = np.argwhere(given.images["CBF"] > 0).min(0), np.argwhere(given.images["CBF"] > 0).max(0)
        assert (there[:3] > low - 0.5).all() and (there[:3] < high + 0.5).all()
    assert slab.file_ml == pytest.approx(given.lesion.sum() * 3.6 * 3.6 * 5 / 1000)
    assert slab.outside_ml == 0 and slab.slab_ml == pytest.approx(slab.file_ml, rel=0.01)


def test_tissue_without_flow_in_one_map_is_still_brain():
    given = box()
    given.images["Tmax"][20:24, 20:24] = 0  # normal tissue of a program that takes the delay out
    slab = slabs.make_slab(given)
    whole = slab.images["CBF"] > 0
    assert (slab.images["Tmax"][whole] == 0).any() and np.allclose(slab.images["CBF"][whole], 1)


def test_air_fills_what_the_ct_does_not_have_and_what_is_darker():
    given = box((40, 56, 8))
    given.images["CT"][:2] = -3024  # as scanners fill what lies outside their circle
    slab = slabs.make_slab(given)
    assert slab.images["CT"].min() == -1000


def test_an_outline_above_the_maps_is_told():
    given = box()
    given.lesion[20:30, 20:30, -1] = True
    slab = slabs.make_slab(given)
    assert slab.outside_ml == pytest.approx(100 * 3.6 * 3.6 * 5 / 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image * 0, "0 slices of 5.00 mm"),
        (lambda image: image * (np.indices(image.shape)[0] == 20), "not 0 over 10 cm² in 0 slices"),
        (lambda image: image + 1, "not 0 over 271 mm along x, expected a brain within 230 mm"),
    ],
)
def test_maps_of_which_no_slab_can_be_made_are_refused(change, message):
    given = box((76, 64, 8), (3.568, 3.6, 5.0))
    for name in MAPS:
        given.images[name][:] = change(given.images[name])
    with pytest.raises(CaseError, match=f"case_1: its maps are .*{message}"):
        slabs.make_slab(given)
    with pytest.raises(ValueError, match="thickness_mm must be above 0, got 0"):
        slabs.make_slab(given, 0)


def test_the_second_opinion_of_simpleitk_on_where_things_lie():
    sitk = pytest.importorskip("SimpleITK")
    given = volumes()
    slab = slabs.make_slab(given)

    def image(array, affine):
        out = sitk.GetImageFromArray(np.asarray(array, np.float32).transpose())
        scale = np.linalg.norm(affine[:3, :3], axis=0)
        out.SetSpacing(scale.tolist())
        out.SetOrigin(affine[:3, 3].tolist())
        out.SetDirection((affine[:3, :3] / scale).ravel().tolist())
        return out

    smooth = np.hypot(*[n - 31.5 for n in np.indices(twin2024.SHAPE)[:2]]) + np.indices(twin2024.SHAPE)[2]
    given.images["CT"][:] = smooth
    mine = slabs.make_slab(given).images["CT"]
    theirs = sitk.Resample(image(given.images["CT"], given.affine), image(mine, slab.affine))
    theirs = sitk.GetArrayFromImage(theirs).transpose()
    inside = slab.images["CBF"] > 0
    assert np.abs(mine - theirs)[inside].mean() < 0.6  # of a ramp of 1 a voxel; a shift by one would make 1


# ---------------------------------------------------------------- files


def written(tmp_path, number=1, style="archive"):
    root = twin2024.write(tmp_path / "download", (number,), style)
    return isles2024.list_scans(root)[0][0]


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_the_order_of_axes_in_the_files_makes_no_difference(tmp_path, axes):
    scan, drawn = written(tmp_path), twin2024.head(1)
    for name in ("CT", "CBF", "OT"):  # others stay as they are
        twin2024.save(scan.files[name], drawn.images[name], drawn.affine, axes)
    read = slabs.read_volumes(scan)
    for name in ISLES:
        np.testing.assert_array_equal(read.images[name], drawn.images[name])
    np.testing.assert_array_equal(read.lesion, drawn.images["OT"])
    np.testing.assert_allclose(read.affine, drawn.affine)
    np.testing.assert_allclose(read.spacing, twin2024.SPACING)


def test_an_outline_or_a_map_in_another_space_is_refused(tmp_path):
    scan, drawn = written(tmp_path), twin2024.head(1)
    twin2024.save(scan.files["OT"], drawn.images["OT"][:40], drawn.affine)
    with pytest.raises(CaseError, match=r"lesion-msk.* has shape .*, the CT .*another space; resample it"):
        slabs.read_volumes(scan)
    moved = drawn.affine.copy()
    moved[2, 3] += 30
    twin2024.save(scan.files["OT"], drawn.images["OT"], moved)
    with pytest.raises(CaseError, match=r"lesion-msk.* lies up to 30 mm away from the CT"):
        slabs.read_volumes(scan)
    twin2024.save(scan.files["OT"], drawn.images["OT"], moved, "RAS")  # likewise where axes differ, too
    with pytest.raises(CaseError, match=r"cannot read .*lesion-msk.* up to 30 mm away"):
        slabs.read_volumes(scan)


def test_damaged_files_and_outlines_that_are_none_are_refused(tmp_path):
    scan, drawn = written(tmp_path), twin2024.head(1)
    twin2024.save(scan.files["OT"], drawn.images["OT"] * 3, drawn.affine)
    with pytest.raises(CaseError, match="values other than 0 and 1"):
        slabs.read_volumes(scan)
    content = scan.files["MTT"].read_bytes()
    scan.files["MTT"].write_bytes(content[: len(content) // 2])
    with pytest.raises(CaseError, match=r"case_1: cannot read .*mtt\.nii\.gz"):
        slabs.read_volumes(scan)


def test_a_ct_that_does_not_tell_left_from_right_is_refused(tmp_path):
    scan = written(tmp_path)
    image = nib.load(scan.files["CT"])
    array = np.asanyarray(image.dataobj)
    plain = nib.Nifti1Image(array, None)
    plain.header["pixdim"][1:4] = twin2024.SPACING
    plain.to_filename(scan.files["CT"])
    with pytest.raises(CaseError, match="does not say where its axes point"):
        slabs.read_volumes(scan)


def test_what_is_written_is_read_as_isles_2024_and_can_be_preprocessed(tmp_path):
    scan = written(tmp_path, 7, "description")
    slab = slabs.make_slab(slabs.read_volumes(scan))
    folder = slabs.write_slab(tmp_path / "TRAINING" / "case_7", slab, {"row": 1})
    assert slabs.read_record(folder) == {"row": 1}
    (found,) = cases.find_cases(tmp_path, "TRAINING", source="isles2024")
    assert (found.number, found.patient, found.slab) == (7, "sub-stroke0007", "A")
    assert cases.splits_there(tmp_path, "isles2024") == ("TRAINING",)
    assert {folder / "ct.nii.gz", folder / "slab.json"} <= {*cases.files_of(tmp_path, "isles2024")}
    assert {directions(path) for path in found.files.values()} == {"RAS"}
    case = cases.load_case(found)
    assert case.modalities == ISLES and case.images.shape == (5, *slab.lesion.shape)
    np.testing.assert_array_equal(case.image("MTT"), slab.images["MTT"])
    # Stored without the factor 10 of ISLES 2018, which the reader sees from the values.
    np.testing.assert_allclose(case.image("CBF"), 10 * slab.images["CBF"], rtol=1e-6)
    assert [remark.split(" is stored")[0] for remark in case.remarks] == ["CBF", "CBV"]
    np.testing.assert_allclose(case.spacing, slab.spacing)
    assert case.lesion.sum() > 0 and np.array_equal(case.lesion, slab.lesion)
    p = preprocess.preprocess_case(case, device="cpu")
    assert p.images.shape[0] == 10 and (p.lesion & p.mask).sum() > 0.9 * p.lesion.sum()


def test_left_stays_left(tmp_path):
    """The outline is on the side of the twin's head where it was drawn, after files with x to the left were read."""
    given = volumes()
    slab = slabs.make_slab(slabs.read_volumes(written(tmp_path)))
    middles = []
    for mask, affine in ((given.lesion, given.affine), (slab.lesion, slab.affine)):
        middles.append((affine @ [*np.argwhere(mask).mean(0), 1])[:3])
    np.testing.assert_allclose(middles[0], middles[1], atol=1.0)  # mm
    to_the_right = middles[0][0] - (given.affine @ [31.5, 0, 0, 1])[0]
    assert abs(to_the_right) > 10 and np.sign(np.argwhere(slab.lesion).mean(0)[0] - 127.5) == np.sign(to_the_right)


def test_a_slab_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    slab, folder = slabs.make_slab(volumes()), tmp_path / "TRAINING" / "case_1"
    slabs.write_slab(folder, slab, {"try": 1})
    save = nib.Nifti1Image.to_filename

    def full(image, path, **kwargs):
        if "tmax" in str(path):
            raise OSError(28, "No space left on device")
        save(image, path, **kwargs)

    monkeypatch.setattr(nib.Nifti1Image, "to_filename", full)
    with pytest.raises(OSError, match="make room on the disk"):
        slabs.write_slab(folder, slab, {"try": 2})
    with pytest.raises(OSError, match="make room on the disk"):
        slabs.write_slab(folder.with_name("case_2"), slab, {"try": 2})
    assert [path.name for path in folder.parent.iterdir()] == ["case_1"]
    assert slabs.read_record(folder) == {"try": 1} and len(list(folder.iterdir())) == 7
    monkeypatch.setattr(nib.Nifti1Image, "to_filename", save)
    slabs.write_slab(folder, slab, {"try": 3})
    assert slabs.read_record(folder) == {"try": 3} and len(list(folder.iterdir())) == 7


def test_a_record_that_is_none_is_no_record(tmp_path):
    assert slabs.read_record(tmp_path / "nowhere") == {}
    for content in (b"{", b"[1]", gzip.compress(b"{}")):
        (tmp_path / "slab.json").write_bytes(content)
        assert slabs.read_record(tmp_path) == {}
