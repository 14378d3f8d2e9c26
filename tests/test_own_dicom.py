"""DICOM made from one synthetic scan goes through and comes out as it was; what cannot be used is refused by name."""

import shutil
import subprocess

import dicom_made
import nibabel as nib
import numpy as np
import pytest

from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import dicom, dicom_files, dicom_volume, segmentation_object
from strokelib.phantom.scan import make_case
from strokelib.run.settings import load_settings

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
SLOPES = {"CT": 1.0, "CBF": 0.1, "CBV": 0.01, "MTT": 0.005, "Tmax": 0.005}
WORDS = {"CT": "Head  native 5.0", "CBF": "NeuroPCT CBF", "CBV": "NeuroPCT CBV", "MTT": "Mean transit time",
         "Tmax": "CTP TMAX"}  # fmt: skip
MAP = ("DERIVED", "PRIMARY", "AXIAL")


@pytest.fixture(scope="module")
def scan():
    """One scan of the phantom, its images as floats by modality and its affine: axes to the left, back and up."""
    made = make_case(load_settings("demo").cohort, "TRAINING", 1)
    images = {name: made.images[name if name == "CT" else f"CT_{name}"][..., :4].astype(np.float32) for name in ISLES}
    return images, placed(made.spacing)


def placed(spacing, angles=(0.0, 0.0)):
    """Place a grid whose axes point left, back and up, and are then turned by two angles (degrees)."""
    a, b = np.radians(angles)
    turned = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turned = turned @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag([-spacing[0], -spacing[1], spacing[2]])
    affine[:3, 3] = 118.5, 131.25, -20.5
    return affine


def write_scan(folder, images, affine, but=()):
    """Write a scan as an archive exports it: a folder a series, and a file that is none of an image."""
    for name in [name for name in images if name not in but]:
        dicom_made.write(
            folder / f"S{len(name)}{name[:1]}{name[-1:]}" / "IMG", images[name], affine, WORDS[name],
            kind=("ORIGINAL", "PRIMARY", "AXIAL") if name == "CT" else MAP, slope=SLOPES[name],
            intercept=-1024.0 if name == "CT" else 0.0,
        )  # fmt: skip
    (folder / "README.TXT").write_text("exported")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return folder


@pytest.fixture(scope="module")
def whole(scan, tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp("export"), *scan)


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "scan")


def ball(slices=4, frames=None, side=24):
    """Draw a small image that is the same nowhere, or a series of it."""
    i, j, k = np.meshgrid(np.arange(side), np.arange(side), np.arange(slices), indexing="ij")
    image = (100 * (np.hypot(i - 9, j - 13) < 8) + i + 2 * j + 5 * k).astype(np.float32)
    return image if frames is None else image[..., None] + 10 * np.arange(frames, dtype=np.float32)


AFFINE = placed((0.9, 0.8, 5.0))


def small(folder, names=ISLES, **changes):
    """Write a scan of small images, changed by function of the dataset where one is named for a modality."""
    for name in names:
        dicom_made.write(folder / name, ball(), AFFINE, WORDS[name], change=changes.get(name))
    return folder


def test_a_scan_goes_through_and_comes_out_as_it_was(scan, whole):
    images, affine = scan
    volumes = dicom.series_of(whole)
    assert list(volumes) == list(ISLES)
    for name, volume in volumes.items():
        assert volume.array.dtype == np.float32 and volume.array.shape == (256, 256, 4) and volume.seconds is None
        assert np.abs(volume.array - images[name]).max() <= SLOPES[name] / 2 + 1e-4
        assert np.abs(volume.affine - affine).max() < 1e-5
        assert [pydicom.dcmread(path).InstanceNumber for path in volume.files] == [1, 2, 3, 4]


def test_a_scan_of_ones_own_lies_on_the_networks_grid_and_knows_the_way_back(scan, whole):
    images, affine = scan
    own = dicom.read_dicom(whole, "P1")
    assert (own.name, own.origin, own.reference, own.curves) == ("P1", "maps", None, None)
    assert own.case.modalities == ISLES and own.case.head.shape == own.grid.inner == (256, 256, 4)
    assert np.allclose(own.case.spacing, [0.976562, 0.976562, 4.9997], atol=1e-4)
    assert np.array_equal(own.case.head, images["CT"][:, ::-1]), "axes to the left, front and up"
    assert np.array_equal(own.grid.back(own.case.head, order=0), images["CT"])
    assert len(own.slices) == 4 and np.allclose(own.grid.affine, affine, atol=1e-5)
    assert dicom_made.MARK not in repr(own)


def test_a_raw_series_becomes_a_scan_whose_core_lies_on_the_ct(tmp_path):
    """The CT has finer pixels than the networks' grid: a mask on that comes back onto the CT's own files."""
    pytest.importorskip("highdicom", reason="the extra dicom is not installed")
    made = make_case(load_settings("demo").cohort, "TRAINING", 1, keep_series=True)
    fine = np.repeat(np.repeat(made.images["CT"][..., :4], 2, axis=0), 2, axis=1)
    coarse, spacing = placed(made.spacing), np.array(made.spacing)
    finer = placed(spacing / [2, 2, 1])
    finer[:3, 3] += [spacing[0] / 4, spacing[1] / 4, 0]
    dicom_made.write(tmp_path / "in" / "ct", fine, finer, WORDS["CT"])
    dicom_made.write(tmp_path / "in" / "raw", made.series[..., :4, :], coarse, "CTP", slope=0.25)
    own = dicom.read_dicom(tmp_path / "in")
    assert own.origin == "series" and own.curves is not None and own.case.modalities == ISLES
    assert own.grid.shape == (512, 512, 4) and np.allclose(own.grid.affine, finer, atol=1e-4)
    core = np.zeros(own.grid.inner, bool)
    core[100:140, 90:120, 1:3] = True
    path = segmentation_object.write_segmentation(tmp_path / "core.dcm", own, core, "0.1.0")
    masks, affine = segmentation_object.read_segmentation(path)
    (mask,) = masks.values()
    assert mask.shape == (512, 512, 4) and np.allclose(affine, finer, atol=1e-4)
    volume = mask.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert np.isclose(volume, core.sum() * np.prod(own.case.spacing), rtol=0.05)
    assert np.array_equal(mask, own.grid.back(core, order=0))


def test_names_of_the_patient_are_not_even_read(whole):
    header = dicom_files.read_headers(whole)[0]
    assert dicom_made.MARK.encode() in header.path.read_bytes()
    told = " ".join(str(getattr(header, field)) for field in header.__dataclass_fields__)
    assert dicom_made.MARK not in told and "4711" not in told
    kept = {tag for tag in (*dicom_files._TAGS, *dicom_files._PIXELS) if "Patient" in tag}
    assert kept == {"ImagePositionPatient", "ImageOrientationPatient"}


@pytest.mark.parametrize("angles", [(0, 0), (12, -8), (90, 0), (0, 90)], ids=str)
def test_the_place_in_the_world_is_that_of_dcm2niix(tmp_path, angles):
    """Every voxel lies where that program says, whatever the order of its axes, and holds the same value."""
    dcm2niix = pytest.importorskip("dcm2niix", reason="the wheel dcm2niix is not installed")
    affine, array = placed((0.9, 0.8, 5.0), angles), ball(5)
    dicom_made.write(tmp_path / "in", array, affine, WORDS["CT"], slope=0.5, intercept=-1024)
    volume = dicom_volume.volume_of("CT", dicom_files.read_headers(tmp_path / "in"))
    assert np.abs(volume.affine - affine).max() < 1e-5 and np.array_equal(volume.array, array)
    image = converted(dcm2niix, tmp_path)
    theirs = np.asarray(image.dataobj)
    voxels = np.array([*np.ndindex(array.shape)])
    world = nib.affines.apply_affine(volume.affine, voxels)
    at = nib.affines.apply_affine(np.linalg.inv(image.affine), world)
    assert theirs.shape == array.shape and np.abs(at - at.round()).max() < 1e-3
    assert np.array_equal(theirs[tuple(at.round().astype(int).T)], volume.array[tuple(voxels.T)])


def test_the_whole_scan_is_where_dcm2niix_puts_it(scan, whole, tmp_path):
    dcm2niix = pytest.importorskip("dcm2niix", reason="the wheel dcm2niix is not installed")
    for name, volume in dicom.series_of(whole).items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "in").symlink_to(volume.files[0].parent)
        image = converted(dcm2niix, tmp_path / name)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.io_orientation(volume.affine))
        turned = image.as_reoriented(turn)
        assert np.abs(turned.affine - volume.affine).max() < 1e-3
        assert np.abs(np.asarray(turned.dataobj) - volume.array).max() < 1e-3


def test_a_series_has_the_times_that_dcm2niix_finds(tmp_path):
    dcm2niix = pytest.importorskip("dcm2niix", reason="the wheel dcm2niix is not installed")
    array = ball(3, 12)
    dicom_made.write(tmp_path / "in", array, AFFINE, "CTP", step=1.5)
    volume = dicom_volume.series_volume("CTP", dicom_files.read_headers(tmp_path / "in"))
    image = converted(dcm2niix, tmp_path)
    assert image.shape == array.shape == volume.array.shape
    assert np.allclose(np.diff(volume.seconds), image.header.get_zooms()[3])
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.io_orientation(volume.affine))
    assert np.array_equal(np.asarray(image.as_reoriented(turn).dataobj), volume.array)


def converted(dcm2niix, folder):
    (folder / "out").mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "it", "-o", str(folder / "out"), str(folder / "in")]
    told = subprocess.run(command, capture_output=True, text=True)
    (path,) = (folder / "out").glob("*.nii")
    assert told.returncode == 0, told.stdout
    return nib.load(path)


def test_a_raw_series_is_sorted_by_place_and_time(tmp_path):
    array = ball(3, 14)
    dicom_made.write(tmp_path / "ct", ball(6), AFFINE, WORDS["CT"])
    dicom_made.write(tmp_path / "raw", array, AFFINE, "Perfusion 4D", step=1.5, intercept=-1024)
    volumes = dicom.series_of(tmp_path)
    assert [*volumes] == ["CT", "series"]
    raw = volumes["series"]
    assert np.array_equal(raw.array, array) and np.allclose(raw.seconds, 1.5 * np.arange(14)) and not raw.remarks
    assert len(raw.files) == 3 and np.allclose(raw.affine, AFFINE, atol=1e-5)


def test_times_go_on_after_midnight_and_by_the_clock_that_tells_frames_apart(tmp_path):
    def late(dataset, k, t):
        dataset.AcquisitionTime = "235950"  # of the whole series
        dataset.ContentTime = dicom_made.clock(86390 + 1.25 * t)

    dicom_made.write(tmp_path, ball(3, 16), AFFINE, "CTP", change=late)
    volume = dicom_volume.series_volume("CTP", dicom_files.read_headers(tmp_path))
    assert np.allclose(volume.seconds, 1.25 * np.arange(16)) and np.array_equal(volume.array, ball(3, 16))


def test_full_seconds_are_even_enough(tmp_path):
    """Some archives cut times to full seconds: 0, 1, 3, 4 s is a series every 1.5 s."""

    def cut(dataset, k, t):
        dataset.AcquisitionTime = dicom_made.clock(36000 + 1.5 * t).partition(".")[0]

    dicom_made.write(tmp_path, ball(3, 20), AFFINE, "CTP", change=cut)
    volume = dicom_volume.series_volume("CTP", dicom_files.read_headers(tmp_path))
    assert volume.seconds[-1] == 28 and {*np.diff(volume.seconds)} == {1, 2}


def test_slices_that_were_taken_one_after_another_are_told(tmp_path):
    def moving(dataset, k, t):
        dataset.AcquisitionTime = dicom_made.clock(36000 + 2 * t + 0.5 * k)

    dicom_made.write(tmp_path, ball(4, 12), AFFINE, "CTP", change=moving)
    volume = dicom_volume.series_volume("CTP", dicom_files.read_headers(tmp_path))
    assert volume.remarks == ("slices of one frame were taken up to 1.5 s apart, and are taken as if at once",)


@pytest.mark.parametrize(("stored", "nothing"), [(-2000, np.nan), (0, 0)])
def test_padding_is_air_in_a_ct_and_no_value_in_a_map(tmp_path, stored, nothing):
    """Unless it is 0, which is a value of a map as well: no delay, no flow."""

    def padded(dataset, k, t):
        values = np.frombuffer(dataset.PixelData, "<i2").copy()
        values[:3] = stored
        dataset.PixelData, dataset.PixelPaddingValue = values.tobytes(), stored

    small(tmp_path, CT=padded, CBF=padded)
    volumes = dicom.series_of(tmp_path)
    for name, value in (("CT", -1024), ("CBF", nothing)):
        assert np.array_equal(volumes[name].array[:3, 0], np.full((3, 4), value, np.float32), equal_nan=True)
        assert stored == 0 or volumes[name].array[3, 0, 0] == ball()[3, 0, 0]


def test_what_was_compressed_with_loss_is_told(tmp_path):
    def lossy(dataset, k, t):
        dataset.LossyImageCompression = "01"

    volumes = dicom.series_of(small(tmp_path, MTT=lossy))
    assert volumes["MTT"].remarks == ('MTT (series "Mean transit time") was compressed with loss before it came here',)
    assert not volumes["CT"].remarks


def test_a_real_world_map_counts_where_nothing_is_rescaled(tmp_path):
    def mapped(dataset, k, t):
        item = pydicom.Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = 0.25, 1.0
        dataset.RealWorldValueMappingSequence = [item]
        del dataset.RescaleSlope, dataset.RescaleIntercept

    dicom_made.write(tmp_path, ball(), AFFINE, "CBF", change=mapped)
    volume = dicom_volume.volume_of("CBF", dicom_files.read_headers(tmp_path))
    assert np.array_equal(volume.array, ball() * 0.25 + 1)


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_number_counts_as_one_that_is_absent(tmp_path, empty):
    """It was refused as a compression."""

    def emptied(dataset, k, t):
        dataset.RescaleSlope = dataset.RescaleIntercept = dataset.GantryDetectorTilt = empty
        dataset.NumberOfFrames = dataset.TriggerTime = dataset.PixelPaddingValue = None
        dataset.PixelPaddingRangeLimit, dataset.RealWorldValueMappingSequence = None, []

    def padded(dataset, k, t):
        dataset.RescaleSlope, dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = empty, -2000, None

    small(tmp_path / "a", CT=emptied, CBF=padded)
    small(tmp_path / "b")
    read, expected = (dicom.series_of(tmp_path / name) for name in "ab")
    assert all(np.array_equal(read[name].array, expected[name].array) for name in ISLES)
    dicom_made.write(tmp_path / "c", ball(), AFFINE, "CT", intercept=-1024, change=padded)
    volume = dicom_volume.volume_of("CT", dicom_files.read_headers(tmp_path / "c"))
    assert np.array_equal(volume.array, ball()), "a slope alone is empty, the intercept counts"


def test_a_real_world_map_with_an_empty_intercept_is_read_and_with_an_empty_slope_refused(tmp_path):
    def mapped(slope):
        def change(dataset, k, t):
            item = pydicom.Dataset()
            item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, None
            dataset.RealWorldValueMappingSequence = [item]
            dataset.RescaleSlope = dataset.RescaleIntercept = None

        return change

    dicom_made.write(tmp_path / "a", ball(), AFFINE, "CBF", change=mapped(0.25))
    volume = dicom_volume.volume_of("CBF", dicom_files.read_headers(tmp_path / "a"))
    assert np.array_equal(volume.array, ball() * 0.25)
    refused(small(tmp_path / "b", CBF=mapped(None)), "what its values mean is not told; ask for an export with a slope")


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("RescaleSlope", 0, "it is rescaled with a slope of 0, which leaves no values"),
        ("RescaleSlope", [1, 1], "its RescaleSlope is '[1.0, 1.0]', expected one number"),
        ("RescaleIntercept", [0, 0], "its RescaleIntercept is '[0.0, 0.0]', expected one number"),
        ("BitsStored", None, "has no BitsStored, without which its values mean nothing"),
        ("PixelRepresentation", None, "has no PixelRepresentation, without"),
        ("SamplesPerPixel", None, "has no SamplesPerPixel, without"),
        ("PhotometricInterpretation", "", "has no PhotometricInterpretation, without"),
    ],
)
def test_a_header_that_does_not_say_what_values_mean_is_refused_for_that(tmp_path, keyword, value, words):
    def change(dataset, k, t):
        setattr(dataset, keyword, value)

    with pytest.raises(CaseError) as error:
        dicom.series_of(small(tmp_path, CBV=change))
    assert words in str(error.value) and "compress" not in str(error.value) and "CBV" in str(error.value)


def test_values_that_a_table_tells_are_refused_for_what_they_are(tmp_path):
    def mapped(dataset, k, t):
        item = pydicom.Dataset()
        item.RealWorldValueLUTData = [0.0, 1.0]
        dataset.RealWorldValueMappingSequence = [item]
        del dataset.RescaleSlope, dataset.RescaleIntercept

    dicom_made.write(tmp_path, ball(), AFFINE, "CBF", change=mapped)
    with pytest.raises(CaseError, match=r"told by a table \(RealWorldValueLUTData\); ask for an export with a slope"):
        dicom_volume.volume_of("CBF", dicom_files.read_headers(tmp_path))


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless"])
def test_what_pydicom_decodes_is_read(tmp_path, syntax):
    if syntax == "JPEGLSLossless":
        pytest.importorskip("jpeg_ls", reason="the extra dicom is not installed")

    def packed(dataset, k, t):
        dataset.compress(getattr(pydicom.uid, syntax))

    dicom_made.write(tmp_path, ball(), AFFINE, "CT", change=packed)
    assert np.array_equal(dicom_volume.volume_of("CT", dicom_files.read_headers(tmp_path)).array, ball())


def test_a_file_that_is_there_twice_and_one_without_preamble_are_no_matter(copy, scan):
    files = sorted(path for path in copy.rglob("*_0") if path.is_file())
    shutil.copy(files[0], copy / "again")
    files[1].write_bytes(files[1].read_bytes()[132:])
    dataset = pydicom.dcmread(files[2])
    dataset.file_meta, dataset.preamble = pydicom.dataset.FileMetaDataset(), None  # as files before 1993
    dataset.save_as(files[2], enforce_file_format=False, implicit_vr=True, little_endian=True)
    assert files[2].read_bytes()[:2] == b"\x08\0"
    volumes = dicom.series_of(copy)
    assert np.array_equal(volumes["CT"].array, scan[0]["CT"])


def test_images_that_share_a_number_are_all_read_and_those_there_twice_once(tmp_path):
    """Some programs that remove names give one SOPInstanceUID to all: the images vanished."""

    def shared(dataset, k, t):
        dataset.SOPInstanceUID = dicom_made.uid("one for all")

    small(tmp_path / "a", **dict.fromkeys(ISLES, shared))
    volumes = dicom.series_of(tmp_path / "a")
    assert all(np.array_equal(volumes[name].array, ball()) for name in ISLES)
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "again")
    assert np.array_equal(dicom.series_of(tmp_path / "a")["CT"].array, ball())
    raw(tmp_path / "b", change=shared)
    shutil.copytree(tmp_path / "b" / "raw", tmp_path / "b" / "again")
    assert np.array_equal(dicom.series_of(tmp_path / "b")["series"].array, ball(3, 20))

    def timeless(dataset, k, t):
        shared(dataset, k, t)
        del dataset.AcquisitionTime, dataset.ContentTime

    refused(raw(tmp_path / "c", change=timeless), "do not say when they were taken")


def test_a_number_of_an_image_that_is_none_is_no_matter(tmp_path):
    path = dicom_made.write(tmp_path, ball(1), AFFINE, "CT")[0]
    told, number = path.read_bytes(), b"\x20\x00\x13\x00IS\x02\x001 "  # InstanceNumber
    assert told.count(number) == 1
    path.write_bytes(told.replace(number, number[:-2] + b"a."))
    assert len(dicom_files.read_headers(tmp_path)) == 1


def test_localizers_reports_and_other_series_are_passed_over(tmp_path):
    def report(dataset, k, t):
        dataset.Modality = "SR"
        del dataset.PixelData, dataset.Rows, dataset.Columns

    small(tmp_path)
    dicom_made.write(tmp_path, ball(2), AFFINE, "Topogram", kind=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    dicom_made.write(tmp_path / "sr", ball(1), AFFINE, "Dose report", change=report)
    dicom_made.write(tmp_path / "a", ball(6), AFFINE, "CTA 0.75")
    dicom_made.write(tmp_path / "b", ball(1, 12), AFFINE, "Head bolus tracking")
    dicom_made.write(tmp_path / "c", ball(), AFFINE, "CBF color", change=dicom_made.in_color)
    assert [*dicom.series_of(tmp_path)] == [*ISLES]


def test_series_may_be_named_by_description_or_uid(tmp_path):
    odd = {"CT": "one", "CBF": "two", "CBV": "three", "MTT": "four", "Tmax": "five"}
    for n, (name, word) in enumerate(odd.items()):
        dicom_made.write(tmp_path / name, ball() + n, AFFINE, word)
    with pytest.raises(CaseError, match=r"CT: 5 series could be it, \"five\" \(4 images\), .* say which"):
        dicom.series_of(tmp_path)
    odd["CBF"], odd["MTT"] = dicom_made.uid("study", "two"), "FOUR"
    volumes = dicom.series_of(tmp_path, odd)
    assert all(np.array_equal(volumes[name].array, ball() + n) for n, name in enumerate(ISLES))
    with pytest.raises(CaseError, match="0 series are called 'six', expected one for CT"):
        dicom.series_of(tmp_path, odd | {"CT": "six"})
    with pytest.raises(CaseError, match="names holds 'CTA', expected CT, CBF, CBV, MTT, Tmax, series"):
        dicom.series_of(tmp_path, {"CTA": "one"})


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("NeuroPCT CBF", "CBF"),
        ("RAPID rCBF [mL/100g/min]", "CBF"),
        ("CT Perfusion 4D Blood Flow", "CBF"),
        ("perf_CBV_5.0", "CBV"),
        ("Cerebral Blood Volume", "CBV"),
        ("VPCT MTT", "MTT"),
        ("Mean Transit Time", "MTT"),
        ("T-Max", "Tmax"),
        ("RAPID TMax [s]", "Tmax"),
        ("Time to maximum", "Tmax"),
        ("CTP TMX", "Tmax"),
        ("CBF and CBV overview", ""),
        ("Head 5.0 H31s", "CT"),
    ],
)
def test_words_tell_what_a_series_is(tmp_path, words, name):
    dicom_made.write(tmp_path, ball(2, side=4), AFFINE, words)
    assert dicom._kind(dicom_files.read_headers(tmp_path)) == name


def test_the_native_ct_is_taken_where_others_are_there(tmp_path):
    small(tmp_path, ISLES[1:])
    dicom_made.write(tmp_path / "a", ball() + 1, AFFINE, "CT Head with contrast")
    dicom_made.write(tmp_path / "b", ball() + 2, AFFINE, "Head thin")
    assert dicom.series_of(tmp_path)["CT"].array[0, 0, 0] == 2
    dicom_made.write(tmp_path / "c", ball() + 4, AFFINE, "CT Head postcontrast")
    assert dicom.series_of(tmp_path)["CT"].array[0, 0, 0] == 2
    dicom_made.write(tmp_path / "d", ball() + 3, AFFINE, "Head non-contrast")
    assert dicom.series_of(tmp_path)["CT"].array[0, 0, 0] == 3


def test_of_native_cts_a_soft_kernel_is_taken_before_bone(tmp_path):
    small(tmp_path, ISLES[1:])
    dicom_made.write(tmp_path / "a", ball() + 1, AFFINE, "Head non-contrast BONE")
    assert dicom.series_of(tmp_path)["CT"].array[0, 0, 0] == 1
    dicom_made.write(tmp_path / "b", ball() + 2, AFFINE, "Head non-contrast")
    assert dicom.series_of(tmp_path)["CT"].array[0, 0, 0] == 2


def test_a_series_beside_maps_is_remarked_upon_as_of_nifti(tmp_path):
    small(tmp_path)
    dicom_made.write(tmp_path / "raw", ball(frames=12), AFFINE, "Perfusion 4D")
    assert dicom.series_of(tmp_path)["CT"].remarks == ("there are maps, so the raw series was not used",)
    shutil.rmtree(tmp_path / "Tmax")
    read = dicom.series_of(tmp_path)
    assert [*read] == ["CT", "series"]
    said = "there is no Tmax: all maps were made of the raw series, CBF, CBV, MTT not read"
    assert read["CT"].remarks == (said,)


def test_a_folder_of_links_is_read_and_a_circle_of_them_ends(tmp_path):
    small(tmp_path / "export")
    scan = tmp_path / "scan"
    scan.mkdir()
    for name in ISLES:
        (scan / name).symlink_to(tmp_path / "export" / name)
    (scan / "again").symlink_to(scan)
    assert [*dicom.series_of(scan)] == [*ISLES]


def test_frames_in_series_of_their_own_are_joined(tmp_path):
    array = ball(3, 12)
    for t in range(12):

        def later(dataset, k, _, t=t):
            dataset.AcquisitionTime = dicom_made.clock(36000 + 2 * t)

        dicom_made.write(tmp_path / f"{t}", array[..., t], AFFINE, f"CTP {11 - t}", change=later)
    dicom_made.write(tmp_path / "ct", ball(6), AFFINE, WORDS["CT"])
    for names in (None, {"series": "CTP 11"}):
        raw = dicom.series_of(tmp_path, names)["series"]
        assert np.array_equal(raw.array, array) and np.allclose(raw.seconds, 2 * np.arange(12))


def test_series_of_several_studies_are_taken_together_only_where_they_are_named(tmp_path):
    small(tmp_path, ISLES[1:])
    dicom_made.write(tmp_path, ball(), AFFINE, WORDS["CT"], study="another")
    refused(tmp_path, "CBF, CBV, MTT and Tmax and the CT come from several studies, perhaps of several patients")
    remarks = dicom.series_of(tmp_path, {"CT": WORDS["CT"]})["CT"].remarks
    assert [remark.partition("CT ")[2][:12] for remark in remarks] == ["come from se", "have differe"]


def test_a_file_is_known_to_be_dicom_without_any_package(tmp_path, monkeypatch):
    (tmp_path / "ct.nii").write_bytes(bytes(400))
    assert not dicom_files.is_dicom(tmp_path / "ct.nii")
    dicom_made.write(tmp_path / "a" / "b", ball(1), AFFINE, "CT")
    monkeypatch.setattr(dicom_files, "package", None)
    written = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert written and all(map(dicom_files.is_dicom, written))


@pytest.mark.parametrize(
    ("clock", "value", "seconds"),
    [
        ("AcquisitionTime", "101530.25", 36930.25),
        ("AcquisitionTime", "1015", 36900.0),
        ("ContentTime", "10:15:30", 36930.0),
        ("AcquisitionTime", "", None),
        ("AcquisitionTime", "soon", None),
        ("AcquisitionDateTime", "2018", None),
        ("TriggerTime", "1500", 1.5),
    ],
)
def test_times_are_read_as_dicom_writes_them(clock, value, seconds):
    assert dicom_files._seconds(clock, value) == seconds


def test_a_date_and_time_goes_on_after_midnight():
    before, after = (
        dicom_files._seconds("AcquisitionDateTime", f"{day}{time}+0100")
        for day, time in (("20180228", "235959.5"), ("20180301", "000001.0"))
    )
    assert after - before == 1.5


# What cannot be used, each kind by name and with what to ask for.


def refused(folder, *words):
    with pytest.raises(CaseError) as error:
        dicom.series_of(folder)
    for word in words:
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value) and dicom_made.MARK not in str(error.value)


def test_color_pictures_of_maps_are_refused(tmp_path):
    words = (
        'CBF (series "NeuroPCT CBF"): it holds pictures in color (RGB)',
        "parametric maps as 16-bit DICOM with rescale",
    )
    refused(small(tmp_path, CBF=dicom_made.in_color), *words)


def test_gray_pictures_of_maps_are_refused(tmp_path):
    def shaded(dataset, k, t):
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").clip(0, 255).astype(np.uint8).tobytes()
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0

    refused(small(tmp_path, Tmax=shaded), "Tmax", "8 bits a pixel, a picture", "16-bit DICOM with rescale")


def test_captures_without_a_place_are_refused(tmp_path):
    def captured(dataset, k, t):
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient

    refused(small(tmp_path, MTT=captured), "MTT", "do not say where in the patient they lie", "ImagePositionPatient")


def test_several_images_in_a_file_are_refused(tmp_path):
    def enhanced(dataset, k, t):
        dataset.SOPClassUID, dataset.NumberOfFrames = dicom_made.ENHANCED, 2
        dataset.PixelData = dataset.PixelData * 2

    refused(small(tmp_path, CT=enhanced), "multi-frame, such as Enhanced CT", "one image a file", "dcm2niix")


def test_a_tilted_gantry_is_refused_by_the_header_and_by_geometry(tmp_path):
    def told(dataset, k, t):
        dataset.GantryDetectorTilt = -17.5

    def sheared(dataset, k, t):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 5.0 * k * np.tan(np.radians(10)), z]

    refused(small(tmp_path / "a", CT=told), "CT", "tilted by 17.5 degrees by GantryDetectorTilt", "without tilt")
    refused(small(tmp_path / "b", CT=sheared), "CT", "tilted by 10.0 degrees by where its slices lie", "_Tilt")


def test_an_oblique_stack_that_is_straight_is_no_tilt(tmp_path):
    dicom_made.write(tmp_path, ball(), placed((1, 1, 4), (0, 20)), "CT")
    assert dicom_volume.volume_of("CT", dicom_files.read_headers(tmp_path)).array.shape == (24, 24, 4)


def gone(*places):
    return lambda dataset, k, t: k not in places


def at(*millimeters):
    def move(dataset, k, t):
        dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], millimeters[k]]

    return move


def test_a_missing_slice_is_named(tmp_path):
    dicom_made.write(tmp_path, ball(8), AFFINE, WORDS["CT"], change=gone(3))
    refused(small(tmp_path, ISLES[1:]), "CT", "slices are missing at -5.5 mm (steps of 5.0 mm)", "export")


def test_several_slabs_are_named_in_one_series_and_in_several(tmp_path):
    text = "-20.5 to -10.5 mm (3 slices); 29.5 to 39.5 mm (3 slices)"
    dicom_made.write(tmp_path / "a", ball(13), AFFINE, WORDS["CT"], change=gone(*range(3, 10)))
    refused(small(tmp_path / "a", ISLES[1:]), "CT", "it holds several slabs along its slices' normal", text, "own")
    small(tmp_path / "b")
    beyond = AFFINE + np.eye(4)[:, 2:3] * np.array([0, 0, 0, 60])
    dicom_made.write(tmp_path / "b", ball(), beyond, "slab 2 CBF")
    refused(tmp_path / "b", "CBF: 2 series hold a slab each, -20.5 to -5.5 mm; 39.5 to 54.5 mm", "one by one")


def test_uneven_slices_are_refused(tmp_path):
    small(tmp_path, CT=at(0, 5, 8, 14))
    refused(tmp_path, "CT", "uneven distances of 3.00 to 6.00 mm", "even distances")


def test_shifted_slices_are_refused(tmp_path):
    def shifted(dataset, k, t):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + 3 * (k == 1), y, z]

    refused(small(tmp_path, CT=shifted), "CT", "shifted by up to 3.0 mm against each other")


def test_mixed_sizes_directions_and_spacings_are_refused(tmp_path):
    def cropped(dataset, k, t):
        if k == 1:
            dataset.Rows, dataset.PixelData = 12, dataset.PixelData[: 24 * 12 * 2]

    def coronal(dataset, k, t):
        if k == 1:
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    def zoomed(dataset, k, t):
        if k == 1:
            dataset.PixelSpacing = [0.5, 0.5]

    refused(small(tmp_path / "a", CT=cropped), "several sizes (3 of 24 x 24, 1 of 24 x 12 pixels)")
    refused(small(tmp_path / "b", CT=coronal), "its images lie in several directions")
    refused(small(tmp_path / "c", CT=zoomed), "its images have several pixel spacings")


def test_two_reconstructions_in_one_series_are_refused(tmp_path):
    dicom_made.write(tmp_path, ball(4, 2), AFFINE, WORDS["CT"])
    refused(small(tmp_path, ISLES[1:]), "CT", "2 images lie at one position, expected one")


def raw(folder, **options):
    dicom_made.write(folder / "ct", ball(6), AFFINE, WORDS["CT"])
    dicom_made.write(folder / "raw", ball(3, 20), AFFINE, "CTP", **options)
    return folder


def test_uneven_times_are_refused(tmp_path):
    def slower(dataset, k, t):
        dataset.AcquisitionTime = dicom_made.clock(36000 + (t if t < 12 else 12 + 3 * (t - 12)))

    refused(
        raw(tmp_path, change=slower), 'series (series "CTP")', "uneven, 1.00 to 3.00 s between frames",
        "at one interval, or for the scanner's own maps",
    )  # fmt: skip


def two_clocks(made):
    """Write times as a scanner that cuts AcquisitionTime to full seconds; images are made at a pace of their own."""

    def change(dataset, k, t):
        dataset.AcquisitionTime = dicom_made.clock(36000.105 + 0.99 * t).partition(".")[0]
        dataset.ContentTime = dicom_made.clock(36100.4 + made * t)

    return change


def test_a_later_clock_counts_where_it_keeps_pace_with_one_that_was_cut(tmp_path):
    volume = dicom.series_of(raw(tmp_path, change=two_clocks(0.99)))["series"]
    assert np.allclose(volume.seconds, 0.99 * np.arange(20)) and np.array_equal(volume.array, ball(3, 20))


def test_a_later_clock_at_another_pace_is_refused(tmp_path):
    """It was taken without a word, and a series of 19 s became one of 10 s."""
    refused(
        raw(tmp_path, change=two_clocks(0.5)), 'series (series "CTP"): its clocks contradict each other',
        "18.0 s by AcquisitionTime and 9.5 s by ContentTime from the first frame to frame 20 of 20",
        "times in fractions of a second, or for the scanner's own maps",
    )  # fmt: skip


def test_images_of_no_series_are_refused_for_that(tmp_path):
    def of_none(dataset, k, t):
        del dataset.SeriesInstanceUID

    told = "has no SeriesInstanceUID (4 of 20 images here), expected one, by which images are known to belong together"
    path = min((small(tmp_path / "one", CT=of_none) / "CT").iterdir())
    refused(tmp_path / "one", str(path), told, "export the scan with it")
    refused(small(tmp_path / "all", **dict.fromkeys(ISLES, of_none)), "has no SeriesInstanceUID (20 of 20 images here)")


@pytest.mark.parametrize(
    ("image", "words"),
    [(0 * ball(), r'^CBV \(series "NeuroPCT CBV"\) is 0 everywhere, expected a CBV map'),
     (ball() + 1, r'^CBF and CBV hold the same .* \(CBF \(series "NeuroPCT CBF"\), CBV \(series "NeuroPCT CBV"\)\)')],
)  # fmt: skip
def test_what_is_wrong_with_a_map_is_told_of_its_series(tmp_path, image, words):
    """It was told of the folder that its files lie in."""
    for n, name in enumerate(ISLES):
        dicom_made.write(tmp_path / name, image if name == "CBV" else ball() + n, AFFINE, WORDS[name])
    with pytest.raises(CaseError, match=words):
        dicom.read_dicom(tmp_path)


def test_a_missing_frame_and_a_missing_image_are_refused(tmp_path):
    refused(raw(tmp_path / "a", change=lambda d, k, t: t != 9), "uneven", "the longest from 8.0 to 10.0 s")
    refused(
        raw(tmp_path / "b", change=lambda d, k, t: (k, t) != (1, 9)), "-15.5 mm has 19 images and most positions 20"
    )


def test_times_that_were_removed_are_asked_for(tmp_path):
    def nameless(dataset, k, t):
        del dataset.AcquisitionTime, dataset.ContentTime

    refused(raw(tmp_path, change=nameless), "do not say when they were taken", "AcquisitionTime kept")


def test_values_that_cannot_be_decoded_name_their_compression(tmp_path):
    def packed(dataset, k, t):
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9" * 8])
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1

    refused(small(tmp_path, CBV=packed), "cannot be decoded (JPEG Lossless", "Explicit VR Little Endian")


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = small(tmp_path) / "CT"
    path = sorted(path.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-200])
    whole = path.read_bytes()
    refused(tmp_path, path.name, "cannot be decoded", "cut short")
    for kept, why in ((400, "it ends before the size of its image"), (0, "it is empty")):
        path.write_bytes(whole[:kept])
        refused(tmp_path, path.name, f"its header cannot be read ({why}); copy the file again, or remove it")


def test_what_lacks_is_told_with_what_is_there(tmp_path):
    refused(tmp_path / "none", "is no folder")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("nothing")
    refused(tmp_path / "other", "holds no DICOM image of a CT scanner")
    words = "has no CBV and Tmax, no raw perfusion series to make them of", '"Head  native 5.0" (4 images)', "series"
    refused(small(tmp_path / "part", ("CT", "CBF", "MTT")), *words)
    told = "has no CT without contrast; it holds", "Add what lacks", "tools/segment.py FOLDER --files ...)"
    refused(small(tmp_path / "maps", ISLES[1:]), *told)


def test_a_ct_and_a_series_of_one_slice_are_told_as_such(tmp_path):
    small(tmp_path / "a", ISLES[1:])
    dicom_made.write(tmp_path / "a", ball(1), AFFINE, WORDS["CT"])
    told = '(4 images), of which "Head  native 5.0" cannot be the CT or the raw series: one slice, expected more. Add'
    refused(tmp_path / "a", "has no CT without contrast; it holds ", told)
    small(tmp_path / "b", ["CT"])
    dicom_made.write(tmp_path / "b" / "raw", ball(1, 12), AFFINE, "CTP")
    told = "has no CBF, CBV, MTT and Tmax, no raw perfusion series", 'of which "CTP" cannot be the CT or the raw series'
    refused(tmp_path / "b", *told)
    small(tmp_path / "c", ISLES[:4])
    dicom_made.write(tmp_path / "c", ball(1), AFFINE, WORDS["Tmax"])
    refused(tmp_path / "c", "Tmax", "it holds one slice, expected two or more; export the whole series")


def test_images_that_say_they_are_of_another_machine_are_counted_where_something_lacks(tmp_path):
    def foreign(dataset, k, t):
        dataset.Modality = "MR"

    small(tmp_path, ["CT"])
    for name in ISLES[1:]:
        dicom_made.write(tmp_path / name, ball(), AFFINE, WORDS[name], change=foreign)
    told = "passed over were images that say they are of no CT scanner (16 of Modality MR). Add what lacks"
    refused(tmp_path, "has no CBF, CBV, MTT and Tmax", told)


def test_two_that_could_be_one_map_are_not_guessed_at(tmp_path):
    small(tmp_path)
    dicom_made.write(tmp_path, ball(), AFFINE, "RAPID CBF")
    refused(tmp_path, "CBF: 2 series could be it", "leave one of them in the folder alone")


def test_without_pydicom_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_files.importlib, "import_module", lambda name: __import__("no_such_package"))
    refused(small(tmp_path), 'DICOM needs pydicom: pip install -e ".[dicom]"')
