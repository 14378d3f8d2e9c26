import dataclasses
import re
import shutil

import nibabel as nib
import numpy as np
import own_scans
import pytest
from own_scans import coarser, finer, images, part, phantom, place, save, tilted, turned, write
from scipy import ndimage

from strokelib import cases, preprocess
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import arrival, kinds

TWENTY_FOUR = "sub-stroke0007_ses-01_space-ncct_"
BEYOND = {"CT": 0.93, "MTT": 0.9}  # least correlations, where the noise of single voxels was averaged; 0.95 of others


def other_axes(name, image, affine):
    return *turned(image, affine, "RPI" if name == "CT" else "RAS"), f"{name}_map" if name != "CT" else "NCCT"


def coronal(name, image, affine):
    return *turned(image, affine, "RSP"), name


def fine(name, image, affine):
    """As a CT of 512 x 512 thin slices and maps in a matrix of 512, times in milliseconds."""
    image, affine = finer(image, affine, (2, 2, 2))
    return (1000 * image.astype(np.float32) if name in ("MTT", "Tmax") else image), affine, f"scan_{name}"


def coarse(name, image, affine):
    image, affine = coarser(image, affine, (2, 2, 1))
    return image.astype(np.float32), affine, f"{name}-128"


def two_sizes(name, image, affine):
    """Maps of half the resolution, with other axes, and a CT of thin slices."""
    if name == "CT":
        return *finer(image, affine, (1, 1, 4)), "brain_ct"
    image, affine = turned(*coarser(image, affine, (2, 2, 1)), "RAS")
    return image.astype(np.float32), affine, f"brain_{name}"


def other_units(name, image, affine):
    factor = {"CBF": 0.1, "CBV": 0.1, "MTT": 10, "Tmax": 1000}.get(name, 1)
    return image.astype(np.float32) * np.float32(factor), affine, f"patient.{name}"


def filled(name, image, affine):
    image = image.astype(np.float32)
    mark = {"CBF": np.nan, "CBV": -1, "MTT": -1024, "Tmax": np.nan}.get(name)
    return (image if mark is None else np.where(images()["CBV"] == 0, np.float32(mark), image)), affine, name


def narrow(name, image, affine):
    """A field cut to the head, maps of fewer slices than the CT."""
    end = (240, 250, 4 if name == "CT" else 3)
    return *part(image, affine, (20, 2, 0 if name == "CT" else 1), end), name.lower()


def oblong(name, image, affine):
    """Voxels that are wider than high."""
    image, affine = coarser(image, affine, (2, 1, 1))
    return image.astype(np.float32), affine, f"{TWENTY_FOUR}{name.lower()}"


def tilted_other(name, image, affine):
    return *turned(image, affine, "LPS"), name


def thin_nested(name, image, affine):
    image, affine = turned(*finer(image, affine, (1, 1, 5)), "LPI")
    return image, affine, f"{name}/image_{name.lower()}"


OTHERS = {
    "other axes": (other_axes, place()), "coronal": (coronal, place()), "512 x 512": (fine, place()),
    "128 x 128": (coarse, place()), "two sizes": (two_sizes, place()), "other units": (other_units, place()),
    "filled": (filled, place()), "narrow": (narrow, place()), "oblong": (oblong, place()),
    "tilted": (tilted_other, tilted()), "thin": (thin_nested, place()),
}  # fmt: skip
REMARKS = {
    "other axes": "the CT has its axes to RPI", "coronal": "axes to RSP", "512 x 512": "in milliseconds",
    "128 x 128": "resampled to 0.89 mm", "two sizes": "another grid than the CT",
    "other units": "without the factor 10", "filled": "CBF, Tmax are NaN or padding in",
    "narrow": "2 of 4 slices are left out", "oblong": "1.8 x 0.9 mm in plane",
    "tilted": "axes to LPS", "thin": "20 slices of 1 mm: averaged into 4 slabs of 5 mm",
}  # fmt: skip


def expected(scan, name, affine, order):
    """Bring the phantom's image onto the scan's grid by another way, that of scipy."""
    onto = np.linalg.inv(affine) @ scan.grid.affine @ np.linalg.inv(scan.grid.onto)
    image = images()[name].astype(np.float32)
    return ndimage.affine_transform(image, onto[:3, :3], onto[:3, 3], scan.grid.inner, order=order, mode="nearest")


@pytest.mark.parametrize("kind", OTHERS)
def test_scans_of_other_size_spacing_axes_and_units_arrive(tmp_path, kind):
    change, affine = OTHERS[kind]
    scan = arrival.read_folder(write(tmp_path / "Smith", change, affine))
    assert scan.name == "Smith" and scan.origin == "maps" and scan.reference.is_file()
    assert any(REMARKS[kind] in said for said in scan.remarks), scan.remarks
    assert scan.case.images.shape[1:] == scan.grid.inner and scan.case.lesion is None
    assert scan.grid.inner[:2] == (256, 256) and 0.78 < scan.case.spacing[0] < 1.09 and scan.case.spacing[2] >= 4
    assert nib.aff2axcodes(scan.grid.affine @ np.linalg.inv(scan.grid.onto)) == ("L", "A", "S")
    whole = expected(scan, "CBV", affine, 0) > 0
    brain = preprocess.brain_mask(scan.case.maps)
    assert 2 * (brain & whole).sum() / (brain.sum() + whole.sum()) > 0.97
    inside = ndimage.binary_erosion(brain & whole, np.ones((3, 3, 1)))
    exact = kind in ("other axes", "coronal", "filled", "tilted")
    for name in ISLES:
        found, true = scan.case.image(name)[inside], expected(scan, name, affine, 0 if exact else 1)[inside]
        assert np.array_equal(found, true) if exact else np.corrcoef(found, true)[0, 1] > BEYOND.get(name, 0.95), name
        assert np.median(found) == pytest.approx(np.median(true), rel=0.05)


def test_what_goes_back_lies_in_the_reference_image(tmp_path):
    """The core of the phantom, drawn on the networks' grid, comes back to where it is in somebody's own."""
    core = phantom().truth["core"] > 0
    scan = arrival.read_folder(write(tmp_path / "exact", other_axes))
    assert np.array_equal(scan.grid.back(core, order=0), turned(core, place(), "RPI")[0])
    own, affine = finer(core, place(), (2, 2, 2))
    scan = arrival.read_folder(write(tmp_path / "fine", fine))
    assert np.array_equal(scan.grid.back(core, order=0), own)
    assert np.allclose(affine, scan.grid.affine, atol=1e-4)


def test_a_scan_as_isles_2018_has_it_is_read_as_from_the_data_set(tmp_path):
    """Same files, same bits: only the CT's air, which both readers leave as it is."""
    for number, (name, image) in enumerate(images().items(), start=900001):
        save(tmp_path / f"case_1/SMIR.Brain.XX.O.{'' if name == 'CT' else 'CT_'}{name}.{number}.nii", image)
    scan = arrival.read_folder(tmp_path / "case_1")
    files = cases.CaseFiles(1, "x", "A", tmp_path, kinds.find_files(tmp_path / "case_1")[0], {})
    case = cases.load_case(files)
    assert np.array_equal(scan.case.images, case.images) and np.array_equal(scan.case.spacing, case.spacing)
    assert np.array_equal(scan.grid.onto, np.eye(4)) and "unknown" in scan.remarks[0]


def test_names_decide_over_file_names(tmp_path):
    write(tmp_path)
    (tmp_path / "cbf.nii").rename(tmp_path / "flow.nii")
    (tmp_path / "ct.nii").rename(tmp_path / "x1.nii")
    save(tmp_path / "old_ct.nii", images()["CT"][:, :, :2], place())
    (tmp_path / "link_to_mtt.nii").symlink_to(tmp_path / "mtt.nii")
    scan = arrival.read_folder(tmp_path, {"cbf": "flow.nii", "CT": "x1.nii"}, name="Doe")
    assert scan.reference == tmp_path / "x1.nii" and scan.name == "Doe" and scan.case.patient == "Doe"
    assert np.array_equal(scan.case.image("CBF"), images()["CBF"])


def missing(folder):
    (folder / "cbv.nii").unlink()


def twice(folder):
    save(folder / "left" / "MTT.nii", images()["MTT"], place())


def picture(folder):
    save(folder / "cbf.nii", images()["CBF"][:, :, 0], place())


def colors(folder):
    rgb = np.zeros(images()["CBF"].shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(rgb, place()).to_filename(folder / "cbf.nii")


def copy_of_another(folder):
    save(folder / "tmax.nii", images()["MTT"], place())


def time_to_peak(folder):
    """What Tmax is called by where it is not: 18 s from the first frame to the artery's peak go before it."""
    image = images()["Tmax"].astype(np.float32)
    save(folder / "tmax.nii", np.where(images()["CBV"] == 0, 0, image + 18), place())


def unit(folder):
    save(folder / "tmax.nii", images()["Tmax"].astype(np.float32) * 1e5, place())


def elsewhere(folder):
    save(folder / "tmax.nii", images()["Tmax"], place(origin=(115.0, -110.0, 400.0)))


def silent(folder):
    save(folder / "tmax.nii", images()["Tmax"][:128])


def body(folder):
    """A CT of water from edge to edge, twice as large as a head, with maps of all of it."""
    sides = (1.8, 1.8, 5.0)
    for name, image in images().items():
        flat = np.full(image.shape, 40, np.int16) if name == "CT" else np.where(image > 0, image, image.max() // 9 + 1)
        save(folder / f"{name.lower()}.nii", flat.astype(image.dtype), place(sides))


def raw_ct(folder):
    save(folder / "ct.nii", images()["CT"] + 1024, place())


def cut(folder):
    path = folder / "mtt.nii"
    path.write_bytes(path.read_bytes()[:-5000])


def zero(folder):
    save(folder / "cbv.nii", np.zeros_like(images()["CBV"]), place())


def overfull(folder):
    save(folder / "cbf.nii", images()["CBF"].astype(np.float32) + 50, place())


def nan_ct(folder):
    save(folder / "ct.nii", np.where(images()["CT"] == -1000, np.nan, images()["CT"]).astype(np.float32), place())


def many(folder):
    save(folder / "cbf.nii", np.stack([images()["CBF"]] * 3, -1), place())


def constant(folder):
    """A mask in place of Tmax: one value in the brain, and the rest of the times nowhere."""
    save(folder / "tmax.nii", np.where(images()["CBV"] > 0, np.float32(1.5), 0), place())


def flipped(folder):
    """By its header like the others, in truth upside down in plane."""
    save(folder / "ct.nii", np.roll(images()["CT"], (0, 120, 0), (0, 1, 2)), place())


BAD = {
    missing: r"has no CBV; it holds cbf.nii \(CBF\), ct.nii \(CT\), .*; expected a CT and CBF, .*: rename the files",
    twice: r"holds 2 images called MTT: .*MTT.nii, .*mtt.nii|holds 2 images called MTT: mtt.nii, left/MTT.nii",
    picture: r"cbf.nii \(it is 2-D \[256, 256\], a picture; expected a volume",
    colors: r"cbf.nii \(it holds colors, a picture of a map and no map",
    copy_of_another: r"MTT and Tmax hold the same values \(.*mtt.nii, .*tmax.nii\), expected two maps; name the right",
    time_to_peak: r"tmax.nii: a twentieth of the brain lies below .* % of the median .* is it the time to peak\?",
    constant: r"tmax.nii is 1.5 in most of its voxels, expected 0 outside the brain and times within",
    unit: r"tmax.nii has a median of .* in the brain, .* lies below .*: Tmax in no unit that is known .*in seconds",
    elsewhere: r"tmax.nii lies elsewhere than .*ct.nii by their headers: 0 % of what it shows",
    silent: r"tmax.nii has 128 x 256 x 4 voxels .* the header of Tmax does not say where it lies",
    body: r"cbf.nii is not of a head: what the CBF shows is 461 x 461 mm, expected 90 to 300",
    raw_ct: r"^Doe: CT has a median of 10.. in the brain, expected 0 to 100 HU; check its unit",
    cut: r"mtt.nii \(its header promises .* bytes, it holds",
    zero: r"cbv.nii is 0 everywhere, expected a CBV map",
    overfull: r"^Doe: CBF is negative, or not 0 where the CT shows no tissue",
    nan_ct: r"ct.nii holds NaN, expected HU everywhere",
    many: r"cbf.nii holds 3 images, expected one CBF \(x, y, slice\)",
    flipped: r"^Doe: .* is negative, or not 0 where the CT shows no tissue|^Doe: CT has a median of",
}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_scan_that_cannot_be_used_gets_one_clear_error(tmp_path, spoil):
    folder = write(tmp_path / "Doe")
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CaseError, match=BAD[spoil]) as caught:
        arrival.read_folder(folder)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value) and "case_0" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_none_or_names_that_are_none_are_refused(tmp_path):
    with pytest.raises(CaseError, match=r"nowhere is no folder; give the one that holds"):
        arrival.read_folder(tmp_path / "nowhere")
    with pytest.raises(CaseError, match=r"has no CT, no CBF, no CBV, no MTT, no Tmax; it holds no NIfTI file"):
        arrival.read_folder(tmp_path)
    with pytest.raises(CaseError, match=r"names holds 'flow', expected CT, CBF, CBV, MTT, Tmax, series"):
        arrival.read_folder(tmp_path, {"flow": "x.nii"})
    with pytest.raises(CaseError, match=r"there is no file .*x.nii \(CBF\), which was given in names; paths count"):
        arrival.read_folder(write(tmp_path / "some"), {"CBF": "x.nii"})


def with_series(folder, frames=None, affine=None, frame_s=1.0, **header):
    series, artery, vein = own_scans.with_vessels(frames)
    affine = place() if affine is None else affine
    save(folder / "ncct.nii", images()["CT"], affine)
    save(folder / "ctp.nii", series.astype(np.int16), affine, frame_s=frame_s, **header)
    return artery, vein


def test_a_series_becomes_maps_with_its_curves_and_the_warning(tmp_path):
    artery, vein = with_series(tmp_path, frame_s=1000.0, units=16)
    scan = arrival.read_folder(tmp_path)
    assert scan.origin == "series" and scan.curves is not None and scan.curves.times[1] == pytest.approx(1)
    assert any("229, 329 and 242 mL" in said for said in scan.remarks)
    assert np.abs(np.subtract(scan.curves.artery_place, artery)).max() <= 1
    assert np.abs(np.subtract(scan.curves.vein_place, vein)).max() <= 1
    inside = ndimage.binary_erosion((scan.case.image("CBF") > 0) & (images()["CBF"] > 0), np.ones((5, 5, 1)))
    for name, least in (("CBF", 0.8), ("CBV", 0.8), ("MTT", 0.8), ("Tmax", 0.8)):
        assert np.corrcoef(scan.case.image(name)[inside], images()[name][inside])[0, 1] > least


def short(folder):
    with_series(folder, frames=8)


def slow(folder):
    with_series(folder, frame_s=12.0)


def timeless(folder):
    with_series(folder, frame_s=0.0)


def still(folder):
    """One image, called a series."""
    with_series(folder, frames=12)
    save(folder / "ctp.nii", images()["CT"], place())


@pytest.mark.parametrize(
    ("write_bad", "words"),
    [
        (short, r"ctp.nii: the series has 8 frames, at least 10 are needed"),
        (slow, r"ctp.nii: the series has a frame every 12 s, expected 0.3 to 5; .*or give seconds_per_frame"),
        (timeless, r"the header of .*ctp.nii does not say how many seconds lie between frames; give seconds_per_frame"),
        (still, r"ctp.nii holds one image, expected a series"),
    ],
)
def test_a_series_that_cannot_be_used_gets_one_clear_error(tmp_path, write_bad, words):
    write_bad(tmp_path)
    with pytest.raises(CaseError, match=words):
        arrival.read_folder(tmp_path)


@pytest.mark.parametrize("empty", [[7], [7, 11]])
@pytest.mark.parametrize("rows", [256, 200])
def test_an_empty_frame_is_refused_by_its_number(tmp_path, rows, empty):
    """In a series that shows less than the CT, too, around which there is air on the networks' grid."""
    with_series(tmp_path)
    scanned = own_scans.with_vessels(None)[0].astype(np.int16)[:rows]
    scanned[..., empty] = -1024
    save(tmp_path / "ctp.nii", scanned, place(), frame_s=1.0)
    words = rf"ctp.nii: frame 8 of \d+ is -1024 everywhere \({len(empty)} such in all\), expected an image; export"
    with pytest.raises(CaseError, match=words):
        arrival.read_folder(tmp_path)


def test_one_empty_slice_of_a_frame_is_refused_and_one_of_all_frames_is_not(tmp_path):
    with_series(tmp_path)
    scanned = own_scans.with_vessels(None)[0].astype(np.int16)
    scanned[..., 3, :] = -1024
    save(tmp_path / "ctp.nii", scanned, place(), frame_s=1.0)
    assert arrival.read_folder(tmp_path).case.images.shape[3] == 4
    scanned[..., 1, 9] = -1024
    save(tmp_path / "ctp.nii", scanned, place(), frame_s=1.0)
    with pytest.raises(CaseError, match=r"ctp.nii: slice 2 of frame 10 is -1024 everywhere \(1 such in all\)"):
        arrival.read_folder(tmp_path)


def test_fewer_maps_than_four_beside_a_series_are_not_read_and_it_is_said(tmp_path):
    with_series(tmp_path, frames=12)
    save(tmp_path / "cbf.nii", images()["CBF"], place())
    files, said = kinds.find_files(tmp_path)
    assert sorted(files) == ["CT", "series"]
    assert said == ["there is no CBV, no MTT, no Tmax: all maps were made of the raw series, CBF not read"]


def test_cbv_and_mtt_that_look_exchanged_are_asked_about(tmp_path):
    assert not any("CBV without its factor" in remark for remark in arrival.read_folder(write(tmp_path / "a")).remarks)
    exchanged = {"CBV": "MTT", "MTT": "CBV"}
    said = arrival.read_folder(write(tmp_path / "b", lambda name, image, affine: (
        images()[exchanged.get(name, name)], affine, name.lower()))).remarks
    assert any(remark.endswith("are the two exchanged?") and remark.startswith("CBV without") for remark in said)


def test_maps_of_eight_bits_without_a_slope_are_pictures(tmp_path):
    scan = write(tmp_path)
    small = np.clip(images()["Tmax"] * 10, 0, 255)
    save(scan / "tmax.nii", small.astype(np.uint8), place())
    with pytest.raises(CaseError, match=r"tmax.nii holds 8 bits a voxel and no slope, a picture and no map of values"):
        arrival.read_folder(scan)


def test_seconds_for_a_scan_that_has_maps_are_remarked_upon(tmp_path):
    scan = arrival.read_folder(write(tmp_path), seconds_per_frame=2.0)
    assert "no series is read that 2 s a frame, as given, could be of" in scan.remarks


def test_seconds_can_be_given_and_milliseconds_without_a_unit_are_told(tmp_path, monkeypatch):
    seen = []

    def stop(series, head, spacing, frame_s, *how):
        seen.append(frame_s)
        raise CaseError("seen")

    monkeypatch.setattr(arrival.series, "maps_of_series", stop)
    with_series(tmp_path, frames=12, frame_s=1500.0, units=0)
    for seconds in (None, 2.5):
        with pytest.raises(CaseError, match="seen"):
            arrival.read_folder(tmp_path, seconds_per_frame=seconds)
    assert seen == [1.5, 2.5]


def test_what_was_read_can_be_preprocessed(tmp_path):
    scan = arrival.read_folder(write(tmp_path, two_sizes))
    ready = preprocess.preprocess_case(scan.case)
    assert ready.images.shape == (10, *scan.grid.inner) and np.isfinite(ready.images).all()
    assert dataclasses.replace(scan.case, number=3).remarks == scan.remarks


def test_a_series_that_holds_nothing_of_some_brain_says_so(tmp_path):
    with_series(tmp_path)
    assert not any("holds no tissue" in said for said in arrival.read_folder(tmp_path).remarks)
    series = own_scans.with_vessels()[0].astype(np.int16)
    series[100:120, 140:160] = -1024
    save(tmp_path / "ctp.nii", series, place(), frame_s=1.0)
    said = [said for said in arrival.read_folder(tmp_path).remarks if "the series holds no tissue in" in said]
    told = float(said[0].partition("no tissue in ")[2].split()[0])
    assert told == pytest.approx(20 * 20 * 4 * 0.9 * 0.9 * 5 / 1000, rel=0.1), "in mL of the CT's brain"
    save(tmp_path / "ctp.nii", np.where(series == -1024, 0, series), place(), frame_s=1.0)
    again = [said for said in arrival.read_folder(tmp_path).remarks if "the series holds no tissue in" in said]
    assert again == said, "0 in all frames is a filling as well"


def test_a_series_cut_at_its_begin_or_turned_round_is_told_or_refused(tmp_path):
    with_series(tmp_path)
    series = own_scans.with_vessels()[0].astype(np.int16)
    save(tmp_path / "ctp.nii", series[..., 12:], place(), frame_s=1.0)
    said = arrival.read_folder(tmp_path).remarks
    assert len([remark for remark in said if "there is no baseline" in remark]) == 1
    assert not any("it has no baseline" in remark for remark in said), "once"
    save(tmp_path / "ctp.nii", series[..., ::-1], place(), frame_s=1.0)
    with pytest.raises(CaseError, match=r"ctp.nii: contrast is at .*in the last: time runs backwards, or the series"):
        arrival.read_folder(tmp_path)


def test_a_map_that_is_mirrored_against_the_others_is_named(tmp_path):
    def change(name, image, affine):
        return (image[::-1] if name == "Tmax" else image), affine, name

    assert not any("fits the other maps" in said for said in arrival.read_folder(write(tmp_path / "as it is")).remarks)
    said = arrival.read_folder(write(tmp_path / "mirrored", change)).remarks
    (named,) = [remark for remark in said if "fits the other maps" in remark]
    assert named.startswith("Tmax fits the other maps better with left and right exchanged (Dice ")


@pytest.mark.parametrize("kind", ["maps", "series"])
def test_no_brain_is_cut_off_where_a_headrest_moves_the_middle(tmp_path, kind):
    """The field is twice as wide as the networks see; a slab behind the head took the grid with it."""
    whole = arrival.read_folder(write(tmp_path / "usual") if kind == "maps" else usual_series(tmp_path / "usual"))
    affine = place(origin=(115.0 + 128 * 0.9, -110.0 - 128 * 0.9, 20.0))
    folder = tmp_path / "wide"
    save(folder / "ct.nii", own_scans.on_headrest(images()["CT"]), affine)
    if kind == "maps":
        for name in kinds.MAPS:
            save(folder / f"{name}.nii", own_scans.wide(images()[name])[0], affine)
    else:
        save(folder / "ctp.nii", own_scans.with_vessels()[0].astype(np.int16), place(), frame_s=1.0)
    scan = arrival.read_folder(folder)
    sizes = [np.count_nonzero(preprocess.brain_mask(found.case.maps)) for found in (scan, whole)]
    assert sizes[0] == sizes[1] if kind == "maps" else sizes[0] == pytest.approx(sizes[1], rel=0.01)
    assert not any("lie beyond the field" in said for said in scan.remarks)


def usual_series(folder):
    with_series(folder)
    return folder


def test_options_are_told_with_the_whole_command(tmp_path):
    """make segment knows the folder and the mode alone."""
    write(tmp_path / "twice")
    twice(tmp_path / "twice")
    with pytest.raises(CaseError, match=re.escape(f"command: {kinds.COMMAND} --files MTT=...")):
        arrival.read_folder(tmp_path / "twice")
    for name, write_bad in (("slow", slow), ("timeless", timeless)):
        write_bad(tmp_path / name)
        with pytest.raises(CaseError, match=r"tools/segment\.py FOLDER --seconds-per-frame 1\.5\)"):
            arrival.read_folder(tmp_path / name)


def test_headers_in_doubt_about_left_and_right_are_remarked(tmp_path):
    write(tmp_path)
    image = nib.load(tmp_path / "ct.nii")
    image.header.set_qform(np.diag([-1.0, 1, 1, 1]) @ place(), 1)
    nib.Nifti1Image(np.asanyarray(image.dataobj).copy(), None, image.header).to_filename(tmp_path / "ct.nii")
    said = arrival.read_folder(tmp_path).remarks
    assert "CT: sform says LAS, qform RAS: the sform was taken; which side is left is uncertain" in said


@pytest.mark.parametrize("degrees", [10, 20, 24])
@pytest.mark.parametrize("axes", ["LAS", "RPI", "ASL"])
def test_sheared_slices_count_by_how_far_they_lie_apart(tmp_path, degrees, axes):
    """As programs write a tilted gantry: slices of 5 mm, whose axis is 5.1 to 5.5 mm long."""
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.deg2rad(degrees))

    def change(name, image, affine):
        return *turned(image, shear @ affine, axes), name.lower()

    scan = arrival.read_folder(write(tmp_path / "sheared", change))
    straight = arrival.read_folder(write(tmp_path / "straight"))
    assert scan.case.spacing.tolist() == pytest.approx([0.9, 0.9, 5.0])
    np.testing.assert_array_equal(scan.case.images, straight.case.images)
    (said,) = [remark for remark in scan.remarks if "shears" in remark]
    assert said.startswith(f"CT, CBF, CBV, MTT, Tmax: its header shears the slices by {degrees} degrees")
    voxel_ml = abs(np.linalg.det(scan.grid.affine[:3, :3])) / 1000
    assert voxel_ml == pytest.approx(np.prod(scan.case.spacing) / 1000), "mL by the header are those by the spacing"


def test_a_straight_ct_with_sheared_maps_and_the_other_way_round(tmp_path):
    shear = np.eye(4)
    shear[1, 2] = np.tan(np.deg2rad(20))
    late = {}
    for sheared in ("CT", "maps"):
        def change(name, image, affine, sheared=sheared):
            return image, (shear @ affine if (name == "CT") == (sheared == "CT") else affine), name.lower()

        scan = arrival.read_folder(write(tmp_path / sheared, change))
        late[sheared] = (scan.case.image("Tmax") > 6).sum() * np.prod(scan.case.spacing) / 1000
    assert late["CT"] == pytest.approx(late["maps"], rel=0.03) == pytest.approx(103.4, rel=0.1)


def test_sform_and_qform_that_lie_far_from_each_other_are_remarked(tmp_path):
    folder = write(tmp_path / "a")
    image = nib.load(folder / "cbf.nii")
    other = image.affine.copy()
    other[1, 3] += 30
    changed = nib.Nifti1Image(np.asarray(image.dataobj).copy(), image.affine, image.header)
    changed.set_sform(image.affine, 1)
    changed.set_qform(other, 1)
    nib.save(changed, tmp_path / "cbf.nii")
    shutil.move(tmp_path / "cbf.nii", folder / "cbf.nii")
    said = " ".join(arrival.read_folder(folder).remarks)
    assert "CBF: sform and qform put it up to 30 mm apart: the sform was taken" in said
