"""Images as they are stored: marks of the background, lost spacings, pictures of maps."""

import numpy as np
import pytest
from own_scans import images, part, place, save, write

from strokelib.nifti import CaseError
from strokelib.own import arrival


def test_a_map_that_looks_like_a_picture_stored_anew_is_asked_about(tmp_path):
    scan = write(tmp_path)
    image = images()["CBF"].astype(np.float32)
    save(scan / "cbf.nii", np.round(255 * image / image.max()).astype(np.int16), place())
    (said,) = [remark for remark in arrival.read_folder(scan).remarks if "picture" in remark]
    assert said.startswith("CBF: whole numbers from 0 to 255, as a picture of a map has; if it is one")


def test_a_spacing_that_looks_lost_is_asked_about(tmp_path):
    """All is there, but every header says 1 mm: 20 slices of 5 mm are a head of 20 mm."""

    def lost(name, image, affine):
        return np.repeat(image, 5, axis=2), place((1.0, 1.0, 1.0)), name.lower()

    said = arrival.read_folder(write(tmp_path, lost)).remarks
    asked = [remark for remark in said if "was the spacing lost" in remark]
    assert len(asked) == 1 and asked[0].startswith("CT, CBF, CBV, MTT, Tmax: voxels of 1 x 1 x 1 mm in 20 slices")


def late(folder, mark, limit=10, names=("MTT", "Tmax")):
    """Write maps in which a program left out what is later than a limit, and the background with it."""

    def change(name, image, affine):
        gone = (images()["Tmax"] > limit) | (images()["CBV"] == 0) & (images()["CBF"] == 0)
        return np.where(gone & (name in names), np.float32(mark), image.astype(np.float32)), affine, name

    return write(folder, change)


@pytest.mark.parametrize("mark", [np.nan, -1])
def test_a_map_without_its_latest_tissue_is_refused_with_how_much_is_missing(tmp_path, mark):
    """It was taken for the outside of the brain, and the core became a third of what it is."""
    missing = np.count_nonzero((images()["Tmax"] > 10) & (images()["CBF"] > 0)) * 0.9 * 0.9 * 5 / 1000
    assert missing > 5
    what = "NaN or padding" if np.isnan(mark) else "-1"
    with pytest.raises(CaseError, match=rf"(mtt|MTT)\.nii is {what} in .* fill it in the perfusion program") as caught:
        arrival.read_folder(late(tmp_path / "Doe", mark))
    told = float(str(caught.value).partition(" mL of the brain, where CBF, CBV have values")[0].split()[-1])
    assert told == pytest.approx(missing, rel=0.05), "in mL"


def test_a_few_voxels_without_a_value_are_told_apart_from_the_outside(tmp_path):
    x, y, k = np.argwhere((images()["CBF"] > 0) & (images()["CBV"] > 0))[1000]
    outside = images()["CBV"] + images()["CBF"] == 0

    def change(name, image, affine):
        image = image.astype(np.float32)
        if name == "Tmax":
            image = np.where(outside, np.float32(np.nan), image)
            image[x, y, k] = np.nan
        return image, affine, name

    scan = arrival.read_folder(write(tmp_path / "few", change))
    (said,) = [remark for remark in scan.remarks if "taken for 0" in remark]
    assert said.endswith("% of the voxels, where no other map has values but for 0.004 mL: taken for 0"), "one voxel"
    assert scan.case.image("Tmax")[x, y, k] == 0


def test_a_filled_map_on_a_grid_of_its_own_is_not_said_to_be_filled_outside_the_brain(tmp_path):
    def change(name, image, affine):
        image = image.astype(np.float32)
        if name == "Tmax":
            image, affine = part(np.where(images()["CBV"] == 0, np.float32(np.nan), image), affine, (8, 8, 0),
                                 (248, 248, 4))  # fmt: skip
        return image, affine, name

    scan = arrival.read_folder(write(tmp_path, change))
    (said,) = [remark for remark in scan.remarks if "taken for 0" in remark]
    assert "no other map on its grid tells whether some of these lie in the brain" in said


def test_a_background_that_a_scale_misses_by_little_is_taken_for_0(tmp_path):
    def change(name, image, affine):
        image = image.astype(np.float32)
        return (image if name == "CT" else np.where(image == 0, np.float32(1e-6), image)), affine, name

    scan, usual = arrival.read_folder(write(tmp_path / "nearly", change)), arrival.read_folder(write(tmp_path / "at 0"))
    (said,) = [remark for remark in scan.remarks if "taken for 0" in remark and "CBF" in remark]
    assert "1e-06 in" in said
    assert all(np.array_equal(scan.case.image(name), usual.case.image(name)) for name in ("CBF", "CBV", "MTT"))


def test_spacing_that_was_lost_between_slices_alone_is_asked_about_and_told_where_images_lie_apart(tmp_path):
    def lost(name, image, affine):
        return image, place((0.9, 0.9, 1.0)), name.lower()

    said = arrival.read_folder(write(tmp_path / "all", lost)).remarks
    (asked,) = [remark for remark in said if "was the spacing lost" in remark]
    assert "voxels of 0.9 x 0.9 x 1 mm in 4 slices" in asked

    def some(name, image, affine):
        return image, affine if name == "CT" else np.diag([-1.0, 1.0, 1.0, 1.0]), name.lower()

    with pytest.raises(CaseError, match=r"lies elsewhere than .*; CBF, CBV, MTT, Tmax: voxels of 1 x 1 x 1 mm .* lost"):
        arrival.read_folder(write(tmp_path / "maps", some))
