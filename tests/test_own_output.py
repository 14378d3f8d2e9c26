"""What is left of a segmented scan: whole or not at all, in the grid of the input, without the name of its folder."""

import contextlib
import dataclasses
import gzip
import json
import os
import shutil
from importlib.metadata import PackageNotFoundError

import nibabel as nib
import numpy as np
import own_scans
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from strokelib.figures import report
from strokelib.nifti import CaseError
from strokelib.own import arrival, output, quantities, registry, segment
from strokelib.own.scan import DISCLAIMER
from strokelib.run.runtime import exchange

FILES = ["core.nii.gz", "probability.nii.gz", "registry.json", "report.pdf", "report.png", "uncertainty.nii.gz"]


@pytest.fixture(scope="module")
def networks():
    return segment.load_networks()


@pytest.fixture(scope="module")
def found(networks, tmp_path_factory):
    """A scan whose axes point to the right, back and down, and whose voxels are half as wide."""

    def change(name, image, affine):
        image, affine = own_scans.turned(image, affine, ("R", "P", "I"))
        return *own_scans.finer(image, affine, (2, 2, 1)), name.lower()

    folder = own_scans.write(tmp_path_factory.mktemp("of") / "Mrs_Miller", change, suffix=".nii.gz")
    scan = arrival.read_folder(folder, name="scan_7")
    return segment.segment(scan, segment.prepare(scan), networks)


@pytest.fixture(scope="module")
def saved(found, networks, tmp_path_factory):
    return output.save(found, networks, tmp_path_factory.mktemp("out"))


def test_all_files_are_there_and_nothing_else(saved):
    assert saved.name == "scan_7"
    assert [name for name, _ in output.listing(saved)] == FILES
    assert all(size > 0 for _, size in output.listing(saved))
    assert [path.name for path in saved.parent.iterdir()] == ["scan_7"]


def test_maps_lie_on_the_images_that_came_in(saved, found):
    came = nib.load(found.scan.reference)
    for name in output.MAPS:
        made = nib.load(saved / f"{name}.nii.gz")
        assert made.shape == came.shape == (512, 512, 4)
        np.testing.assert_allclose(made.affine, came.affine)
        np.testing.assert_allclose(made.header.get_zooms(), came.header.get_zooms())
    core = np.asanyarray(nib.load(saved / "core.nii.gz").dataobj)
    assert set(np.unique(core)) == {0, 1}, "the phantom's stroke is found"
    voxel = np.prod(came.header.get_zooms()[:3]) / 1000
    assert core.sum() * voxel == pytest.approx(found.volume_ml, rel=0.02)
    probability = np.asanyarray(nib.load(saved / "probability.nii.gz").dataobj)
    assert probability.min() >= 0 and probability.max() <= 1
    assert probability[core == 1].mean() > 2 * probability[core == 0].mean()


def test_the_core_lies_where_the_late_tissue_is_in_the_input_itself(saved, found):
    core = np.asanyarray(nib.load(saved / "core.nii.gz").dataobj) > 0
    tmax = np.asanyarray(nib.load(found.scan.reference.with_name("tmax.nii.gz")).dataobj)
    assert tmax[core].mean() > 1.5 * tmax[tmax > 0].mean()
    assert tmax[core[::-1]].mean() < tmax[core].mean(), "its mirror image does not"


def test_the_row_says_volume_interval_networks_and_disclaimer(saved, found, networks):
    row = json.loads((saved / output.REGISTRY).read_text())
    assert row["disclaimer"] == DISCLAIMER and row["scan"] == "scan_7"
    assert row["core_ml"] == pytest.approx(found.volume_ml, rel=1e-4)
    assert (row["core_low_ml"], row["core_high_ml"]) == pytest.approx(found.interval_ml, rel=1e-4, abs=1e-4)
    assert row["networks_sha256"].split() == list(networks.sha256)
    assert {*row["definitions"]} == {*quantities.TABLE}


def test_nothing_names_the_folder_that_the_scan_came_from(saved):
    for path in saved.iterdir():
        written = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert b"Miller" not in written, path.name


def test_neither_does_the_page(found, networks):
    page = output.draw(found, networks)
    assert [text.get_text() for text in page.findobj(Text) if "Miller" in text.get_text()] == []
    assert any("scan_7" in text.get_text() for text in page.findobj(Text))
    plt.close(page)


def test_a_second_run_leaves_the_same_bytes_and_replaces_the_first(found, networks, saved, tmp_path):
    first = {path.name: path.read_bytes() for path in output.save(found, networks, tmp_path).iterdir()}
    (tmp_path / "scan_7" / "core.nii.gz").unlink()
    second = {path.name: path.read_bytes() for path in output.save(found, networks, tmp_path).iterdir()}
    assert sorted(second) == FILES
    assert [name for name in FILES if first[name] != second[name]] == []
    for name in FILES:
        if name.endswith(".gz"):
            assert first[name][4:8] == bytes(4), "no time in a gzip's header, which a slower machine would tell"


def test_a_folder_of_somebody_else_is_not_replaced(found, networks, tmp_path):
    (tmp_path / "scan_7").mkdir()
    (tmp_path / "scan_7" / "thesis.doc").write_text("years of work")
    with pytest.raises(FileExistsError, match="scan_7 is there and was not written by this"):
        output.save(found, networks, tmp_path)
    assert (tmp_path / "scan_7" / "thesis.doc").read_text() == "years of work"


def test_nothing_half_written_stays(found, networks, tmp_path, monkeypatch):
    others = plt.get_fignums()  # of tests before
    monkeypatch.setattr(output.registry, "write_registry", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        output.save(found, networks, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == others


def test_the_page_says_where_its_interval_comes_from(found, networks):
    said = output.coverage_sentence(found)
    assert said.startswith("90 % interval") and "%" not in said.replace(" %", ""), "as on the rest of the page"
    fig = output.draw(found, networks)
    text = " ".join(" ".join(t.get_text() for t in fig.findobj(Text)).split())
    plt.close(fig)
    assert DISCLAIMER in text and "synthetic cohort" in text and output.SPREAD in text
    assert "; mode slices; probability > 0.3, at least 10 voxels" in text, "whole, not cut"
    assert isinstance(fig, plt.Figure) and fig.get_size_inches()[1] == pytest.approx(report.HEIGHT)


def test_an_interval_without_coverage_says_so(found):
    bare = dataclasses.replace(found, interval=dataclasses.replace(found.interval, coverage=None))
    assert "not measured" in output.coverage_sentence(bare)


def test_a_table_has_a_row_a_scan(found, networks, tmp_path):
    rows = [output.row(found, networks), output.row(found, networks) | {"scan": "scan_8"}]
    path = output.save_table(rows, tmp_path)
    lines = path.read_text().splitlines()
    assert path.name == "scans.csv" and len(lines) == 3 and lines[0].startswith("disclaimer,scan,core_ml")


def test_the_table_keeps_the_scans_of_earlier_calls_as_long_as_they_are_there(found, networks, tmp_path):
    def call(*names, **changed):
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "registry.json").write_text("{}")
        return pd.read_csv(output.save_table([output.row(found, networks) | {"scan": name} | changed for name in names],
                                             tmp_path))  # fmt: skip

    first = call("a", "b")
    both = call("c", "a", mode="exact")
    assert both.scan.tolist() == ["c", "a", "b"] and both["mode"].tolist() == ["exact", "exact", first["mode"][1]]
    assert both.core_ml.tolist() == [first.core_ml[0]] * 3
    shutil.rmtree(tmp_path / "b")
    assert call("d").scan.tolist() == ["d", "c", "a"], "whose folder is gone, is gone"
    older = pd.read_csv(tmp_path / "scans.csv").drop(columns="origin").assign(forgotten=1)
    older.to_csv(tmp_path / "scans.csv", index=False)
    mixed = call("e")
    assert mixed.scan.tolist() == ["e", "d", "c", "a"] and mixed.origin.isna().tolist() == [False, True, True, True]
    assert "forgotten" not in mixed


def test_the_mirrored_images_are_those_the_networks_saw(found):
    case, ready = found.scan.case, found.preprocessed
    turned = output.mirrored(case, ready)
    for name, seen in zip(case.modalities, ready.mirrored, strict=True):
        inside = seen != 0
        assert np.corrcoef(turned[name][inside], seen[inside])[0, 1] > 0.999, name


def test_what_was_added_to_a_scan_is_not_lost(found, networks, tmp_path):
    place = output.save(found, networks, tmp_path)
    (place / ".DS_Store").write_text("of a Mac, who cares")
    (place / "core_corrected.nii.gz").write_text("an hour of work")
    with pytest.raises(FileExistsError, match=r"scan_7 holds what was added to it \(core_corrected\.nii\.gz\)"):
        output.save(found, networks, tmp_path)
    (place / "core_corrected.nii.gz").unlink()
    assert output.save(found, networks, tmp_path) == place


def test_a_core_that_was_corrected_in_its_place_is_not_lost(found, networks, tmp_path):
    place = output.save(found, networks, tmp_path)
    later = (place / "registry.json").stat().st_mtime + 600
    os.utime(place / "core.nii.gz", (later, later))
    with pytest.raises(FileExistsError, match=r"holds what was changed since it was written \(core\.nii\.gz\)"):
        output.check_place(place)
    os.utime(place / "core.nii.gz", (later - 599, later - 599))  # as a copy would have it
    output.check_place(place)


def test_the_core_lies_on_the_maps_where_the_ct_states_no_place(networks, tmp_path):
    def silent(name, image, affine):
        return image, None if name == "CT" else affine, name.lower()

    scan = arrival.read_folder(own_scans.write(tmp_path / "scan", silent))
    folder = output.save(segment.segment(scan, segment.prepare(scan), networks), networks, tmp_path / "out")
    core, cbf = nib.load(folder / "core.nii.gz"), nib.load(tmp_path / "scan" / "cbf.nii")
    np.testing.assert_allclose(core.affine, cbf.affine, atol=1e-4)
    assert core.shape == cbf.shape and core.get_data_dtype() == np.uint8
    assert [name for name, _ in output.listing(folder)] == FILES, "no other views are needed"


def test_what_was_there_stays_where_it_cannot_be_replaced(tmp_path):
    place, made = tmp_path / "scan_7", tmp_path / "made"
    place.mkdir()
    (place / "core.nii.gz").write_text("old")
    with pytest.raises(FileNotFoundError):
        exchange(made, place)  # which is not there
    assert [path.name for path in tmp_path.iterdir()] == ["scan_7"]
    assert (place / "core.nii.gz").read_text() == "old"
    made.mkdir()
    (made / "core.nii.gz").write_text("new")
    exchange(made, place)
    assert [path.name for path in tmp_path.iterdir()] == ["scan_7"]
    assert (place / "core.nii.gz").read_text() == "new"


@pytest.mark.parametrize(("call", "kept"), [(1, "old"), (2, "old"), (3, "new")])
@pytest.mark.parametrize("fault", [SystemExit(143), KeyboardInterrupt(), OSError(13, "a file is open")])
def test_what_was_there_stays_where_its_exchange_is_interrupted(tmp_path, monkeypatch, fault, call, kept):
    """A signal between the two renames lost it."""
    place, made, calls, replace = tmp_path / "scan_7", tmp_path / "made", [], os.replace
    for folder, text in ((place, "old"), (made, "new")):
        folder.mkdir()
        (folder / "core.nii.gz").write_text(text)

    def interrupted(*names):
        calls.append(names)
        if len(calls) == call:
            raise fault
        replace(*names)

    monkeypatch.setattr(os, "replace", interrupted)
    with contextlib.suppress(BaseException):
        exchange(made, place)
    assert (place / "core.nii.gz").read_text() == kept
    assert {path.name for path in tmp_path.iterdir()} == ({"scan_7", "made"} if kept == "old" else {"scan_7"})


def test_a_signal_right_after_either_rename_loses_nothing(tmp_path, monkeypatch):
    replace = os.replace
    for call, kept in ((1, "old"), (2, "new")):
        place, made, calls = tmp_path / f"{call}" / "scan_7", tmp_path / f"{call}" / "made", []
        for folder, text in ((place, "old"), (made, "new")):
            folder.mkdir(parents=True)
            (folder / "core.nii.gz").write_text(text)

        def interrupted(*names, call=call, calls=calls):
            replace(*names)
            calls.append(names)
            if len(calls) == call:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            exchange(made, place)
        assert (place / "core.nii.gz").read_text() == kept
        assert not [*place.parent.glob(".*")]


def test_a_folder_is_looked_at_before_anything_is_computed(tmp_path):
    output.check_folder(tmp_path / "new" / "deep", ["a"])
    assert list(tmp_path.iterdir()) == [], "nothing is left of the trial"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*file.* name a folder that can be written to"):
        output.check_folder(tmp_path / "file", ["a"])
    with pytest.raises(OSError, match=r"cannot write to .*below.* name a folder that can be written to"):
        output.check_folder(tmp_path / "file" / "below", ["a"])
    (tmp_path / "scans.csv").write_text("mine\n")
    with pytest.raises(FileExistsError, match=r"scans\.csv is there and was not written by this"):
        output.check_folder(tmp_path, ["a"])
    (tmp_path / "scans.csv").unlink()
    registry.write_registry(tmp_path / "scans.csv", [{"disclaimer": DISCLAIMER, "scan": "a"}])
    output.check_folder(tmp_path, ["a"])


def test_a_scan_whose_header_states_no_place_is_written_for_viewers_with_its_true_spacing(networks, tmp_path):
    for name, image in own_scans.images().items():
        own_scans.save(tmp_path / "isles" / f"{name.lower()}.nii", image)
    scan = arrival.read_folder(tmp_path / "isles")
    ready = segment.prepare(scan)
    folder = output.save(segment.segment(scan, ready, networks), networks, tmp_path / "out")
    assert [name for name, _ in output.listing(folder)] == sorted([*FILES, *output.VIEWS])
    like = nib.load(folder / "core.nii.gz")
    assert np.array_equal(like.affine, np.eye(4)), "in the grid of the input, which says nothing"
    for name in output.VIEWS:
        seen = nib.load(folder / name)
        np.testing.assert_allclose(np.linalg.norm(seen.affine[:3, :3], axis=0), own_scans.SPACING, rtol=1e-6)
        assert seen.shape == like.shape
    assert np.array_equal(np.asanyarray(seen.dataobj), np.asanyarray(like.dataobj))


@pytest.mark.parametrize(
    ("fault", "because"),
    [
        (CaseError("/ward/IM1 has no SOPClassUID; export it"), "IM1 has no SOPClassUID; export it"),
        (AttributeError("no Rows"), "of the CT's DICOM files (AttributeError: no Rows)"),
    ],
)
def test_a_segmentation_that_cannot_be_written_costs_no_more(found, networks, tmp_path, monkeypatch, fault, because):
    """It did cost all of the scan."""
    monkeypatch.setattr(output.segmentation_object, "write_segmentation", lambda *_: (_ for _ in ()).throw(fault))
    drawn, draw = [], output.draw
    monkeypatch.setattr(output, "draw", lambda found, networks: drawn.append(found.remarks) or draw(found, networks))
    scan = dataclasses.replace(found.scan, slices=(tmp_path / "IM1",))
    folder = output.save(dataclasses.replace(found, scan=scan), networks, tmp_path)
    assert [name for name, _ in output.listing(folder)] == FILES
    said = f"core.dcm was not written, because {because}"
    row = output.saved_row(folder)
    assert row["remarks"].split(registry.BETWEEN)[-1] == said
    assert drawn[0][-1].endswith(because), "on the page, too"
    assert row == output.row(found, networks) | {"remarks": row["remarks"]} and "definitions" not in row


def test_a_copy_without_metadata_has_no_version_and_costs_a_dicom_scan_nothing(found, networks, tmp_path, monkeypatch):
    """It cost all of it, when the core was to be written as DICOM SEG."""

    def unknown(package):
        raise PackageNotFoundError(package)

    given = []
    monkeypatch.setattr(registry, "version", unknown)
    monkeypatch.setattr(output.segmentation_object, "write_segmentation", lambda *words: given.append(words[3]))
    scan = dataclasses.replace(found.scan, slices=(tmp_path / "IM1",))
    assert output._write_segmentation(tmp_path / "core.dcm", dataclasses.replace(found, scan=scan), networks) == []
    assert given == ["strokelib"]


def test_maps_of_a_scan_without_a_nifti_reference_state_their_place_in_both_forms(found, tmp_path):
    scan = dataclasses.replace(found.scan, reference=None)
    output._write_map(tmp_path / "core.nii.gz", found.core, dataclasses.replace(found, scan=scan), np.uint8)
    header = nib.load(tmp_path / "core.nii.gz").header
    assert header["qform_code"] > 0 and header["sform_code"] > 0
    np.testing.assert_allclose(header.get_qform(), scan.grid.affine, atol=1e-3)
    np.testing.assert_allclose(header.get_sform(), scan.grid.affine, atol=1e-3)
    sheared = scan.grid.affine @ np.array([[1, 0, 0, 0], [0, 1, 2, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    scan = dataclasses.replace(scan, grid=dataclasses.replace(scan.grid, affine=sheared))
    output._write_map(tmp_path / "core.nii.gz", found.core, dataclasses.replace(found, scan=scan), np.uint8)
    header = nib.load(tmp_path / "core.nii.gz").header
    assert header["qform_code"] == 0, "which cannot say so"
    np.testing.assert_allclose(header.get_best_affine(), sheared, atol=1e-3)


def test_a_full_disk_is_no_fault_of_the_segmentation(found, networks, tmp_path, monkeypatch):
    full = OSError(28, "no space left")
    monkeypatch.setattr(output.segmentation_object, "write_segmentation", lambda *_: (_ for _ in ()).throw(full))
    scan = dataclasses.replace(found.scan, slices=(tmp_path / "IM1",))
    with pytest.raises(OSError, match="no space left"):
        output.save(dataclasses.replace(found, scan=scan), networks, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_results_of_another_patient_of_the_same_name_are_not_replaced(found, networks, tmp_path):
    """BIDS calls every patient's first scan ses-01; two calls may meet in one folder."""
    place = output.save(found, networks, tmp_path)
    before = json.loads((place / "registry.json").read_text())
    assert before["images_sha256"] == found.scan.sha256 and len(found.scan.sha256) == 64
    other = dataclasses.replace(found, scan=dataclasses.replace(found.scan, sha256="0" * 64))
    with pytest.raises(CaseError, match="other images that were called scan_7, too; give this scan a name of its own"):
        output.save(other, networks, tmp_path)
    assert json.loads((place / "registry.json").read_text()) == before
    assert output.save(found, networks, tmp_path) == place, "the same images may be segmented again"


def test_every_image_counts_in_the_digest_and_its_file_does_not(tmp_path):
    def changed(which):
        return lambda name, image, affine: (image[::-1].copy() if name == which else image, affine, name.lower())

    first = arrival.read_folder(own_scans.write(tmp_path / "a")).sha256
    assert arrival.read_folder(own_scans.write(tmp_path / "b", suffix=".nii.gz")).sha256 == first
    for which in ("CBV", "Tmax"):
        assert arrival.read_folder(own_scans.write(tmp_path / which, changed(which))).sha256 != first


def test_a_spoilt_table_is_named_before_anything_is_computed(found, networks, tmp_path):
    table = output.save_table([output.row(found, networks)], tmp_path)
    table.write_bytes(table.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"scans\.csv is no table"):
        output.check_folder(tmp_path, ["a"])
