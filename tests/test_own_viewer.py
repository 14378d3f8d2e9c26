"""The viewer: what it opens with, what a control changes, where it stays closed; volumes with true spacing."""

import base64

import nbformat
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from drawing import IMAGES, LESION, SLICES, closed  # noqa: F401
from nbclient import NotebookClient

from strokelib.own import viewer
from strokelib.run import notebook

SPACING = (0.9, 0.9, 12.0)
CORE = LESION.copy()
CORE[:, :, 0] = False
CORE[:, :, 2] &= np.arange(48)[:, None] < 14  # slice 1 holds most of it


def test_it_begins_with_the_slice_that_holds_most_of_the_core_or_the_middle_one():
    assert viewer._first(viewer._layers(IMAGES, CORE, None, SPACING, "")) == 1
    last = np.zeros_like(CORE)
    last[3, 3, 2] = True
    assert viewer._first(viewer._layers(IMAGES, last, None, SPACING, "")) == 2
    for none in (None, np.zeros_like(CORE)):
        assert viewer._first(viewer._layers(IMAGES, none, None, SPACING, "")) == SLICES // 2


def test_each_choice_gives_another_picture_and_the_same_one_the_same():
    shown = viewer._layers(IMAGES, CORE, 0.8 * CORE, SPACING, "")
    views = [("CT", 1), ("CT", 2), ("CBF", 1), ("CT", 1, 0.9), ("CT", 1, 0.5, False)]
    pictures = [viewer._png(shown, *view) for view in views]
    assert all(png.startswith(b"\x89PNG") and len(png) < 300_000 for png in pictures)
    assert len({*pictures}) == len(views) and viewer._png(shown, "CT", 1) == pictures[0]


def test_the_head_is_in_view_by_the_image_that_shows_it():
    shown = viewer._layers({"Tmax": 0 * IMAGES["Tmax"], "CT": IMAGES["CT"]}, None, None, SPACING, "")
    np.testing.assert_array_equal(shown.head, (IMAGES["CT"] != IMAGES["CT"][0, 0, 0]).any(axis=2))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({},), "no images; expected some of CT, CBF"),
        (({"T2": IMAGES["CT"]},), "unknown images T2; expected some of CT, CBF"),
        ((IMAGES, CORE[:, :, 1:]), r"expected volumes of one shape \(x, y, slice\), got CT .*, core \(48, 48, 2\)"),
        (({"CT": IMAGES["CT"][:, :, 0]},), r"expected volumes of one shape \(x, y, slice\), got CT \(48, 48\)"),
        ((IMAGES, None, None, (1.0, 1.0)), "expected a spacing of three lengths in mm, got "),
        ((IMAGES, None, None, (1.0, 0.0, 5.0)), "expected a spacing of three lengths in mm, got "),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name_in_a_batch_run_too(given, message):
    with pytest.raises(ValueError, match=message):
        viewer.show(*given)


CELL = """
import numpy as np
from strokelib.own import viewer
volume = np.zeros((8, 8, 2), np.float32)
volume[2:6, 2:6] = 30
viewer.show({"CT": volume}, volume > 0)
"""


def shown_in_a_kernel(monkeypatch, **surroundings):
    """Run a cell that ends with the viewer in a kernel that is told this; return what is shown, by kind."""
    for name in ("JPY_SESSION_NAME", "STROKELIB_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(book, kernel_name="python3").execute()
    (output,) = book.cells[0].outputs
    return output["data"], book


@pytest.mark.parametrize("surroundings", [{}, {"JPY_SESSION_NAME": "a.ipynb", "STROKELIB_NOTEBOOK": "b.ipynb"}])
def test_a_batch_run_holds_one_sentence_and_no_part_of_a_viewer(monkeypatch, surroundings):
    data, book = shown_in_a_kernel(monkeypatch, **surroundings)
    assert data["text/markdown"] == viewer.NOBODY
    assert not [kind for kind in data if "widget" in kind] and "widgets" not in book.metadata
    assert len(nbformat.writes(book)) < 2000


def test_in_jupyterlab_the_viewer_opens(monkeypatch):
    pytest.importorskip("ipywidgets")
    data, _ = shown_in_a_kernel(monkeypatch, JPY_SESSION_NAME="notebooks/a.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in data


def test_without_ipywidgets_one_sentence_says_what_installs_them(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    monkeypatch.setattr(viewer, "live", lambda: True)
    assert viewer.show(IMAGES).data == viewer.WITHOUT


def test_there_is_nobody_to_look_on_where_no_kernel_runs(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/a.ipynb")
    assert not notebook.live()
    assert viewer.show(IMAGES).data == viewer.NOBODY


def test_a_control_that_is_moved_draws_anew(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(viewer, "live", lambda: True)
    box = viewer.show(IMAGES, CORE, 0.8 * CORE, SPACING, "a scan")
    controls, picture = box.children
    image, place, opacity, outlined = controls.children
    assert (image.value, place.value, place.min, place.max) == ("CT", 2, 1, SLICES)
    shown = viewer._layers(IMAGES, CORE, 0.8 * CORE, SPACING, "a scan")
    assert picture.value == viewer._png(shown, "CT", 1)
    place.value = 3
    assert picture.value == viewer._png(shown, "CT", 2)
    image.value, opacity.value, outlined.value = "Tmax", 0.2, False
    assert picture.value == viewer._png(shown, "Tmax", 2, 0.2, False)


def test_there_is_no_control_for_what_is_not_there(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setattr(viewer, "live", lambda: True)
    one = {"CT": IMAGES["CT"][:, :, :1]}
    controls = viewer.show(one).children[0].children
    assert [control.description for control in controls] == ["image", "slice"]
    assert controls[1].disabled and controls[1].value == 1
    with_core = viewer.show(IMAGES, CORE).children[0].children
    assert [control.description for control in with_core] == ["image", "slice", "core outlined"]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_has_its_true_sides_in_affine_and_zooms_for_every_reader(tmp_path, name):
    volume = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    path = viewer.write_volume(tmp_path / name, volume, SPACING, (0, 80))
    image = nib.load(path)
    np.testing.assert_array_equal(image.get_fdata(), volume)
    for affine in (image.affine, image.get_qform(), image.get_sform()):
        np.testing.assert_allclose(affine, np.diag([*SPACING, 1]), rtol=1e-6)
    np.testing.assert_allclose(image.header.get_zooms(), SPACING, rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (float(image.header["cal_min"]), float(image.header["cal_max"])) == (0, 80)
    other = sitk.ReadImage(str(path))
    np.testing.assert_allclose(other.GetSpacing(), SPACING, rtol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other).T, volume)


def test_a_mask_is_written_as_whole_numbers_and_the_same_twice(tmp_path):
    first, second = (viewer.write_volume(tmp_path / n, CORE, SPACING) for n in ("a.nii.gz", "b.nii.gz"))
    assert nib.load(first).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(nib.load(first).dataobj), CORE)
    assert base64.b64encode(first.read_bytes()) == base64.b64encode(second.read_bytes())


@pytest.mark.parametrize(
    ("name", "array", "spacing", "message"),
    [
        ("a.mha", CORE, SPACING, "a.mha must end in .nii or .nii.gz"),
        ("a.nii", CORE[0], SPACING, r"a.nii: expected finite values \(x, y, slice\), got shape \(48, 3\), bool"),
        ("a.nii", np.full((2, 2, 2), np.nan), SPACING, "a.nii: expected finite values"),
        ("a.nii", CORE, (1, 1), "a.nii: expected a spacing of three lengths in mm"),
        ("a.nii", CORE, (1, 1, np.inf), "a.nii: expected a spacing of three lengths in mm"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, name, array, spacing, message):
    with pytest.raises(ValueError, match=message):
        viewer.write_volume(tmp_path / name, array, spacing)
    assert not [*tmp_path.iterdir()]
